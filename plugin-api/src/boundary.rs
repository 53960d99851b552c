//! The one place where pointers are followed: the entries that a driver exports, and its way back to the host.
#![allow(unsafe_code)]

use std::{
    any::Any,
    cell::{Cell, RefCell},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Once},
    time::{Duration, Instant},
};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    CallContext, DriverError, Host,
    abi::{self, Buffer, Bytes, DriverTable, HostTable, Instance, Reply},
    call::Request,
    dispatch::{Answer, Interface},
    host::LogLevel,
};

impl Bytes {
    /// Borrows a slice for a call.
    pub const fn of(slice: &[u8]) -> Self {
        Self { data: slice.as_ptr(), len: slice.len() }
    }

    /// The bytes themselves.
    ///
    /// # Safety
    /// `data` points to `len` readable bytes for as long as `'a`, or `len` is 0.
    pub unsafe fn as_slice<'a>(self) -> &'a [u8] {
        if self.len == 0 || self.data.is_null() {
            return &[];
        }
        // SAFETY: promised by the caller.
        unsafe { std::slice::from_raw_parts(self.data, self.len) }
    }
}

unsafe extern "C" fn free_boxed(data: *mut u8, len: usize) {
    // SAFETY: `Buffer::from` took pointer and length from such a box, and a buffer is freed once.
    drop(unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(data, len)) });
}

impl From<Vec<u8>> for Buffer {
    fn from(bytes: Vec<u8>) -> Self {
        let len = bytes.len();
        Self { data: Box::into_raw(bytes.into_boxed_slice()).cast(), len, free: Some(free_boxed) }
    }
}

impl Buffer {
    /// Copies the bytes and frees the buffer with its own function.
    ///
    /// # Safety
    /// The buffer came over the boundary and was not freed.
    pub unsafe fn take(self) -> Vec<u8> {
        let copy = if self.len == 0 || self.data.is_null() {
            Vec::new()
        } else {
            // SAFETY: whoever made the buffer promises `len` readable bytes until it is freed.
            unsafe { std::slice::from_raw_parts(self.data, self.len) }.to_vec()
        };
        if let Some(free) = self.free {
            // SAFETY: called once, with what the buffer says of itself.
            unsafe { free(self.data, self.len) };
        }
        copy
    }
}

impl Reply {
    /// A reply with a body.
    pub fn new(status: u32, body: Vec<u8>) -> Self {
        Self { status, reserved: 0, body: body.into() }
    }

    /// A failure.
    pub fn error(error: &DriverError) -> Self {
        Self::json(abi::STATUS_ERROR, error)
    }

    fn json<T: Serialize>(status: u32, value: &T) -> Self {
        Self::new(status, serde_json::to_vec(value).unwrap_or_else(|_| b"null".to_vec()))
    }
}

/// A driver's way to its host.
pub(crate) struct HostLink {
    table: HostTable,
}

// SAFETY: the host promises that every function of the table may be called from any thread (`abi::HostTable`).
unsafe impl Send for HostLink {}
// SAFETY: as above.
unsafe impl Sync for HostLink {}

impl HostLink {
    pub(crate) fn call(&self, call_id: u64, service: &str, body: &[u8]) -> Result<Vec<u8>, DriverError> {
        // SAFETY: the table is valid until `close`, and a `Host` lives in the instance that `close` ends.
        let reply =
            unsafe { (self.table.call)(self.table.context, call_id, Bytes::of(service.as_bytes()), Bytes::of(body)) };
        let status = reply.status;
        // SAFETY: the host just made it.
        let body = unsafe { reply.body.take() };
        if status == abi::STATUS_OK {
            return Ok(body);
        }
        Err(serde_json::from_slice(&body)
            .unwrap_or_else(|_| DriverError::internal(format!("the host failed {service} without a reason"))))
    }

    pub(crate) fn log(&self, call_id: u64, level: LogLevel, target: &str, message: &str, fields: &[u8]) {
        // SAFETY: as in `call`.
        unsafe {
            (self.table.log)(
                self.table.context,
                call_id,
                level.number(),
                Bytes::of(target.as_bytes()),
                Bytes::of(message.as_bytes()),
                Bytes::of(fields),
            );
        }
    }

    pub(crate) fn cancelled(&self, call_id: u64) -> bool {
        // SAFETY: as in `call`.
        unsafe { (self.table.cancelled)(self.table.context, call_id) != 0 }
    }
}

struct Opened<I> {
    interface: I,
    host: Host,
}

/// The table of a driver with interface `I`. `describe` hands out the manifest.
pub const fn table<I: Interface>(describe: unsafe extern "C" fn() -> Bytes) -> DriverTable {
    DriverTable {
        magic: abi::MAGIC,
        epoch: abi::EPOCH,
        size: size_of::<DriverTable>() as u32,
        describe,
        open: open::<I>,
        invoke: invoke::<I>,
        cancel,
        health: health::<I>,
        close: close::<I>,
    }
}

unsafe extern "C" fn open<I: Interface>(host: *const HostTable, config: Bytes, instance: *mut *mut Instance) -> Reply {
    guard(|| {
        if host.is_null() || instance.is_null() {
            return Err(DriverError::internal("open was called with a null table or a null place for the instance"));
        }
        // SAFETY: not null; the host keeps the table readable during the call and the functions valid until `close`.
        let table = unsafe { *host };
        if table.magic != abi::MAGIC || table.epoch != abi::EPOCH || (table.size as usize) < size_of::<HostTable>() {
            return Err(DriverError::internal(format!(
                "the host's table is of epoch {}; this driver speaks epoch {}",
                table.epoch,
                abi::EPOCH
            )));
        }
        let host = Host::new(Arc::new(HostLink { table }));
        // SAFETY: the host lends the bytes for the call.
        let config = unsafe { config.as_slice() };
        let config = read_config(config)
            .map_err(|error| DriverError::invalid_argument(format!("the configuration cannot be read: {error}")))?;
        let opened = Box::new(Opened { interface: I::open(config, host.clone())?, host });
        // SAFETY: not null, and the host lends the place for the call.
        unsafe { *instance = Box::into_raw(opened).cast() };
        Ok(Answer::Done(b"null".to_vec()))
    })
}

/// An empty object is also how a driver without configuration (`()`) is opened.
fn read_config<T: DeserializeOwned>(config: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(config).or_else(|error| match serde_json::from_slice(config) {
        Ok(serde_json::Value::Object(object)) if object.is_empty() => {
            serde_json::from_value(serde_json::Value::Null).map_err(|_| error)
        }
        _ => Err(error),
    })
}

unsafe extern "C" fn invoke<I: Interface>(instance: *mut Instance, call_id: u64, method: Bytes, body: Bytes) -> Reply {
    guard(|| {
        // SAFETY: the host passes what `open` gave, and never calls during or after `close`.
        let opened = unsafe { instance.cast::<Opened<I>>().as_ref() }.ok_or_else(null_instance)?;
        // SAFETY: the host lends both for the call.
        let (method, body) = unsafe { (method.as_slice(), body.as_slice()) };
        let method =
            std::str::from_utf8(method).map_err(|_| DriverError::invalid_argument("the method's name is not UTF-8"))?;
        let request: Request<'_> = serde_json::from_slice(body)
            .map_err(|error| DriverError::invalid_argument(format!("the request cannot be read: {error}")))?;
        // A deadline beyond what the clock can hold is no deadline; a day is longer than any call.
        let time = Duration::from_millis(request.deadline_ms.min(86_400_000));
        let call = CallContext::new(
            call_id,
            Instant::now() + time,
            request.request_id.into_owned(),
            opened.host.in_call(call_id),
        );
        opened.interface.dispatch(&call, method, request.params)
    })
}

// The host remembers what it cancelled and tells through `HostTable::cancelled`; a Rust driver has nothing to note.
unsafe extern "C" fn cancel(_instance: *mut Instance, _call_id: u64) {}

unsafe extern "C" fn health<I: Interface>(instance: *mut Instance) -> Reply {
    guard(|| {
        // SAFETY: as in `invoke`.
        let opened = unsafe { instance.cast::<Opened<I>>().as_ref() }.ok_or_else(null_instance)?;
        crate::dispatch::done("health", &opened.interface.health()?)
    })
}

unsafe extern "C" fn close<I: Interface>(instance: *mut Instance) {
    if instance.is_null() {
        return;
    }
    let reply = guard(|| {
        // SAFETY: the host passes what `open` gave, once, when no other call is out.
        let opened = unsafe { Box::from_raw(instance.cast::<Opened<I>>()) };
        opened.interface.close();
        Ok(Answer::Done(Vec::new()))
    });
    // SAFETY: made just now; a panic in `close` has nobody to go to.
    drop(unsafe { reply.body.take() });
}

fn null_instance() -> DriverError {
    DriverError::internal("the call came without an instance")
}

thread_local! {
    static PANIC_PLACE: RefCell<String> = const { RefCell::new(String::new()) };
    static INSIDE_ENTRY: Cell<bool> = const { Cell::new(false) };
}

/// Runs an entry; a panic becomes an error that says where it was, and nothing unwinds out of the driver.
fn guard(entry: impl FnOnce() -> Result<Answer, DriverError>) -> Reply {
    static HOOK: Once = Once::new();
    // The library has a panic hook of its own. A panic in an entry goes to the host as an error, so it is not written to
    // standard error as well; one in a thread of the driver's own, or in an author's test, has nowhere else to go.
    HOOK.call_once(|| {
        let outside = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !INSIDE_ENTRY.get() {
                return outside(info);
            }
            let place = info.location().map(ToString::to_string).unwrap_or_default();
            PANIC_PLACE.with_borrow_mut(|kept| *kept = place);
        }));
    });
    let was_inside = INSIDE_ENTRY.replace(true);
    let caught = catch_unwind(AssertUnwindSafe(entry));
    INSIDE_ENTRY.set(was_inside);
    match caught {
        Ok(Ok(Answer::Done(body))) => Reply::new(abi::STATUS_OK, body),
        Ok(Ok(Answer::Pending(pending))) => Reply::json(abi::STATUS_PENDING, &pending),
        Ok(Err(error)) => Reply::error(&error),
        Err(payload) => {
            let place = PANIC_PLACE.with_borrow_mut(std::mem::take);
            let error = DriverError::internal("the driver panicked")
                .for_operator(format!("panic at {place}: {}", panic_text(payload.as_ref())));
            // A payload whose drop panics must not escape either.
            std::mem::forget(payload);
            Reply::json(abi::STATUS_PANIC, &error)
        }
    }
}

fn panic_text(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no text)")
}
