//! Pins, signatures, lock lines, and that a file is looked at once: what was checked is what is loaded.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod drivers_support;

use std::{
    fs,
    os::unix::fs::{PermissionsExt, lchown, symlink},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use capstan::{
    config::{DriverPolicy, LockedFile, PublicKey},
    drivers::{
        DriverEntry, DriverInfo, DriverProgram, DriverState, Isolation, Kind, PrivateKey, Registry, Settings,
        fingerprint, inspect,
    },
};
use drivers_support::{build, entry, folder, good, manifest, open, open_one, refused, settings};
use serde_json::json;

/// Each part of the line has to be there, in this order.
fn assert_says(line: &str, parts: &[&str]) {
    let mut rest = line;
    for part in parts {
        let at = rest.find(part).unwrap_or_else(|| panic!("{part:?} is not in {rest:?} of {line:?}"));
        rest = &rest[at + part.len()..];
    }
}

fn key() -> (PrivateKey, PublicKey) {
    let (key, _) = PrivateKey::generate().unwrap();
    let public = key.public();
    (key, public)
}

fn signature_of(library: &Path) -> PathBuf {
    library.with_extension("so.sig")
}

fn sign(library: &Path, key: &PrivateKey) -> PathBuf {
    let path = signature_of(library);
    fs::write(&path, key.sign(&fs::read(library).unwrap())).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    path
}

fn signed_by(name: &str, library: &Path, keys: &[PublicKey]) -> DriverEntry {
    let mut entry = entry(name, library);
    entry.trust.signature_keys = keys.to_vec();
    entry
}

#[tokio::test]
async fn where_a_key_holds_only_its_signature_lets_a_file_through() {
    let folder = folder();
    let path = folder.path();
    let library = good(path);
    let [(ours, our), (theirs, their)] = [key(), key()];
    let by_us = || signed_by("d", &library, &[our]);
    let (our_id, their_id) = (our.id(), their.id());

    let missing = refused(path, by_us()).await;
    assert_says(
        &missing,
        &[
            "driver cloud.d: stage signature: ",
            "found no good.so.sig",
            &format!("expected a signature by key {our_id}"),
            "install the vendor's signature",
        ],
    );
    let signature = sign(&library, &theirs);
    let untrusted = refused(path, by_us()).await;
    assert_says(
        &untrusted,
        &[
            "stage signature",
            &format!("found a signature by key {their_id}"),
            &format!("expected a signature by key {our_id}"),
            "only if you know it to be the vendor's",
        ],
    );
    let either = refused(path, signed_by("d", &library, &[our, key().1])).await;
    assert_says(&either, &["expected a signature by key ", &our_id, " or "]);
    fs::write(&signature, ours.sign(b"another file")).unwrap();
    let wrong = refused(path, by_us()).await;
    assert_says(
        &wrong,
        &["stage signature", "that is not for this file (sha256 ", "install file and signature of one"],
    );
    fs::write(&signature, "hello").unwrap();
    let nothing = refused(path, by_us()).await;
    assert_says(
        &nothing,
        &["stage signature", "found no line capstan-ed25519-1", "put there what `capstan driver sign`"],
    );
    fs::write(&signature, "x".repeat(5000)).unwrap();
    let long = refused(path, by_us()).await;
    assert_says(&long, &["stage signature", "found good.so.sig: more than 4096 bytes", "expected a smaller file"]);

    // It is held to the rules of the file itself.
    sign(&library, &ours);
    fs::set_permissions(&signature, fs::Permissions::from_mode(0o666)).unwrap();
    let open_to_all = refused(path, by_us()).await;
    assert_says(&open_to_all, &["stage signature", "found good.so.sig: mode 0666", "chmod go-w", "good.so.sig"]);
    fs::rename(&signature, path.join("elsewhere")).unwrap();
    symlink("elsewhere", &signature).unwrap();
    let link = refused(path, by_us()).await;
    assert_says(&link, &["stage signature", "found good.so.sig: a symbolic link", "expected a regular file"]);
    fs::remove_file(&signature).unwrap();
    fs::create_dir(&signature).unwrap();
    assert_says(&refused(path, by_us()).await, &["stage signature", "found good.so.sig: a folder"]);
    fs::remove_dir(&signature).unwrap();
    assert!(!path.join("state/drivers").exists(), "nothing was copied");

    sign(&library, &ours);
    open_one(path, by_us()).await;
    open_one(path, signed_by("d", &library, &[their, our])).await;
    // Without a key it is as good as any other file beside it.
    fs::write(&signature, "hello").unwrap();
    open_one(path, entry("d", &library)).await;
}

#[tokio::test]
async fn a_policy_asks_every_entry_for_what_it_names() {
    let folder = folder();
    let path = folder.path();
    let library = good(path);
    let sha256 = inspect(&library, true).unwrap().sha256;
    let (ours, our) = key();
    let under = |policy| {
        let mut entry = entry("d", &library);
        entry.trust.policy = policy;
        entry
    };
    open_one(path, under(DriverPolicy::Any)).await;

    let line = refused(path, under(DriverPolicy::Pinned)).await;
    assert_says(
        &line,
        &["stage checksum", &sha256, "which nothing pins", "expected a pin, as drivers.policy = \"pinned\"", "lock"],
    );
    let mut pinned = under(DriverPolicy::Pinned);
    pinned.sha256 = Some(sha256.clone());
    open_one(path, pinned).await;
    let mut locked = under(DriverPolicy::Pinned);
    locked.trust.locked = Some(fingerprint(&settings(path), &locked).unwrap());
    open_one(path, locked).await;

    let line = refused(path, under(DriverPolicy::Signed)).await;
    assert_says(
        &line,
        &["stage signature", "found no key", "expected one, as drivers.policy = \"signed\"", "signature_key"],
    );
    let mut signed = under(DriverPolicy::Signed);
    signed.trust.signature_keys = vec![our];
    assert_says(&refused(path, signed.clone()).await, &["stage signature", "found no good.so.sig"]);
    sign(&library, &ours);
    open_one(path, signed).await;
}

#[tokio::test]
async fn a_line_of_the_lock_file_is_a_pin_and_costs_its_driver_alone() {
    let folder = folder();
    let path = folder.path();
    let library = good(path);
    let other = build(path, "other", &manifest(json!({ "version": "2.0.0" })).to_string(), &[]);
    let line = |library: &Path| fingerprint(&settings(path), &entry("d", library)).unwrap();
    let good_line = line(&library);
    assert_eq!((good_line.version.as_deref(), line(&other).version.as_deref()), (Some("1.2.3"), Some("2.0.0")));
    let mut entries = [entry("same", &library), entry("differs", &library), entry("free", &other)];
    entries[0].trust.locked = Some(good_line.clone());
    entries[1].trust.locked = Some(LockedFile { sha256: "0".repeat(64), path: "/lib/old.so".into(), version: None });
    let registry = open(path, entries.to_vec()).await;
    let failed: Vec<String> = registry.failures().iter().map(ToString::to_string).collect();
    let [failed] = failed.as_slice() else { panic!("{failed:?}") };
    assert_says(
        failed,
        &[
            "driver cloud.differs: stage checksum: ",
            &good_line.sha256,
            "expected 0000",
            "which the lock file has for /lib/old.so",
            "install the locked file, or run capstan driver lock",
        ],
    );
    // A program has no manifest, and everything else is the same for it; a link to it is as good as its name.
    let program = path.join("program");
    fs::write(&program, "#!/bin/sh\n").unwrap();
    symlink("program", path.join("link")).unwrap();
    let (ours, our) = key();
    let mut command = signed_by("p", &program, &[our]);
    command.program = DriverProgram::Command(vec!["link".to_owned(), "--json".to_owned()]);
    let line = |entry: &DriverEntry| fingerprint(&settings(path), entry);
    let refusal = |entry: &DriverEntry| line(entry).unwrap_err().to_string();
    assert_says(&refusal(&command), &["driver cloud.p: stage signature", "no program.sig"]);
    fs::write(path.join("program.sig"), ours.sign(b"#!/bin/sh\n")).unwrap();
    let locked = line(&command).unwrap();
    assert_eq!((locked.path, locked.version), (program.canonicalize().unwrap(), None));
    let mut pinned = command.clone();
    pinned.sha256 = Some("0".repeat(64));
    assert_says(&refusal(&pinned), &["stage checksum", &locked.sha256, "expected 0000", "the pin"]);
    // No link for a library.
    command.program = DriverProgram::Library("link".into());
    assert_says(&refusal(&command), &["stage file", "a symbolic link"]);
}

#[tokio::test]
async fn a_command_is_held_to_the_same_and_run_only_then() {
    let folder = folder();
    let path = folder.path();
    let (witness, program) = (path.join("witness"), path.join("program"));
    let script = format!("#!/bin/sh\necho ran >> '{}'\n", witness.display());
    fs::write(&program, &script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let (ours, our) = key();
    let command = |change: &dyn Fn(&mut DriverEntry)| {
        let mut entry = entry("p", &program);
        entry.program = DriverProgram::Command(vec![program.display().to_string()]);
        entry.isolation = Isolation::Process;
        change(&mut entry);
        entry
    };
    let zeros = LockedFile { sha256: "0".repeat(64), path: program.clone(), version: None };
    for (stage, change) in [
        ("stage checksum", &|entry: &mut DriverEntry| entry.sha256 = Some("0".repeat(64))),
        ("stage checksum", &|entry| entry.trust.locked = Some(zeros.clone())),
        ("stage checksum", &|entry| entry.trust.policy = DriverPolicy::Pinned),
        ("stage signature", &|entry| entry.trust.policy = DriverPolicy::Signed),
        ("stage signature", &|entry| entry.trust.signature_keys = vec![our]),
    ] as [(&str, &dyn Fn(&mut DriverEntry)); 5]
    {
        assert_says(&refused(path, command(change)).await, &["driver cloud.p: ", stage]);
        assert!(!witness.exists(), "{stage}: it ran");
    }
    // What passes is run, and found to be no driver only then.
    fs::write(path.join("program.sig"), ours.sign(script.as_bytes())).unwrap();
    refused(path, command(&|entry| entry.trust.signature_keys = vec![our])).await;
    assert!(witness.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_back_is_held_against_the_keys_that_are_trusted_by_then() {
    let folder = folder();
    let path = folder.path();
    let [(first, first_public), (second, second_public)] = [key(), key()];
    let put = |version: &str, signed: Option<&PrivateKey>| {
        let built = build(path, "d", &manifest(json!({ "version": version })).to_string(), &[]);
        let _from_before = fs::remove_file(signature_of(&built));
        signed.map(|key| sign(&built, key));
        built
    };
    let table = |keys: &[PublicKey]| {
        let mut settings = settings(path);
        settings.drivers = vec![signed_by("d", Path::new("d.so"), keys)];
        settings
    };
    let version = |registry: &Registry| registry.info(Kind::Cloud, "d").unwrap().version.unwrap();
    let refusal = async |registry: &Registry| registry.rollback(Kind::Cloud, "d").await.unwrap_err().to_string();
    // Nothing was asked of the first, the second is signed by one key, the third by another.
    put("1.0.0", None);
    let registry = Registry::open(table(&[])).await.unwrap();
    put("2.0.0", Some(&first));
    registry.apply(table(&[first_public])).await.unwrap();
    let parts = ["stage signature", "found a copy of a file that no signature was asked for", "reload the driver"];
    assert_says(&refusal(&registry).await, &parts);
    put("3.0.0", Some(&second));
    registry.apply(table(&[second_public])).await.unwrap();
    let parts = [
        "stage signature",
        &format!("found a signature by key {}", first_public.id()),
        &format!("expected a signature by key {}", second_public.id()),
    ];
    assert_says(&refusal(&registry).await, &parts);
    assert_eq!(version(&registry), "3.0.0");
    registry.apply(table(&[first_public, second_public])).await.unwrap();
    registry.rollback(Kind::Cloud, "d").await.unwrap();
    assert_eq!(version(&registry), "2.0.0");
    // Who rolled back keeps the file, unless its key goes.
    let line = registry.apply(table(&[second_public])).await.unwrap_err().to_string();
    assert_says(&line, &parts);
    assert_eq!(version(&registry), "2.0.0");
    registry.apply(table(&[])).await.unwrap();
    registry.rollback(Kind::Cloud, "d").await.unwrap();
    assert_eq!(version(&registry), "1.0.0", "where no key asks, nothing has to be signed");
    registry.close(Duration::from_secs(5)).await;
}

/// A library that is trusted and one that is not, beside one name that either may have at any moment.
struct Swap {
    folder: tempfile::TempDir,
    good: Vec<u8>,
    bad: Vec<u8>,
    good_key: PrivateKey,
    bad_key: PrivateKey,
}

impl Swap {
    fn new() -> Self {
        let folder = folder();
        let library = |name: &str, version: &str| {
            fs::read(build(folder.path(), name, &manifest(json!({ "version": version })).to_string(), &[])).unwrap()
        };
        let (good, bad) = (library("a", "1.0.0"), library("b", "6.6.6"));
        let swap = Self { good, bad, good_key: key().0, bad_key: key().0, folder };
        swap.put(true);
        swap
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("current.so")
    }

    /// Puts a library and its signature in place, each by one rename.
    fn put(&self, good: bool) {
        let (bytes, key) = if good { (&self.good, &self.good_key) } else { (&self.bad, &self.bad_key) };
        for (name, bytes) in [("current.so", bytes.clone()), ("current.so.sig", key.sign(bytes).into_bytes())] {
            let new = self.folder.path().join(format!(".{name}"));
            fs::write(&new, bytes).unwrap();
            fs::set_permissions(&new, fs::Permissions::from_mode(0o644)).unwrap();
            fs::rename(&new, self.folder.path().join(name)).unwrap();
        }
    }

    /// Loads the name again and again while it changes hands, until it was loaded and refused 25 times each.
    fn race(&self, entry: DriverEntry, stage: &str) {
        /// Ends the other thread, whatever happens in this one.
        struct End<'a>(&'a AtomicBool);
        impl Drop for End<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let (mut loaded, mut refused, ended) = (0, 0, AtomicBool::new(false));
        let mut settings = settings(self.folder.path());
        settings.drivers = vec![entry];
        thread::scope(|scope| {
            scope.spawn(|| {
                for good in [false, true].into_iter().cycle() {
                    if ended.load(Ordering::Relaxed) {
                        break;
                    }
                    self.put(good);
                }
            });
            let _end = End(&ended);
            for _ in 0..5000 {
                if loaded >= 25 && refused >= 25 {
                    return;
                }
                let info = load(&settings);
                match (info.version.as_deref(), info.last_error) {
                    (Some("1.0.0"), None) => {
                        // The linker may have it from the load before; what it would be given now is what counts.
                        let copy = self.folder.path().join(format!("state/drivers/{}.so", info.sha256.unwrap()));
                        assert!(fs::read(copy).unwrap() == self.good, "the copy is not what was checked");
                        loaded += 1;
                    }
                    (None, Some(error)) => {
                        assert!(error.contains(stage), "{error}");
                        refused += 1;
                    }
                    other => panic!("what nobody trusts was loaded: {other:?}"),
                }
            }
            panic!("of 5000 loads {loaded} passed and {refused} were refused: nothing was shown");
        });
    }
}

/// What came of the one entry, which is closed again.
fn load(settings: &Settings) -> DriverInfo {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let registry = Registry::open(settings.clone()).await.unwrap();
        let info = registry.info(Kind::Cloud, "d").unwrap();
        registry.close(Duration::from_secs(5)).await;
        info
    })
}

#[test]
fn a_file_renamed_over_at_any_moment_is_loaded_as_it_was_checked_or_not_at_all() {
    let swap = Swap::new();
    let mut pinned = entry("d", swap.path());
    pinned.sha256 = Some(inspect(&swap.path(), true).unwrap().sha256);
    swap.race(pinned, "stage checksum");
    swap.race(signed_by("d", &swap.path(), &[swap.good_key.public()]), "stage signature");
}

#[test]
fn a_file_replaced_between_two_stages_is_not_what_is_loaded() {
    for isolation in [Isolation::InProcess, Isolation::Process] {
        let swap = Swap::new();
        let sha256 = inspect(&swap.path(), true).unwrap().sha256;
        // The child is started after the file was checked and before it is loaded, here or in that child.
        let (child, bad) = (swap.folder.path().join("child"), swap.folder.path().join("b.so"));
        let script = format!(
            "#!/bin/sh\n[ ! -e '{bad}' ] || /bin/mv '{bad}' '{name}' || exit 1\nexec '{capstan}' \"$@\"\n",
            bad = bad.display(),
            name = swap.path().display(),
            capstan = env!("CARGO_BIN_EXE_capstan")
        );
        fs::write(&child, script).unwrap();
        fs::set_permissions(&child, fs::Permissions::from_mode(0o755)).unwrap();
        let mut settings = settings(swap.folder.path());
        settings.probe_executable = child;
        let mut entry = entry("d", swap.path());
        entry.isolation = isolation;
        settings.drivers = vec![entry];
        let info = load(&settings);
        assert_eq!((info.version.as_deref(), info.last_error, info.sha256), (Some("1.0.0"), None, Some(sha256)));
        assert_eq!(fs::read(swap.path()).unwrap(), swap.bad, "the name leads to the other one by now");
    }
}

#[tokio::test]
async fn a_link_on_the_way_counts_by_who_could_have_made_it() {
    let folder = folder();
    let path = folder.path();
    let library = good(path);
    let mode = |name: &str, mode| fs::set_permissions(path.join(name), fs::Permissions::from_mode(mode)).unwrap();
    fs::create_dir_all(path.join("real/below")).unwrap();
    fs::copy(&library, path.join("real/below/d.so")).unwrap();
    symlink("real", path.join("relative")).unwrap();
    symlink(path.join("relative/below"), path.join("absolute")).unwrap();
    symlink("loop", path.join("loop")).unwrap();
    for name in ["relative/below/d.so", "absolute/d.so", "real/../relative/below/../below/d.so"] {
        let (registry, _) = open_one(path, entry("d", name)).await;
        assert_eq!(registry.info(Kind::Cloud, "d").unwrap().state, DriverState::Ready, "{name}");
        let found = inspect(&path.join(name), true).unwrap().path;
        assert_eq!(found, path.canonicalize().unwrap().join("real/below/d.so"), "{name}");
    }
    assert_says(&refused(path, entry("d", "loop/d.so")).await, &["stage resolve", "no folder", "Too many levels"]);
    assert_says(&refused(path, entry("d", "good.so/d.so")).await, &["stage resolve", "no folder", "Not a directory"]);

    // A folder that all may write, or that leads through one, leads nowhere.
    fs::create_dir(path.join("shared")).unwrap();
    symlink("../real/below", path.join("shared/link")).unwrap();
    mode("shared", 0o777);
    let line = refused(path, entry("d", "shared/link/d.so")).await;
    assert_says(&line, &["stage file", "shared, in which others may write"]);
    // Where only the owner of a link may replace it, it counts by its owner.
    mode("shared", 0o1777);
    open_one(path, entry("d", "shared/link/d.so")).await;
    let line = inspect(&path.join("shared/link/d.so"), false).unwrap_err().to_string();
    assert_says(&line, &["stage file"]);
    if rustix::process::geteuid().is_root() {
        // Only root can give a link away.
        lchown(path.join("shared/link"), Some(12345), None).unwrap();
        let line = refused(path, entry("d", "shared/link/d.so")).await;
        assert_says(&line, &["stage file", "shared, in which others may write", "move the driver elsewhere"]);
    }
}

#[tokio::test]
async fn copies_are_kept_only_where_nobody_else_can_replace_them() {
    let folder = folder();
    let path = folder.path();
    let mut settings = settings(path);
    settings.drivers = vec![entry("d", good(path))];
    settings.state_dir = path.join("shared/state");
    fs::create_dir(path.join("shared")).unwrap();
    fs::set_permissions(path.join("shared"), fs::Permissions::from_mode(0o777)).unwrap();
    let registry = Registry::open(settings.clone()).await.unwrap();
    let line = registry.handle(Kind::Cloud, "d").unwrap_err().to_string();
    assert_says(&line, &["stage store", "shared, in which others may write", "expected folders", "daemon.state_dir"]);
    // As in /tmp: what is ours there stays ours.
    fs::set_permissions(path.join("shared"), fs::Permissions::from_mode(0o1777)).unwrap();
    Registry::open(settings).await.unwrap().handle(Kind::Cloud, "d").unwrap();
}
