//! One running process of a driver: what is out, what comes in, and its end.

use std::{
    collections::HashMap,
    io,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use capstan_plugin_api::{DriverError, Retry, abi};
use tokio::{
    net::UnixStream,
    sync::{Notify, oneshot, watch},
};

use super::{asks::Asks, end::End, outbox::Outbox, repeat};
use crate::drivers::{
    boundary::{Answered, HostSide},
    error::one_line,
    frames::{CallId, FrameReader, FromDriver, FromHost, Log, Reply, frame, read_message},
    gate::Pass,
    host_services::HostServices,
};

/// After its socket has closed, a process has this long to end before it is killed. Most that close it are about to end, and how they end
/// says more than that they did; on a busy machine the keeper needs a while to tell.
const AFTER_SOCKET: Duration = Duration::from_secs(1);

/// A process that runs, or did.
pub(super) struct Link {
    socket: UnixStream,
    outbox: Outbox,
    calls: Mutex<Calls>,
    services: Arc<HostServices>,
    asks: Asks,
    /// Dropped to end the process.
    lifeline: Mutex<Option<OwnedFd>>,
    /// Why the daemon killed it, if it did.
    verdict: OnceLock<End>,
    ended: watch::Sender<Option<End>>,
    pub pid: u32,
    pub started: Instant,
    /// Answers to calls that nobody waits for.
    stale: AtomicU64,
    /// The last call that was out has been answered.
    idle: Notify,
}

#[derive(Default)]
struct Calls {
    out: HashMap<u64, Out>,
    /// No call has had a higher number.
    highest: u64,
    is_closed: bool,
}

/// A call that is out.
struct Out {
    method: Arc<str>,
    sender: oneshot::Sender<Result<Answered, DriverError>>,
    /// Kept until the driver has let go of the call.
    pass: Pass,
}

/// Why a call was not handed over.
pub(super) enum Unseen {
    /// The process is ending, or has ended.
    Ending,
    /// It does not read.
    Full(io::Error),
}

impl From<Unseen> for DriverError {
    fn from(unseen: Unseen) -> Self {
        match unseen {
            Unseen::Ending => Self::unavailable("the driver has just ended; it has not seen the call"),
            Unseen::Full(error) => Self::unavailable("the driver does not take the call; it has not seen it")
                .for_operator(error.to_string()),
        }
    }
}

/// What comes of a call: what the driver answered, or why it did not.
pub(super) type Receiver = oneshot::Receiver<Result<Answered, DriverError>>;

impl Link {
    pub fn new(socket: UnixStream, lifeline: OwnedFd, pid: u32, services: Arc<HostServices>, asks: Asks) -> Arc<Self> {
        Arc::new(Self {
            socket,
            outbox: Outbox::default(),
            calls: Mutex::default(),
            services,
            asks,
            lifeline: Mutex::new(Some(lifeline)),
            verdict: OnceLock::new(),
            ended: watch::channel(None).0,
            pid,
            started: Instant::now(),
            stale: AtomicU64::new(0),
            idle: Notify::new(),
        })
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls that are out.
    pub fn calls_out(&self) -> usize {
        self.calls().out.len()
    }

    pub fn send(&self, frame: Vec<u8>) -> io::Result<()> {
        self.outbox.send(&self.socket, frame)
    }

    /// Sends what will be answered under `id`.
    pub fn request(&self, id: u64, method: Arc<str>, pass: Pass, frame: Vec<u8>) -> Result<Receiver, Unseen> {
        let (sender, receiver) = oneshot::channel();
        {
            let mut calls = self.calls();
            if calls.is_closed || self.is_condemned() {
                return Err(Unseen::Ending);
            }
            calls.highest = calls.highest.max(id);
            calls.out.insert(id, Out { method, sender, pass });
        }
        if let Err(error) = self.send(frame) {
            self.calls().out.remove(&id);
            // Only a socket that has ended fails; one that is full is told by an error of our own.
            return Err(if error.raw_os_error().is_some() { Unseen::Ending } else { Unseen::Full(error) });
        }
        Ok(receiver)
    }

    /// Waits until no call is out; false when the time or the process ended before.
    pub async fn drained(&self, deadline: Instant) -> bool {
        loop {
            let idle = self.idle.notified();
            if self.calls_out() == 0 {
                return !self.calls().is_closed;
            }
            if tokio::time::timeout_at(deadline.into(), idle).await.is_err() {
                return false;
            }
        }
    }

    pub fn cancel(&self, id: u64) {
        // A link that cannot take it is about to end, and the call with it.
        let message = FromHost { cancel: Some(CallId { id }), ..FromHost::default() };
        let _about_to_end = frame(&message).map(|bytes| self.send(bytes));
    }

    /// A call ran past its deadline and its grace: whoever waits for its turn is told, and the process is killed.
    pub fn give_up(&self, id: u64) {
        let method = {
            let calls = self.calls();
            let Some(out) = calls.out.get(&id) else { return };
            if let Some(turn) = &out.pass.turn {
                turn.overrun();
            }
            out.method.to_string()
        };
        self.kill(End::Hung { method });
    }

    /// Ends the process and everything below it. The first reason counts.
    pub fn kill(&self, why: End) {
        let _the_first_counts = self.verdict.set(why);
        drop(self.lifeline.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// It is being killed: what it is given now, nobody will hear of.
    pub fn is_condemned(&self) -> bool {
        self.verdict.get().is_some()
    }

    /// Why the daemon killed it.
    pub fn verdict(&self) -> Option<End> {
        self.verdict.get().cloned()
    }

    /// Waits for the end.
    pub async fn ended(&self) -> End {
        let mut ended = self.ended.subscribe();
        let end = ended.wait_for(Option::is_some).await.map(|end| end.clone());
        end.ok().flatten().unwrap_or(End::Closed)
    }

    /// Reads until the socket ends, then sees to it that the process does.
    pub async fn read(self: Arc<Self>, mut reader: FrameReader) {
        // What came behind the hello.
        let mut outcome = self.take_all(&mut reader).map(|()| true);
        let fault = loop {
            match outcome {
                Ok(true) => outcome = self.read_some(&mut reader).await,
                Ok(false) => break None,
                Err(fault) => break Some(fault),
            }
        };
        if let Some(fault) = fault {
            return self.kill(End::Protocol { fault: one_line(&fault) });
        }
        if tokio::time::timeout(AFTER_SOCKET, self.ended()).await.is_err() {
            self.kill(End::SocketClosed { inside_a_frame: reader.is_inside_a_frame() });
        }
    }

    /// Writes what the socket did not take at once.
    pub async fn write(self: Arc<Self>) {
        tokio::select! {
            // The reader sees the end of the socket as well, and acts on it.
            _ = self.outbox.drain(&self.socket) => {}
            _ = self.ended() => {}
        }
    }

    /// False at the end of the stream.
    async fn read_some(self: &Arc<Self>, reader: &mut FrameReader) -> Result<bool, String> {
        if self.socket.readable().await.is_err() {
            return Ok(false);
        }
        match reader.fill(|room| self.socket.try_read(room)) {
            Ok(0) => return Ok(false),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            // Its end died with unread bytes; what it wrote before has been read.
            Err(_) => return Ok(false),
        }
        self.take_all(reader)?;
        Ok(true)
    }

    fn take_all(self: &Arc<Self>, reader: &mut FrameReader) -> Result<(), String> {
        while let Some(frame) = reader.next_frame().map_err(|fault| fault.to_string())? {
            let message = read_message(frame).map_err(|error| format!("a frame that cannot be read ({error})"))?;
            self.take(message)?;
        }
        Ok(())
    }

    fn take(self: &Arc<Self>, message: FromDriver<'_>) -> Result<(), String> {
        if let Some(reply) = &message.reply {
            self.reply(reply)?;
        }
        if let Some(ask) = message.ask {
            self.asks.put(self, &ask);
        }
        if let Some(log) = &message.log {
            write_log(&self.services, log);
        }
        Ok(())
    }

    fn reply(&self, reply: &Reply<'_>) -> Result<(), String> {
        let (out, highest) = {
            let mut calls = self.calls();
            let out = calls.out.remove(&reply.id);
            if calls.out.is_empty() {
                self.idle.notify_waiters();
            }
            (out, calls.highest)
        };
        let Some(Out { sender, pass, method }) = out else {
            if reply.id > highest {
                return Err(format!("a reply to {}, which was never called", reply.id));
            }
            if self.stale.fetch_add(1, Ordering::Relaxed) == 0 {
                tracing::warn!(
                    driver = %self.services.full_name(), call = reply.id,
                    "a reply to a call that has been answered; it is dropped, and so is each further one"
                );
            }
            return Ok(());
        };
        let answered = read(reply);
        // Whoever has the answer may call again at once and must find place and turn free.
        drop(pass);
        drop(method);
        let _nobody_waits = sender.send(Ok(answered));
        Ok(())
    }

    /// Closes the books: every call that is out fails, and says whether it may be repeated and when.
    pub fn close_books(&self, end: &End, next_start: Option<Duration>) {
        let out = {
            let mut calls = self.calls();
            calls.is_closed = true;
            std::mem::take(&mut calls.out)
        };
        self.idle.notify_waiters();
        for Out { method, sender, pass } in out.into_values() {
            drop(pass);
            let _nobody_waits = sender.send(Err(lost(&method, end, next_start)));
        }
        self.ended.send_replace(Some(end.clone()));
    }
}

/// Writes a driver's line into the log.
pub(super) fn write_log(services: &HostServices, log: &Log<'_>) {
    let fields = log.fields.map_or("", |fields| fields.get());
    services.log(log.call, log.level.number(), &log.target, &log.message, fields);
}

/// The error of a call that was out when the process ended.
fn lost(method: &str, end: &End, next_start: Option<Duration>) -> DriverError {
    let error = DriverError::unavailable("the driver ended while it worked on this");
    if repeat::is_safe(method) {
        let retry = next_start.map_or(Retry::Never, Retry::After);
        return error.retry(retry).for_operator(one_line(&format!("{method}: {end}; it may be repeated")));
    }
    error
        .retry(Retry::Never)
        .for_operator(one_line(&format!("{method}: {end}; what it did is not known, so look before you repeat it")))
}

fn read(reply: &Reply<'_>) -> Answered {
    let body = |text: &serde_json::value::RawValue| Ok(text.get().as_bytes().to_vec());
    match reply {
        Reply { fault: Some(fault), .. } => Answered { status: u32::MAX, body: Err(one_line(fault)) },
        Reply { panic: Some(error), .. } => Answered { status: abi::STATUS_PANIC, body: body(error) },
        Reply { error: Some(error), .. } => Answered { status: abi::STATUS_ERROR, body: body(error) },
        Reply { pending: Some(pending), .. } => Answered { status: abi::STATUS_PENDING, body: body(pending) },
        Reply { result: Some(result), .. } => Answered { status: abi::STATUS_OK, body: body(result) },
        _ => Answered { status: u32::MAX, body: Err("a reply with neither result nor error".to_owned()) },
    }
}
