//! The state of the job server: connections, functions and jobs, and what each packet does to them.
//!
//! Nothing here waits or touches a socket: answers go into the outboxes of the connections concerned, and
//! [`Core::take_dirty`] tells which of them to flush once the lock is released.

mod admin;
mod functions;
mod queue;
mod status;
#[cfg(test)]
mod tests;
mod work;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{debug, warn};

use self::functions::{FunctionId, Functions};
use super::access::Rights;
use super::options::ServerOptions;
use crate::jobs::outbox::Outbox;
use crate::jobs::packet::{Magic, Packet, PacketError, Priority};

pub(super) type ConnectionId = u64;
type JobId = u64;

/// One connection as the state knows it.
struct Connection {
    outbox: Arc<Outbox>,
    address: String,
    rights: Rights,
    client_id: String,
    wants_exceptions: bool,
    is_sleeping: bool,
    /// A NOOP is on its way; another would say nothing new.
    is_woken: bool,
    abilities: Vec<Ability>,
    /// Where the next search for a job begins, so that no function starves another.
    next_ability: usize,
    running: HashSet<JobId>,
    waiting: HashSet<JobId>,
}

/// A function that a worker can do.
#[derive(Clone, Copy)]
struct Ability {
    function: FunctionId,
    time_limit: Option<Duration>,
}

/// A job that waits or runs.
struct Job {
    function: FunctionId,
    unique: Vec<u8>,
    /// What the function's index of unique ids holds for this job; empty when it is not in there.
    key: Vec<u8>,
    payload: Vec<u8>,
    priority: Priority,
    /// Whoever submitted it in the foreground, once for each submission.
    clients: Vec<ConnectionId>,
    /// Somebody submitted it in the background: it lives on without clients.
    is_background: bool,
    worker: Option<ConnectionId>,
    attempts: u32,
    numerator: u32,
    denominator: u32,
    deadline: Option<Instant>,
}

/// Limits that the state itself enforces.
struct Limits {
    queue: usize,
    bytes: usize,
    functions: usize,
    attempts: u32,
}

pub(super) struct Core {
    limits: Limits,
    handle_prefix: String,
    connections: BTreeMap<ConnectionId, Connection>,
    functions: Functions,
    jobs: HashMap<JobId, Job>,
    last_job: JobId,
    last_connection: ConnectionId,
    /// Payload of all jobs.
    bytes: usize,
    dirty: Vec<Arc<Outbox>>,
    /// Functions of which a job was queued while only one of several sleeping workers was woken.
    left_asleep: HashSet<FunctionId>,
    timed_jobs: usize,
}

impl Core {
    /// Connections, jobs that no worker has, and jobs ever accepted.
    pub fn load(&self) -> (usize, usize, u64) {
        let waiting = self.jobs.values().filter(|job| job.worker.is_none()).count();
        (self.connections.len(), waiting, self.last_job)
    }

    /// A worker has a job, or somebody has not been sent all that is meant for him.
    pub fn is_busy(&self) -> bool {
        self.connections.values().any(|connection| !connection.running.is_empty() || connection.outbox.waiting() > 0)
    }

    /// `handle_prefix` opens every job handle; it should differ from one start of the server to the next, so that an old
    /// handle never names a new job.
    pub fn new(options: &ServerOptions, handle_prefix: String) -> Core {
        Core {
            limits: Limits {
                queue: options.max_queue,
                bytes: options.max_bytes,
                functions: options.max_functions,
                attempts: options.max_attempts.max(1),
            },
            handle_prefix,
            connections: BTreeMap::new(),
            functions: Functions::default(),
            jobs: HashMap::new(),
            last_job: 0,
            last_connection: 0,
            bytes: 0,
            dirty: Vec::new(),
            left_asleep: HashSet::new(),
            timed_jobs: 0,
        }
    }

    /// A new connection.
    pub fn connect(&mut self, outbox: Arc<Outbox>, address: String, rights: Rights) -> ConnectionId {
        self.last_connection += 1;
        self.connections.insert(
            self.last_connection,
            Connection {
                outbox,
                address,
                rights,
                client_id: "-".to_owned(),
                wants_exceptions: false,
                is_sleeping: false,
                is_woken: false,
                abilities: Vec::new(),
                next_ability: 0,
                running: HashSet::new(),
                waiting: HashSet::new(),
            },
        );
        self.last_connection
    }

    /// A connection is gone: what it ran is queued again, what only it waited for is dropped.
    pub fn disconnect(&mut self, id: ConnectionId) {
        let Some(gone) = self.connections.remove(&id) else {
            return;
        };
        for ability in &gone.abilities {
            self.functions.remove_worker(ability.function, id);
        }
        self.abandon(id, &gone.waiting);
        for job in gone.running {
            self.requeue(job);
        }
    }

    /// The outboxes that hold something new since the last call.
    pub fn take_dirty(&mut self) -> Vec<Arc<Outbox>> {
        std::mem::take(&mut self.dirty)
    }

    /// Appends a response for a connection, if it is still there.
    fn send(&mut self, to: ConnectionId, packet: &Packet<'_>) {
        if let Some(connection) = self.connections.get(&to) {
            deliver(&mut self.dirty, &connection.outbox, packet);
        }
    }

    fn send_error(&mut self, to: ConnectionId, code: &str, text: &str) {
        debug!(connection = to, code, text, "job server answers with an error");
        self.send(to, &Packet::Error { code: code.as_bytes(), text: text.as_bytes() });
    }

    /// Refuses for want of rights; logged for the operator.
    fn refuse(&mut self, to: ConnectionId, verb: &str, function: &[u8]) {
        let function = String::from_utf8_lossy(function).into_owned();
        let Some(connection) = self.connections.get(&to) else {
            return;
        };
        let name = connection.rights.name().to_owned();
        warn!(client = %name, address = %connection.address, %function, "job server refused to let the client {verb} the function");
        self.send_error(to, "NOT_PERMITTED", &format!("the certificate of {name} does not allow to {verb} {function}"));
    }

    /// A packet that could not be understood.
    pub fn handle_malformed(&mut self, from: ConnectionId, error: &PacketError) {
        let code = match error {
            PacketError::NotSpoken { .. } => "INVALID_COMMAND",
            _ => "INVALID_PACKET",
        };
        self.send_error(from, code, &error.to_string());
    }

    /// A packet that was larger than the limit; its body was skipped.
    pub fn handle_oversized(&mut self, from: ConnectionId, text: &str) {
        self.send_error(from, "ARGUMENT_TOO_LARGE", text);
    }

    /// Does what a packet asks for.
    pub fn handle(&mut self, from: ConnectionId, magic: Magic, packet: &Packet<'_>) {
        if magic == Magic::Response {
            return self.send_error(from, "INVALID_MAGIC", "a job server takes requests (\\0REQ), this was a response");
        }
        match *packet {
            Packet::Submit { priority, background, function, unique, payload } => {
                self.submit(from, priority, background, function, unique, payload);
            }
            Packet::GrabJob(grab) => self.grab(from, grab),
            Packet::WorkComplete { .. }
            | Packet::WorkFail { .. }
            | Packet::WorkException { .. }
            | Packet::WorkData { .. }
            | Packet::WorkWarning { .. }
            | Packet::WorkStatus { .. } => self.work(from, packet),
            Packet::PreSleep => self.pre_sleep(from),
            Packet::CanDo { function } => self.can_do(from, function, None),
            Packet::CanDoTimeout { function, seconds } => {
                let seconds = crate::jobs::packet::leading_number(seconds);
                let limit = (seconds > 0).then(|| Duration::from_secs(u64::from(seconds)));
                self.can_do(from, function, limit);
            }
            Packet::CantDo { function } => self.cant_do(from, function),
            Packet::ResetAbilities => self.reset_abilities(from),
            Packet::SetClientId { id } => self.set_client_id(from, id),
            Packet::EchoReq { data } => self.send(from, &Packet::EchoRes { data }),
            Packet::OptionReq { name } => self.set_option(from, name),
            Packet::GetStatus { handle } => self.status_by_handle(from, handle),
            Packet::GetStatusUnique { unique } => self.status_by_unique(from, unique),
            Packet::AllYours => {}
            Packet::Noop
            | Packet::JobCreated { .. }
            | Packet::NoJob
            | Packet::JobAssign { .. }
            | Packet::JobAssignUnique { .. }
            | Packet::JobAssignAll { .. }
            | Packet::StatusRes { .. }
            | Packet::StatusResUnique { .. }
            | Packet::EchoRes { .. }
            | Packet::OptionRes { .. }
            | Packet::Error { .. } => self.send_error(from, "INVALID_COMMAND", "only a job server sends this packet"),
        }
    }

    fn set_client_id(&mut self, from: ConnectionId, id: &[u8]) {
        const LONGEST: usize = 254;
        // The list of workers is a text of words: what would break it is replaced.
        let text: String = String::from_utf8_lossy(id)
            .chars()
            .take(LONGEST)
            .map(|letter| if letter.is_whitespace() || letter.is_control() { '_' } else { letter })
            .collect();
        if let Some(connection) = self.connections.get_mut(&from) {
            connection.client_id = if text.is_empty() { "-".to_owned() } else { text };
        }
    }

    fn set_option(&mut self, from: ConnectionId, name: &[u8]) {
        if !name.eq_ignore_ascii_case(b"exceptions") {
            return self.send_error(from, "UNKNOWN_OPTION", "the only option known here is \"exceptions\"");
        }
        if let Some(connection) = self.connections.get_mut(&from) {
            connection.wants_exceptions = true;
        }
        self.send(from, &Packet::OptionRes { name });
    }

    /// The text of a handle.
    fn handle_of(&self, job: JobId) -> String {
        format!("{}:{job}", self.handle_prefix)
    }

    /// The job of a handle, if it is one of this server's and still there.
    fn job_of(&self, handle: &[u8]) -> Option<JobId> {
        let number = handle.strip_prefix(self.handle_prefix.as_bytes())?.strip_prefix(b":")?;
        let job = std::str::from_utf8(number).ok()?.parse().ok()?;
        self.jobs.contains_key(&job).then_some(job)
    }
}

/// Appends a response to an outbox and remembers to flush it.
fn deliver(dirty: &mut Vec<Arc<Outbox>>, outbox: &Arc<Outbox>, packet: &Packet<'_>) {
    outbox.append(|bytes| packet.encode(Magic::Response, bytes));
    if !dirty.iter().any(|known| Arc::ptr_eq(known, outbox)) {
        dirty.push(Arc::clone(outbox));
    }
}
