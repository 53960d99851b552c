//! What is forgotten when it is old enough, and what is kept however old it is, on both backends.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "all of this file is tests")]

#[macro_use]
mod store_support;

use std::{collections::BTreeSet, time::Duration};

use capstan::{
    identity,
    pool::records::{self, Loss, Node},
    store::{
        Error, Store, Transaction,
        events::{self, NewEvent},
        jobs::{self, Accepted, Claim, Filter, Job, NewJob, Retry, Unique},
    },
};
use store_support::{Place, START};

on_both_backends! {
    jobs_are_kept_as_long_as_their_end_says_and_never_go_while_they_live
    a_key_is_known_for_as_long_as_its_job_is_kept
    events_go_after_a_month
    more_than_goes_at_once_goes_in_the_same_turn
    deleted_nodes_and_losses_go_after_their_time_and_other_nodes_stay
}

const DAY: Duration = Duration::from_secs(86_400);
const DAY_MS: i64 = 86_400_000;

async fn write<T: Send + 'static>(
    store: &Store,
    change: impl Fn(&mut Transaction<'_>) -> Result<T, Error> + Send + 'static,
) -> T {
    store.write_locking(change).await.unwrap()
}

async fn accept(store: &Store, new: NewJob) -> Accepted {
    write(store, move |tx| jobs::accept(tx, &new)).await
}

/// Accepts a job and claims it.
async fn running(store: &Store, id: &str) -> Job {
    accept(store, NewJob { id: id.to_owned(), ..NewJob::new(id, "{}") }).await;
    let claim = Claim { owner: "one".to_owned(), kinds: vec![id.to_owned()], limit: 1, lease: Duration::from_secs(30) };
    write(store, move |tx| jobs::claim(tx, &claim)).await.pop().unwrap()
}

async fn known_jobs(store: &Store) -> BTreeSet<String> {
    let jobs = store.read(|tx| jobs::list(tx, &Filter::default(), 10_000)).await.unwrap();
    jobs.into_iter().map(|job| job.id).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

async fn jobs_are_kept_as_long_as_their_end_says_and_never_go_while_they_live(place: Place) {
    let store = place.open().await;
    let lease = running(&store, "done").await.lease();
    write(&store, move |tx| jobs::complete(tx, &lease, None)).await;
    let lease = running(&store, "failed").await.lease();
    write(&store, move |tx| jobs::fail(tx, &lease, "no", Retry::Never)).await;
    accept(&store, NewJob { id: "cancelled".to_owned(), ..NewJob::new("k", "{}") }).await;
    write(&store, |tx| jobs::cancel(tx, "cancelled", "not wanted")).await;
    running(&store, "running").await;
    accept(&store, NewJob { id: "queued".to_owned(), ..NewJob::new("k", "{}") }).await;
    let not_before = Some(START + 365 * DAY_MS);
    accept(&store, NewJob { id: "later".to_owned(), not_before, ..NewJob::new("k", "{}") }).await;

    let all = ["done", "failed", "cancelled", "running", "queued", "later"];
    place.pass(7 * DAY);
    assert_eq!(store.forget_what_is_old().await.unwrap(), 0);
    assert_eq!(known_jobs(&store).await, set(&all), "on the last day nothing goes yet");
    place.pass(Duration::from_millis(1));
    assert_eq!(store.forget_what_is_old().await.unwrap(), 2);
    assert_eq!(known_jobs(&store).await, set(&["failed", "running", "queued", "later"]));
    place.pass(23 * DAY);
    assert_eq!(store.forget_what_is_old().await.unwrap(), 1);
    assert_eq!(known_jobs(&store).await, set(&["running", "queued", "later"]));
    place.pass(3650 * DAY);
    assert_eq!(store.forget_what_is_old().await.unwrap(), 0);
    assert_eq!(known_jobs(&store).await, set(&["running", "queued", "later"]), "what lives is kept for ever");
}

async fn a_key_is_known_for_as_long_as_its_job_is_kept(place: Place) {
    let store = place.open().await;
    let request = || NewJob { unique: Some(Unique::WhileKept("request-1".to_owned())), ..NewJob::new("build", "{}") };
    let first = accept(&store, request()).await.id().to_owned();
    let claim =
        Claim { owner: "one".to_owned(), kinds: vec!["build".to_owned()], limit: 1, lease: Duration::from_secs(30) };
    let lease = write(&store, move |tx| jobs::claim(tx, &claim)).await.pop().unwrap().lease();
    write(&store, move |tx| jobs::complete(tx, &lease, Some("{\"made\":1}"))).await;
    place.pass(7 * DAY);
    store.forget_what_is_old().await.unwrap();
    match accept(&store, request()).await {
        Accepted::Known(job) => assert_eq!((job.id, job.result.as_deref()), (first.clone(), Some("{\"made\":1}"))),
        new => panic!("a request that was done a week ago is done again: {new:?}"),
    }
    place.pass(Duration::from_millis(1));
    store.forget_what_is_old().await.unwrap();
    assert!(matches!(accept(&store, request()).await, Accepted::New { id } if id != first));
}

async fn events_go_after_a_month(place: Place) {
    let store = place.open().await;
    let note = async |kind: &'static str| {
        write(&store, move |tx| events::append(tx, &NewEvent::new("node/1", kind, "{}"))).await;
    };
    note("old").await;
    place.pass(DAY);
    note("young").await;
    let known = async || {
        let events = store.read(|tx| events::since(tx, 0, 100)).await.unwrap();
        events.into_iter().map(|event| event.kind).collect::<Vec<_>>()
    };
    place.pass(29 * DAY);
    assert_eq!(store.forget_what_is_old().await.unwrap(), 0);
    assert_eq!(known().await, ["old", "young"]);
    place.pass(Duration::from_millis(1));
    assert_eq!(store.forget_what_is_old().await.unwrap(), 1);
    assert_eq!(known().await, ["young"]);
}

async fn more_than_goes_at_once_goes_in_the_same_turn(place: Place) {
    let store = place.open().await;
    write(&store, |tx| {
        for number in 0..2100 {
            let id = format!("job-{number}");
            jobs::accept(tx, &NewJob { id: id.clone(), ..NewJob::new("k", "{}") })?;
            jobs::cancel(tx, &id, "not wanted")?;
        }
        for number in 0..1500 {
            events::append(tx, &NewEvent::new("node/1", format!("e{number}"), "{}"))?;
        }
        Ok(())
    })
    .await;
    place.pass(31 * DAY);
    write(&store, |tx| events::append(tx, &NewEvent::new("node/1", "young", "{}"))).await;
    assert_eq!(store.forget_what_is_old().await.unwrap(), 3600, "each row is counted");
    assert!(known_jobs(&store).await.is_empty());
    assert_eq!(store.read(|tx| events::since(tx, 0, 100)).await.unwrap().len(), 1);
}

async fn deleted_nodes_and_losses_go_after_their_time_and_other_nodes_stay(place: Place) {
    let rooms = [identity::MIGRATIONS, records::MIGRATIONS].concat();
    let store = place.try_open(&rooms).await.unwrap();
    let add = async |id: &'static str, state: records::State| {
        write(&store, move |tx| {
            let mut node = Node {
                id: id.to_owned(),
                tag: id.to_owned(),
                name: format!("lb-{id}"),
                stock: "default".to_owned(),
                state,
                ..Node::default()
            };
            node.insert(tx)?;
            Loss::note(tx, &node, "gone")
        })
        .await;
    };
    for state in records::State::ALL {
        add(state.as_str(), state).await;
    }
    place.pass(DAY);
    add("younger", records::State::Deleted).await;
    let forget = async || {
        write(&store, |tx| {
            let before = tx.now() - 30 * DAY_MS;
            Ok((Node::forget_deleted(tx, before, 1000)?, Loss::trim(tx, before)?))
        })
        .await
    };
    place.pass(29 * DAY);
    assert_eq!(forget().await, (0, 0));
    place.pass(Duration::from_millis(1));
    assert_eq!(forget().await, (1, 11), "the row that was deleted, and what is known of losses on that day");
    let find = async |id: &'static str| store.read(move |tx| Node::find(tx, id)).await.unwrap();
    assert!(find("deleted").await.is_none() && find("younger").await.is_some());
    for state in records::State::ALL.into_iter().filter(|state| *state != records::State::Deleted) {
        assert_eq!(find(state.as_str()).await.map(|node| node.state), Some(state));
    }
    assert_eq!(store.read(|tx| Loss::since(tx, "default", 0)).await.unwrap(), 1);
    // A row that changed when it was deleted counts from then on, not from when it was made.
    write(&store, |tx| {
        let mut node = Node::find(tx, "ready")?.unwrap();
        node.state = records::State::Deleted;
        node.save(tx)
    })
    .await;
    assert_eq!(forget().await, (0, 0));
    // So many at once, the oldest first.
    place.pass(400 * DAY);
    assert_eq!(write(&store, |tx| Node::forget_deleted(tx, tx.now(), 1)).await, 1);
    assert!(find("younger").await.is_none() && find("ready").await.is_some());
}
