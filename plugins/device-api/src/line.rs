//! A stream socket that never waits past the deadline of its call, nor long after the call was cancelled.

use std::{
    io,
    net::SocketAddr,
    os::fd::OwnedFd,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use capstan_plugin_api::CallContext;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{
        AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, send, socket_with,
        sockopt::{set_tcp_nodelay, socket_error},
    },
};
use ureq::{
    Error,
    unversioned::transport::{Buffers, ConnectionDetails, LazyBuffers, NextTimeout, Transport, time},
};

/// How long a cancelled call may go unnoticed.
const LOOK: Duration = Duration::from_millis(50);
/// Pause before a Unix socket whose queue was full is tried again.
const QUEUE_FULL: Duration = Duration::from_millis(10);

/// A connected socket, not blocking, as a transport of ureq.
#[derive(Debug)]
pub(crate) struct Line {
    socket: OwnedFd,
    buffers: LazyBuffers,
    call: CallContext,
}

impl Line {
    /// Connects to the first address that answers; those not tried yet share what is left of the time.
    pub fn tcp(details: &ConnectionDetails<'_>, call: &CallContext) -> Result<Self, Error> {
        let limit = Limit::of(details.timeout);
        let mut failed = Error::HostNotFound;
        for (tried, address) in details.addrs.iter().enumerate() {
            match tcp(*address, &limit.share(details.addrs.len() - tried), call) {
                Ok(socket) => return Ok(Self::new(socket, details, call)),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// Connects to a Unix socket.
    pub fn unix(path: &Path, details: &ConnectionDetails<'_>, call: &CallContext) -> Result<Self, Error> {
        let address = SocketAddrUnix::new(path).map_err(io::Error::from)?;
        let limit = Limit::of(details.timeout);
        let socket = socket(AddressFamily::UNIX)?;
        loop {
            match connect(&socket, &address) {
                Ok(()) => return Ok(Self::new(socket, details, call)),
                // The listener's queue is full. There is nothing to poll for.
                Err(Errno::AGAIN) => {
                    limit.look(call)?;
                    thread::sleep(QUEUE_FULL);
                }
                Err(error) => return Err(io::Error::from(error).into()),
            }
        }
    }

    fn new(socket: OwnedFd, details: &ConnectionDetails<'_>, call: &CallContext) -> Self {
        let buffers = LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        Self { socket, buffers, call: call.clone() }
    }
}

impl Transport for Line {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let limit = Limit::of(timeout.for_write());
        let mut sent = 0;
        while sent < amount {
            let Some(rest) = self.buffers.output().get(sent..amount) else { break };
            match send(&self.socket, rest, SendFlags::NOSIGNAL) {
                Ok(more) => sent += more,
                Err(Errno::AGAIN) => limit.wait(&self.socket, PollFlags::OUT, &self.call)?,
                Err(Errno::INTR) => {}
                Err(error) => return Err(io::Error::from(error).into()),
            }
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let limit = Limit::of(timeout.for_read());
        loop {
            // A server that sends a byte now and then never lets the socket run dry: asked here, not only when it waits.
            limit.look(&self.call)?;
            match rustix::io::read(&self.socket, self.buffers.input_append_buf()) {
                Ok(amount) => {
                    self.buffers.input_appended(amount);
                    return Ok(amount > 0);
                }
                Err(Errno::AGAIN) => limit.wait(&self.socket, PollFlags::IN, &self.call)?,
                Err(Errno::INTR) => {}
                Err(error) => return Err(io::Error::from(error).into()),
            }
        }
    }

    fn is_open(&mut self) -> bool {
        // Asked before a connection is used again, which none is.
        false
    }
}

fn socket(family: AddressFamily) -> Result<OwnedFd, io::Error> {
    Ok(socket_with(family, SocketType::STREAM, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)?)
}

fn tcp(address: SocketAddr, limit: &Limit, call: &CallContext) -> Result<OwnedFd, Error> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket(family)?;
    match connect(&socket, &address) {
        Ok(()) => {}
        Err(Errno::INPROGRESS) => {
            limit.wait(&socket, PollFlags::OUT, call)?;
            socket_error(&socket).map_err(io::Error::from)?.map_err(io::Error::from)?;
        }
        Err(error) => return Err(io::Error::from(error).into()),
    }
    set_tcp_nodelay(&socket, true).map_err(io::Error::from)?;
    Ok(socket)
}

/// When ureq gives up, and what it then calls the timeout.
struct Limit {
    /// None is never; the deadline of the call holds in any case.
    until: Option<Instant>,
    timeout: NextTimeout,
}

impl Limit {
    fn of(timeout: NextTimeout) -> Self {
        let until = match timeout.after {
            time::Duration::Exact(after) => Instant::now().checked_add(after),
            time::Duration::NotHappening => None,
        };
        Self { until, timeout }
    }

    /// One of `parts` of what is left.
    fn share(&self, parts: usize) -> Self {
        let parts = u32::try_from(parts).unwrap_or(u32::MAX).max(1);
        let now = Instant::now();
        let until = self.until.map(|until| now + until.saturating_duration_since(now) / parts);
        Self { until, timeout: self.timeout }
    }

    /// Time left until the next look; an error once there is none, or the call was cancelled.
    fn look(&self, call: &CallContext) -> Result<Duration, Error> {
        if call.cancelled() {
            // Not `Interrupted`, which readers take as a reason to try again. What it was, the call itself tells.
            return Err(io::Error::from(io::ErrorKind::ConnectionAborted).into());
        }
        let Some(until) = self.until else { return Ok(LOOK) };
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(Error::Timeout(self.timeout.reason)) } else { Ok(left.min(LOOK)) }
    }

    fn wait(&self, socket: &OwnedFd, what: PollFlags, call: &CallContext) -> Result<(), Error> {
        loop {
            let pause =
                Timespec::try_from(self.look(call)?).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
            match poll(&mut [PollFd::new(socket, what)], Some(&pause)) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(io::Error::from(error).into()),
            }
        }
    }
}
