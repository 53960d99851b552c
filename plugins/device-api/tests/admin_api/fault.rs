//! How a server fails.

use std::{thread, time::Duration};

use serde_json::Value;

use super::{Stream, answers::json_answer};

/// What happens in place of an answer.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Nothing, until the client hangs up.
    Hang,
    /// One byte of an endless answer every few milliseconds.
    Drip,
    /// These bytes, and the end of the connection.
    Raw(Vec<u8>),
    /// The request is done; then this happens.
    Done(Box<Fault>),
}

impl Fault {
    /// An answer of this status with a JSON body.
    pub fn status(status: u16, body: &Value) -> Self {
        Self::Raw(json_answer(status, body))
    }

    /// An answer with these further header lines and body.
    pub fn with(status: u16, headers: &str, body: &str) -> Self {
        Self::Raw(
            format!("HTTP/1.1 {status} Status\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes(),
        )
    }

    pub(super) fn meet(
        self,
        stream: &mut dyn Stream,
        answer: impl FnOnce() -> Vec<u8>,
        hung_up: impl FnOnce(),
    ) -> Option<()> {
        match self {
            Self::Hang => {
                let mut byte = [0];
                // Comes back with nothing, or with an error, once the client is gone.
                while stream.read(&mut byte).is_ok_and(|read| read > 0) {}
                hung_up();
            }
            Self::Drip => {
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n")
                    .ok()?;
                while stream.write_all(b" ").and_then(|()| stream.flush()).is_ok() {
                    thread::sleep(Duration::from_millis(5));
                }
                hung_up();
            }
            Self::Raw(bytes) => stream.write_all(&bytes).ok()?,
            Self::Done(then) => {
                answer();
                then.meet(stream, Vec::new, hung_up)?;
            }
        }
        Some(())
    }
}
