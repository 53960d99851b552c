//! A backup holds all that a store did, for either database, and brings nothing back that is not whole.
#![allow(clippy::panic, clippy::unwrap_used, reason = "all of this file is tests")]

mod store_support;

use std::{fs, path::Path};

use capstan::store::{
    Checked, Error, Facts, Invariant, Migration, Restored, Row, Settings, Store,
    backup::{self, Brought, Taken},
    events::{self, NewEvent},
    jobs::{self, NewJob},
    leases,
};
use store_support::{Place, START, THINGS};

const TABLES: [&str; 5] = ["things", "parts", "jobs", "leases", "events"];

/// These calls block, which a thread of a runtime must not.
fn aside<T: Send>(call: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(call).join().unwrap())
}

fn take(settings: &Settings, rooms: &[Migration], file: &Path) -> Result<Taken, Error> {
    aside(|| backup::take(settings, rooms, file))
}

fn bring_back(settings: &Settings, rooms: &[Migration], file: &Path, force: bool) -> Result<Brought, Error> {
    aside(|| backup::bring_back(settings, rooms, file, force))
}

fn check(settings: &Settings, rooms: &[Migration], invariants: &[Invariant]) -> Result<Checked, Error> {
    aside(|| capstan::store::check(settings, rooms, invariants))
}

fn facts(settings: &Settings, rooms: &[Migration]) -> Result<Facts, Error> {
    aside(|| capstan::store::facts(settings, rooms))
}

/// Something of everything, the awkward included.
async fn fill(store: &Store) {
    store
        .write(|tx| -> Result<(), Error> {
            for (name, content) in [("ä\n\"", Some(vec![0, 255, 1])), ("empty", Some(Vec::new())), ("none", None)] {
                let sql = "INSERT INTO things (name, number, note, content) VALUES ($1, $2, $3, $4)";
                tx.execute(sql, &[&name, &i64::MAX, &"{\"bytes\":\"no\"}", &content])?;
            }
            // Each points to one that comes later.
            tx.execute(
                "INSERT INTO parts (number, thing, above) VALUES (1, 'none', 3), (2, 'none', 3), (3, 'none', NULL)",
                &[],
            )?;
            for number in 0..300 {
                jobs::accept(tx, &NewJob { id: format!("job-{number:03}"), ..NewJob::new("build", "{}") })?;
            }
            leases::acquire(tx, "sweeper", "one", std::time::Duration::from_secs(30))?;
            events::append(tx, &NewEvent::new("node/1", "built", "{}"))?;
            Ok(())
        })
        .await
        .unwrap();
}

async fn content(store: &Store) -> Vec<Vec<Row>> {
    store
        .read(|tx| {
            TABLES
                .iter()
                .map(|table| tx.query(&format!("SELECT * FROM {table} ORDER BY 1"), &[]))
                .collect::<Result<Vec<_>, Error>>()
        })
        .await
        .unwrap()
}

async fn there_and_back(from: Place, to: Place) {
    let store = from.open().await;
    fill(&store).await;
    let file = from.folder().join("backup");
    let taken = take(from.settings(), &[THINGS], &file).unwrap();
    assert_eq!((taken.header.taken_at, taken.header.deployment.as_str()), (START, store.deployment()));
    assert_eq!(taken.bytes, fs::metadata(&file).unwrap().len());
    store.write(|tx| tx.execute("DELETE FROM things WHERE name = 'empty'", &[])).await.unwrap();

    to.pass(std::time::Duration::from_secs(60));
    let brought = bring_back(to.settings(), &[THINGS], &file, false).unwrap();
    assert_eq!(brought.header, taken.header);
    assert_eq!(brought.rows, taken.rows);
    let restored = to.open().await;
    assert_eq!(restored.deployment(), store.deployment(), "what is ours in the clouds stays ours");
    assert_eq!(restored.restored(), Some(Restored { at: START + 60_000, backup_of: START }));
    store
        .write(|tx| {
            tx.execute(
                "INSERT INTO things (name, number, note, content) VALUES ('empty', $1, $2, $3)",
                &[&i64::MAX, &"{\"bytes\":\"no\"}", &Vec::new()],
            )?;
            // Nobody holds a lease in what came back, whose fences go on.
            tx.execute("UPDATE leases SET holder = '', held_until = 0", &[])
        })
        .await
        .unwrap();
    assert_eq!(content(&restored).await, content(&store).await);
    assert!(check(to.settings(), &[THINGS], &[]).unwrap().faults.is_empty());
    // Rows that are numbered as they come go on behind those that came back.
    let next =
        restored.write(|tx| tx.query_one("INSERT INTO parts (thing) VALUES ('none') RETURNING number", &[])).await;
    assert_eq!(next.unwrap().unwrap().get::<i64>("number").unwrap(), 4);
}

#[tokio::test]
async fn from_sqlite_to_sqlite() {
    there_and_back(Place::sqlite(), Place::sqlite()).await;
}

#[tokio::test]
async fn from_sqlite_to_postgres() {
    there_and_back(Place::sqlite(), Place::postgres()).await;
}

#[tokio::test]
async fn from_postgres_to_sqlite() {
    there_and_back(Place::postgres(), Place::sqlite()).await;
}

#[tokio::test]
async fn from_postgres_to_postgres() {
    there_and_back(Place::postgres(), Place::postgres()).await;
}

fn refused(place: &Place, file: &Path, says: &str) {
    let error = bring_back(place.settings(), &[THINGS], file, false).unwrap_err().to_string();
    assert!(error.contains(says), "found {error}; expected {says}");
}

async fn a_backup_that_is_not_whole(place: Place) {
    let source = Place::sqlite();
    let store = source.open().await;
    fill(&store).await;
    let file = source.folder().join("backup");
    take(source.settings(), &[THINGS], &file).unwrap();
    let whole = fs::read_to_string(&file).unwrap();
    let damaged = source.folder().join("damaged");
    let lines: Vec<&str> = whole.lines().collect();
    let cut = lines[..lines.len() - 1].join("\n") + "\n";
    let without_one = [&lines[..40], &lines[41..]].concat().join("\n") + "\n";
    for (content, says) in [
        (cut, "cut off"),
        (whole.replacen("job-007", "job-700", 1), "the hash at its end"),
        (without_one, "the hash at its end"),
        (format!("{whole}[1]\n"), "something follows"),
        (whole[..whole.len() / 2].to_owned(), "damaged"),
        (whole.replacen("\"capstan_backup\":1", "\"capstan_backup\":2", 1), "this capstan knows form 1"),
        (whole.replacen("\"things\":1", "\"things\":2", 1), "start the newer capstan"),
        ("PGDMP".to_owned(), "no backup of capstan"),
        (String::new(), "no backup of capstan"),
    ] {
        fs::write(&damaged, content).unwrap();
        refused(&place, &damaged, says);
    }
    refused(&place, &source.folder().join("nowhere"), "cannot be read");
    bring_back(place.settings(), &[THINGS], &file, false).unwrap();
}

#[tokio::test]
async fn a_backup_that_is_not_whole_changes_nothing_on_sqlite() {
    a_backup_that_is_not_whole(Place::sqlite()).await;
}

#[tokio::test]
async fn a_backup_that_is_not_whole_changes_nothing_on_postgres() {
    a_backup_that_is_not_whole(Place::postgres()).await;
}

async fn a_store_in_use(place: Place) {
    let store = place.open().await;
    fill(&store).await;
    let file = place.folder().join("backup");
    take(place.settings(), &[THINGS], &file).unwrap();
    let twice = take(place.settings(), &[THINGS], &file).unwrap_err().to_string();
    assert!(twice.contains("is there already"), "{twice}");
    let refused = bring_back(place.settings(), &[THINGS], &file, true).unwrap_err();
    assert!(matches!(&refused, Error::Locked(text) if text.contains("another capstan uses")), "{refused}");

    store.write(|tx| tx.execute("DELETE FROM jobs", &[])).await.unwrap();
    store.close().await;
    let refused = bring_back(place.settings(), &[THINGS], &file, false).unwrap_err().to_string();
    assert!(refused.contains("is not empty") && refused.contains("--force"), "{refused}");
    let brought = bring_back(place.settings(), &[THINGS], &file, true).unwrap();
    let store = place.open().await;
    assert_eq!(store.read(|tx| jobs::list(tx, &jobs::Filter::default(), 1000)).await.unwrap().len(), 300);
    if let Some(aside) = brought.set_aside {
        let old = Settings::sqlite(&aside);
        assert!(facts(&old, &[THINGS]).unwrap().tables.iter().any(|table| table.name == "jobs" && table.rows == 0));
    } else {
        assert!(place.is_postgres());
    }
}

#[tokio::test]
async fn a_store_in_use_is_backed_up_and_not_replaced_on_sqlite() {
    a_store_in_use(Place::sqlite()).await;
}

#[tokio::test]
async fn a_store_in_use_is_backed_up_and_not_replaced_on_postgres() {
    a_store_in_use(Place::postgres()).await;
}

#[tokio::test]
async fn a_backup_from_before_a_change_of_the_tables_comes_forward() {
    const SECOND: Migration = Migration {
        room: "things",
        version: 2,
        sql: "ALTER TABLE things ADD COLUMN colour TEXT; UPDATE things SET colour = 'grey'",
    };
    for to in [Place::sqlite(), Place::postgres()] {
        let from = Place::sqlite();
        fill(&from.open().await).await;
        let file = from.folder().join("backup");
        // The newer program backs up tables as they are.
        take(from.settings(), &[THINGS, SECOND], &file).unwrap();
        bring_back(to.settings(), &[THINGS, SECOND], &file, false).unwrap();
        let store = to.try_open(&[THINGS, SECOND]).await.unwrap();
        let grey = store.read(|tx| tx.query("SELECT name FROM things WHERE colour = 'grey'", &[])).await.unwrap();
        assert_eq!(grey.len(), 3, "the change of the tables was made to the rows that came back");
    }
}

#[tokio::test]
async fn a_check_tells_what_a_room_says_always_holds() {
    const HELD: Invariant = Invariant {
        room: "things",
        fault: "a thing without a number",
        sql: "SELECT name AS object FROM things WHERE number IS NULL",
    };
    for place in [Place::sqlite(), Place::postgres()] {
        let store = place.open().await;
        fill(&store).await;
        let whole = check(place.settings(), &[THINGS], &[HELD]).unwrap();
        assert!(whole.faults.is_empty() && whole.rows > 300, "{whole:?}");
        store.write(|tx| tx.execute("UPDATE things SET number = NULL WHERE name = 'none'", &[])).await.unwrap();
        let checked = check(place.settings(), &[THINGS], &[HELD]).unwrap();
        assert_eq!(checked.faults, ["things none: a thing without a number"]);
        let facts = facts(place.settings(), &[THINGS]).unwrap();
        assert_eq!(facts.schema, [("store".to_owned(), 3), ("things".to_owned(), 1)]);
        assert!(facts.bytes > 0 && facts.deployment == store.deployment());
    }
    let missing = facts(Place::sqlite().settings(), &[THINGS]).unwrap_err().to_string();
    assert!(missing.contains("there is no store at"), "{missing}");
}
