//! Node operations by message, over the dummy cloud and its faults: whatever the payload, there is an answer of the contract within
//! its time, with the request's own fields in it, and the same message again gets the same answer.
#![no_main]

use std::{cell::RefCell, mem::ManuallyDrop, time::Duration};

use capstan::{
    jobs::{Handler, Job, JobResult, Progress},
    pool::Messages,
};
use capstan_fuzz::world::World;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// After so many inputs all begins anew, with other faults.
const RENEWED: usize = 300;
/// Messages of an input, one a line, all under way at once: each takes a tenth of a second, as it is looked for so often.
const MOST: usize = 32;
/// The longest way is that of a DELETE_DEVICE that the cloud does not do: 25 s.
const LONGEST: Duration = Duration::from_secs(50);

struct Messenger {
    runtime: Runtime,
    world: World,
    messages: Messages,
    /// A node of the pool.
    name: String,
    inputs: usize,
}

thread_local! {
    // Not dropped at the end of the process, where its threads are gone.
    static MESSENGER: RefCell<(usize, ManuallyDrop<Option<Messenger>>)> =
        const { RefCell::new((0, ManuallyDrop::new(None))) };
}

/// What a cloud does wrong, in turn.
fn faults(turn: usize) -> Value {
    match turn % 4 {
        0 => json!([]),
        1 => json!([
            { "fault": "reply_lost", "methods": ["create_node", "allocate_ip", "assign_ip", "release_ip"], "every": 3 },
            { "fault": "error", "methods": ["list_ips", "destroy_node", "remove_ip"], "every": 4, "message": "<b>\n\u{1b}[2J\u{0}" },
        ]),
        2 => json!([
            { "fault": "node_error", "every": 4, "message": "no host\r\n\u{0}" },
        ]),
        _ => json!([
            { "fault": "duplicate_name", "every": 2 },
            { "fault": "no_address", "every": 5 },
            { "fault": "vanish", "every": 5, "delay_ms": 10 },
            { "fault": "unknown_state", "every": 7 },
        ]),
    }
}

impl Messenger {
    fn new(turn: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (world, name) = runtime.block_on(async {
            let world = World::new(faults(turn)).await;
            let name = if turn % 4 == 0 { world.stocked().await.1 } else { "lb-1".to_owned() };
            (world, name)
        });
        let messages = Messages::new(world.pool.clone());
        Self { runtime, world, messages, name, inputs: 0 }
    }

    /// Hands in all messages at once; the answers come in their order.
    fn answers(&self, jobs: &[Job]) -> Vec<Value> {
        self.runtime.block_on(async {
            let handed_in: Vec<_> = jobs
                .iter()
                .map(|job| {
                    let (messages, job) = (self.messages.clone(), job.clone());
                    let answer = async move { messages.handle(job, Progress::default()).await };
                    tokio::spawn(tokio::time::timeout(LONGEST, answer))
                })
                .collect();
            let mut replies = Vec::new();
            for (answer, job) in handed_in.into_iter().zip(jobs) {
                replies.push(match answer.await.expect("it does not panic") {
                    Ok(JobResult::Complete(reply)) => serde_json::from_slice(&reply).expect("a reply is JSON"),
                    Ok(failed) => panic!("{failed:?} to {}", job.payload.escape_ascii()),
                    Err(_) => panic!("no answer to {}", job.payload.escape_ascii()),
                });
            }
            replies
        })
    }

    fn end(self) {
        let Self { runtime, world, .. } = self;
        runtime.block_on(world.end());
    }
}

/// Numbers that are not whole may lose their last digit, as they do in JSON.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) if one.is_f64() => {
            let (one, other) = (one.as_f64().unwrap_or_default(), other.as_f64().unwrap_or_default());
            (one - other).abs() <= one.abs() * 1e-12
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(key, value)| other.get(key).is_some_and(|other| is_same(value, other)))
        }
        _ => one == other,
    }
}

fn is_of_the_contract(job: &Job, reply: &Value) {
    let about = || format!("{reply} to {}", job.payload.escape_ascii());
    let reply = reply.as_object().unwrap_or_else(|| panic!("{}", about()));
    let passed = match reply.get("response").and_then(Value::as_str) {
        Some("PASS") => true,
        Some("FAIL") => false,
        _ => panic!("{}", about()),
    };
    let reason = reply.get("reason").and_then(Value::as_str);
    assert!(passed || reason.is_some_and(|reason| !reason.is_empty()), "{}", about());
    let Ok(Value::Object(request)) = serde_json::from_slice(&job.payload) else {
        return assert!(!passed, "{}", about());
    };
    let action = request.get("action").and_then(Value::as_str).unwrap_or_default().to_ascii_uppercase();
    let added: &[&str] = match action.as_str() {
        "BUILD_DEVICE" => &["name", "addr", "type", "az"],
        "BUILD_IP" => &["id", "ip"],
        "DELETE_DEVICE" | "ASSIGN_IP" | "REMOVE_IP" | "DELETE_IP" => &[],
        _ => return assert!(!passed, "{}", about()),
    };
    for (key, value) in &request {
        let is_ours = added.contains(&key.as_str()) || ["response", "reason"].contains(&key.as_str());
        assert!(is_ours || reply.get(key).is_some_and(|kept| is_same(value, kept)), "{key}: {}", about());
    }
    assert!(!passed || added.iter().all(|key| reply.get(*key).is_some_and(|value| !value.is_null())), "{}", about());
    let known = |key: &String| {
        request.contains_key(key) || added.contains(&key.as_str()) || ["response", "reason"].contains(&key.as_str())
    };
    assert!(reply.keys().all(known), "{}", about());
}

fuzz_target!(|bytes: &[u8]| {
    MESSENGER.with_borrow_mut(|(turn, kept)| {
        let kept = &mut **kept;
        if kept.as_ref().is_some_and(|messenger| messenger.inputs >= RENEWED) {
            kept.take().expect("it is there").end();
            *turn += 1;
        }
        let messenger = kept.get_or_insert_with(|| Messenger::new(*turn));
        messenger.inputs += 1;
        // The first byte of a line is a unique id, "." stands for none; `@NAME@` for a node of the pool.
        let lines = bytes.split(|byte| *byte == b'\n').take(MOST).filter_map(<[u8]>::split_first);
        let jobs: Vec<Job> = lines
            .map(|(unique, payload)| Job {
                function: "libra_pool_mgm".to_owned(),
                unique: if *unique == b'.' { String::new() } else { format!("{}-{unique}", messenger.inputs) },
                handle: "H:fuzz:1".to_owned(),
                payload: match std::str::from_utf8(payload) {
                    Ok(text) => text.replace("@NAME@", &messenger.name).into_bytes(),
                    Err(_) => payload.to_vec(),
                },
            })
            .collect();
        let replies = messenger.answers(&jobs);
        for (job, reply) in jobs.iter().zip(&replies) {
            is_of_the_contract(job, reply);
        }
        // Delivered again.
        let (again, before): (Vec<Job>, Vec<&Value>) =
            jobs.into_iter().zip(&replies).filter(|(job, _)| !job.unique.is_empty()).unzip();
        for ((job, reply), before) in again.iter().zip(messenger.answers(&again)).zip(before) {
            assert!(is_same(before, &reply), "{before} and then {reply} to {}", job.payload.escape_ascii());
        }
    });
});
