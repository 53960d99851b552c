//! One connection to one job server, shared by all jobs that go there.
//!
//! Requests are answered in order, so a queue matches answers to them. What concerns a running job carries its handle. A
//! server sends such a packet once for each submission that waits for the job, so submissions of equal unique ids that
//! share this connection take them in turn.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, oneshot};
use tracing::debug;

use super::error::ClientError;
use super::job::{Completed, JobHandle, JobStatus, OnStatus};
use crate::config::Endpoint;
use crate::jobs::frames::{Frame, Frames};
use crate::jobs::outbox::Outbox;
use crate::jobs::packet::{DEFAULT_MAX_PACKET, FrameError, Magic, Packet, leading_number};
use crate::jobs::transport::{ReadEnd, WriteEnd};

/// What a server may leave unread before it is given up.
const MAX_UNSENT: usize = 4 * DEFAULT_MAX_PACKET;

/// A request that is answered at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    Echo,
    Option,
    Status,
}

/// Its answer.
pub(super) enum Answer {
    Echo(Vec<u8>),
    Option,
    Status(JobStatus),
}

/// What happens to a job.
enum Event {
    Data(Vec<u8>),
    Warning(Vec<u8>),
    Status(u32, u32),
    Complete(Vec<u8>),
    Fail,
    Exception(Vec<u8>),
}

type Created = oneshot::Sender<Result<String, ClientError>>;
type Events = mpsc::UnboundedSender<Event>;

/// Something that waits for the next answer.
enum Pending {
    Ask(Request, oneshot::Sender<Result<Answer, ClientError>>),
    Submit(Created, Option<Events>),
}

#[derive(Default)]
struct State {
    pending: VecDeque<Pending>,
    jobs: HashMap<Vec<u8>, Waiters>,
    /// Submissions in the foreground that somebody still waits for.
    live: usize,
    /// Takes no further work: a job on it was given up, and closing is the one way to withdraw it.
    is_retired: bool,
    /// Why the connection ended.
    lost: Option<String>,
}

#[derive(Default)]
struct Waiters {
    all: VecDeque<Events>,
    /// Whose turn it is with packets that do not end the job.
    turn: usize,
}

pub(super) struct Connection {
    endpoint: Endpoint,
    outbox: Arc<Outbox>,
    state: Mutex<State>,
}

impl Connection {
    /// Starts the tasks that read and write; they end with the connection.
    pub fn start(endpoint: Endpoint, (read, write): (ReadEnd, WriteEnd)) -> Arc<Connection> {
        let (outbox, writer) = Outbox::new(write, MAX_UNSENT);
        let outbox = Arc::new(outbox);
        let connection = Arc::new(Connection { endpoint, outbox: Arc::clone(&outbox), state: Mutex::default() });
        let reader = Arc::clone(&connection);
        tokio::spawn(async move {
            tokio::join!(reader.read(read), outbox.run(writer));
        });
        connection
    }

    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn is_usable(&self) -> bool {
        let state = self.state();
        !state.is_retired && state.lost.is_none() && !self.outbox.is_closed()
    }

    /// Sends a request that is answered at once.
    pub fn ask(
        &self,
        packet: &Packet<'_>,
        request: Request,
    ) -> Result<oneshot::Receiver<Result<Answer, ClientError>>, ClientError> {
        let (sender, receiver) = oneshot::channel();
        self.send(packet, Pending::Ask(request, sender), 0)?;
        Ok(receiver)
    }

    /// Sends a job.
    pub fn submit(
        self: &Arc<Connection>,
        packet: &Packet<'_>,
        function: &str,
        is_foreground: bool,
    ) -> Result<Ticket, ClientError> {
        let (created, acknowledged) = oneshot::channel();
        let (sender, events) = mpsc::unbounded_channel();
        let sender = is_foreground.then_some(sender);
        self.send(packet, Pending::Submit(created, sender), usize::from(is_foreground))?;
        let connection = Arc::clone(self);
        Ok(Ticket { connection, function: function.to_owned(), acknowledged, events, is_live: is_foreground })
    }

    /// Queues the answer's taker and the packet in one step, so that both are in the same order.
    fn send(&self, packet: &Packet<'_>, pending: Pending, live: usize) -> Result<(), ClientError> {
        {
            let mut state = self.state();
            if let Some(reason) = &state.lost {
                let (server, reason) = (self.endpoint.to_string(), reason.clone());
                return Err(ClientError::ServerLost { server, was_accepted: false, reason });
            }
            state.pending.push_back(pending);
            state.live += live;
            self.outbox.append(|bytes| packet.encode(Magic::Request, bytes));
        }
        self.outbox.flush();
        Ok(())
    }

    /// Takes no further work, and closes once nobody waits for the work it has.
    pub fn retire(&self) {
        let is_idle = {
            let mut state = self.state();
            state.is_retired = true;
            state.live == 0
        };
        if is_idle {
            self.outbox.close();
        }
    }

    /// A foreground submission is over: `is_given_up` when its result is no longer wanted.
    fn settle(&self, is_given_up: bool) {
        let must_close = {
            let mut state = self.state();
            state.live = state.live.saturating_sub(1);
            state.is_retired |= is_given_up;
            state.is_retired && state.live == 0
        };
        if must_close {
            self.outbox.close();
        }
    }

    pub fn lost(&self, was_accepted: bool) -> ClientError {
        let reason = self.state().lost.clone().unwrap_or_else(|| "it was closed".to_owned());
        ClientError::ServerLost { server: self.endpoint.to_string(), was_accepted, reason }
    }

    pub fn out_of_step(&self, expected: &str) -> ClientError {
        ClientError::Protocol { server: self.endpoint.to_string(), reason: format!("expected {expected}") }
    }

    async fn read(&self, mut read: ReadEnd) {
        let mut frames = Frames::new(DEFAULT_MAX_PACKET, false);
        let reason = loop {
            let count = tokio::select! {
                count = frames.fill(&mut read) => count,
                () = self.outbox.closed() => break "the connection was closed or broke while sending".to_owned(),
            };
            match count {
                Ok(0) => break "the server closed it".to_owned(),
                Ok(_) => {}
                Err(error) => break error.to_string(),
            }
            if let Err(reason) = self.take_all(&mut frames) {
                break reason;
            }
        };
        debug!(server = %self.endpoint, reason, "connection to the job server ended");
        {
            let mut state = self.state();
            state.lost = Some(reason);
            // Dropping the senders tells all who wait.
            state.pending.clear();
            state.jobs.clear();
        }
        self.outbox.close();
    }

    fn take_all(&self, frames: &mut Frames) -> Result<(), String> {
        loop {
            let packet = match frames.next_frame().map_err(|error| error.to_string())? {
                None => return Ok(()),
                Some(Frame::Packet { magic: Magic::Response, packet, .. }) => {
                    packet.map_err(|error| error.to_string())?
                }
                Some(Frame::Packet { .. }) => {
                    return Err("it sent a request where responses are due".to_owned());
                }
                Some(Frame::Line(_)) => return Err("it sent a line of text".to_owned()),
                Some(Frame::Oversized { kind, size, .. }) => {
                    return Err(FrameError::TooLarge { kind, size, limit: DEFAULT_MAX_PACKET }.to_string());
                }
            };
            self.take(&packet)?;
        }
    }

    fn take(&self, packet: &Packet<'_>) -> Result<(), String> {
        let mut state = self.state();
        match *packet {
            Packet::WorkData { handle, data } => state.inform(handle, || Event::Data(data.to_vec())),
            Packet::WorkWarning { handle, data } => state.inform(handle, || Event::Warning(data.to_vec())),
            Packet::WorkStatus { handle, numerator, denominator } => {
                state.inform(handle, || Event::Status(leading_number(numerator), leading_number(denominator)));
            }
            Packet::WorkComplete { handle, result } => state.finish(handle, || Event::Complete(result.to_vec())),
            Packet::WorkFail { handle } => state.finish(handle, || Event::Fail),
            Packet::WorkException { handle, data } => state.finish(handle, || Event::Exception(data.to_vec())),
            Packet::Noop => {}
            _ => {
                let pending = state.pending.pop_front().ok_or("it answered what nobody asked")?;
                return self.answer(&mut state, pending, packet);
            }
        }
        Ok(())
    }

    /// Gives an answer to whoever is first in the queue.
    fn answer(&self, state: &mut State, pending: Pending, packet: &Packet<'_>) -> Result<(), String> {
        let refusal = match *packet {
            Packet::Error { code, text } => Some(ClientError::Refused {
                server: self.endpoint.to_string(),
                code: String::from_utf8_lossy(code).into_owned(),
                text: String::from_utf8_lossy(text).into_owned(),
            }),
            _ => None,
        };
        // Whoever gave up waiting does not hear it; that is no fault.
        match (pending, *packet, refusal) {
            (Pending::Ask(_, sender), _, Some(error)) => drop(sender.send(Err(error))),
            (Pending::Submit(created, _), _, Some(error)) => drop(created.send(Err(error))),
            (Pending::Submit(created, events), Packet::JobCreated { handle }, None) => {
                if let Some(events) = events {
                    state.jobs.entry(handle.to_vec()).or_default().all.push_back(events);
                }
                let _ = created.send(Ok(String::from_utf8_lossy(handle).into_owned()));
            }
            (Pending::Ask(Request::Echo, sender), Packet::EchoRes { data }, None) => {
                let _ = sender.send(Ok(Answer::Echo(data.to_vec())));
            }
            (Pending::Ask(Request::Option, sender), Packet::OptionRes { .. }, None) => {
                let _ = sender.send(Ok(Answer::Option));
            }
            (
                Pending::Ask(Request::Status, sender),
                Packet::StatusRes { known, running, numerator, denominator, .. },
                None,
            ) => {
                let _ = sender.send(Ok(Answer::Status(JobStatus {
                    is_known: known == b"1",
                    is_running: running == b"1",
                    numerator: leading_number(numerator),
                    denominator: leading_number(denominator),
                })));
            }
            (_, packet, None) => {
                return Err(format!("its {} answers another request", crate::jobs::packet::kind_name(packet.kind())));
            }
        }
        Ok(())
    }
}

impl State {
    /// Passes on what does not end the job.
    fn inform(&mut self, handle: &[u8], event: impl FnOnce() -> Event) {
        let Some(waiters) = self.jobs.get_mut(handle) else {
            return;
        };
        if waiters.turn >= waiters.all.len() {
            waiters.turn = 0;
        }
        if let Some(waiter) = waiters.all.get(waiters.turn) {
            let _ = waiter.send(event());
        }
        waiters.turn += 1;
    }

    /// Passes on what ends the job.
    fn finish(&mut self, handle: &[u8], event: impl FnOnce() -> Event) {
        let Some(waiters) = self.jobs.get_mut(handle) else {
            return;
        };
        if let Some(waiter) = waiters.all.pop_front() {
            let _ = waiter.send(event());
        }
        if waiters.all.is_empty() {
            self.jobs.remove(handle);
        }
    }
}

/// What a submission is waited for with. Dropping it before the end withdraws the job.
pub(super) struct Ticket {
    connection: Arc<Connection>,
    function: String,
    acknowledged: oneshot::Receiver<Result<String, ClientError>>,
    events: mpsc::UnboundedReceiver<Event>,
    is_live: bool,
}

impl Ticket {
    /// Waits for the acknowledgement and yields the handle.
    pub async fn created(&mut self) -> Result<String, ClientError> {
        let outcome = match (&mut self.acknowledged).await {
            Ok(outcome) => outcome,
            Err(_) => Err(self.connection.lost(false)),
        };
        if outcome.is_err() {
            self.settle(false);
        }
        outcome
    }

    /// Waits for the end of the job.
    pub async fn finished(
        mut self,
        job: JobHandle,
        on_status: &mut Option<OnStatus>,
    ) -> Result<Completed, ClientError> {
        let (mut data, mut warnings, mut held) = (Vec::new(), Vec::new(), 0_usize);
        loop {
            let event = self.events.recv().await;
            let function = self.function.clone();
            let outcome = match event {
                Some(Event::Status(numerator, denominator)) => {
                    if let Some(on_status) = on_status {
                        on_status(numerator, denominator);
                    }
                    continue;
                }
                Some(Event::Data(part) | Event::Warning(part)) if held + part.len() > DEFAULT_MAX_PACKET => {
                    let reason = format!("its partial results exceed {DEFAULT_MAX_PACKET} bytes");
                    self.settle(true);
                    return Err(ClientError::Invalid { what: "the result", reason });
                }
                Some(Event::Data(part)) => {
                    held += part.len();
                    data.push(part);
                    continue;
                }
                Some(Event::Warning(part)) => {
                    held += part.len();
                    warnings.push(part);
                    continue;
                }
                Some(Event::Complete(result)) => Ok(Completed { job, data, warnings, result }),
                Some(Event::Fail) => Err(ClientError::Failed { function }),
                Some(Event::Exception(data)) => Err(ClientError::Exception { function, data }),
                None => Err(self.connection.lost(true)),
            };
            self.settle(false);
            return outcome;
        }
    }

    fn settle(&mut self, is_given_up: bool) {
        if std::mem::take(&mut self.is_live) {
            self.connection.settle(is_given_up);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.settle(true);
    }
}
