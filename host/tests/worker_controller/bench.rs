//! A controller, the fake appliance behind it, and messages to send.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use capstan::worker::{Answer, Appliance, Call, Controller, Job, Settings, Verdict};
use capstan_plugin_api::{
    DriverError,
    load_balancer::{
        Applied, ApplyRequest, ArchiveRequest, Archived, LoadBalancerResult, MemberError, Observed, Statistics, Status,
        Target,
    },
};
use serde_json::{Value, json};

/// A call that the appliance got.
#[derive(Clone, Debug, PartialEq)]
pub enum Recorded {
    Apply(ApplyRequest),
    Observe(Target),
    Suspend(Target),
    Enable(Target),
    Delete(Target),
    Status(Target),
    Statistics(Target),
    Archive(ArchiveRequest),
}

impl Recorded {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Apply(_) => "apply",
            Self::Observe(_) => "observe",
            Self::Suspend(_) => "suspend",
            Self::Enable(_) => "enable",
            Self::Delete(_) => "delete",
            Self::Status(_) => "status",
            Self::Statistics(_) => "statistics",
            Self::Archive(_) => "archive",
        }
    }
}

/// Answers what it is told to, else success.
#[derive(Default)]
pub struct Fake {
    pub calls: Mutex<Vec<Recorded>>,
    /// Answers of the next calls of `apply`, `suspend`, `enable` and `delete`.
    pub changes: Mutex<VecDeque<Result<Applied, DriverError>>>,
    pub observed: Mutex<Option<Result<Observed, DriverError>>>,
    pub status: Mutex<Option<Result<Status, DriverError>>>,
    pub statistics: Mutex<Option<Result<Statistics, DriverError>>>,
    pub archived: Mutex<Option<Result<Archived, DriverError>>>,
    pub hangs: Mutex<bool>,
    running: AtomicUsize,
    /// The greatest number of calls that ran at the same time.
    pub most_at_once: AtomicUsize,
}

impl Fake {
    fn record<T: Send + 'static>(&self, call: Recorded, answer: Result<T, DriverError>) -> Answer<'_, T> {
        self.calls.lock().unwrap().push(call);
        let hangs = *self.hangs.lock().unwrap();
        Box::pin(async move {
            self.most_at_once.fetch_max(self.running.fetch_add(1, SeqCst) + 1, SeqCst);
            tokio::task::yield_now().await;
            if hangs {
                std::future::pending::<()>().await;
            }
            self.running.fetch_sub(1, SeqCst);
            answer
        })
    }

    fn change(&self, plain: Applied) -> Result<Applied, DriverError> {
        self.changes.lock().unwrap().pop_front().unwrap_or(Ok(plain))
    }

    pub fn calls(&self) -> Vec<Recorded> {
        self.calls.lock().unwrap().clone()
    }

    pub fn names(&self) -> Vec<&'static str> {
        self.calls().iter().map(Recorded::name).collect()
    }

    /// The only `apply`.
    pub fn applied(&self) -> ApplyRequest {
        let mut all: Vec<_> = self
            .calls()
            .into_iter()
            .filter_map(|call| if let Recorded::Apply(request) = call { Some(request) } else { None })
            .collect();
        assert_eq!(all.len(), 1, "apply is called once");
        all.remove(0)
    }
}

fn kept<T: Default + Clone>(answer: &Mutex<Option<Result<T, DriverError>>>) -> Result<T, DriverError> {
    answer.lock().unwrap().clone().unwrap_or_else(|| Ok(T::default()))
}

impl Appliance for Fake {
    fn apply<'a>(&'a self, _call: &'a Call, request: &'a ApplyRequest) -> Answer<'a, Applied> {
        let results =
            request.load_balancers.iter().map(|one| LoadBalancerResult { id: one.id.clone(), ..Default::default() });
        let answer = self.change(Applied { load_balancers: results.collect(), method: "fake".into() });
        self.record(Recorded::Apply(request.clone()), answer)
    }
    fn observe<'a>(&'a self, _call: &'a Call, target: &'a Target) -> Answer<'a, Observed> {
        self.record(Recorded::Observe(target.clone()), kept(&self.observed))
    }
    fn suspend<'a>(&'a self, _call: &'a Call, target: &'a Target) -> Answer<'a, Applied> {
        self.record(Recorded::Suspend(target.clone()), self.change(Applied::default()))
    }
    fn enable<'a>(&'a self, _call: &'a Call, target: &'a Target) -> Answer<'a, Applied> {
        self.record(Recorded::Enable(target.clone()), self.change(Applied::default()))
    }
    fn delete<'a>(&'a self, _call: &'a Call, target: &'a Target) -> Answer<'a, Applied> {
        self.record(Recorded::Delete(target.clone()), self.change(Applied::default()))
    }
    fn status<'a>(&'a self, _call: &'a Call, target: &'a Target) -> Answer<'a, Status> {
        self.record(Recorded::Status(target.clone()), kept(&self.status))
    }
    fn statistics<'a>(&'a self, _call: &'a Call, target: &'a Target) -> Answer<'a, Statistics> {
        self.record(Recorded::Statistics(target.clone()), kept(&self.statistics))
    }
    fn archive<'a>(&'a self, _call: &'a Call, request: &'a ArchiveRequest) -> Answer<'a, Archived> {
        self.record(Recorded::Archive(request.clone()), kept(&self.archived))
    }
}

/// A controller and its appliance.
pub struct Bench {
    pub fake: Arc<Fake>,
    pub controller: Controller,
}

impl Bench {
    pub fn new() -> Self {
        Self::with(|_settings| {})
    }

    pub fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let fake = Arc::new(Fake::default());
        let mut settings = Settings::new("node-7");
        change(&mut settings);
        Self { controller: Controller::new(fake.clone(), settings), fake }
    }

    /// Answers the next change with these results of its load balancers.
    pub fn next_change(&self, answer: Result<Vec<LoadBalancerResult>, DriverError>) {
        let answer = answer.map(|load_balancers| Applied { load_balancers, method: "fake".into() });
        self.fake.changes.lock().unwrap().push_back(answer);
    }

    pub async fn raw(&self, payload: &[u8]) -> Verdict {
        self.controller.run(Job { unique: "u-1", payload }).await
    }

    pub async fn ask(&self, message: &Value) -> Value {
        self.ask_as("u-1", message).await
    }

    pub async fn ask_as(&self, unique: &str, message: &Value) -> Value {
        match self.controller.run(Job { unique, payload: message.to_string().as_bytes() }).await {
            Verdict::Reply(bytes) => serde_json::from_slice(&bytes).unwrap(),
            Verdict::Failure { reason } => panic!("no reply: {reason}"),
        }
    }
}

/// A refusal of one load balancer's members.
pub fn refusing(id: &str, members: &[&str]) -> LoadBalancerResult {
    let members = members
        .iter()
        .map(|id| MemberError {
            id: (*id).to_owned(),
            error: DriverError::invalid_argument(format!("no room for {id}")),
        })
        .collect();
    LoadBalancerResult { id: id.to_owned(), error: None, members }
}

pub fn node(id: u32) -> Value {
    json!({ "id": id, "address": format!("10.0.0.{id}"), "port": 80 })
}

/// An UPDATE with one HTTP load balancer and two nodes.
pub fn update() -> Value {
    json!({ "hpcs_action": "UPDATE", "loadBalancers": [
        { "name": "a", "protocol": "http", "nodes": [node(1), node(2)] },
    ]})
}

/// The same with a field of its load balancer set.
pub fn update_with(field: &str, value: Value) -> Value {
    let mut message = update();
    message["loadBalancers"][0][field] = value;
    message
}

/// The same with a field of its first node set.
pub fn update_with_node(field: &str, value: Value) -> Value {
    let mut message = update();
    message["loadBalancers"][0]["nodes"][0][field] = value;
    message
}

pub fn remove(mut message: Value, pointer: &str) -> Value {
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    message.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(field).unwrap();
    message
}

#[track_caller]
pub fn passes(reply: &Value) {
    assert_eq!(reply["hpcs_response"], "PASS", "{reply}");
    assert!(reply.get("hpcs_error").is_none() && reply.get("badRequest").is_none(), "{reply}");
}

/// FAIL with this `hpcs_error`, or without one.
#[track_caller]
pub fn fails<'a>(reply: &Value, text: impl Into<Option<&'a str>>) {
    assert_eq!(reply["hpcs_response"], "FAIL", "{reply}");
    assert_eq!(reply.get("hpcs_error").and_then(Value::as_str), text.into(), "{reply}");
}

/// The bare fault object and nothing else.
#[track_caller]
pub fn is_bad_request(reply: &Value, text: &str) {
    let expected = json!({ "badRequest": { "code": "400", "message": "Validation fault",
        "details": "The object is not valid", "validationErrors": { "message": text } } });
    assert_eq!(reply, &expected);
}

/// The `condition` of each node, load balancer by load balancer.
pub fn conditions(reply: &Value) -> Vec<Option<String>> {
    let lists = reply["loadBalancers"].as_array().into_iter().flatten().map(|one| &one["nodes"]);
    let lists = lists.chain(reply.get("nodes"));
    lists
        .flat_map(|nodes| nodes.as_array().unwrap())
        .map(|node| node.get("condition").map(|condition| condition.as_str().unwrap().to_owned()))
        .collect()
}

pub const ON: Option<&str> = Some("ENABLED");
pub const OFF: Option<&str> = Some("DISABLED");

#[track_caller]
pub fn has_conditions(reply: &Value, expected: &[Option<&str>]) {
    let found = conditions(reply);
    assert_eq!(found.iter().map(Option::as_deref).collect::<Vec<_>>(), expected, "{reply}");
}
