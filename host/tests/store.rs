//! What a store promises, on both backends: transactions, values, migrations, leases, events. Jobs have a suite of their own.
#![allow(clippy::panic, clippy::unwrap_used, reason = "all of this file is tests")]

#[macro_use]
mod store_support;

use std::{collections::BTreeSet, time::Duration};

use capstan::store::{
    Backend, Constraint, Error, Health, Migration, Store, Transaction, Value,
    events::{self, NewEvent},
    holds,
    leases::{self, Acquired, Lease},
};
use store_support::{Place, START, THINGS, health, within};

on_both_backends! {
    values_come_back_as_they_were_after_the_store_was_opened_again
    parameters_are_told_apart_by_their_numbers
    texts_are_ordered_byte_by_byte
    a_closure_that_fails_leaves_nothing_and_costs_its_neighbours_nothing
    a_statement_that_fails_ends_its_transaction
    broken_rules_are_told_apart
    a_panic_costs_its_own_change
    what_no_database_could_take_is_refused_with_a_reason
    changes_that_meet_happen_one_after_the_other
    a_read_sees_one_state
    tables_come_forward_and_never_back
    a_closed_store_refuses
    leases_are_had_by_one_and_fence_off_who_had_them
    what_is_written_under_a_lost_lease_is_not_written
    events_are_kept_in_order_and_trimmed
    a_hold_counts_for_its_scope_until_it_is_lifted
    a_store_that_opens_says_who_it_is
}

async fn insert(store: &Store, name: &str, number: i64) -> Result<(), Error> {
    let name = name.to_owned();
    store
        .write(move |tx| {
            tx.execute("INSERT INTO things (name, number) VALUES ($1, $2)", &[&name, &number])?;
            Ok(())
        })
        .await
}

async fn names(store: &Store) -> Vec<String> {
    let rows = store.read(|tx| tx.query("SELECT name FROM things ORDER BY name", &[])).await;
    rows.unwrap().iter().map(|row| row.get("name").unwrap()).collect()
}

async fn values_come_back_as_they_were_after_the_store_was_opened_again(place: Place) {
    let store = place.open().await;
    let long = "x".repeat(300_000);
    let bytes: Vec<u8> = (0..=255).collect();
    let kept = (long.clone(), bytes.clone());
    store
        .write(move |tx| -> Result<(), Error> {
            let (text, content) = &kept;
            let sql = "INSERT INTO things (name, number, note, content) VALUES ($1, $2, $3, $4)";
            tx.execute(sql, &[&"äöü 語 \u{1f600}", &i64::MAX, text, content])?;
            tx.execute(sql, &[&"", &None::<i64>, &None::<&str>, &Vec::new()])?;
            tx.execute("INSERT INTO things (name, number) VALUES ($1, $2)", &[&"zero", &0])?;
            Ok(())
        })
        .await
        .unwrap();
    store.close().await;

    let store = place.open().await;
    let rows = store.read(|tx| tx.query("SELECT * FROM things ORDER BY name", &[])).await.unwrap();
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[0].values(), [Value::Text(String::new()), Value::Null, Value::Null, Value::Bytes(Vec::new())]);
    assert_eq!(rows[1].get::<i64>("number").unwrap(), 0);
    assert_eq!(rows[2].get::<String>("name").unwrap(), "äöü 語 \u{1f600}");
    assert_eq!(rows[2].get::<i64>("number").unwrap(), i64::MAX);
    assert_eq!(rows[2].get::<Option<String>>("note").unwrap(), Some(long));
    assert_eq!(rows[2].get::<Vec<u8>>("content").unwrap(), bytes);
    let wrong = rows[2].get::<i64>("note").unwrap_err().to_string();
    assert!(wrong.contains("found a text in the column note; expected a number"), "{wrong}");
    let missing = rows[2].get::<i64>("colour").unwrap_err().to_string();
    assert!(missing.contains("expected one called colour"), "{missing}");
}

async fn parameters_are_told_apart_by_their_numbers(place: Place) {
    let store = place.open().await;
    let found = store
        .write(|tx| {
            tx.execute("INSERT INTO things (note, name, number) VALUES ($3, $1, $2)", &[&"a", &7, &"first"])?;
            tx.query_one("SELECT note FROM things WHERE number = $2 AND name = $1 AND name <= $1", &[&"a", &7])
        })
        .await
        .unwrap();
    assert_eq!(found.unwrap().get::<String>("note").unwrap(), "first");
}

async fn texts_are_ordered_byte_by_byte(place: Place) {
    let store = place.open().await;
    for name in ["a", "ä", "B", "_", "Z", "b"] {
        insert(&store, name, 1).await.unwrap();
    }
    assert_eq!(names(&store).await, ["B", "Z", "_", "a", "b", "ä"]);
    let none = store.read(|tx| tx.query("SELECT name FROM things WHERE name LIKE 'z%'", &[])).await.unwrap();
    assert!(none.is_empty(), "LIKE tells capitals apart");
}

async fn a_closure_that_fails_leaves_nothing_and_costs_its_neighbours_nothing(place: Place) {
    #[derive(Debug, PartialEq)]
    enum Refusal {
        Odd(i64),
        Store(Error),
    }
    impl From<Error> for Refusal {
        fn from(error: Error) -> Self {
            Self::Store(error)
        }
    }
    let store = place.open().await;
    let mut changes = tokio::task::JoinSet::new();
    for number in 0..60_i64 {
        let store = store.clone();
        changes.spawn(async move {
            let name = format!("{number:02}");
            let done = store.write(move |tx| {
                tx.execute("INSERT INTO things (name, number) VALUES ($1, $2)", &[&name, &number])?;
                if number % 2 == 1 { Err(Refusal::Odd(number)) } else { Ok(number) }
            });
            (number, done.await)
        });
    }
    for (number, done) in changes.join_all().await {
        assert_eq!(done, if number % 2 == 1 { Err(Refusal::Odd(number)) } else { Ok(number) });
    }
    let expected: Vec<_> = (0..60).step_by(2).map(|number| format!("{number:02}")).collect();
    assert_eq!(names(&store).await, expected);
}

async fn a_statement_that_fails_ends_its_transaction(place: Place) {
    let store = place.open().await;
    insert(&store, "there", 1).await.unwrap();
    let done = store
        .write(|tx| -> Result<(), Error> {
            tx.execute("INSERT INTO things (name) VALUES ('new')", &[])?;
            let swallowed = tx.execute("INSERT INTO things (name) VALUES ('there')", &[]);
            assert!(swallowed.is_err());
            assert!(tx.query("SELECT 1 AS one", &[]).is_err(), "the transaction is over");
            Ok(())
        })
        .await;
    assert!(matches!(done, Err(Error::Constraint { kind: Constraint::Unique, .. })), "{done:?}");
    assert_eq!(names(&store).await, ["there"]);
    assert_eq!(*store.health().borrow(), Health::Ready);
}

async fn broken_rules_are_told_apart(place: Place) {
    let store = place.open().await;
    insert(&store, "there", 1).await.unwrap();
    let broken = async |sql: &'static str| match store.write(move |tx| tx.execute(sql, &[])).await {
        Err(Error::Constraint { kind, .. }) => kind,
        other => panic!("{sql}: {other:?}"),
    };
    assert_eq!(broken("INSERT INTO things (name) VALUES ('there')").await, Constraint::Unique);
    assert_eq!(broken("INSERT INTO parts (thing) VALUES ('nowhere')").await, Constraint::ForeignKey);
    assert_eq!(broken("UPDATE things SET number = -1").await, Constraint::Check);
    assert_eq!(broken("INSERT INTO parts (thing) VALUES (NULL)").await, Constraint::Check);
    // This one shows only when the transaction is to be stored.
    assert_eq!(broken("INSERT INTO parts (thing, above) VALUES ('there', 99)").await, Constraint::ForeignKey);
    assert_eq!(broken("INSERT INTO parts (thing, above) VALUES ('there', 98)").await, Constraint::ForeignKey);
    insert(&store, "after", 1).await.unwrap();
    assert_eq!(names(&store).await, ["after", "there"]);
}

async fn a_panic_costs_its_own_change(place: Place) {
    let store = place.open().await;
    let done = store
        .write(|tx| -> Result<(), Error> {
            tx.execute("INSERT INTO things (name) VALUES ('lost')", &[])?;
            panic!("asked for");
        })
        .await;
    assert_eq!(done, Err(Error::Panicked("asked for".to_owned())));
    assert!(store.read(|_| -> Result<(), Error> { panic!("asked for") }).await.is_err());
    insert(&store, "kept", 1).await.unwrap();
    assert_eq!(names(&store).await, ["kept"]);
}

async fn what_no_database_could_take_is_refused_with_a_reason(place: Place) {
    let store = place.open().await;
    let refused = |done: Result<u64, Error>, says: &str| {
        let error = done.unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    };
    refused(store.write(|tx| tx.execute("UPDATE things SET note = $1", &[&"a\0b"])).await, "NUL");
    refused(store.write(|tx| tx.execute("UPDATE things SET note = $1, name = $2", &[&"a"])).await, "found 1 values");
    refused(store.write(|tx| tx.execute("UPDATE thing SET note = 'a'", &[])).await, "thing");
    refused(store.read(|tx| tx.execute("UPDATE things SET note = 'a'", &[])).await, "a change inside a read");
    let hidden = store.read(|tx| tx.query("INSERT INTO things (name) VALUES ('x') RETURNING name", &[])).await;
    assert!(hidden.is_err());
    let fraction = store.read(|tx| tx.query("SELECT 0.5 AS half", &[])).await.unwrap_err();
    assert!(fraction.to_string().contains("CAST"), "{fraction}");
    let several = store.write(|tx| {
        tx.execute("INSERT INTO things (name) VALUES ('a'), ('b')", &[])?;
        tx.query_one("SELECT name FROM things", &[])
    });
    assert!(several.await.unwrap_err().to_string().contains("found 2 rows"));
    assert!(names(&store).await.is_empty());
    assert_eq!(*store.health().borrow(), Health::Ready, "none of it is the store's fault");
}

async fn changes_that_meet_happen_one_after_the_other(place: Place) {
    let store = place.open().await;
    insert(&store, "sum", 0).await.unwrap();
    let mut changes = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let store = store.clone();
        changes.spawn(async move {
            for _ in 0..10 {
                // What is read decides on what is written: a lost update would show in the sum.
                let add = store.write(|tx| -> Result<(), Error> {
                    let row = tx.query_one("SELECT number FROM things WHERE name = 'sum'", &[])?.unwrap();
                    let next = row.get::<i64>("number")? + 1;
                    tx.execute("UPDATE things SET number = $1 WHERE name = 'sum'", &[&next])?;
                    Ok(())
                });
                add.await.unwrap();
            }
        });
    }
    within("all changes", changes.join_all()).await;
    let sum = store.read(|tx| tx.query_one("SELECT number FROM things", &[])).await.unwrap().unwrap();
    assert_eq!(sum.get::<i64>("number").unwrap(), 160);
}

async fn a_read_sees_one_state(place: Place) {
    let store = place.open().await;
    let (begun, has_begun) = std::sync::mpsc::channel();
    let (changed, has_changed) = std::sync::mpsc::channel::<()>();
    let (begun, has_changed) = (std::sync::Mutex::new(begun), std::sync::Mutex::new(has_changed));
    let reading = tokio::spawn({
        let store = store.clone();
        async move {
            store
                .read(move |tx| -> Result<_, Error> {
                    let before = tx.query("SELECT name FROM things", &[])?.len();
                    begun.lock().unwrap().send(()).unwrap();
                    has_changed.lock().unwrap().recv().unwrap();
                    Ok((before, tx.query("SELECT name FROM things", &[])?.len()))
                })
                .await
        }
    });
    tokio::task::spawn_blocking(move || has_begun.recv().unwrap()).await.unwrap();
    insert(&store, "meanwhile", 1).await.unwrap();
    changed.send(()).unwrap();
    assert_eq!(reading.await.unwrap().unwrap(), (0, 0));
    assert_eq!(names(&store).await, ["meanwhile"]);
}

async fn tables_come_forward_and_never_back(place: Place) {
    const SECOND: Migration =
        Migration { room: "things", version: 2, sql: "ALTER TABLE things ADD COLUMN colour TEXT" };
    const ALTERED: Migration = Migration { room: "things", version: 1, sql: "CREATE TABLE other (name TEXT)" };
    let store = place.open().await;
    insert(&store, "old", 1).await.unwrap();
    store.close().await;

    let store = place.try_open(&[THINGS, SECOND]).await.unwrap();
    let row = store.read(|tx| tx.query_one("SELECT name, colour FROM things", &[])).await.unwrap().unwrap();
    assert_eq!(row.get::<Option<String>>("colour").unwrap(), None);
    store.close().await;

    let refused = async |migrations: &[Migration]| place.try_open(migrations).await.err().unwrap();
    let newer = refused(&[THINGS]).await;
    assert!(matches!(newer, Error::NewerSchema { .. }), "{newer}");
    for part in ["the tables of things are at version 2", "this one knows version 1", "start the newer capstan"] {
        assert!(newer.to_string().contains(part), "{newer}");
    }
    assert!(refused(&[]).await.to_string().contains("this one knows no such tables"));
    assert!(refused(&[ALTERED, SECOND]).await.to_string().contains("another text of version 1"));
    assert!(refused(&[SECOND]).await.to_string().contains("without a gap"));
    let broken = Migration { room: "broken", version: 1, sql: "CREATE TABLE half (name TEXT); CREATE TABLE ?" };
    refused(&[THINGS, SECOND, broken]).await;
    let store = place.try_open(&[THINGS, SECOND]).await.unwrap();
    assert!(store.read(|tx| tx.query("SELECT name FROM half", &[])).await.is_err(), "half a step is no step");
    assert_eq!(names(&store).await, ["old"]);
}

async fn a_closed_store_refuses(place: Place) {
    let store = place.open().await;
    let other = store.clone();
    store.close().await;
    assert_eq!(insert(&other, "late", 1).await, Err(Error::Closed));
    assert!(matches!(other.read(|tx| tx.query("SELECT 1 AS one", &[])).await, Err(Error::Closed)));
}

fn taken(acquired: Acquired) -> Lease {
    match acquired {
        Acquired::Taken(lease) => lease,
        Acquired::Held { holder, .. } => panic!("{holder} has it"),
    }
}

const TERM: Duration = Duration::from_secs(30);

async fn acquire(store: &Store, holder: &'static str) -> Acquired {
    store.write(move |tx| leases::acquire(tx, "sweeper", holder, TERM)).await.unwrap()
}

async fn leases_are_had_by_one_and_fence_off_who_had_them(place: Place) {
    let store = place.open().await;
    let first = taken(acquire(&store, "one").await);
    assert_eq!(first.until, START + 30_000);
    assert_eq!(acquire(&store, "two").await, Acquired::Held { holder: "one".to_owned(), until: first.until });

    place.pass(Duration::from_secs(10));
    let renewed = first.clone();
    let renewed = store.write(move |tx| leases::renew(tx, &renewed, TERM)).await.unwrap();
    assert_eq!((renewed.fence, renewed.until), (first.fence, START + 40_000));

    place.pass(Duration::from_secs(30));
    let second = taken(acquire(&store, "two").await);
    assert!(second.fence > first.fence);
    let lost = store.write(move |tx| leases::renew(tx, &renewed, TERM)).await;
    assert!(matches!(lost, Err(Error::LeaseLost { .. })), "{lost:?}");

    let back = second.clone();
    store.write(move |tx| leases::release(tx, &back)).await.unwrap();
    let third = taken(acquire(&store, "one").await);
    assert!(third.fence > second.fence, "a lease that was given back goes on counting");
    store.write(move |tx| leases::release(tx, &second)).await.unwrap();
    assert!(matches!(acquire(&store, "two").await, Acquired::Held { .. }), "what is lost cannot be given back");
    let again = taken(acquire(&store, "one").await);
    assert!(again.fence > third.fence, "taking it twice ends the first taking");
}

async fn what_is_written_under_a_lost_lease_is_not_written(place: Place) {
    let store = place.open().await;
    let lease = taken(acquire(&store, "one").await);
    let under = async |name: &'static str, lease: Lease| {
        store
            .write(move |tx| -> Result<(), Error> {
                tx.execute("INSERT INTO things (name) VALUES ($1)", &[&name])?;
                leases::require(tx, &lease)
            })
            .await
    };
    under("held", lease.clone()).await.unwrap();
    place.pass(TERM);
    let late = under("ran out", lease.clone()).await.unwrap_err();
    assert!(late.to_string().contains("it ran out 0 ms ago"), "{late}");
    acquire(&store, "two").await;
    let fenced = under("fenced", lease).await.unwrap_err();
    assert!(fenced.to_string().contains("two has it under the number 2, which is not 1"), "{fenced}");
    assert_eq!(names(&store).await, ["held"]);
}

async fn events_are_kept_in_order_and_trimmed(place: Place) {
    let store = place.open().await;
    for number in 0..10 {
        let object = if number % 2 == 0 { "node/even" } else { "node/odd" };
        let event =
            NewEvent { request_id: Some("r-1".to_owned()), ..NewEvent::new(object, "built", number.to_string()) };
        store.write(move |tx| events::append(tx, &event)).await.unwrap();
        place.pass(Duration::from_secs(1));
    }
    let details = |events: Vec<events::Event>| events.into_iter().map(|event| event.detail).collect::<Vec<_>>();
    let page = store.read(|tx| events::latest(tx, Some("node/even"), None, 2)).await.unwrap();
    assert_eq!((page[0].at, page[0].request_id.as_deref()), (START + 8000, Some("r-1")));
    let before = page[1].sequence;
    assert_eq!(details(page), ["8", "6"]);
    let next = store.read(move |tx| events::latest(tx, Some("node/even"), Some(before), 2)).await.unwrap();
    assert_eq!(details(next), ["4", "2"]);
    let after = store.read(|tx| events::since(tx, 0, 3)).await.unwrap();
    assert_eq!(details(after), ["0", "1", "2"]);

    let trim = async |before, keep, most| store.write(move |tx| events::trim(tx, before, keep, most)).await.unwrap();
    assert_eq!(trim(START + 3000, 100, 2).await, 2, "no more than asked for");
    assert_eq!(trim(START + 3000, 100, 50).await, 1);
    assert_eq!(trim(0, 4, 50).await, 3, "the oldest beyond the number");
    assert_eq!(trim(0, 4, 50).await, 0);
    assert_eq!(details(store.read(|tx| events::since(tx, 0, 50)).await.unwrap()), ["6", "7", "8", "9"]);
}

async fn a_store_that_opens_says_who_it_is(place: Place) {
    let store = place.open().await;
    let id = store.deployment().to_owned();
    assert_eq!(id.len(), 36);
    assert_eq!(store.restored(), None);
    assert_eq!(store.backend(), if place.is_postgres() { Backend::Postgres } else { Backend::Sqlite });
    assert_eq!(health(&store, |_| true).await, Health::Ready);
    store.close().await;
    assert_eq!(place.open().await.deployment(), id);
}

#[tokio::test]
async fn one_daemon_at_a_time_uses_a_file() {
    let place = Place::sqlite();
    let store = place.open().await;
    let refused = place.try_open(&[THINGS]).await.err().unwrap();
    assert!(matches!(refused, Error::Locked(_)));
    assert!(refused.to_string().contains("another capstan uses the store"), "{refused}");
    store.close().await;
    place.open().await;
}

#[tokio::test]
async fn daemons_that_start_at_once_on_one_server_agree() {
    let place = Place::postgres();
    let mut starts = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let settings = place.settings().clone();
        starts.spawn(async move { Store::open(&settings, &[THINGS]).await.unwrap() });
    }
    let stores = within("all have opened", starts.join_all()).await;
    let ids: BTreeSet<_> = stores.iter().map(|store| store.deployment().to_owned()).collect();
    assert_eq!(ids.len(), 1);
    for (number, store) in stores.iter().enumerate() {
        insert(store, &number.to_string(), 1).await.unwrap();
    }
    assert_eq!(names(&stores[0]).await.len(), 6);
}

/// The form in which rooms write: functions of a transaction, which need no types spelled out.
fn rename(tx: &mut Transaction<'_>, from: &str, to: &str) -> Result<bool, Error> {
    Ok(tx.execute("UPDATE things SET name = $2 WHERE name = $1", &[&from, &to])? == 1)
}

#[tokio::test]
async fn a_caller_that_stops_waiting_does_not_take_its_change_back() {
    let place = Place::sqlite();
    let store = place.open().await;
    insert(&store, "a", 1).await.unwrap();
    let change = tokio::spawn({
        let store = store.clone();
        async move { store.write(|tx| rename(tx, "a", "b")).await }
    });
    tokio::task::yield_now().await;
    change.abort();
    let _aborted_or_done = change.await;
    store.close().await;
    assert_eq!(names(&place.open().await).await, ["b"]);
}

async fn a_hold_counts_for_its_scope_until_it_is_lifted(place: Place) {
    let store = place.open().await;
    let first = |scopes: &'static [&'static str]| {
        let store = store.clone();
        async move { store.read(move |tx| holds::first(tx, scopes)).await.unwrap().map(|hold| hold.scope) }
    };
    let put = |scope: &'static str, reason: &'static str| {
        let store = store.clone();
        async move { store.write(move |tx| holds::put(tx, scope, reason, "me")).await.unwrap() }
    };
    assert_eq!(first(&["pool"]).await, None);
    let hold = put("pool", "first").await;
    assert_eq!((hold.reason.as_str(), hold.by.as_str(), hold.at), ("first", "me", START));
    // Put again it has the new reason, and is as old as before.
    place.pass(Duration::from_secs(60));
    let again = put("pool", "second").await;
    assert_eq!((again.reason.as_str(), again.at), ("second", START));
    assert_eq!(first(&["node/1", "pool"]).await.as_deref(), Some("pool"));
    assert_eq!(first(&["node/1"]).await, None);
    put(holds::ALL, "everything").await;
    assert_eq!(first(&["node/1"]).await.as_deref(), Some("all"));
    let list = store.read(|tx| holds::list(tx, "", 10)).await.unwrap();
    assert_eq!(list.iter().map(|hold| hold.scope.as_str()).collect::<Vec<_>>(), ["all", "pool"]);
    store.close().await;
    let store = place.open().await;
    let lifted = store.write(|tx| holds::lift(tx, "all")).await.unwrap();
    assert_eq!(lifted.map(|hold| hold.reason).as_deref(), Some("everything"));
    assert_eq!(store.write(|tx| holds::lift(tx, "all")).await.unwrap(), None);
    assert_eq!(store.read(|tx| holds::list(tx, "all", 10)).await.unwrap().len(), 1);
    store.close().await;
}
