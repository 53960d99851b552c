//! The child's end of the socket.

use std::{
    borrow::Cow,
    io::{self, Write},
    os::unix::net::UnixStream,
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::value::RawValue;

use crate::drivers::{
    error::Failure,
    frames::{self, Failed, FromDriver, Hello, PROTOCOL},
};

/// Sends frames, from any thread. Cheap to clone.
#[derive(Clone)]
pub(super) struct Channel {
    writer: Arc<Mutex<UnixStream>>,
}

impl Channel {
    pub fn new(socket: UnixStream) -> io::Result<Self> {
        socket.set_nonblocking(false)?;
        Ok(Self { writer: Arc::new(Mutex::new(socket)) })
    }

    /// The reading end.
    pub fn reader(&self) -> io::Result<UnixStream> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner).try_clone()
    }

    /// Sends one message; waits while the daemon does not read.
    pub fn send(&self, message: &FromDriver<'_>) -> io::Result<()> {
        let bytes = frames::frame(message).map_err(io::Error::other)?;
        self.writer.lock().unwrap_or_else(PoisonError::into_inner).write_all(&bytes)
    }

    pub fn greet(&self, manifest: &[u8]) -> io::Result<()> {
        let manifest: &RawValue = serde_json::from_slice(manifest)?;
        let name = Cow::Borrowed(concat!("capstan/", env!("CARGO_PKG_VERSION")));
        let hello = Hello { protocol: PROTOCOL, features: Vec::new(), name, manifest: Some(manifest) };
        self.send(&FromDriver { hello: Some(hello), ..FromDriver::default() })
    }

    /// Says why there is no driver.
    pub fn fail(&self, failure: &Failure) -> io::Result<()> {
        let failed = Failed {
            found: failure.found.as_str().into(),
            expected: failure.expected.as_str().into(),
            remedy: failure.remedy.as_str().into(),
        };
        self.send(&FromDriver { failed: Some(failed), ..FromDriver::default() })
    }
}
