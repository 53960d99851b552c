//! `capstan store` as an operator uses it, on the built binary.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a suite stops where something is wrong")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use capstan::store::{
    Error, Settings, Store,
    jobs::{self, NewJob},
};
use capstan_tests::{daemon::Ended, paths};
use serde_json::Value;
use tempfile::TempDir;

/// A machine with a configuration whose store is a file.
struct Machine(TempDir);

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = format!("[daemon]\nstate_dir = {:?}\n[store]\nurl = \"sqlite:kept/capstan.db\"\n", folder.path());
        fs::write(folder.path().join("capstan.toml"), text).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self) -> PathBuf {
        self.path("kept/capstan.db")
    }

    /// The store as the daemon opens it, with a job in it.
    fn daemon(&self) -> (tokio::runtime::Runtime, Store) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let store = runtime.block_on(async {
            let store = Store::open(&Settings::sqlite(self.file()), &[]).await.unwrap();
            let job = NewJob { id: "job-1".to_owned(), ..NewJob::new("build", "{}") };
            store.write(move |tx| jobs::accept(tx, &job)).await.unwrap();
            store
        });
        (runtime, store)
    }

    fn store(&self, arguments: &[&str]) -> Ended {
        let mut command = Command::new(paths::capstan());
        command.arg("--config").arg(self.path("capstan.toml")).arg("store").args(arguments);
        Ended::of(command.stdin(Stdio::null()).output().unwrap())
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let ended = self.store(&[&["--output", "json"], arguments].concat());
        assert_eq!(ended.code, Some(0), "{ended:?}");
        serde_json::from_str(&ended.out).unwrap()
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_store_that_a_daemon_uses_is_looked_at_checked_and_backed_up_but_not_replaced() {
    let machine = Machine::new();
    let missing = machine.store(&["info"]);
    assert_eq!(missing.code, Some(69), "{missing:?}");
    assert!(missing.error.contains("there is no store at") && missing.error.contains("capstan.db"), "{missing:?}");

    let (runtime, store) = machine.daemon();
    let info = machine.json(&["info"]);
    assert_eq!(info["deployment"], store.deployment());
    assert_eq!(info["rows"]["jobs"], 1);
    assert_eq!(info["restored"], Value::Null);
    let shown = machine.store(&["info"]).out;
    assert!(shown.contains(store.deployment()) && shown.lines().any(|line| line.starts_with("jobs")), "{shown}");
    let whole = machine.store(&["check"]);
    assert_eq!(whole.code, Some(0), "{whole:?}");
    assert!(whole.out.starts_with("whole: "), "{whole:?}");

    let backup = machine.path("backup.jsonl");
    let taken = machine.json(&["backup", text(&backup)]);
    assert_eq!(taken["deployment"], store.deployment());
    let again = machine.store(&["backup", text(&backup)]);
    assert_eq!(again.code, Some(1), "{again:?}");
    assert!(again.error.contains("is there already"), "{again:?}");
    let busy = machine.store(&["restore", text(&backup), "--force"]);
    assert_eq!(busy.code, Some(69), "{busy:?}");
    assert!(busy.error.contains("another capstan uses the store"), "{busy:?}");
    runtime.block_on(store.close());

    let full = machine.store(&["restore", text(&backup)]);
    assert_eq!(full.code, Some(1), "{full:?}");
    assert!(full.error.contains("--force"), "{full:?}");
    let other = Machine::new();
    let brought = other.store(&["restore", text(&backup)]);
    assert_eq!(brought.code, Some(0), "{brought:?}");
    assert!(brought.error.contains("compare the clouds"), "{brought:?}");
    let info = other.json(&["info"]);
    assert_eq!((&info["deployment"], &info["rows"]["jobs"]), (&taken["deployment"], &Value::from(1)));
    assert_eq!(info["restored"]["backup_of"], taken["taken_at"]);
    assert!(other.store(&["info"]).out.contains("from a backup of 20"), "the times are for people");
}

#[test]
fn a_damaged_file_is_told_of_and_a_backup_takes_its_place() {
    let machine = Machine::new();
    let (runtime, store) = machine.daemon();
    let backup = machine.path("backup.jsonl");
    assert_eq!(machine.store(&["backup", text(&backup)]).code, Some(0));
    let fill = |tx: &mut capstan::store::Transaction<'_>| -> Result<(), Error> {
        (0..500).try_for_each(|_| jobs::accept(tx, &NewJob::new("build", "x".repeat(500))).map(drop))
    };
    runtime.block_on(store.write(fill)).unwrap();
    runtime.block_on(store.close());
    let mut bytes = fs::read(machine.file()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..].fill(0x5a);
    fs::write(machine.file(), &bytes).unwrap();

    let checked = machine.store(&["check"]);
    assert_eq!(checked.code, Some(1), "{checked:?}");
    assert!(checked.error.contains("capstan store restore"), "{checked:?}");
    let brought = machine.store(&["restore", text(&backup), "--force"]);
    assert_eq!(brought.code, Some(0), "{brought:?}");
    let aside =
        brought.out.lines().find_map(|line| line.strip_prefix("the file that was there before is now ")).unwrap();
    assert_eq!(fs::read(aside).unwrap(), bytes, "what was damaged is kept for who can mend it");
    assert_eq!(machine.store(&["check"]).code, Some(0));
    assert_eq!(machine.json(&["info"])["rows"]["jobs"], 1);

    fs::write(machine.file(), "Dear diary").unwrap();
    for command in [&["check"][..], &["info"], &["restore", text(&backup)]] {
        let ended = machine.store(command);
        assert_eq!(ended.code, Some(1), "{command:?}: {ended:?}");
        assert_eq!(ended.error.lines().count(), 1, "{command:?}: {ended:?}");
    }
    // The check does not advise to check.
    let checked = machine.store(&["check"]).error;
    assert!(checked.ends_with("with `capstan store restore FILE --force`\n"), "{checked}");
    assert!(!checked.contains("store check"), "{checked}");

    fs::remove_file(machine.file()).unwrap();
    fs::create_dir(machine.file()).unwrap();
    for command in [&["check"][..], &["info"], &["restore", text(&backup), "--force"]] {
        let ended = machine.store(command);
        assert!(
            ended.code == Some(69) && ended.error.contains("capstan.db is a directory; "),
            "{command:?}: {ended:?}"
        );
    }
}
