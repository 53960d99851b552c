//! Both directions over the boundary: calls into an instance, and what an instance calls in the host.
//!
//! What comes from a driver is checked here for null, length and shape; the rest of the room sees owned bytes.
#![allow(unsafe_code)]

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    ptr,
    sync::{
        Arc, LazyLock, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use capstan_plugin_api::{
    DriverError,
    abi::{self, Buffer, Bytes, DriverTable, HostContext, HostTable, Reply},
};

/// No body is longer, in either direction.
pub(super) const LONGEST_BODY: usize = 64 << 20;
/// No log line is longer; the rest is cut.
const LONGEST_LOG: usize = 64 << 10;

/// What an instance may ask of its host. Called from any thread, and blocking.
pub(super) trait HostSide: Send + Sync {
    fn call(&self, call_id: u64, service: &str, body: &[u8]) -> Result<Vec<u8>, DriverError>;
    fn log(&self, call_id: u64, level: u32, target: &str, message: &str, fields: &str);
    fn cancelled(&self, call_id: u64) -> bool;
}

/// The hosts of open instances, by the number that stands in for a pointer. A driver that goes on calling after `close` finds
/// nothing under its number, instead of freed memory.
static HOSTS: LazyLock<RwLock<HashMap<usize, Arc<dyn HostSide>>>> = LazyLock::new(RwLock::default);
static NEXT_HOST: AtomicUsize = AtomicUsize::new(1);

fn host_of(context: *mut HostContext) -> Option<Arc<dyn HostSide>> {
    HOSTS.read().unwrap_or_else(PoisonError::into_inner).get(&context.addr()).cloned()
}

/// Status and body of an answer.
pub(super) struct Answered {
    pub status: u32,
    /// The body, or what is wrong with it.
    pub body: Result<Vec<u8>, String>,
}

/// An open instance. It stays open until [`Instance::close`]; dropping it leaves it open.
pub(super) struct Instance {
    table: DriverTable,
    pointer: *mut abi::Instance,
    host: usize,
}

// SAFETY: the table's contract (`abi::DriverTable`) allows every function from any thread, also at the same time; `close`
// takes the instance by value, so the borrow checker keeps calls and `close` apart.
unsafe impl Send for Instance {}
// SAFETY: as above.
unsafe impl Sync for Instance {}

impl Instance {
    /// Opens an instance; on failure answers what the driver said.
    pub fn open(table: DriverTable, host: Arc<dyn HostSide>, config: &[u8]) -> Result<Self, Answered> {
        let number = NEXT_HOST.fetch_add(1, Ordering::Relaxed);
        HOSTS.write().unwrap_or_else(PoisonError::into_inner).insert(number, host);
        // Never freed: a driver may keep the pointer, and threads of its own may outlive `close` against the contract.
        let host_table: &'static HostTable = Box::leak(Box::new(HostTable {
            magic: abi::MAGIC,
            epoch: abi::EPOCH,
            size: size_of::<HostTable>() as u32,
            context: ptr::without_provenance_mut(number),
            call: host_call,
            log: host_log,
            cancelled: host_cancelled,
        }));
        let mut pointer = ptr::null_mut();
        // SAFETY: the table was checked when it was loaded; the arguments live through the call.
        let reply = unsafe { (table.open)(host_table, Bytes::of(config), &mut pointer) };
        let status = reply.status;
        let body = take(reply.body);
        if status == abi::STATUS_OK && !pointer.is_null() {
            return Ok(Self { table, pointer, host: number });
        }
        HOSTS.write().unwrap_or_else(PoisonError::into_inner).remove(&number);
        let body = if status == abi::STATUS_OK { Err("a null instance".into()) } else { body };
        Err(Answered { status, body })
    }

    /// Runs one method; blocks for as long as the driver likes.
    pub fn invoke(&self, call_id: u64, method: &str, body: &[u8]) -> Answered {
        // SAFETY: the instance is open, and the arguments live through the call.
        let reply =
            unsafe { (self.table.invoke)(self.pointer, call_id, Bytes::of(method.as_bytes()), Bytes::of(body)) };
        Answered { status: reply.status, body: take(reply.body) }
    }

    /// Asks a call to stop. A driver that breaks its contract may block here.
    pub fn cancel(&self, call_id: u64) {
        // SAFETY: the instance is open.
        unsafe { (self.table.cancel)(self.pointer, call_id) }
    }

    /// Asks for the driver's health; blocks for as long as the driver likes.
    pub fn health(&self) -> Answered {
        // SAFETY: the instance is open.
        let reply = unsafe { (self.table.health)(self.pointer) };
        Answered { status: reply.status, body: take(reply.body) }
    }

    /// Ends the instance; blocks for as long as the driver likes.
    pub fn close(self) {
        // SAFETY: the instance is open, no call is out as `self` is owned, and it is gone afterwards.
        unsafe { (self.table.close)(self.pointer) };
        HOSTS.write().unwrap_or_else(PoisonError::into_inner).remove(&self.host);
    }
}

/// Copies a body that a driver made and frees it in the driver's way.
fn take(body: Buffer) -> Result<Vec<u8>, String> {
    if body.len > 0 && body.data.is_null() {
        // Nothing to free: there is no first byte.
        return Err(format!("a null body of {} bytes", body.len));
    }
    if body.len > LONGEST_BODY {
        let found = format!("a body of {} bytes, at most {LONGEST_BODY} are taken", body.len);
        if let Some(free) = body.free {
            // SAFETY: the buffer came over the boundary just now and is freed once.
            unsafe { free(body.data, body.len) };
        }
        return Err(found);
    }
    // SAFETY: the buffer came over the boundary just now and has not been freed.
    Ok(unsafe { body.take() })
}

/// What a driver lends for the duration of a call; a null or an absurd length is refused.
///
/// # Safety
/// `bytes` came over the boundary and the call that lent it has not returned.
unsafe fn lent<'a>(bytes: Bytes, what: &str) -> Result<&'a [u8], DriverError> {
    if bytes.len > 0 && bytes.data.is_null() {
        return Err(DriverError::invalid_argument(format!("the {what} is null with {} bytes", bytes.len)));
    }
    if bytes.len > LONGEST_BODY {
        return Err(DriverError::invalid_argument(format!(
            "the {what} has {} bytes, at most {LONGEST_BODY} are taken",
            bytes.len
        )));
    }
    // SAFETY: promised by the caller; not null.
    Ok(unsafe { bytes.as_slice() })
}

// A panic of the host must not unwind into a driver's frames, which may be C.
fn guarded<T>(otherwise: T, run: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or(otherwise)
}

unsafe extern "C" fn host_call(context: *mut HostContext, call_id: u64, method: Bytes, body: Bytes) -> Reply {
    let broken = Reply::new(abi::STATUS_ERROR, Vec::new());
    guarded(broken, || {
        let answer = || {
            // SAFETY: the driver lends both for this call.
            let (method, body) = unsafe { (lent(method, "service's name")?, lent(body, "body")?) };
            let method = std::str::from_utf8(method)
                .map_err(|_| DriverError::invalid_argument("the service's name is not UTF-8"))?;
            let host = host_of(context).ok_or_else(|| DriverError::unavailable("this instance has been closed"))?;
            host.call(call_id, method, body)
        };
        match answer() {
            Ok(body) => Reply::new(abi::STATUS_OK, body),
            Err(error) => Reply::error(&error),
        }
    })
}

unsafe extern "C" fn host_log(
    context: *mut HostContext,
    call_id: u64,
    level: u32,
    target: Bytes,
    message: Bytes,
    fields: Bytes,
) {
    guarded((), || {
        let Some(host) = host_of(context) else { return };
        // SAFETY: the driver lends all three for this call.
        let texts = unsafe { [lent(target, "target"), lent(message, "message"), lent(fields, "fields")] };
        let [target, message, fields] =
            texts.map(|text| text.map(|bytes| bytes.get(..LONGEST_LOG).unwrap_or(bytes)).unwrap_or_default());
        host.log(
            call_id,
            level,
            &String::from_utf8_lossy(target),
            &String::from_utf8_lossy(message),
            &String::from_utf8_lossy(fields),
        );
    });
}

unsafe extern "C" fn host_cancelled(context: *mut HostContext, call_id: u64) -> u32 {
    guarded(1, || host_of(context).is_none_or(|host| host.cancelled(call_id)).into())
}
