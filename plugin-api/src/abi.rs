//! The frozen boundary, epoch 1: the two tables that driver and host hand each other, and nothing else.
//!
//! These types never change. A different boundary is a second root symbol beside this one (`docs/abi-epoch-1.md` tells
//! the same in C). Input is pointer and length, valid for the duration of the call; output is a [`Buffer`] that the
//! receiver frees through the buffer's own function. Bodies are JSON.

use abi_stable::{StableAbi, type_layout::TypeLayout};

/// First field of both tables: the bytes `CAPSTAN1`, little endian.
pub const MAGIC: u64 = u64::from_le_bytes(*b"CAPSTAN1");

/// The epoch this module describes.
pub const EPOCH: u32 = 1;

/// The symbol a driver exports: [`EntryFn`].
pub const ENTRY_SYMBOL: &str = "capstan_driver_epoch_1";

/// The symbol a Rust driver exports besides: [`LayoutFn`]. A driver in another language leaves it out.
pub const LAYOUT_SYMBOL: &str = "capstan_driver_layout_1";

/// The ELF section that holds the manifest (JSON, UTF-8), readable without running the file.
pub const MANIFEST_SECTION: &str = ".capstan_manifest";

/// The call succeeded; the body is its result.
pub const STATUS_OK: u32 = 0;
/// The call failed; the body is a [`crate::DriverError`].
pub const STATUS_ERROR: u32 = 1;
/// The call goes on in the background; the body is a [`crate::Pending`].
pub const STATUS_PENDING: u32 = 2;
/// The entry panicked and the guard caught it; the body is a [`crate::DriverError`] with code `internal`.
pub const STATUS_PANIC: u32 = 255;

/// Log levels of [`HostTable::log`], from the most urgent.
pub const LOG_ERROR: u32 = 1;
/// See [`LOG_ERROR`].
pub const LOG_WARN: u32 = 2;
/// See [`LOG_ERROR`].
pub const LOG_INFO: u32 = 3;
/// See [`LOG_ERROR`].
pub const LOG_DEBUG: u32 = 4;
/// See [`LOG_ERROR`].
pub const LOG_TRACE: u32 = 5;

/// Borrowed bytes: valid while the call that got them runs. `data` may be null only when `len` is 0.
#[repr(C)]
#[derive(Clone, Copy, StableAbi)]
pub struct Bytes {
    /// First byte.
    pub data: *const u8,
    /// Number of bytes.
    pub len: usize,
}

/// Owned bytes: the receiver calls `free(data, len)` exactly once, from any thread, unless `free` is null.
#[repr(C)]
#[derive(StableAbi)]
pub struct Buffer {
    /// First byte; may be null only when `len` is 0.
    pub data: *mut u8,
    /// Number of bytes.
    pub len: usize,
    /// Frees the bytes with the allocator of whoever made them; null means there is nothing to free.
    pub free: Option<unsafe extern "C" fn(data: *mut u8, len: usize)>,
}

/// What a call answers.
#[repr(C)]
#[derive(StableAbi)]
pub struct Reply {
    /// One of the `STATUS_` values; the host takes any other for `internal`.
    pub status: u32,
    /// Zero.
    pub reserved: u32,
    /// The body belonging to the status.
    pub body: Buffer,
}

/// The host's side of an instance; only ever seen behind a pointer.
#[repr(C)]
#[derive(StableAbi)]
pub struct HostContext {
    _opaque: [u8; 0],
}

/// A driver's instance; only ever seen behind a pointer.
#[repr(C)]
#[derive(StableAbi)]
pub struct Instance {
    _opaque: [u8; 0],
}

/// What the host gives an instance at `open`. Valid until `close` of that instance has returned; every function may be
/// called from any thread, also from threads of the driver's own. `call_id` is the id given to `invoke`, or 0 outside a call.
#[repr(C)]
#[derive(Clone, Copy, StableAbi)]
pub struct HostTable {
    /// [`MAGIC`].
    pub magic: u64,
    /// [`EPOCH`].
    pub epoch: u32,
    /// Size of this table in bytes.
    pub size: u32,
    /// First argument of every function below.
    pub context: *mut HostContext,
    /// A host service by name (`state.get`, `program.start`, ...); unknown ones answer a `not_supported` error.
    pub call: unsafe extern "C" fn(context: *mut HostContext, call_id: u64, method: Bytes, body: Bytes) -> Reply,
    /// One log line. `target` names a part of the driver, or is empty for the driver as a whole; `fields` is a JSON object or
    /// empty.
    pub log: unsafe extern "C" fn(
        context: *mut HostContext,
        call_id: u64,
        level: u32,
        target: Bytes,
        message: Bytes,
        fields: Bytes,
    ),
    /// 1 when the call was cancelled, its deadline has passed, or no such call is out; else 0. Call id 0 asks about the
    /// instance: 1 once its `open` has run out of time or the host is about to close it.
    pub cancelled: unsafe extern "C" fn(context: *mut HostContext, call_id: u64) -> u32,
}

/// What the library exports. Every function may be called from any thread; `invoke`, `cancel` and `health` also at the
/// same time for one instance. `close` is called once, when no other call is out.
#[repr(C)]
#[derive(Clone, Copy, StableAbi)]
pub struct DriverTable {
    /// [`MAGIC`].
    pub magic: u64,
    /// [`EPOCH`].
    pub epoch: u32,
    /// Size of this table in bytes.
    pub size: u32,
    /// The manifest: the same bytes as in the ELF section, static.
    pub describe: unsafe extern "C" fn() -> Bytes,
    /// Opens an instance. `config` is a JSON object. On [`STATUS_OK`] `instance` has been set and is not null; otherwise
    /// it is left alone. The body of a success is ignored.
    pub open: unsafe extern "C" fn(host: *const HostTable, config: Bytes, instance: *mut *mut Instance) -> Reply,
    /// Runs one method; `body` is a [`crate::call::Request`].
    pub invoke: unsafe extern "C" fn(instance: *mut Instance, call_id: u64, method: Bytes, body: Bytes) -> Reply,
    /// Asks the call to stop at its next safe point; returns at once. An unknown id is ignored.
    pub cancel: unsafe extern "C" fn(instance: *mut Instance, call_id: u64),
    /// Quick and without side effects; the body of a success is a [`crate::Health`].
    pub health: unsafe extern "C" fn(instance: *mut Instance) -> Reply,
    /// Ends the instance and frees it.
    pub close: unsafe extern "C" fn(instance: *mut Instance),
}

/// Type of [`ENTRY_SYMBOL`]. The table is static.
pub type EntryFn = unsafe extern "C" fn() -> *const DriverTable;

/// Type of [`LAYOUT_SYMBOL`]. The record is static.
pub type LayoutFn = unsafe extern "C" fn() -> *const LayoutRecord;

/// The layout of [`DriverTable`] as the driver's compiler saw it, for the loader to hold against its own.
#[repr(C)]
pub struct LayoutRecord {
    /// Version of `abi_stable` that described the layout; the host reads `layout` only when the first two parts are its own.
    pub abi_stable: [u32; 3],
    /// Layout of the table; everything the boundary consists of hangs below it.
    pub layout: &'static TypeLayout,
    /// Layout of [`HostTable`].
    pub host_layout: &'static TypeLayout,
}

/// The record of this build.
pub const LAYOUT: LayoutRecord = LayoutRecord {
    abi_stable: [0, 11, 3],
    layout: <DriverTable as StableAbi>::LAYOUT,
    host_layout: <HostTable as StableAbi>::LAYOUT,
};
