//! One connection to one job server, from registration to its end.
//!
//! While this worker has room for a job it asks for one (GRAB_JOB_UNIQ) and sleeps (PRE_SLEEP) when there is none, until
//! the server wakes it (NOOP). Room is a permit shared by the sessions with all servers, held from before the question
//! until the job's answer is sent. The answer and the next question go out in one write: as two small writes they would
//! cost a sequential client up to 44 ms for each job against a server that delays its acknowledgements.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task::{JoinError, JoinSet};
use tracing::{debug, error, warn};

use super::handler::{Handler, Job, JobResult, Progress};
use super::{Endpoint, Shared, Transport};
use crate::jobs::frames::{Frame, Frames};
use crate::jobs::outbox::Outbox;
use crate::jobs::packet::{Grab, Magic, Packet, decode_packet};
use crate::jobs::transport::ReadEnd;

/// What a packet may hold beside the payload: handle, function, unique id.
const ENVELOPE: usize = 1024;

/// What a server may leave unread before it is given up: a result may be large.
const MAX_UNSENT: usize = 256 * 1024 * 1024;

/// How long the last answers may take to leave.
const LINGER: Duration = Duration::from_secs(10);

/// The bytes of the barrier behind our registration.
const BARRIER: &[u8] = b"registered";

type PermitFuture = Pin<Box<dyn Future<Output = Option<OwnedSemaphorePermit>> + Send>>;

/// Where we stand with the server.
enum Stand {
    /// We want a permit, then a job.
    Wanting(PermitFuture),
    /// The server was asked for a job, for which there is room.
    Asked(OwnedSemaphorePermit),
    /// It has none and will wake us.
    Asleep,
}

/// A job that is out with the handler.
struct Running {
    handle: String,
    permit: OwnedSemaphorePermit,
}

pub(super) struct Session<H: Handler> {
    shared: Arc<Shared>,
    handler: Arc<H>,
    endpoint: Endpoint,
    read: ReadEnd,
    frames: Frames,
    outbox: Arc<Outbox>,
    jobs: JoinSet<JobResult>,
    running: HashMap<tokio::task::Id, Running>,
}

impl<H: Handler> Drop for Session<H> {
    fn drop(&mut self) {
        self.outbox.close();
    }
}

impl<H: Handler> Session<H> {
    /// Connects and registers. An echo behind the registration proves that the server took it: a server that refuses a
    /// function says so before the echo.
    pub async fn open(
        shared: &Arc<Shared>,
        handler: &Arc<H>,
        transport: &Transport,
        endpoint: &Endpoint,
    ) -> Result<Session<H>, String> {
        let (read, write) = transport.connect(endpoint).await.map_err(|error| error.to_string())?;
        let (outbox, writer) = Outbox::new(write, MAX_UNSENT);
        let outbox = Arc::new(outbox);
        let task = Arc::clone(&outbox);
        tokio::spawn(async move { task.run(writer).await });
        let mut session = Session {
            shared: Arc::clone(shared),
            handler: Arc::clone(handler),
            endpoint: endpoint.clone(),
            read,
            frames: Frames::new(shared.options.max_payload.saturating_add(ENVELOPE), false),
            outbox,
            jobs: JoinSet::new(),
            running: HashMap::new(),
        };
        let limit = transport.connect_timeout();
        match tokio::time::timeout(limit, session.register()).await {
            Ok(outcome) => outcome.map(|()| session),
            Err(_) => Err(format!("job server {endpoint} did not confirm our registration within {limit:?}")),
        }
    }

    async fn register(&mut self) -> Result<(), String> {
        let is_break = |letter: char| letter.is_whitespace() || letter.is_control();
        let id = self.shared.options.client_id.replace(is_break, "_");
        self.queue(&Packet::SetClientId { id: id.as_bytes() });
        for function in &self.shared.options.functions {
            self.queue(&Packet::CanDo { function: function.as_bytes() });
        }
        self.queue(&Packet::EchoReq { data: BARRIER });
        self.outbox.flush();
        loop {
            while let Some(frame) = self.frames.next_frame().map_err(|error| error.to_string())? {
                match frame {
                    Frame::Packet { packet: Ok(Packet::EchoRes { data: BARRIER }), .. } => return Ok(()),
                    Frame::Packet { packet: Ok(Packet::Error { code, text }), .. } => {
                        let (code, text) = (String::from_utf8_lossy(code), String::from_utf8_lossy(text));
                        return Err(format!("job server {} refuses this worker: {text} ({code})", self.endpoint));
                    }
                    Frame::Packet { packet: Ok(Packet::Noop), .. } => {}
                    other => {
                        return Err(format!("job server {} answers unexpectedly: {other:?}", self.endpoint));
                    }
                }
            }
            self.fill().await?;
        }
    }

    fn queue(&self, packet: &Packet<'_>) {
        self.outbox.append(|bytes| packet.encode(Magic::Request, bytes));
    }

    async fn fill(&mut self) -> Result<(), String> {
        let endpoint = &self.endpoint;
        match self.frames.fill(&mut self.read).await {
            Ok(0) => Err(format!("job server {endpoint} closed the connection")),
            Ok(_) => Ok(()),
            Err(error) => Err(format!("the connection to job server {endpoint} broke: {error}")),
        }
    }

    fn want(&self) -> Stand {
        Stand::Wanting(Box::pin(Arc::clone(&self.shared).permit()))
    }

    /// Serves until shutdown (`Ok`) or until the connection is lost (the reason).
    pub async fn run(mut self, mut shutdown: watch::Receiver<bool>) -> Result<(), String> {
        let outcome = self.serve(&mut shutdown).await;
        if outcome.is_ok() {
            let _ = tokio::time::timeout(LINGER, self.outbox.room(0)).await;
        } else {
            self.let_go();
        }
        outcome
    }

    async fn serve(&mut self, shutdown: &mut watch::Receiver<bool>) -> Result<(), String> {
        let mut stand = self.want();
        let mut is_stopping = false;
        let outbox = Arc::clone(&self.outbox);
        loop {
            if is_stopping && !matches!(stand, Stand::Asked(_)) {
                // Only now: gearmand takes a job away from a worker that withdraws its function.
                if self.running.is_empty() {
                    self.leave();
                    return Ok(());
                }
                stand = Stand::Asleep;
            }
            let wanted = async {
                match &mut stand {
                    Stand::Wanting(permit) => permit.await,
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                _ = shutdown.wait_for(|stop| *stop), if !is_stopping => is_stopping = true,
                Some(ended) = self.jobs.join_next_with_id() => self.answer(ended, &mut stand, is_stopping),
                permit = wanted => {
                    let Some(permit) = permit else { return Ok(()) };
                    self.queue(&Packet::GrabJob(Grab::Unique));
                    self.outbox.flush();
                    stand = Stand::Asked(permit);
                }
                read = self.frames.fill(&mut self.read) => {
                    match read {
                        Ok(0) => return Err(format!("job server {} closed the connection", self.endpoint)),
                        Ok(_) => stand = self.take_all(stand)?,
                        Err(error) => {
                            return Err(format!("the connection to job server {} broke: {error}", self.endpoint));
                        }
                    }
                }
                () = outbox.closed() => {
                    return Err(format!("the connection to job server {} broke while sending", self.endpoint));
                }
            }
        }
    }

    /// Takes back our functions.
    fn leave(&self) {
        for function in &self.shared.options.functions {
            self.queue(&Packet::CantDo { function: function.as_bytes() });
        }
        self.outbox.flush();
    }

    /// Handles all that has arrived whole.
    fn take_all(&mut self, mut stand: Stand) -> Result<Stand, String> {
        loop {
            let server = &self.endpoint;
            let Some(frame) = self.frames.next_frame().map_err(|error| format!("job server {server}: {error}"))? else {
                return Ok(stand);
            };
            stand = match (frame, stand) {
                (Frame::Packet { packet: Ok(packet), .. }, stand) => match (packet, stand) {
                    (Packet::JobAssignUnique { handle, function, unique, payload }, Stand::Asked(permit)) => {
                        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                        let job = Job {
                            function: text(function),
                            unique: text(unique),
                            handle: text(handle),
                            payload: payload.to_vec(),
                        };
                        self.start(job, permit);
                        self.want()
                    }
                    (Packet::NoJob, Stand::Asked(permit)) => {
                        drop(permit);
                        self.queue(&Packet::PreSleep);
                        self.outbox.flush();
                        Stand::Asleep
                    }
                    (Packet::Noop, Stand::Asleep) => self.want(),
                    (Packet::Noop | Packet::EchoRes { .. }, stand) => stand,
                    (Packet::Error { code, text }, stand) => {
                        let (code, text) = (String::from_utf8_lossy(code), String::from_utf8_lossy(text));
                        warn!(server = %self.endpoint, %code, %text, "job server reports an error to the worker");
                        stand
                    }
                    (packet, _) => {
                        let name = crate::jobs::packet::kind_name(packet.kind());
                        return Err(format!("job server {server} sent {name} where it does not belong"));
                    }
                },
                (Frame::Oversized { kind, size, head }, Stand::Asked(permit)) => {
                    // The head holds the handle; the body's end is missing, which the payload does not mind.
                    let Ok(Packet::JobAssignUnique { handle, function, .. }) = decode_packet(kind, head) else {
                        return Err(format!("job server {server} sent a packet of {size} bytes that is no job"));
                    };
                    let limit = self.shared.options.max_payload;
                    let function = String::from_utf8_lossy(function);
                    error!(%server, %function, size, limit, "worker fails a job: its payload is larger than max_payload");
                    self.outbox.append(|bytes| Packet::WorkFail { handle }.encode(Magic::Request, bytes));
                    self.outbox.append(|bytes| Packet::GrabJob(Grab::Unique).encode(Magic::Request, bytes));
                    self.outbox.flush();
                    self.shared.state.send_modify(|state| state.done += 1);
                    Stand::Asked(permit)
                }
                (Frame::Packet { packet: Err(error), .. }, _) => return Err(format!("job server {server}: {error}")),
                (Frame::Line(_) | Frame::Oversized { .. }, _) => {
                    return Err(format!("job server {server} sent what no worker expects"));
                }
            };
        }
    }

    fn start(&mut self, job: Job, permit: OwnedSemaphorePermit) {
        debug!(server = %self.endpoint, handle = job.handle, unique = job.unique, function = job.function, "worker takes a job");
        self.shared.state.send_modify(|state| state.running += 1);
        let handler = Arc::clone(&self.handler);
        let progress = Progress::new(&self.outbox, &job.handle);
        let handle = job.handle.clone();
        let id = self.jobs.spawn(async move { handler.handle(job, progress).await }).id();
        self.running.insert(id, Running { handle, permit });
    }

    /// Answers a job that ended, and asks for the next in the same write when nobody else wants the room.
    fn answer(&mut self, ended: Result<(tokio::task::Id, JobResult), JoinError>, stand: &mut Stand, is_stopping: bool) {
        let (id, result) = outcome(ended);
        let Some(running) = self.running.remove(&id) else {
            return;
        };
        self.shared.state.send_modify(count_done);
        let handle = running.handle.as_bytes();
        match result {
            JobResult::Complete(result) => self.queue(&Packet::WorkComplete { handle, result: &result }),
            JobResult::Fail => self.queue(&Packet::WorkFail { handle }),
            JobResult::Exception(data) => self.queue(&Packet::WorkException { handle, data: &data }),
        }
        let is_wanting = matches!(stand, Stand::Wanting(_));
        let others = self.shared.waiting.load(Ordering::Relaxed).saturating_sub(usize::from(is_wanting));
        if is_wanting && others == 0 && !is_stopping {
            self.queue(&Packet::GrabJob(Grab::Unique));
            *stand = Stand::Asked(running.permit);
        }
        self.outbox.flush();
    }

    /// The connection is gone: jobs at hand run to their end unheard, and the server gives them to somebody else.
    fn let_go(&mut self) {
        let mut jobs = std::mem::take(&mut self.jobs);
        let mut running = std::mem::take(&mut self.running);
        if running.is_empty() {
            return;
        }
        let (shared, endpoint) = (Arc::clone(&self.shared), self.endpoint.clone());
        tokio::spawn(async move {
            while let Some(ended) = jobs.join_next_with_id().await {
                let (id, _) = outcome(ended);
                shared.state.send_modify(count_done);
                if let Some(running) = running.remove(&id) {
                    warn!(server = %endpoint, handle = running.handle, "the result of a job cannot be delivered: its job server was lost");
                }
            }
        });
    }
}

fn count_done(state: &mut super::WorkerState) {
    state.running -= 1;
    state.done += 1;
}

/// What became of a job's task; a panic is a failure of that job.
fn outcome(ended: Result<(tokio::task::Id, JobResult), JoinError>) -> (tokio::task::Id, JobResult) {
    match ended {
        Ok(ended) => ended,
        Err(error) => {
            let id = error.id();
            error!(%error, "worker fails a job: its handler panicked");
            (id, JobResult::Fail)
        }
    }
}
