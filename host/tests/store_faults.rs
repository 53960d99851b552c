//! What a store does when its disk, its file or its server fails: a clear error, readiness that says so, nothing acknowledged that
//! is not kept, and recovery by itself.
#![allow(clippy::panic, clippy::unwrap_used, reason = "all of this file is tests")]

mod store_support;

use std::{collections::BTreeMap, fs, path::Path, process::Command, sync::Mutex, time::Duration};

use capstan::{
    config,
    store::{Error, Health, Location, Settings, Store},
};
use rustix::process::Signal;
use store_support::{
    Place, THINGS, health,
    postgres::Server,
    small_disk::{mounted, on_a_small_file_system},
    within,
};

async fn insert(store: &Store, name: &str, bytes: usize) -> Result<(), Error> {
    let (name, note) = (name.to_owned(), "x".repeat(bytes));
    store
        .write(move |tx| {
            tx.execute("INSERT INTO things (name, note) VALUES ($1, $2)", &[&name, &note])?;
            Ok(())
        })
        .await
}

async fn names(store: &Store) -> Vec<String> {
    let rows = store.read(|tx| tx.query("SELECT name FROM things ORDER BY name", &[])).await;
    rows.unwrap().iter().map(|row| row.get("name").unwrap()).collect()
}

async fn recovers(store: &Store) {
    health(store, |health| *health == Health::Ready).await;
}

/// It looks at itself twice a second; that makes nothing good of what is not.
async fn stays_failing(store: &Store) {
    let mut health = store.health();
    let ready = health.wait_for(|health| *health == Health::Ready);
    assert!(tokio::time::timeout(Duration::from_millis(1200), ready).await.is_err(), "it is said to be well");
}

#[test]
fn a_full_disk_refuses_what_does_not_fit_and_loses_nothing() {
    on_a_small_file_system("full_disk", 3);
}

#[tokio::test]
#[ignore = "runs in a namespace of its own, which the test above makes"]
async fn full_disk() {
    let folder = mounted();
    let settings = Settings::sqlite(folder.join("capstan.db"));
    let store = Store::open(&settings, &[THINGS]).await.unwrap();
    let mut kept = Vec::new();
    let refused = loop {
        let name = format!("{:04}", kept.len());
        match insert(&store, &name, 20_000).await {
            Ok(()) => kept.push(name),
            Err(error) => break error,
        }
        assert!(kept.len() < 1000, "3 MB hold no 20 MB");
    };
    assert!(matches!(refused, Error::Full(_)), "{refused}");
    assert!(refused.to_string().contains("free space"), "{refused}");
    let failing = health(&store, |health| *health != Health::Ready).await;
    assert_eq!(failing.check().unwrap_err(), refused.to_string());
    assert_eq!(names(&store).await, kept, "what is there can be read while nothing can be written");
    // A change of a few bytes may find room in the log still; that does not make it well.
    let _may_fit = insert(&store, "small", 1).await.map(|()| kept.push("small".to_owned()));
    stays_failing(&store).await;

    assert!(Command::new("mount").args(["-o", "remount,size=12m"]).arg(&folder).status().unwrap().success());
    recovers(&store).await;
    assert_eq!(names(&store).await, kept);

    // One that is too large must not cost those their change that share its commit.
    // The writer is held up until all of them wait for it.
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let held_up = tokio::spawn({
        let store = store.clone();
        async move { store.write(move |_| Ok::<_, Error>(wait.lock().unwrap().recv().is_ok())).await }
    });
    let mut together = tokio::task::JoinSet::new();
    for number in 0..20 {
        let store = store.clone();
        let bytes = if number == 7 { 30_000_000 } else { 100 };
        together.spawn(async move { (number, insert(&store, &format!("late {number}"), bytes).await.is_ok()) });
    }
    // On this one thread every task runs until it waits.
    tokio::task::yield_now().await;
    tokio::task::yield_now().await;
    go.send(()).unwrap();
    assert!(held_up.await.unwrap().unwrap());
    for (number, is_kept) in together.join_all().await {
        assert_eq!(is_kept, number != 7, "{number}");
    }
    recovers(&store).await;
    insert(&store, "last", 100).await.unwrap();
    store.close().await;
    let store = Store::open(&settings, &[THINGS]).await.unwrap();
    assert_eq!(names(&store).await.len(), kept.len() + 20);
}

#[test]
fn a_file_system_that_fills_and_is_freed_is_gone_on_with() {
    on_a_small_file_system("freed_disk", 3);
}

#[tokio::test]
#[ignore = "runs in a namespace of its own, which the test above makes"]
async fn freed_disk() {
    let folder = mounted();
    let store = Store::open(&Settings::sqlite(folder.join("capstan.db")), &[THINGS]).await.unwrap();
    let ballast = folder.join("ballast");
    // Somebody else's file takes all the room there is.
    fs::write(&ballast, vec![0; 8_000_000]).unwrap_err();
    let refused = insert(&store, "a", 200_000).await.unwrap_err();
    assert!(matches!(refused, Error::Full(_)), "{refused}");
    health(&store, |health| *health != Health::Ready).await;
    fs::remove_file(&ballast).unwrap();
    recovers(&store).await;
    insert(&store, "a", 200_000).await.unwrap();
    assert_eq!(names(&store).await, ["a"]);
}

#[test]
fn a_file_system_that_cannot_be_written_is_named_when_the_store_opens() {
    on_a_small_file_system("read_only", 3);
}

#[tokio::test]
#[ignore = "runs in a namespace of its own, which the test above makes"]
async fn read_only() {
    let folder = mounted();
    let settings = Settings::sqlite(folder.join("capstan.db"));
    Store::open(&settings, &[THINGS]).await.unwrap().close().await;
    let remount = |how: &str| {
        assert!(Command::new("mount").args(["-o", how]).arg(&folder).status().unwrap().success());
    };
    remount("remount,ro");
    let refused = Store::open(&settings, &[THINGS]).await.err().unwrap().to_string();
    assert!(
        refused.contains("capstan.db") && refused.contains("ead-only") && refused.contains("writable"),
        "{refused}"
    );
    remount("remount,rw");
    let store = Store::open(&settings, &[THINGS]).await.unwrap();
    insert(&store, "a", 1).await.unwrap();
}

#[tokio::test]
async fn a_lock_of_another_process_is_waited_for_told_of_and_outlived() {
    let place = Place::sqlite();
    let store = place.open().await;
    let other = rusqlite::Connection::open(place.file()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = within("the change gives up", insert(&store, "a", 1)).await.unwrap_err();
    assert!(refused.to_string().contains("another process keeps it locked"), "{refused}");
    assert!(store.health().borrow().check().is_err());
    assert!(names(&store).await.is_empty(), "reading goes on");
    other.execute_batch("ROLLBACK").unwrap();
    recovers(&store).await;
    insert(&store, "b", 1).await.unwrap();
    assert_eq!(names(&store).await, ["b"]);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_left_as_it_is() {
    let place = Place::sqlite();
    let text = "Dear diary, ".repeat(1000);
    fs::write(place.file(), &text).unwrap();
    let refused = place.try_open(&[THINGS]).await.err().unwrap();
    assert!(matches!(refused, Error::Corrupt(_)), "{refused}");
    for part in ["capstan.db", "capstan store check", "capstan store restore"] {
        assert!(refused.to_string().contains(part), "{refused}");
    }
    assert_eq!(fs::read_to_string(place.file()).unwrap(), text);
}

/// Overwrites the inner pages of a database that is closed.
fn damage(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    let length = bytes.len();
    for byte in &mut bytes[length / 2..] {
        *byte = 0x5a;
    }
    fs::write(file, bytes).unwrap();
}

#[tokio::test]
async fn a_damaged_file_is_found_out_and_no_longer_written() {
    let place = Place::sqlite();
    let store = place.open().await;
    for number in 0..50 {
        insert(&store, &format!("{number:02}"), 5000).await.unwrap();
    }
    store.close().await;
    assert!(capstan::store::check(place.settings(), &[THINGS], &[]).unwrap().faults.is_empty());
    damage(&place.file());

    let store = place.open().await;
    let found = store.read(|tx| tx.query("SELECT * FROM things ORDER BY number, note", &[])).await.unwrap_err();
    assert!(matches!(found, Error::Corrupt(_)), "{found}");
    let failing = health(&store, |health| *health != Health::Ready).await;
    assert!(failing.check().unwrap_err().contains("capstan store restore"));
    let refused = insert(&store, "new", 1).await.unwrap_err();
    assert!(matches!(refused, Error::Corrupt(_)), "{refused}");
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_ne!(*store.health().borrow(), Health::Ready, "damage does not mend itself");
    store.close().await;
    match capstan::store::check(place.settings(), &[THINGS], &[]) {
        Ok(checked) => assert!(!checked.faults.is_empty()),
        Err(error) => assert!(matches!(error, Error::Corrupt(_)), "{error}"),
    }
}

#[tokio::test]
async fn a_file_that_is_taken_away_is_missed() {
    let place = Place::sqlite();
    let store = place.open().await;
    insert(&store, "a", 1).await.unwrap();
    let aside = place.folder().join("aside.db");
    fs::rename(place.file(), &aside).unwrap();
    let failing = health(&store, |health| *health != Health::Ready).await.check().unwrap_err();
    assert!(failing.contains("the file is gone"), "{failing}");
    let refused = insert(&store, "into nothing", 1).await.unwrap_err();
    assert!(matches!(&refused, Error::Unavailable(text) if text.contains("the file is gone")), "{refused}");
    fs::write(place.file(), "another").unwrap();
    health(&store, |health| health.check().is_err_and(|text| text.contains("another file"))).await;
    insert(&store, "into nothing", 1).await.unwrap_err();
    stays_failing(&store).await;
    fs::rename(&aside, place.file()).unwrap();
    recovers(&store).await;
    insert(&store, "b", 1).await.unwrap();
    store.close().await;
    assert_eq!(names(&place.open().await).await, ["a", "b"]);
}

#[tokio::test]
async fn a_log_that_is_taken_away_is_missed_before_anything_is_lost_in_it() {
    let place = Place::sqlite();
    let store = place.open().await;
    insert(&store, "a", 1).await.unwrap();
    fs::remove_file(place.folder().join("capstan.db-wal")).unwrap();
    let refused = insert(&store, "into nothing", 1).await.unwrap_err();
    assert!(matches!(&refused, Error::Unavailable(text) if text.contains("capstan.db-wal")), "{refused}");
    stays_failing(&store).await;
}

#[tokio::test]
async fn a_server_that_is_gone_is_told_of_and_gone_on_with() {
    let mut server = Server::start(&[]);
    let settings = Settings::postgres(server.database().url());
    let store = Store::open(&settings, &[THINGS]).await.unwrap();
    insert(&store, "before", 1).await.unwrap();
    server.end(Signal::INT);
    let refused = within("the change gives up", insert(&store, "meanwhile", 1)).await.unwrap_err();
    assert!(matches!(refused, Error::Unavailable(_)), "{refused}");
    assert!(refused.to_string().contains("goes on by itself"), "{refused}");
    assert!(refused.to_string().contains(&format!("127.0.0.1:{}", server.port())), "{refused}");
    health(&store, |health| *health != Health::Ready).await;
    let closed = Store::open(&settings, &[THINGS]).await.err().unwrap();
    assert!(matches!(closed, Error::Unavailable(_)), "{closed}");
    server.run(&[]);
    recovers(&store).await;
    insert(&store, "after", 1).await.unwrap();
    assert_eq!(names(&store).await, ["after", "before"]);
}

/// Readiness falls without anybody asking the store for something.
#[tokio::test]
async fn a_server_that_goes_while_nobody_asks_is_missed() {
    let mut server = Server::start(&[]);
    let store = Store::open(&Settings::postgres(server.database().url()), &[THINGS]).await.unwrap();
    server.end(Signal::INT);
    health(&store, |health| *health != Health::Ready).await;
    server.run(&[]);
    recovers(&store).await;
}

#[tokio::test]
async fn a_connection_that_the_server_ended_costs_nobody_a_change() {
    let place = Place::postgres();
    let store = place.open().await;
    insert(&store, "a", 1).await.unwrap();
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() \
               AND pid <> pg_backend_pid()";
    place.database().sql(end);
    for number in 0..20 {
        insert(&store, &number.to_string(), 1).await.unwrap();
    }
    assert_eq!(names(&store).await.len(), 21);
}

#[tokio::test]
async fn a_server_that_does_not_sync_is_refused_or_made_to() {
    let server = Server::start(&["fsync=off"]);
    let refused = Store::open(&Settings::postgres(server.database().url()), &[THINGS]).await.err().unwrap();
    assert!(refused.to_string().contains("found fsync = off"), "{refused}");
    drop(server);
    let server = Server::start(&["synchronous_commit=off"]);
    let store = Store::open(&Settings::postgres(server.database().url()), &[THINGS]).await.unwrap();
    let row = store.read(|tx| tx.query_one("SELECT current_setting('synchronous_commit') AS value", &[])).await;
    assert_eq!(row.unwrap().unwrap().get::<String>("value").unwrap(), "on");
}

#[tokio::test]
async fn a_password_opens_the_server_and_is_in_no_error() {
    let server = Server::start(&[]);
    let database = server.database();
    database.sql("CREATE ROLE secretive LOGIN PASSWORD 'open-sesame'");
    database.sql(&format!("GRANT CREATE ON DATABASE {} TO secretive", database.name()));
    server.demand_password("secretive");
    let url = database.url().replace("capstan@", "secretive@");
    let with = |password: &str| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("capstan.toml");
        fs::write(&file, format!("[store]\nurl = \"{url}\"\npassword = {{ env = \"STORE_PASSWORD\" }}\n")).unwrap();
        let environment = BTreeMap::from([("STORE_PASSWORD".to_owned(), password.to_owned())]);
        let config = config::load(&file, &environment).unwrap_or_else(|faults| panic!("{faults}")).config;
        Settings::of(&config.store, &config.daemon.state_dir)
    };
    let right = with("open-sesame");
    assert!(!format!("{right:?}").contains("sesame"));
    Store::open(&right, &[THINGS]).await.unwrap();
    let refused = Store::open(&with("open-barley"), &[THINGS]).await.err().unwrap().to_string();
    assert!(refused.contains("password authentication failed") && !refused.contains("barley"), "{refused}");
    let none = Store::open(&Settings::postgres(url.clone()), &[THINGS]).await.err().unwrap().to_string();
    assert!(none.contains("password"), "{none}");
}

#[tokio::test]
async fn a_certificate_of_the_named_authority_is_demanded() {
    let folder = tempfile::tempdir().unwrap();
    let authority = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = parameters.self_signed(&key).unwrap();
        let path = folder.path().join(name);
        fs::write(&path, certificate.pem()).unwrap();
        (path, rcgen::Issuer::new(parameters, key))
    };
    let (ours, issuer) = authority("ours.pem");
    let (foreign, _) = authority("foreign.pem");
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["127.0.0.1".to_owned()];
    let certificate = rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
    let mut server = Server::start(&[]);
    let database = server.database();
    server.end(Signal::INT);
    server.put("server.crt", &certificate.pem());
    server.put("server.key", &key.serialize_pem());
    server.run(&["ssl=on"]);
    let with = |ca: &Path| {
        let mut settings = Settings::postgres(database.url());
        settings.location = Location::Postgres { url: database.url(), password: None, ca: Some(ca.to_owned()) };
        settings
    };
    let store = Store::open(&with(&ours), &[THINGS]).await.unwrap();
    let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    assert!(store.read(move |tx| tx.query_one(sql, &[])).await.unwrap().unwrap().get::<bool>("ssl").unwrap());
    let refused = Store::open(&with(&foreign), &[THINGS]).await.err().unwrap().to_string();
    assert!(refused.contains("ertificate"), "{refused}");
    let unnamed = Settings::postgres(format!("{}?sslmode=require", database.url()));
    let refused = Store::open(&unnamed, &[THINGS]).await.err().unwrap().to_string();
    assert!(refused.contains("set store.ca"), "{refused}");
}
