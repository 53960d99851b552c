//! Jobs on both backends: each step of their life, and what holds whatever happens in whichever order.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "all of this file is tests")]

#[macro_use]
mod store_support;

use std::{collections::BTreeMap, time::Duration};

use capstan::store::{
    Error, Store,
    jobs::{self, Accepted, Cancelled, Claim, Filter, Job, JobLease, NewJob, Progress, Retry, State, Unique},
};
use proptest::prelude::*;
use store_support::{Place, START, within};

on_both_backends! {
    a_job_is_accepted_claimed_kept_and_done
    the_same_request_twice_is_one_job
    a_key_that_holds_while_the_job_lives_is_free_afterwards
    a_failed_attempt_waits_longer_each_time_until_there_are_none_left
    an_owner_that_is_gone_loses_its_job_and_can_no_longer_touch_it
    a_store_that_nobody_else_has_open_waits_for_no_owner
    a_job_that_was_given_back_has_lost_no_attempt
    cancelling_ends_what_waits_and_asks_what_runs
    what_failed_for_good_is_queued_again_by_hand
    deadlines_end_what_waits_and_tell_who_runs
    jobs_are_listed_counted_and_forgotten
    each_job_is_claimed_by_one_of_many
    arrivals_are_told
}

const TERM: Duration = Duration::from_secs(30);

async fn accept(store: &Store, new: NewJob) -> Accepted {
    store.write_locking(move |tx| jobs::accept(tx, &new)).await.unwrap()
}

async fn claim_as(store: &Store, owner: &str, limit: u32) -> Vec<Job> {
    let claim =
        Claim { owner: owner.to_owned(), kinds: vec!["build".to_owned(), "delete".to_owned()], limit, lease: TERM };
    store.write_locking(move |tx| jobs::claim(tx, &claim)).await.unwrap()
}

async fn claim(store: &Store) -> Job {
    claim_as(store, "one", 1).await.pop().expect("a job is due")
}

async fn get(store: &Store, id: &str) -> Job {
    let id = id.to_owned();
    store.read(move |tx| jobs::get(tx, &id)).await.unwrap().unwrap()
}

async fn fail(store: &Store, lease: JobLease, retry: Retry) -> Result<State, Error> {
    store.write(move |tx| jobs::fail(tx, &lease, "the cloud says no", retry)).await
}

async fn complete(store: &Store, lease: JobLease) -> Result<(), Error> {
    store.write_locking(move |tx| jobs::complete(tx, &lease, Some("{\"address\":\"127.0.0.9\"}"))).await
}

fn build() -> NewJob {
    NewJob::new("build", "{\"size\":\"small\"}")
}

fn is_lost<T: std::fmt::Debug>(done: Result<T, Error>) {
    assert!(matches!(done, Err(Error::LeaseLost { .. })), "{done:?}");
}

async fn a_job_is_accepted_claimed_kept_and_done(place: Place) {
    let store = place.open().await;
    let new =
        NewJob { object: Some("node/7".to_owned()), generation: 3, request_id: Some("r-9".to_owned()), ..build() };
    let id = new.id.clone();
    assert_eq!(id.len(), 26);
    assert_eq!(accept(&store, new).await, Accepted::New { id: id.clone() });
    let waiting = get(&store, &id).await;
    assert_eq!((waiting.state, waiting.attempt, waiting.created_at), (State::Queued, 0, START));

    let job = claim(&store).await;
    assert_eq!((job.id.as_str(), job.kind.as_str(), job.spec.as_str()), (id.as_str(), "build", "{\"size\":\"small\"}"));
    assert_eq!((job.state, job.attempt, job.fence, job.generation), (State::Running, 1, 1, 3));
    assert_eq!((job.lease_owner.as_deref(), job.lease_until), (Some("one"), Some(START + 30_000)));
    assert!(claim_as(&store, "two", 9).await.is_empty(), "it is had by one");

    place.pass(Duration::from_secs(20));
    let lease = job.lease();
    let renewed = store.write(move |tx| jobs::renew(tx, &lease, TERM)).await.unwrap();
    assert_eq!((renewed.until, renewed.cancel_requested, renewed.is_overdue), (START + 50_000, false, false));
    let lease = job.lease();
    let progress = Progress { percent: Some(140), text: Some("waits for the address".to_owned()) };
    store
        .write(move |tx| {
            jobs::report(tx, &lease, &progress)?;
            jobs::save_handle(tx, &lease, Some(b"token"))
        })
        .await
        .unwrap();
    let running = get(&store, &id).await;
    assert_eq!((running.progress.percent, running.handle.as_deref()), (Some(100), Some(&b"token"[..])));

    complete(&store, job.lease()).await.unwrap();
    let done = get(&store, &id).await;
    assert_eq!((done.state, done.finished_at, done.lease_owner), (State::Done, Some(START + 20_000), None));
    assert_eq!(done.result.as_deref(), Some("{\"address\":\"127.0.0.9\"}"));
    assert_eq!((done.object.as_deref(), done.request_id.as_deref()), (Some("node/7"), Some("r-9")));
    is_lost(complete(&store, job.lease()).await);
    store.close().await;
    assert_eq!(get(&place.open().await, &id).await, done_again(&job, &running));

    fn done_again(claimed: &Job, running: &Job) -> Job {
        Job {
            state: State::Done,
            lease_owner: None,
            lease_until: None,
            finished_at: Some(START + 20_000),
            result: Some("{\"address\":\"127.0.0.9\"}".to_owned()),
            progress: running.progress.clone(),
            handle: running.handle.clone(),
            ..claimed.clone()
        }
    }
}

async fn a_store_that_nobody_else_has_open_waits_for_no_owner(place: Place) {
    let store = place.open().await;
    accept(&store, build()).await;
    let held = claim(&store).await;
    store.close().await;

    let store = place.open().await;
    let again = claim_as(&store, "two", 1).await.pop().expect("its owner has ended, so it is due");
    assert_eq!(again.id, held.id);
    is_lost(complete(&store, held.lease()).await);
    if place.is_postgres() {
        let beside = place.open().await;
        assert_eq!(claim_as(&beside, "three", 1).await, [], "an owner that lives keeps its job");
        complete(&store, again.lease()).await.unwrap();
    }
}

async fn the_same_request_twice_is_one_job(place: Place) {
    let store = place.open().await;
    let keyed = || NewJob { unique: Some(Unique::WhileKept("request-1".to_owned())), ..build() };
    let first = accept(&store, keyed()).await;
    let Accepted::Known(known) = accept(&store, keyed()).await else { panic!("it is known") };
    assert_eq!((known.id.as_str(), known.state), (first.id(), State::Queued));
    let other_kind = NewJob { kind: "delete".to_owned(), ..keyed() };
    assert!(matches!(accept(&store, other_kind).await, Accepted::New { .. }));

    let same_id = NewJob { id: first.id().to_owned(), spec: "{}".to_owned(), ..build() };
    let Accepted::Known(known) = accept(&store, same_id).await else { panic!("the id is known") };
    assert_eq!(known.spec, "{\"size\":\"small\"}", "it stays as it was accepted");

    let job = claim(&store).await;
    complete(&store, job.lease()).await.unwrap();
    let Accepted::Known(known) = accept(&store, keyed()).await else { panic!("the result is kept") };
    assert_eq!(known.state, State::Done);

    let mut crowd = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let store = store.clone();
        let new = NewJob { unique: Some(Unique::WhileKept("crowd".to_owned())), ..build() };
        crowd.spawn(async move { accept(&store, new).await });
    }
    let answers = within("all are answered", crowd.join_all()).await;
    assert_eq!(answers.iter().filter(|answer| matches!(answer, Accepted::New { .. })).count(), 1);
    assert!(answers.iter().all(|answer| answer.id() == answers[0].id()));
}

async fn a_key_that_holds_while_the_job_lives_is_free_afterwards(place: Place) {
    let store = place.open().await;
    let sweep = || NewJob { unique: Some(Unique::WhileLive("sweep".to_owned())), ..build() };
    let first = accept(&store, sweep()).await;
    assert_eq!(accept(&store, sweep()).await.id(), first.id());
    let job = claim(&store).await;
    assert_eq!(accept(&store, sweep()).await.id(), first.id());
    complete(&store, job.lease()).await.unwrap();
    let second = accept(&store, sweep()).await;
    assert_ne!(second.id(), first.id());
    let id = second.id().to_owned();
    store.write(move |tx| jobs::cancel(tx, &id, "no longer wanted")).await.unwrap();
    assert!(matches!(accept(&store, sweep()).await, Accepted::New { .. }));
}

async fn a_failed_attempt_waits_longer_each_time_until_there_are_none_left(place: Place) {
    let store = place.open().await;
    let new = NewJob { max_attempts: 3, ..build() };
    let id = new.id.clone();
    accept(&store, new).await;
    for wait in [1, 2] {
        let job = claim(&store).await;
        assert_eq!(fail(&store, job.lease(), Retry::Backoff).await, Ok(State::Queued));
        let waiting = get(&store, &id).await;
        assert_eq!(waiting.error.as_deref(), Some("the cloud says no"));
        place.pass(Duration::from_secs(wait) - Duration::from_millis(1));
        assert!(claim_as(&store, "one", 1).await.is_empty(), "not before {wait} s");
        place.pass(Duration::from_millis(1));
    }
    let job = claim(&store).await;
    assert_eq!(job.attempt, 3);
    assert_eq!(fail(&store, job.lease(), Retry::Backoff).await, Ok(State::Failed));
    let failed = get(&store, &id).await;
    assert_eq!((failed.state, failed.error.as_deref()), (State::Failed, Some("the cloud says no")));
    is_lost(fail(&store, job.lease(), Retry::Backoff).await);

    accept(&store, build()).await;
    let job = claim(&store).await;
    assert_eq!(fail(&store, job.lease(), Retry::After(Duration::from_secs(60))).await, Ok(State::Queued));
    place.pass(Duration::from_secs(60));
    let job = claim(&store).await;
    assert_eq!(fail(&store, job.lease(), Retry::Never).await, Ok(State::Failed));
}

async fn an_owner_that_is_gone_loses_its_job_and_can_no_longer_touch_it(place: Place) {
    let store = place.open().await;
    let new = NewJob { max_attempts: 2, ..build() };
    let id = new.id.clone();
    accept(&store, new).await;
    let first = claim(&store).await;
    let lease = first.lease();
    store.write(move |tx| jobs::save_handle(tx, &lease, Some(b"token"))).await.unwrap();
    place.pass(TERM);
    let second = claim_as(&store, "two", 1).await.pop().expect("it is due again at once");
    assert_eq!((second.id.as_str(), second.attempt, second.fence), (id.as_str(), 2, 2));
    assert_eq!(second.handle.as_deref(), Some(&b"token"[..]), "the driver is asked for what it had begun");
    assert!(second.error.as_deref().unwrap().starts_with("one did not renew its lease"), "{:?}", second.error);

    is_lost(complete(&store, first.lease()).await);
    is_lost(fail(&store, first.lease(), Retry::Never).await);
    let lease = first.lease();
    is_lost(store.write(move |tx| jobs::renew(tx, &lease, TERM)).await);
    let lease = first.lease();
    is_lost(store.write(move |tx| jobs::report(tx, &lease, &Progress::default())).await);
    let lease = first.lease();
    is_lost(store.write(move |tx| jobs::release(tx, &lease)).await);
    assert_eq!(get(&store, &id).await, second);

    place.pass(TERM);
    assert_eq!(store.write(|tx| jobs::recover(tx, 10)).await, Ok(1));
    let failed = get(&store, &id).await;
    assert_eq!(failed.state, State::Failed);
    assert!(failed.error.unwrap().contains("in attempt 2 of 2"));
}

async fn a_job_that_was_given_back_has_lost_no_attempt(place: Place) {
    let store = place.open().await;
    accept(&store, NewJob { max_attempts: 1, ..build() }).await;
    let job = claim(&store).await;
    let lease = job.lease();
    store.write(move |tx| jobs::release(tx, &lease)).await.unwrap();
    let again = claim(&store).await;
    assert_eq!((again.id.as_str(), again.attempt, again.fence), (job.id.as_str(), 1, 2));
    is_lost(complete(&store, job.lease()).await);
}

async fn cancelling_ends_what_waits_and_asks_what_runs(place: Place) {
    let store = place.open().await;
    let cancel = async |id: &str| {
        let id = id.to_owned();
        store.write(move |tx| jobs::cancel(tx, &id, "not wanted")).await
    };
    let waiting = accept(&store, build()).await;
    assert_eq!(cancel(waiting.id()).await, Ok(Cancelled::AtOnce));
    assert_eq!(get(&store, waiting.id()).await.state, State::Cancelled);
    assert_eq!(cancel(waiting.id()).await, Ok(Cancelled::AlreadyEnded(State::Cancelled)));
    assert!(matches!(cancel("nobody").await, Err(Error::NotFound(_))));

    for ends in ["by itself", "failing", "losing its owner", "given back"] {
        accept(&store, build()).await;
        let job = claim(&store).await;
        assert_eq!(cancel(&job.id).await, Ok(Cancelled::Requested));
        let lease = job.lease();
        assert!(store.write(move |tx| jobs::renew(tx, &lease, TERM)).await.unwrap().cancel_requested);
        let lease = job.lease();
        match ends {
            "by itself" => store.write(move |tx| jobs::cancelled(tx, &lease, "stopped")).await.unwrap(),
            "failing" => assert_eq!(fail(&store, lease, Retry::Backoff).await, Ok(State::Cancelled)),
            "given back" => store.write(move |tx| jobs::release(tx, &lease)).await.unwrap(),
            _ => {
                place.pass(TERM);
                assert!(claim_as(&store, "two", 1).await.is_empty());
            }
        }
        assert_eq!(get(&store, &job.id).await.state, State::Cancelled, "{ends}");
    }
    accept(&store, build()).await;
    let job = claim(&store).await;
    cancel(&job.id).await.unwrap();
    complete(&store, job.lease()).await.unwrap();
    assert_eq!(get(&store, &job.id).await.state, State::Done, "what is done is done");
}

async fn what_failed_for_good_is_queued_again_by_hand(place: Place) {
    let store = place.open().await;
    let retry = async |id: &str| {
        let id = id.to_owned();
        store.write(move |tx| jobs::retry(tx, &id)).await
    };
    accept(&store, NewJob { max_attempts: 1, deadline: Some(START + 60_000), ..build() }).await;
    let job = claim(&store).await;
    let early = retry(&job.id).await.unwrap_err().to_string();
    assert!(early.contains("is running; only one that failed or was cancelled"), "{early}");
    fail(&store, job.lease(), Retry::Backoff).await.unwrap();
    place.pass(Duration::from_secs(120));
    let queued = retry(&job.id).await.unwrap();
    assert_eq!((queued.state, queued.attempt, queued.deadline, queued.finished_at), (State::Queued, 0, None, None));
    let again = claim(&store).await;
    assert_eq!((again.attempt, again.fence), (1, 2));
    complete(&store, again.lease()).await.unwrap();
    assert!(retry(&job.id).await.is_err());
}

async fn deadlines_end_what_waits_and_tell_who_runs(place: Place) {
    let store = place.open().await;
    let due = || NewJob { deadline: Some(START + 10_000), ..build() };
    let waiting = accept(&store, due()).await;
    let running = accept(&store, due()).await;
    let later = accept(&store, NewJob { not_before: Some(START + 3_600_000), ..build() }).await;
    let claimed = claim(&store).await;
    let (waiting, running) = if claimed.id == running.id() { (waiting, running) } else { (running, waiting) };
    place.pass(Duration::from_secs(10));
    assert!(claim_as(&store, "two", 10).await.is_empty());
    let failed = get(&store, waiting.id()).await;
    assert_eq!((failed.state, failed.error.as_deref()), (State::Failed, Some("not begun by its deadline")));
    let lease = claimed.lease();
    assert!(store.write(move |tx| jobs::renew(tx, &lease, TERM)).await.unwrap().is_overdue);
    assert_eq!(fail(&store, claimed.lease(), Retry::Backoff).await, Ok(State::Failed));
    assert!(get(&store, running.id()).await.error.unwrap().contains("its deadline comes before another attempt"));
    assert_eq!(get(&store, later.id()).await.state, State::Queued);
    place.pass(Duration::from_secs(3600));
    assert_eq!(claim(&store).await.id, later.id());
}

async fn jobs_are_listed_counted_and_forgotten(place: Place) {
    let store = place.open().await;
    let mut ids = Vec::new();
    for number in 0..6 {
        let kind = if number < 4 { "build" } else { "delete" };
        let object = Some(format!("node/{}", number % 2));
        let new = NewJob { id: format!("job-{number}"), object, ..NewJob::new(kind, "{}") };
        ids.push(accept(&store, new).await.id().to_owned());
    }
    let done = claim(&store).await;
    complete(&store, done.lease()).await.unwrap();

    let list = async |filter: Filter, limit| {
        let jobs = store.read(move |tx| jobs::list(tx, &filter, limit)).await.unwrap();
        jobs.into_iter().map(|job| job.id).collect::<Vec<_>>()
    };
    assert_eq!(list(Filter::default(), 100).await, ids);
    assert_eq!(list(Filter { after: Some("job-1".to_owned()), ..Filter::default() }, 2).await, ids[2..4]);
    assert_eq!(list(Filter { kind: Some("delete".to_owned()), ..Filter::default() }, 100).await, ids[4..]);
    assert_eq!(list(Filter { state: Some(State::Done), ..Filter::default() }, 100).await, ids[..1]);
    let live = store.read(|tx| jobs::live_of_object(tx, "node/0")).await.unwrap();
    assert_eq!(live.iter().map(|job| job.id.as_str()).collect::<Vec<_>>(), ["job-2", "job-4"]);
    let counts = store.read(jobs::count).await.unwrap();
    let of = |kind: &str, state| counts.get(&(kind.to_owned(), state)).copied();
    assert_eq!(
        (of("build", State::Queued), of("build", State::Done), of("delete", State::Queued)),
        (Some(3), Some(1), Some(2))
    );

    let trim = async |state, before| store.write(move |tx| jobs::trim(tx, state, before, 10)).await.unwrap();
    assert_eq!(trim(State::Done, START).await, 0, "too young");
    assert_eq!(trim(State::Failed, START + 1).await, 0, "another state");
    assert_eq!(trim(State::Done, START + 1).await, 1);
    assert_eq!(list(Filter::default(), 100).await, ids[1..]);
}

async fn each_job_is_claimed_by_one_of_many(place: Place) {
    const JOBS: usize = 120;
    let store = place.open().await;
    let mut accepted = Vec::new();
    for _ in 0..JOBS {
        accepted.push(build());
    }
    let all = accepted.clone();
    store
        .write(move |tx| -> Result<(), Error> { all.iter().try_for_each(|new| jobs::accept(tx, new).map(drop)) })
        .await
        .unwrap();
    // On PostgreSQL each is a daemon of its own; one file has one daemon with several claimers.
    let mut daemons = vec![store];
    for _ in 1..3 {
        daemons.push(if place.is_postgres() { place.open().await } else { daemons[0].clone() });
    }
    let mut claimers = tokio::task::JoinSet::new();
    for (number, store) in daemons.into_iter().cycle().take(6).enumerate() {
        claimers.spawn(async move {
            let mut done = Vec::new();
            loop {
                let jobs = claim_as(&store, &format!("claimer-{number}"), 7).await;
                if jobs.is_empty() {
                    return done;
                }
                for job in jobs {
                    complete(&store, job.lease()).await.unwrap();
                    done.push(job.id);
                }
            }
        });
    }
    let mut done: Vec<String> = within("all jobs are done", claimers.join_all()).await.into_iter().flatten().collect();
    done.sort();
    let mut expected: Vec<_> = accepted.into_iter().map(|new| new.id).collect();
    expected.sort();
    assert_eq!(done, expected);
}

async fn arrivals_are_told(place: Place) {
    let store = place.open().await;
    let mut arrivals = store.job_arrivals();
    arrivals.mark_unchanged();
    store.read(|tx| tx.query("SELECT 1 AS one", &[])).await.unwrap();
    let refused = store.write(|tx| {
        jobs::accept(tx, &build())?;
        Err::<(), _>(Error::Invalid("taken back".to_owned()))
    });
    refused.await.unwrap_err();
    assert!(!arrivals.has_changed().unwrap());
    accept(&store, build()).await;
    within("the arrival is told", arrivals.changed()).await.unwrap();
}

/// What somebody does to one of the jobs, with one of the leases that were ever given.
#[derive(Clone, Debug)]
enum Step {
    Accept { attempts: u32, deadline: Option<i64> },
    Cancel(usize),
    Claim(u32),
    Complete(usize),
    Fail(usize, bool),
    Pass(u64),
    Recover,
    Release(usize),
    Renew(usize),
    Retry(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let number = 0_usize..1000;
    prop_oneof![
        3 => (1_u32..4, proptest::option::weighted(0.2, 1_i64..200_000))
            .prop_map(|(attempts, deadline)| Step::Accept { attempts, deadline }),
        1 => number.clone().prop_map(Step::Cancel),
        4 => (1_u32..4).prop_map(Step::Claim),
        3 => number.clone().prop_map(Step::Complete),
        3 => (number.clone(), any::<bool>()).prop_map(|(lease, last)| Step::Fail(lease, last)),
        3 => (1_u64..40).prop_map(Step::Pass),
        1 => Just(Step::Recover),
        1 => number.clone().prop_map(Step::Release),
        2 => number.clone().prop_map(Step::Renew),
        1 => number.prop_map(Step::Retry),
    ]
}

/// Takes the steps and holds what is stored against what must hold after each.
async fn walk(place: &Place, steps: Vec<Step>) {
    let store = place.open().await;
    let (mut ids, mut leases) = (Vec::<String>::new(), Vec::<JobLease>::new());
    let mut before = BTreeMap::<String, Job>::new();
    for step in steps {
        let holds = |lease: &JobLease| {
            let job = &before[&lease.id];
            job.state == State::Running && job.fence == lease.fence
        };
        let lease = |number: usize| leases.get(number.checked_rem(leases.len()).unwrap_or(0)).cloned();
        let id = |number: usize| ids.get(number.checked_rem(ids.len()).unwrap_or(0)).cloned();
        match step.clone() {
            Step::Accept { attempts, deadline } => {
                let now = before.values().map(|job| job.created_at).max().unwrap_or(START);
                let new = NewJob { max_attempts: attempts, deadline: deadline.map(|wait| now + wait), ..build() };
                ids.push(accept(&store, new).await.id().to_owned());
            }
            Step::Cancel(number) => {
                if let Some(id) = id(number) {
                    store.write(move |tx| jobs::cancel(tx, &id, "asked for")).await.unwrap();
                }
            }
            Step::Claim(limit) => {
                for job in claim_as(&store, "one", limit).await {
                    let known = &before[&job.id];
                    assert!(known.state == State::Queued || known.state == State::Running, "{known:?}");
                    assert_eq!(job.fence, known.fence + 1, "each claim has a number of its own");
                    assert!(job.attempt <= job.max_attempts);
                    leases.push(job.lease());
                }
            }
            Step::Complete(number) => {
                if let Some(lease) = lease(number) {
                    assert_eq!(complete(&store, lease.clone()).await.is_ok(), holds(&lease));
                }
            }
            Step::Fail(number, last) => {
                if let Some(lease) = lease(number) {
                    let retry = if last { Retry::Never } else { Retry::Backoff };
                    assert_eq!(fail(&store, lease.clone(), retry).await.is_ok(), holds(&lease));
                }
            }
            Step::Pass(seconds) => place.pass(Duration::from_secs(seconds)),
            Step::Recover => drop(store.write(|tx| jobs::recover(tx, 1000)).await.unwrap()),
            Step::Release(number) => {
                if let Some(lease) = lease(number) {
                    let given = lease.clone();
                    let done = store.write(move |tx| jobs::release(tx, &given)).await;
                    assert_eq!(done.is_ok(), holds(&lease));
                }
            }
            Step::Renew(number) => {
                if let Some(lease) = lease(number) {
                    let given = lease.clone();
                    let done = store.write(move |tx| jobs::renew(tx, &given, TERM)).await;
                    assert_eq!(done.is_ok(), holds(&lease));
                }
            }
            Step::Retry(number) => {
                if let Some(id) = id(number) {
                    let failed = matches!(before[&id].state, State::Failed | State::Cancelled);
                    let done = store.write(move |tx| jobs::retry(tx, &id)).await;
                    assert_eq!(done.is_ok(), failed);
                }
            }
        }
        let all = store.read(|tx| jobs::list(tx, &Filter::default(), 10_000)).await.unwrap();
        assert_eq!(all.len(), ids.len(), "no job is lost and none made up by {step:?}");
        for job in &all {
            assert_eq!(job.finished_at.is_some(), job.state.is_final(), "{job:?}");
            assert_eq!(job.lease_until.is_some(), job.state == State::Running, "{job:?}");
            assert!(job.attempt <= job.max_attempts, "{job:?}");
            if let Some(known) = before.get(&job.id) {
                assert!(job.fence >= known.fence, "{step:?} took {job:?} back");
                let reopened = known.state.is_final() && !job.state.is_final();
                assert!(!reopened || matches!(step, Step::Retry(_)), "{step:?} reopened {job:?}");
                let final_changed = known.state.is_final() && job.state != known.state;
                assert!(!final_changed || matches!(step, Step::Retry(_)), "{step:?} changed the end of {job:?}");
            }
        }
        before = all.into_iter().map(|job| (job.id.clone(), job)).collect();
    }
    drain(place, &store).await;
}

/// Whatever happened before, every job comes to an end once somebody does them.
async fn drain(place: &Place, store: &Store) {
    for _ in 0..100 {
        place.pass(Duration::from_secs(301));
        for job in claim_as(store, "last", 1000).await {
            complete(store, job.lease()).await.unwrap();
        }
        let left = store.read(|tx| jobs::list(tx, &Filter::default(), 10_000)).await.unwrap();
        if left.iter().all(|job| job.state.is_final()) {
            store.close().await;
            return;
        }
    }
    panic!("jobs are left that nobody can do");
}

fn walks(cases: u32, place: fn() -> Place) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let cases = if std::env::var_os("CAPSTAN_LONG").is_some() { cases * 20 } else { cases };
    let config =
        ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 200, ..ProptestConfig::default() };
    proptest!(config, |(steps in proptest::collection::vec(step(), 1..60))| {
        runtime.block_on(walk(&place(), steps));
    });
}

#[test]
fn whatever_happens_no_job_is_lost_done_twice_or_stuck_on_sqlite() {
    walks(40, Place::sqlite);
}

#[test]
fn whatever_happens_no_job_is_lost_done_twice_or_stuck_on_postgres() {
    walks(12, Place::postgres);
}
