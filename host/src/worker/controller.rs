//! One message in, driver calls, one reply out.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use capstan_plugin_api::{
    DriverError,
    error::ErrorCode,
    load_balancer::{Applied, ApplyRequest},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{
    Appliance, Call, Settings, archive,
    change::{Change, Generations, target, within},
    diagnostics,
    fields::quoted,
    flat, message,
    message::{Message, Object},
    outcome::{Nodes, settle},
    reply::{Fault, Note, finish, set},
    update::{self, Plan},
};
use crate::telemetry::{Figures, names};

/// The actions there are, for the labels of figures.
const ACTIONS: [&str; 10] =
    ["ARCHIVE", "CREATE", "DELETE", "DIAGNOSTICS", "DISCOVER", "ENABLE", "METRICS", "STATS", "SUSPEND", "UPDATE"];

/// A job as it comes from the job server.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// The job's unique id; the same when the job is delivered again. May be empty.
    pub unique: &'a str,
    /// The message.
    pub payload: &'a [u8],
}

/// What becomes of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The job is complete with this reply, also when the reply says FAIL or badRequest.
    Reply(Vec<u8>),
    /// The job failed: its payload is no message, so there is nothing to echo.
    Failure {
        /// Why, for the log and for a client that reads it; quotes nothing from the payload.
        reason: String,
    },
}

/// Turns messages into driver calls. One controller serves one device; `run` may be called for several messages at once.
pub struct Controller {
    appliance: Arc<dyn Appliance>,
    settings: Settings,
    generations: Generations,
    figures: Figures,
}

impl std::fmt::Debug for Controller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Controller").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Controller {
    /// A controller for the appliance. Nothing is called yet.
    pub fn new(appliance: Arc<dyn Appliance>, settings: Settings) -> Self {
        Self { appliance, settings, generations: Generations::default(), figures: Figures::default() }
    }

    /// Counts messages there.
    #[must_use]
    pub fn with_figures(self, figures: Figures) -> Self {
        Self { figures, ..self }
    }

    /// Carries out one message and writes one log line about it. Needs a tokio runtime with time and I/O. Never panics unless the
    /// appliance does. Dropping the future gives up waiting; a change that the driver has begun may still happen.
    pub async fn run(&self, job: Job<'_>) -> Verdict {
        let started = Instant::now();
        let mut message = match Message::read(job.payload, &self.settings) {
            Ok(message) => message,
            Err(reason) => {
                self.note("-", "failure", Some(&reason), job, started);
                return Verdict::Failure { reason };
            }
        };
        let (action, result) = self.act(&mut message, job, started).await;
        let (reply, ending) = finish(&mut message, result);
        self.note(&action, ending.outcome, ending.why.as_deref(), job, started);
        match serde_json::to_vec(&reply) {
            Ok(bytes) => Verdict::Reply(bytes),
            Err(fault) => Verdict::Failure { reason: format!("the reply could not be written: {fault}") },
        }
    }

    async fn act(&self, message: &mut Message, job: Job<'_>, started: Instant) -> (String, Result<Note, Fault>) {
        let is_flat = flat::is_flat(&message.fields, self.settings.form);
        if is_flat {
            message.lower_keys();
        }
        let Some(given) = message.fields.get("hpcs_action").cloned() else {
            return ("-".to_owned(), Err(Fault::Silent("the message has no 'hpcs_action'".to_owned())));
        };
        let action = given.as_str().map(str::to_ascii_uppercase).unwrap_or_default();
        let action = action.as_str();
        let result = match action {
            "UPDATE" => self.update(message, job, started, is_flat).await,
            "CREATE" if is_flat => self.update(message, job, started, true).await,
            "SUSPEND" => self.at_once(action, Change::Suspend, job, started).await,
            "ENABLE" => self.at_once(action, Change::Enable, job, started).await,
            "DELETE" => self.at_once(action, Change::Delete, job, started).await,
            _ if is_flat => Err(unknown(&given)),
            "DISCOVER" => {
                set(&mut message.fields, "version", env!("CARGO_PKG_VERSION"));
                set(&mut message.fields, "release", env!("CARGO_PKG_VERSION"));
                Ok(None)
            }
            "ARCHIVE" => self.archive(message, job, started).await,
            "STATS" => self.stats(&mut message.fields, job, started).await,
            "METRICS" => self.metrics(&mut message.fields, job, started).await,
            "DIAGNOSTICS" => {
                diagnostics::run(&self.settings, &mut message.fields).await;
                Ok(None)
            }
            _ => Err(unknown(&given)),
        };
        (if action.is_empty() { quoted(&given) } else { quoted(&Value::from(action)) }, result)
    }

    async fn update(
        &self,
        message: &mut Message,
        job: Job<'_>,
        started: Instant,
        is_flat: bool,
    ) -> Result<Note, Fault> {
        let fields = &mut message.fields;
        let plan = if is_flat {
            flat::read(fields)?
        } else {
            match update::read(fields) {
                Ok(plan) => plan,
                Err(refusal) => {
                    if let Some((list, place)) = refusal.node {
                        Nodes::of_envelope(fields).disable(list, place);
                    }
                    return Err(refusal.fault);
                }
            }
        };
        let Plan { load_balancers, skip_refused_members, refused } = plan;
        let mut request = ApplyRequest {
            device: self.settings.device.clone(),
            generation: 0,
            idempotency_key: key(job),
            load_balancers,
            skip_refused_members,
        };
        let call = self.call(job, started, self.settings.apply_timeout.max(self.call_timeout()));
        let key = request.idempotency_key.clone();
        let answer = self.change(&call, &key, Change::Apply(&mut request)).await;
        let nodes = if is_flat { Nodes::of_flat(fields) } else { Nodes::of_envelope(fields) };
        settle(nodes, &request, &refused, &answer)
    }

    async fn at_once(&self, action: &str, change: Change<'_>, job: Job<'_>, started: Instant) -> Result<Note, Fault> {
        let call = self.call(job, started, self.call_timeout());
        let answer = self.change(&call, &key(job), change).await;
        let applied = answer.map_err(|error| Fault::optional(action, &error))?;
        let results = applied.load_balancers.iter();
        let failed =
            results.flat_map(|one| one.error.iter().chain(one.members.iter().map(|member| &member.error))).next();
        failed.map_or(Ok(None), |error| Err(Fault::driver(error)))
    }

    async fn archive(&self, message: &Message, job: Job<'_>, started: Instant) -> Result<Note, Fault> {
        let request = archive::read(message, &self.settings.device)?;
        let call = self.call(job, started, self.call_timeout());
        let answer = within(&call, self.appliance.archive(&call, &request)).await;
        answer.map(|_archived| None).map_err(|error| Fault::optional("ARCHIVE", &error))
    }

    async fn stats(&self, reply: &mut Object, job: Job<'_>, started: Instant) -> Result<Note, Fault> {
        let (call, target) = (self.call(job, started, self.call_timeout()), target(&self.settings.device));
        let answer = within(&call, self.appliance.status(&call, &target)).await;
        let status = answer.map_err(|error| figures_fault("STATS", &error, reply))?;
        let word = |up| if up { "UP" } else { "DOWN" };
        let nodes = status.members.iter().map(|member| json!({ "id": member.id, "status": word(member.up) }));
        set(reply, "nodes", nodes.collect::<Vec<_>>());
        Ok(None)
    }

    async fn metrics(&self, reply: &mut Object, job: Job<'_>, started: Instant) -> Result<Note, Fault> {
        let (call, target) = (self.call(job, started, self.call_timeout()), target(&self.settings.device));
        let answer = within(&call, self.appliance.statistics(&call, &target)).await;
        let figures = answer.map_err(|error| figures_fault("METRICS", &error, reply))?;
        let listeners = figures
            .listeners
            .iter()
            .map(|one| json!({ "protocol": wire_protocol(&one.protocol), "bytes_out": one.bytes_out }));
        set(reply, "loadBalancers", listeners.collect::<Vec<_>>());
        set(reply, "utc_start", figures.start.as_str());
        set(reply, "utc_end", figures.end.as_str());
        Ok(None)
    }

    async fn change(&self, call: &Call, key: &str, change: Change<'_>) -> Result<Applied, DriverError> {
        self.generations.change(&*self.appliance, call, &self.settings.device, key, change).await
    }

    fn call_timeout(&self) -> Duration {
        self.appliance.call_timeout().unwrap_or(self.settings.call_timeout)
    }

    fn call(&self, job: Job<'_>, started: Instant, limit: Duration) -> Call {
        Call { deadline: started + limit, request_id: job.unique.to_owned() }
    }

    /// The one log line about a message, and its figures.
    fn note(&self, action: &str, outcome: &str, why: Option<&str>, job: Job<'_>, started: Instant) {
        // Actions come from outside, and labels are a closed set.
        let label = ACTIONS.into_iter().find(|known| *known == action).unwrap_or("other");
        self.figures.counter(&names::WORKER_MESSAGES, [label, outcome]).increment();
        self.figures.histogram(&names::WORKER_MESSAGE_SECONDS, [label]).record(started.elapsed());
        let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (device, unique) = (&self.settings.device, quoted(&Value::from(job.unique)));
        // `?why`: a driver's words may hold newlines, and one message is one line.
        match why {
            None => tracing::info!(action, outcome, device, unique, duration_ms, "message"),
            Some(why) if outcome == "PASS" => {
                tracing::info!(action, outcome, device, unique, duration_ms, note = ?why, "message");
            }
            Some(why) => tracing::warn!(action, outcome, device, unique, duration_ms, ?why, "message"),
        }
    }
}

fn unknown(given: &Value) -> Fault {
    Fault::Silent(match given {
        Value::String(_) => format!("there is no action '{}'", quoted(given)),
        other => format!("'hpcs_action' is a {}, a string is expected", message::kind(other)),
    })
}

/// A deleted device is told apart from other failures, because libra's API side acts on it.
fn figures_fault(action: &str, error: &DriverError, reply: &mut Object) -> Fault {
    if error.code != ErrorCode::NOT_FOUND {
        return Fault::optional(action, error);
    }
    set(reply, "status", "DELETED");
    let text = format!("Invalid operation {action} on a deleted LB.");
    Fault::Fail { text, operator: error.to_string() }
}

/// The protocol as clients of METRICS know it.
fn wire_protocol(protocol: &str) -> String {
    let protocol = protocol.to_lowercase();
    if protocol == "galera" { "tcp".to_owned() } else { protocol }
}

/// The key of a change. A job that is delivered again has the same id and the same payload. The payload's digest is part of it
/// because clients may use one id for different messages (to have equal ones coalesced), and those are different changes.
fn key(job: Job<'_>) -> String {
    let digest = Sha256::digest(job.payload);
    let digest: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    if job.unique.is_empty() {
        format!("{}/{digest}", uuid::Uuid::new_v4())
    } else {
        format!("{}/{digest}", job.unique)
    }
}
