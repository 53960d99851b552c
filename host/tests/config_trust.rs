//! Keys, policy and lock file as the configuration reads them.

// A test that cannot go on has failed, in its helping functions too.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use capstan::{
    config::{DriverKind, DriverLock, DriverPolicy, Loaded, Loader, LockedFile, PublicKey, load, lock_file},
    drivers::PrivateKey,
};
use proptest::prelude::*;
use tempfile::TempDir;

struct Place(TempDir);

impl Place {
    fn new(text: &str) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        place.write("capstan.toml", text);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    fn load(&self) -> Loaded {
        load(&self.path("capstan.toml"), &BTreeMap::new()).unwrap_or_else(|faults| panic!("{faults}"))
    }

    fn faults(&self) -> Vec<String> {
        let faults = load(&self.path("capstan.toml"), &BTreeMap::new()).unwrap_err();
        faults.as_slice().iter().map(|fault| self.plain(&fault.to_string())).collect()
    }

    fn warnings(&self) -> Vec<String> {
        self.load().warnings.iter().map(|warning| self.plain(&warning.to_string())).collect()
    }

    fn plain(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.0.path().display()), "")
    }
}

fn assert_begin(found: &[String], begins: &[&str]) {
    assert_eq!(found.len(), begins.len(), "{found:#?}");
    for (found, begins) in found.iter().zip(begins) {
        assert!(found.starts_with(begins), "{found}\n  expected to begin with\n{begins}");
    }
}

fn pair() -> (PublicKey, PrivateKey, String) {
    let (key, pem) = PrivateKey::generate().unwrap();
    (key.public(), key, pem)
}

const ONE: &str = "[known_drivers.cloud.a]\nlibrary = \"a.so\"\n";

#[test]
fn a_key_is_a_file_or_itself_and_an_entrys_own_stands_in_place_of_the_default() {
    let [(a, a_key, _), (b, ..), (c, c_key, _)] = [pair(), pair(), pair()];
    let place = Place::new(&format!(
        "[drivers]\nsignature_keys = [\"a.pub\", \"{b}\"]\n{ONE}\
         [known_drivers.cloud.b]\ncommand = [\"/b\"]\nsignature_key = '''\n{}'''\n",
        c_key.public_pem()
    ));
    place.write("a.pub", &a_key.public_pem());
    let config = place.load().config;
    let keys = |name: &str| config.known_drivers.get(DriverKind::Cloud, name).unwrap().trust.signature_keys.clone();
    assert_eq!((keys("a"), keys("b")), (vec![a, b], vec![c]));
    // What is shown can be read again.
    let shown = capstan::config::show_text(&place.load());
    assert!(shown.contains(&format!("signature_keys = [\"{}\", \"{b}\"]", place.path("a.pub").display())), "{shown}");
    assert!(shown.contains(&format!("signature_key = \"{c}\"")), "{shown}");

    // A rotated key is a difference that a reload sees.
    place.write("a.pub", &pair().1.public_pem());
    assert_ne!(place.load().config.known_drivers, config.known_drivers);

    let listed = BTreeMap::from([("CAPSTAN_DRIVERS__SIGNATURE_KEYS".to_owned(), format!("[\"{c}\"]"))]);
    let config = load(&place.path("capstan.toml"), &listed).unwrap().config;
    assert_eq!(config.drivers.signature_keys, [c]);
}

#[test]
fn what_is_no_public_key_is_named_and_all_faults_show_at_once() {
    let (_, _, private) = pair();
    let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let place = Place::new(
        "[drivers]\nsignature_keys = [\n\"absent.pub\",\n]\n[known_drivers.cloud]\n\
         a = { library = \"l.so\", signature_key = \"private.pem\" }\n\
         b = { library = \"l.so\", signature_key = \"certificate.pem\" }\n\
         c = { library = \"l.so\", signature_key = \"p256.pem\" }\n\
         d = { library = \"l.so\", signature_key = \"text\" }\n\
         e = { library = \"l.so\", signature_key = \"folder\" }\n\
         f = { library = \"l.so\", signature_key = \"fifo\" }\n\
         g = { library = \"l.so\", signature_key = 7 }\n\
         h = { library = \"l.so\", signature_key = \"MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7l\" }\n\
         i = { library = \"l.so\", signature_key = \"\" }\n",
    );
    place.write("private.pem", &private);
    place.write("certificate.pem", &issued.cert.pem());
    place.write("p256.pem", &issued.signing_key.public_key_pem());
    place.write("text", "hello");
    fs::create_dir(place.path("folder")).unwrap();
    assert!(Command::new("mkfifo").arg(place.path("fifo")).status().unwrap().success());
    let expected = "; expected an Ed25519 public key: a PEM file, or the line of base64 in it; ";
    let found = place.faults();
    assert_begin(
        &found,
        &[
            "capstan.toml:3: drivers.signature_keys: found the file absent.pub unreadable (No such file",
            "capstan.toml:6: known_drivers.cloud.a.signature_key: found the file private.pem with a private key; ",
            "capstan.toml:7: known_drivers.cloud.b.signature_key: found the file certificate.pem with a certificate; ",
            "capstan.toml:8: known_drivers.cloud.c.signature_key: found the file p256.pem with a key of another kind",
            "capstan.toml:9: known_drivers.cloud.d.signature_key: found the file text with no key at all; ",
            "capstan.toml:10: known_drivers.cloud.e.signature_key: found the file folder unreadable (it is no regular file)",
            "capstan.toml:11: known_drivers.cloud.f.signature_key: found the file fifo unreadable (it is no regular file)",
            "capstan.toml:12: known_drivers.cloud.g.signature_key: found the number 7; expected a text",
            "capstan.toml:13: known_drivers.cloud.h.signature_key: found a text with no key at all; ",
            "capstan.toml:14: known_drivers.cloud.i.signature_key: found the text \"\"; expected a path",
        ],
    );
    assert_eq!(found.iter().filter(|fault| fault.contains(expected)).count(), 8, "{found:#?}");
    assert!(found[1].ends_with("openssl pkey -in KEY -pubout"), "{}", found[1]);
    assert!(!found.concat().contains(&private[28..60]), "no key is shown: {found:#?}");
}

#[test]
fn a_policy_that_nothing_can_meet_is_a_fault_and_one_entry_that_cannot_a_warning() {
    let (key, ..) = pair();
    let place = Place::new(&format!("[drivers]\npolicy = \"signed\"\n{ONE}"));
    assert_begin(
        &place.faults(),
        &["capstan.toml:2: drivers.policy: found \"signed\" without any key; expected the public keys"],
    );
    place.write("capstan.toml", "[drivers]\npolicy = \"signed\"\n");
    assert_eq!(place.load().config.drivers.policy, DriverPolicy::Signed);
    assert!(place.warnings().is_empty());
    let other = format!("[known_drivers.cloud.b]\nlibrary = \"b.so\"\nsignature_key = \"{key}\"\n");
    place.write("capstan.toml", &format!("[drivers]\npolicy = \"signed\"\n{ONE}{other}"));
    assert_begin(
        &place.warnings(),
        &["capstan.toml:3: known_drivers.cloud.a: will not load: drivers.policy is \"signed\" and there is no key"],
    );
    place.write("capstan.toml", &format!("[drivers]\npolicy = \"pinned\"\n{ONE}sha256 = \"{}\"\n", "ab".repeat(32)));
    assert!(place.warnings().is_empty());
    place.write("capstan.toml", &format!("[drivers]\npolicy = \"pinned\"\n{ONE}"));
    assert_begin(
        &place.warnings(),
        &[
            "capstan.toml:3: known_drivers.cloud.a: will not load: drivers.policy is \"pinned\" and nothing pins its file",
        ],
    );
    place.write("capstan.toml", "[drivers]\npolicy = \"pined\"\n");
    assert_begin(
        &place.faults(),
        &["capstan.toml:2: drivers.policy: found the text \"pined\"; expected \"any\" or \"pinned\""],
    );
}

fn locked(sha256: &str) -> LockedFile {
    LockedFile { path: "/lib/a.so".into(), sha256: sha256.repeat(32), version: Some("1.2.3".to_owned()) }
}

#[test]
fn the_lock_file_gives_each_entry_its_line_and_tells_of_the_others() {
    let place = Place::new(&format!("{ONE}[known_drivers.mgm.b]\nlibrary = \"b.so\"\n"));
    assert!(place.warnings().is_empty(), "no lock file is no fault and nothing to warn of");
    let mut lock = DriverLock::default();
    lock.insert(DriverKind::Cloud, "a", locked("ab"));
    lock.insert(DriverKind::Mgm, "gone", locked("cd"));
    assert_eq!(lock_file(&place.path("capstan.toml")), place.path("drivers.lock"));
    place.write("drivers.lock", &lock.to_toml());
    assert_eq!(DriverLock::read(&place.path("drivers.lock")), Ok(Some(lock.clone())));

    let before = place.load().config;
    let of = |kind, name: &str| before.known_drivers.get(kind, name).unwrap().trust.locked.clone();
    assert_eq!((of(DriverKind::Cloud, "a"), of(DriverKind::Mgm, "b")), (Some(locked("ab")), None));
    assert_begin(
        &place.warnings(),
        &[
            "drivers.lock:1: mgm.gone: a line for a driver that known_drivers does not have; capstan driver lock removes",
            "capstan.toml:3: known_drivers.mgm.b: no line in drivers.lock; capstan driver lock adds it",
        ],
    );
    // Another line is a difference that a reload sees, for that driver alone.
    lock.insert(DriverKind::Cloud, "a", locked("ef"));
    place.write("drivers.lock", &lock.to_toml());
    let after = place.load().config;
    let same = |kind, name: &str| before.known_drivers.get(kind, name) == after.known_drivers.get(kind, name);
    assert!(!same(DriverKind::Cloud, "a") && same(DriverKind::Mgm, "b"));

    fs::set_permissions(place.path("drivers.lock"), fs::Permissions::from_mode(0o666)).unwrap();
    assert_begin(&place.warnings()[..1], &["drivers.lock:1: drivers.lock: every user of this machine may write"]);
}

#[test]
fn a_broken_lock_file_is_a_fault_with_its_line_and_the_command_that_writes_it_is_not_in_its_way() {
    let place = Place::new(ONE);
    let line = |change: &str| {
        let line = "kind = \"cloud\"\nname = \"a\"\npath = \"/a.so\"\nsha256 = \"@\"\n".replace('@', &"ab".repeat(32));
        format!("version = 1\n[[driver]]\n{line}{change}")
    };
    for (text, begins) in [
        ("", vec!["drivers.lock:1: version: found nothing; expected 1; "]),
        (
            "version = 2\n",
            vec!["drivers.lock:1: version: found a lock file of another version; expected 1; run capstan"],
        ),
        ("version = 1\n[driver]\n", vec!["drivers.lock:2: driver: found something else than a list of tables; "]),
        ("version = 1\ndriver = [1]\n", vec!["drivers.lock:2: driver: found something else than a table; "]),
        (
            "version = 1\n[[driver]]\nkind = \"clod\"\n",
            vec![
                "drivers.lock:2: driver.name: found nothing; ",
                "drivers.lock:2: driver.path: found nothing; ",
                "drivers.lock:2: driver.sha256: found nothing; ",
                "drivers.lock:3: driver.kind: found the text \"clod\"; ",
            ],
        ),
        (&line("colour = \"red\"\n"), vec!["drivers.lock:7: driver.colour: found an unknown key; "]),
        (
            &line(&line("").replace("version = 1\n", "")),
            vec!["drivers.lock:7: driver: found a second line for cloud.a; "],
        ),
        (
            &line("").replace("ab\"", "xy\""),
            vec!["drivers.lock:6: driver.sha256: found a text of 64 characters; expected a SHA"],
        ),
        ("version = 1\nnonsense\n", vec!["drivers.lock:2: found "]),
    ] {
        place.write("drivers.lock", text);
        assert_begin(&place.faults(), &begins);
        Loader::new(&BTreeMap::new()).file(place.path("capstan.toml")).without_lock().load().unwrap();
    }
    fs::remove_file(place.path("drivers.lock")).unwrap();
    fs::create_dir(place.path("drivers.lock")).unwrap();
    assert_begin(
        &place.faults(),
        &["drivers.lock:1: found that it cannot be read (it is no regular file); expected a lock file"],
    );
    fs::remove_dir(place.path("drivers.lock")).unwrap();
    // Faults of both files show together.
    place.write("drivers.lock", "");
    place.write("capstan.toml", "[drivers]\npolicy = 1\n");
    assert_eq!(place.faults().len(), 2);
    // A link to nothing is no lock file: nothing is locked.
    fs::remove_file(place.path("drivers.lock")).unwrap();
    symlink("nowhere", place.path("drivers.lock")).unwrap();
    place.write("capstan.toml", ONE);
    assert!(place.warnings().is_empty());
}

fn any_lock() -> impl Strategy<Value = DriverLock> {
    let hash = prop::collection::vec(any::<u8>(), 32);
    let line = (0..4_usize, "[a-z0-9_-]{1,64}", "\\PC{1,40}", hash, prop::option::of("\\PC{0,20}"));
    prop::collection::vec(line, 0..8).prop_map(|lines| {
        let mut lock = DriverLock::default();
        for (kind, name, path, hash, version) in lines {
            let sha256 = hash.iter().map(|byte| format!("{byte:02x}")).collect();
            let path = Path::new("/").join(path.trim_start_matches('/'));
            lock.insert(DriverKind::ALL[kind], &name, LockedFile { path, sha256, version });
        }
        lock
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(lock in any_lock()) {
        let place = Place::new("");
        let path = place.write("drivers.lock", &lock.to_toml());
        prop_assert_eq!(DriverLock::read(&path), Ok(Some(lock)));
    }

    #[test]
    fn no_text_breaks_the_reader(lock in any_lock(), at in any::<usize>(), other in any::<char>()) {
        let place = Place::new("");
        let mut text: Vec<char> = lock.to_toml().chars().collect();
        let at = at % text.len();
        text[at] = other;
        let path = place.write("drivers.lock", &text.iter().collect::<String>());
        if let Err(faults) = DriverLock::read(&path) {
            prop_assert!(!faults.is_empty());
        }
    }
}
