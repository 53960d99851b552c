//! Bytes on their way to a driver: written at once where the socket takes them, kept in order where it does not.
//!
//! A frame that was begun is finished whoever goes away meanwhile: nothing here waits in the caller's place.

use std::{
    io,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::{net::UnixStream, sync::Notify};

use crate::drivers::frames::LONGEST_FRAME;

/// More than this is not kept for a driver that does not read.
const MOST: usize = 2 * LONGEST_FRAME;

#[derive(Default)]
pub(super) struct Outbox {
    left: Mutex<Left>,
    changed: Notify,
}

/// What the socket has not taken.
#[derive(Default)]
struct Left {
    bytes: Vec<u8>,
    /// So many have been written since; they are dropped together.
    written: usize,
}

impl Left {
    fn bytes(&self) -> &[u8] {
        &self.bytes[self.written..]
    }
}

impl Outbox {
    fn left(&self) -> MutexGuard<'_, Left> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends or keeps `frame`; fails when the socket is closed or too much is kept already.
    pub fn send(&self, socket: &UnixStream, frame: Vec<u8>) -> io::Result<()> {
        let mut left = self.left();
        if !left.bytes.is_empty() {
            if left.bytes.len() + frame.len() > MOST {
                return Err(io::Error::other("the driver does not read what it is sent"));
            }
            left.bytes.extend_from_slice(&frame);
            return Ok(());
        }
        let written = match socket.try_write(&frame) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        if written < frame.len() {
            *left = Left { bytes: frame, written };
            drop(left);
            self.changed.notify_one();
        }
        Ok(())
    }

    /// Writes what is kept whenever the socket takes it; returns when the socket is closed.
    pub async fn drain(&self, socket: &UnixStream) -> io::Error {
        loop {
            self.changed.notified().await;
            while !self.left().bytes.is_empty() {
                if let Err(error) = socket.writable().await {
                    return error;
                }
                if let Err(error) = self.write_some(socket) {
                    return error;
                }
            }
        }
    }

    fn write_some(&self, socket: &UnixStream) -> io::Result<()> {
        let mut left = self.left();
        while !left.bytes().is_empty() {
            match socket.try_write(left.bytes()) {
                Ok(count) => left.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        // Room for one long frame is not kept for ever.
        *left = Left::default();
        Ok(())
    }
}
