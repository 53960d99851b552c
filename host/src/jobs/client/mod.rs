//! Submitting jobs.

mod connection;
mod error;
mod job;

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use self::connection::{Answer, Connection, Request};
pub use self::error::ClientError;
pub use self::job::{Completed, JobHandle, JobStatus, OnStatus, SubmitOptions, Submitted};
use super::packet::{DEFAULT_MAX_PACKET, MAX_FUNCTION, MAX_UNIQUE, Packet};
use super::transport::{Transport, TransportError};
use crate::config::Endpoint;

/// How long a server that could not be reached is passed over while others can be.
const AVOID: Duration = Duration::from_secs(5);

/// Limit of requests that a server answers at once: acknowledgement, status, echo.
const ANSWER: Duration = Duration::from_secs(30);

/// A client of one or several job servers. Cheap to clone; clones share the connections.
///
/// A job goes to the server that its unique id hashes to, so load spreads and equal ids meet; when that one cannot be
/// reached it goes to the next. Jobs in the foreground share one connection to each server.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    transport: Transport,
    slots: Vec<Slot>,
}

/// One server.
struct Slot {
    endpoint: Endpoint,
    /// Held while connecting, so that one attempt serves all who wait.
    link: Mutex<Link>,
}

#[derive(Default)]
struct Link {
    connection: Option<Arc<Connection>>,
    failed_at: Option<Instant>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        for slot in &mut self.slots {
            if let Some(connection) = slot.link.get_mut().connection.take() {
                connection.retire();
            }
        }
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let servers: Vec<_> = self.inner.slots.iter().map(|slot| slot.endpoint.to_string()).collect();
        out.debug_struct("Client").field("servers", &servers).finish()
    }
}

impl Client {
    /// A client of these servers. At least one of them must answer now.
    ///
    /// # Errors
    /// [`ClientError::NoServer`] with the reason of each; other errors when the one reached refuses us.
    pub async fn connect(endpoints: &[Endpoint], transport: &Transport) -> Result<Client, ClientError> {
        let client = Client::lazy(endpoints, transport);
        client.pick(0).await?;
        Ok(client)
    }

    /// A client that connects when first used.
    pub fn lazy(endpoints: &[Endpoint], transport: &Transport) -> Client {
        let slot = |endpoint: &Endpoint| Slot { endpoint: endpoint.clone(), link: Mutex::default() };
        let slots = endpoints.iter().map(slot).collect();
        Client { inner: Arc::new(Inner { transport: transport.clone(), slots }) }
    }

    /// Submits a job. In the foreground it waits for the end of the job and yields [`Submitted::Completed`]; in the
    /// background it waits for the server's acknowledgement and yields [`Submitted::Background`]. Giving up the future
    /// withdraws the job as a time-out does.
    ///
    /// # Errors
    /// [`ClientError`]; a job whose connection was lost may have been done, so repeat it under the same unique id or ask
    /// what came of it.
    pub async fn submit(
        &self,
        function: &str,
        payload: &[u8],
        options: SubmitOptions,
    ) -> Result<Submitted, ClientError> {
        let unique = options.unique.unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        check("the function's name", function, 1, MAX_FUNCTION)?;
        check("the unique id", &unique, 1, MAX_UNIQUE)?;
        let size = payload.len() + function.len() + unique.len() + 2;
        if size > DEFAULT_MAX_PACKET {
            let reason = format!("it has {size} bytes with its envelope, more than {DEFAULT_MAX_PACKET}");
            return Err(ClientError::Invalid { what: "the payload", reason });
        }
        let packet = Packet::Submit {
            priority: options.priority,
            background: options.background,
            function: function.as_bytes(),
            unique: unique.as_bytes(),
            payload,
        };
        let mut on_status = options.on_status;
        let work = async {
            let connection = self.pick(hash(&unique)).await?;
            let mut ticket = connection.submit(&packet, function, !options.background)?;
            let Ok(created) = tokio::time::timeout(ANSWER, ticket.created()).await else {
                return Err(connection.out_of_step("the acknowledgement of a job within 30 s"));
            };
            let handle = created?;
            let handle = JobHandle { server: connection.endpoint().clone(), handle, unique: unique.clone() };
            if options.background {
                return Ok(Submitted::Background(handle));
            }
            ticket.finished(handle, &mut on_status).await.map(Submitted::Completed)
        };
        match options.timeout {
            None => work.await,
            Some(limit) => match tokio::time::timeout(limit, work).await {
                Ok(outcome) => outcome,
                Err(_) => Err(ClientError::TimedOut { function: function.to_owned(), limit }),
            },
        }
    }

    /// Submits a job in the foreground and yields what it returned.
    ///
    /// # Errors
    /// As [`Client::submit`].
    pub async fn call(&self, function: &str, payload: &[u8], timeout: Duration) -> Result<Vec<u8>, ClientError> {
        let options = SubmitOptions { timeout: Some(timeout), ..SubmitOptions::default() };
        match self.submit(function, payload, options).await? {
            Submitted::Completed(completed) => Ok(completed.whole()),
            Submitted::Background(_) => Ok(Vec::new()),
        }
    }

    /// Asks the job's own server how far it is. A server that was restarted, or a job that ended, gives
    /// [`JobStatus::is_known`] false.
    ///
    /// # Errors
    /// [`ClientError`] when that server cannot be asked.
    pub async fn status(&self, job: &JobHandle) -> Result<JobStatus, ClientError> {
        let Some(slot) = self.inner.slots.iter().find(|slot| slot.endpoint == job.server) else {
            let reason = format!("the job is on {}, which is none of this client's servers", job.server);
            return Err(ClientError::Invalid { what: "the handle", reason });
        };
        let connection = self.open(slot).await?;
        let packet = Packet::GetStatus { handle: job.handle.as_bytes() };
        match answer(&connection, &packet, Request::Status).await? {
            Answer::Status(status) => Ok(status),
            _ => Err(connection.out_of_step("an answer to GET_STATUS")),
        }
    }

    /// Sends bytes to a server and yields what comes back, which is the same.
    ///
    /// # Errors
    /// [`ClientError`] when no server answers.
    pub async fn echo(&self, data: &[u8]) -> Result<Vec<u8>, ClientError> {
        let connection = self.pick(0).await?;
        match answer(&connection, &Packet::EchoReq { data }, Request::Echo).await? {
            Answer::Echo(data) => Ok(data),
            _ => Err(connection.out_of_step("an answer to ECHO_REQ")),
        }
    }

    /// A connection to the server at this place, or the next that can be had. Those that failed lately come last.
    async fn pick(&self, place: u64) -> Result<Arc<Connection>, ClientError> {
        let slots = &self.inner.slots;
        let count = u64::try_from(slots.len()).unwrap_or(u64::MAX).max(1);
        let first = usize::try_from(place % count).unwrap_or(0);
        let (late, early) = slots.split_at(first.min(slots.len()));
        let mut failures = Vec::new();
        let mut avoided = Vec::new();
        for slot in early.iter().chain(late) {
            let is_avoided = slot.link.lock().await.failed_at.is_some_and(|at| at.elapsed() < AVOID);
            if is_avoided {
                avoided.push(slot);
                continue;
            }
            match self.open(slot).await {
                Err(ClientError::NoServer(reasons)) => failures.extend(reasons),
                outcome => return outcome,
            }
        }
        for slot in avoided {
            match self.open(slot).await {
                Err(ClientError::NoServer(reasons)) => failures.extend(reasons),
                outcome => return outcome,
            }
        }
        Err(ClientError::NoServer(failures))
    }

    /// The connection to one server, made if there is none that can be used.
    async fn open(&self, slot: &Slot) -> Result<Arc<Connection>, ClientError> {
        let mut link = slot.link.lock().await;
        if let Some(connection) = link.connection.as_ref().filter(|connection| connection.is_usable()) {
            return Ok(Arc::clone(connection));
        }
        link.connection = None;
        let outcome = self.establish(&slot.endpoint).await;
        link.failed_at = outcome.is_err().then(Instant::now);
        let connection = outcome?;
        link.connection = Some(Arc::clone(&connection));
        Ok(connection)
    }

    /// Connects and asks for exceptions; the answer proves that the server speaks with us, where TLS 1.3 tells of a
    /// refused certificate only at the first read.
    async fn establish(&self, endpoint: &Endpoint) -> Result<Arc<Connection>, ClientError> {
        let transport = &self.inner.transport;
        let halves = transport.connect(endpoint).await.map_err(|error| ClientError::NoServer(vec![error]))?;
        let connection = Connection::start(endpoint.clone(), halves);
        let limit = transport.connect_timeout();
        let ask = answer(&connection, &Packet::OptionReq { name: b"exceptions" }, Request::Option);
        match tokio::time::timeout(limit, ask).await {
            Ok(Ok(_)) => Ok(connection),
            Ok(Err(ClientError::ServerLost { reason, .. })) => {
                let source = std::io::Error::other(reason);
                Err(ClientError::NoServer(vec![TransportError::Connect { endpoint: endpoint.clone(), source }]))
            }
            Ok(Err(error)) => Err(error),
            Err(_) => {
                connection.retire();
                Err(ClientError::NoServer(vec![TransportError::Timeout { endpoint: endpoint.clone(), limit }]))
            }
        }
    }
}

/// Sends a request that the server answers at once.
async fn answer(connection: &Arc<Connection>, packet: &Packet<'_>, request: Request) -> Result<Answer, ClientError> {
    let waiting = connection.ask(packet, request)?;
    match tokio::time::timeout(ANSWER, waiting).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err(connection.lost(false)),
        Err(_) => {
            connection.retire();
            Err(connection.out_of_step("an answer within 30 s"))
        }
    }
}

fn hash(unique: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    unique.hash(&mut hasher);
    hasher.finish()
}

fn check(what: &'static str, text: &str, least: usize, most: usize) -> Result<(), ClientError> {
    let invalid = |reason| Err(ClientError::Invalid { what, reason });
    if text.contains('\0') {
        return invalid("it holds a NUL byte".to_owned());
    }
    if !(least..=most).contains(&text.len()) {
        return invalid(format!("it has {} bytes where {least} to {most} are allowed", text.len()));
    }
    Ok(())
}
