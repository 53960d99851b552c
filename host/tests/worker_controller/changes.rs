//! Generations, keys and deadlines of the changes.

use std::time::Duration;

use capstan_plugin_api::{
    DriverError,
    load_balancer::{Observed, Target},
};
use serde_json::json;

use super::bench::*;

/// Generation and key of each change.
fn changes(bench: &Bench) -> Vec<(u64, String)> {
    let of = |target: Target| Some((target.generation, target.idempotency_key));
    let calls = bench.fake.calls().into_iter();
    calls
        .filter_map(|call| match call {
            Recorded::Apply(request) => {
                assert!(request.load_balancers.iter().all(|one| one.generation == request.generation));
                Some((request.generation, request.idempotency_key))
            }
            Recorded::Suspend(target) | Recorded::Enable(target) | Recorded::Delete(target) => of(target),
            _ => None,
        })
        .collect()
}

fn runs(bench: &Bench, generation: u64) {
    *bench.fake.observed.lock().unwrap() = Some(Ok(Observed { generation, ..Default::default() }));
}

#[tokio::test]
async fn generations_go_on_from_what_the_device_shows() {
    let bench = Bench::new();
    runs(&bench, 41);
    passes(&bench.ask(&update()).await);
    for action in ["SUSPEND", "ENABLE", "DELETE"] {
        passes(&bench.ask(&json!({ "hpcs_action": action })).await);
    }
    assert_eq!(bench.fake.names(), ["observe", "apply", "suspend", "enable", "delete"]);
    let generations: Vec<_> = changes(&bench).into_iter().map(|(generation, _key)| generation).collect();
    assert_eq!(generations, [42, 43, 44, 45]);
}

#[tokio::test]
async fn a_generation_is_never_used_twice_even_after_a_failure() {
    let bench = Bench::new();
    bench.next_change(Err(DriverError::timeout("too slow")));
    fails(&bench.ask(&update()).await, "too slow");
    passes(&bench.ask(&update()).await);
    let generations: Vec<_> = changes(&bench).into_iter().map(|(generation, _key)| generation).collect();
    assert_eq!(generations, [1, 2]);
}

#[tokio::test]
async fn a_device_that_cannot_be_observed_is_not_changed() {
    let bench = Bench::new();
    *bench.fake.observed.lock().unwrap() = Some(Err(DriverError::unavailable("the driver is in quarantine")));
    let reply = bench.ask(&update()).await;
    fails(&reply, "the driver is in quarantine");
    has_conditions(&reply, &[OFF, OFF]);
    assert_eq!(bench.fake.names(), ["observe"]);
    runs(&bench, 7);
    passes(&bench.ask(&update()).await);
    assert_eq!(changes(&bench)[0].0, 8);
}

#[tokio::test]
async fn a_generation_that_became_too_old_is_renewed_once() {
    let bench = Bench::new();
    passes(&bench.ask(&update()).await);
    runs(&bench, 90);
    bench.next_change(Err(DriverError::conflict("generation 2 is older than 90")));
    passes(&bench.ask(&update()).await);
    let generations: Vec<_> = changes(&bench).into_iter().map(|(generation, _key)| generation).collect();
    assert_eq!(generations, [1, 2, 91]);
}

#[tokio::test]
async fn another_conflict_is_told_and_not_repeated() {
    let bench = Bench::new();
    bench.next_change(Err(DriverError::conflict("port 80 is taken")));
    fails(&bench.ask(&update()).await, "port 80 is taken");
    assert_eq!(bench.fake.names(), ["observe", "apply", "observe"]);
}

#[tokio::test]
async fn a_job_that_comes_again_has_the_same_key() {
    let bench = Bench::new();
    bench.ask_as("job-1", &update()).await;
    bench.ask_as("job-1", &update()).await;
    bench.ask_as("job-1", &update_with("port", json!(81))).await;
    bench.ask_as("job-2", &update()).await;
    bench.ask_as("", &update()).await;
    bench.ask_as("", &update()).await;
    let keys: Vec<_> = changes(&bench).into_iter().map(|(_generation, key)| key).collect();
    assert_eq!(keys[0], keys[1]);
    assert!(keys[0].starts_with("job-1/"), "{}", keys[0]);
    let distinct: std::collections::HashSet<_> = keys.iter().collect();
    assert_eq!(distinct.len(), 5, "{keys:?}");
}

#[tokio::test]
async fn a_driver_that_never_answers_costs_its_own_message_only() {
    let bench = Bench::with(|settings| {
        settings.apply_timeout = Duration::from_millis(100);
        settings.call_timeout = Duration::from_millis(100);
    });
    *bench.fake.hangs.lock().unwrap() = true;
    let text = "the driver did not answer before the deadline";
    let started = std::time::Instant::now();
    fails(&bench.ask(&update()).await, text);
    fails(&bench.ask(&json!({ "hpcs_action": "STATS" })).await, text);
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    *bench.fake.hangs.lock().unwrap() = false;
    passes(&bench.ask(&update()).await);
}

#[tokio::test]
async fn messages_at_once_make_changes_one_after_the_other() {
    let bench = Bench::new();
    let messages: Vec<_> = (0..4).map(|id| update_with("name", json!(id.to_string()))).collect();
    let replies = tokio::join!(
        bench.ask(&messages[0]),
        bench.ask(&messages[1]),
        bench.ask(&messages[2]),
        bench.ask(&messages[3]),
    );
    for reply in [replies.0, replies.1, replies.2, replies.3] {
        passes(&reply);
    }
    let generations: Vec<_> = changes(&bench).into_iter().map(|(generation, _key)| generation).collect();
    assert_eq!(generations, [1, 2, 3, 4]);
    assert_eq!(bench.fake.most_at_once.load(std::sync::atomic::Ordering::SeqCst), 1);
    assert_eq!(bench.fake.names().iter().filter(|name| **name == "observe").count(), 1);
}
