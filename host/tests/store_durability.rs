//! What was acknowledged is there, whatever ends the process, the server, or the machine.
//!
//! `kill -9` takes the process and leaves what it had handed to the kernel, so it shows recovery and nothing of syncing. For that, a
//! traced run shows a sync between each change and its acknowledgement, and crashes are made up from the trace: of every file,
//! only what was synced is kept, or that and some of the rest.
#![allow(clippy::panic, clippy::print_stdout, clippy::unwrap_used, reason = "all of this file is tests")]

mod store_support;

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
};

use capstan::store::{Error, Settings, Store};
use rustix::process::Signal;
use store_support::{
    THINGS, health,
    postgres::Server,
    trace::{Crash, Trace},
    within,
};

/// Where the child finds what it is to do.
const PLACE: &str = "CAPSTAN_TEST_STORE";
const CLIENTS: &str = "CAPSTAN_TEST_CLIENTS";
const CHANGES: &str = "CAPSTAN_TEST_CHANGES";

/// How many times more the long runs do.
fn rounds(usual: u32) -> u32 {
    if std::env::var_os("CAPSTAN_LONG").is_some() { usual * 20 } else { usual }
}

fn settings(place: &str) -> Settings {
    match place.strip_prefix("sqlite:") {
        Some(path) => Settings::sqlite(path),
        None => Settings::postgres(place),
    }
}

/// A change of two rows, which are there together or not at all.
async fn change(store: &Store, name: String) -> Result<(), Error> {
    store
        .write(move |tx| {
            tx.execute("INSERT INTO things (name, note) VALUES ($1, $2)", &[&name, &"x".repeat(200)])?;
            tx.execute("INSERT INTO parts (thing) VALUES ($1)", &[&name])?;
            Ok(())
        })
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a process of its own, which the other tests start and end"]
async fn writer() {
    let variable = |name: &str| std::env::var(name).unwrap();
    let store = Store::open(&settings(&variable(PLACE)), &[THINGS]).await.unwrap();
    let run = uuid::Uuid::new_v4();
    let changes: u32 = variable(CHANGES).parse().unwrap();
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..variable(CLIENTS).parse::<u32>().unwrap() {
        let store = store.clone();
        clients.spawn(async move {
            for number in 0..changes {
                let name = format!("{run}-{client}-{number}");
                // While the server is gone a change fails, and is not acknowledged.
                if change(&store, name.clone()).await.is_ok() {
                    let mut out = std::io::stdout().lock();
                    out.write_all(format!("ack {name}\n").as_bytes()).unwrap();
                    out.flush().unwrap();
                }
            }
        });
    }
    clients.join_all().await;
}

fn child(before: &[&str], place: &str, clients: u32, changes: u32) -> Child {
    let me = std::env::current_exe().unwrap();
    let mut command = match before.split_first() {
        None => Command::new(&me),
        Some((program, arguments)) => {
            let mut command = Command::new(program);
            command.args(arguments).arg(&me);
            command
        }
    };
    command
        .args(["--ignored", "--exact", "writer", "--nocapture"])
        .env(PLACE, place)
        .env(CLIENTS, clients.to_string())
        .env(CHANGES, changes.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{before:?}: {error}; `make setup` installs it"))
}

/// Reads acknowledgements until there are `enough`, does something about it, and reads what else was acknowledged before.
fn acknowledged(child: &mut Child, enough: u32, act: impl FnOnce(&mut Child)) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut act = Some(act);
    let out = child.stdout.take().unwrap();
    for line in BufReader::new(out).lines() {
        let line = line.unwrap();
        let Some((_, name)) = line.split_once("ack ") else { continue };
        names.insert(name.to_owned());
        if names.len() >= enough as usize
            && let Some(act) = act.take()
        {
            act(child);
        }
    }
    child.wait().unwrap();
    names
}

async fn stored(store: &Store) -> BTreeSet<String> {
    let rows = store.read(|tx| tx.query("SELECT name, thing FROM things LEFT JOIN parts ON thing = name", &[])).await;
    let rows = rows.unwrap();
    for row in &rows {
        let (name, part): (String, Option<String>) = (row.get("name").unwrap(), row.get("thing").unwrap());
        assert_eq!(part.as_ref(), Some(&name), "half a change was stored");
    }
    rows.iter().map(|row| row.get("name").unwrap()).collect()
}

async fn kill_again_and_again(place: &str, rounds: u32) {
    let mut acknowledged_so_far = BTreeSet::new();
    for round in 0..rounds {
        let mut child = child(&[], place, 8, 1_000_000);
        let enough = 20 + round * 37 % 150;
        let acks = acknowledged(&mut child, enough, |child| child.kill().unwrap());
        assert!(acks.len() >= enough as usize, "the writer ended by itself after {} changes", acks.len());
        acknowledged_so_far.extend(acks);
        let store = within("the store opens", Store::open(&settings(place), &[THINGS])).await.unwrap();
        let stored = stored(&store).await;
        let lost: Vec<_> = acknowledged_so_far.difference(&stored).collect();
        assert!(lost.is_empty(), "round {round}: {lost:?}");
        store.close().await;
    }
    println!("{rounds} kills, {} acknowledged, none lost", acknowledged_so_far.len());
}

#[tokio::test]
async fn a_killed_writer_loses_nothing_it_acknowledged_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    kill_again_and_again(&format!("sqlite:{}", folder.path().join("capstan.db").display()), rounds(6)).await;
}

#[tokio::test]
async fn a_killed_writer_loses_nothing_it_acknowledged_on_postgres() {
    let server = Server::start(&[]);
    kill_again_and_again(&server.database().url(), rounds(4)).await;
}

/// The server crashes under its clients, which go on with it when it is back.
#[tokio::test]
async fn a_server_that_crashes_loses_nothing_it_acknowledged() {
    let mut server = Server::start(&[]);
    let place = server.database().url();
    let mut child = child(&[], &place, 8, 1_000_000);
    let acks = acknowledged(&mut child, 100, |child| {
        server.end(Signal::QUIT);
        child.kill().unwrap();
    });
    server.run(&[]);
    let store = within("the store opens", Store::open(&settings(&place), &[THINGS])).await.unwrap();
    let lost: Vec<_> = acks.difference(&stored(&store).await).cloned().collect();
    assert!(lost.is_empty(), "{lost:?}");

    server.end(Signal::QUIT);
    let refused = change(&store, "while it is gone".to_owned()).await.unwrap_err();
    assert!(matches!(refused, Error::Unavailable(_)), "{refused}");
    health(&store, |health| health.check().is_err()).await;
    server.run(&[]);
    health(&store, |health| health.check().is_ok()).await;
    change(&store, "when it is back".to_owned()).await.unwrap();
    let now = stored(&store).await;
    assert!(now.contains("when it is back") && !now.contains("while it is gone"));
}

fn traced(folder: &Path, clients: u32, changes: u32) -> Trace {
    let (trace, place) = (folder.join("trace"), folder.join("state/capstan.db"));
    let before = [
        "strace",
        "-f",
        "-y",
        "-xx",
        "-s",
        "1000000",
        "-o",
        trace.to_str().unwrap(),
        "-e",
        "trace=openat,pwrite64,pwritev,write,fdatasync,fsync,ftruncate,unlink,rename",
    ];
    let mut child = child(&before, &format!("sqlite:{}", place.display()), clients, changes);
    let acks = acknowledged(&mut child, u32::MAX, |_| {});
    assert_eq!(acks.len(), (clients * changes) as usize, "strace runs; `make setup` installs it");
    Trace::read(&trace, &place)
}

#[test]
fn each_change_is_synced_before_it_is_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let trace = traced(folder.path(), 1, 50);
    let mut crash = Crash::new(&trace);
    let mut syncs = 0;
    for number in 0..50 {
        let before = crash.syncs();
        assert!(crash.next_acknowledgement().is_some(), "{number}");
        assert!(crash.syncs() > before, "change {number} was acknowledged without a sync since the one before");
        assert_eq!(
            crash.unsynced_bytes(),
            0,
            "change {number} was acknowledged before all that was written was synced"
        );
        syncs += crash.syncs() - before;
    }
    println!("50 changes, {syncs} syncs, none after its acknowledgement");
}

#[tokio::test]
async fn a_crash_that_drops_what_was_not_synced_keeps_what_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let clients = 8;
    let changes = 12 * rounds(1).min(10);
    let trace = traced(folder.path(), clients, changes);
    let mut crash = Crash::new(&trace);
    let mut acknowledged = BTreeSet::new();
    let (mut crashes, mut dropped) = (0, 0);
    while let Some(name) = crash.next_acknowledgement() {
        acknowledged.insert(name);
        if acknowledged.len() % 7 != 1 {
            continue;
        }
        // Nothing that was not synced; then three times some of it, as a disk may have written it in any order.
        for seed in 0..4_u64 {
            let image = tempfile::tempdir().unwrap();
            let survivors = (seed > 0).then_some(seed * 1000 + acknowledged.len() as u64);
            crash.write_to(image.path(), survivors);
            let settings = Settings::sqlite(image.path().join("capstan.db"));
            let store = within("the store opens after the crash", Store::open(&settings, &[THINGS])).await.unwrap();
            let lost: Vec<_> = acknowledged.difference(&stored(&store).await).cloned().collect();
            assert!(lost.is_empty(), "after {} changes, survivors {survivors:?}: {lost:?}", acknowledged.len());
            store.close().await;
            crashes += 1;
        }
        dropped += usize::from(crash.unsynced_bytes() > 0);
    }
    assert_eq!(acknowledged.len(), (clients * changes) as usize);
    println!("{crashes} crashes, at {dropped} points with something unsynced, none lost");
    assert!(dropped > 0, "no crash dropped anything");
}
