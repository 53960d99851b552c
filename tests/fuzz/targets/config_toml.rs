//! Configuration: any text is either read or refused line by line, what is shown can be read again, no secret is told, and
//! what comes of an old libra.ini loads.
#![no_main]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use capstan::config::{Environment, Faults, Loaded, Loader, import::libra_ini, show_json, show_text};
use capstan_fuzz::Source;
use libfuzzer_sys::fuzz_target;

/// The value of the only secret there is: `{ env = "S" }` and `{ file = "s" }`.
const SECRET: &str = "7f3c-secret-91aa";

struct Place {
    _folder: tempfile::TempDir,
    main: PathBuf,
    added: PathBuf,
}

static PLACE: LazyLock<Place> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path();
    fs::create_dir(path.join("conf.d")).expect("a folder");
    for name in ["ca.pem", "cert.pem", "key.pem", "s"] {
        fs::write(path.join(name), SECRET).expect("a file");
    }
    Place { main: path.join("capstan.toml"), added: path.join("conf.d/10.toml"), _folder: folder }
});

fn load(environment: &dyn Environment, text: &[u8], added: &[u8]) -> Result<Loaded, Faults> {
    fs::write(&PLACE.main, text).expect("the file is written");
    fs::write(&PLACE.added, added).expect("the file is written");
    Loader::new(environment).file(&PLACE.main).load()
}

/// `tells` says that the secret may stand in the input itself, as it is or escaped.
fn is_read_or_refused(environment: &BTreeMap<String, String>, tells: bool, text: &[u8], added: &[u8]) {
    match load(environment, text, added) {
        Ok(loaded) => {
            let shown = show_text(&loaded);
            let all = format!("{shown}{}{loaded:?}{:?}", show_json(&loaded), loaded.warnings);
            assert!(tells || !all.contains(SECRET), "{all}");
            // What the environment set stands in the text now.
            let again = load(&BTreeMap::from([("S".to_owned(), SECRET.to_owned())]), shown.as_bytes(), b"");
            let again = again.unwrap_or_else(|faults| panic!("{faults}\n{shown}"));
            let values = |loaded: &Loaded| -> Vec<_> {
                loaded.effective().iter().map(|value| (value.key.clone(), value.value.clone())).collect()
            };
            assert_eq!(values(&again), values(&loaded), "{shown}");
        }
        Err(faults) => {
            assert!(!faults.as_slice().is_empty());
            let all = faults.to_string();
            assert!(tells || !all.contains(SECRET), "{all}");
            for fault in faults.as_slice() {
                let line = fault.to_string();
                assert!(!line.contains(char::is_control), "{line:?}");
                assert!(!fault.found.is_empty() && !fault.expected.is_empty() && !fault.remedy.is_empty(), "{line}");
            }
        }
    }
}

fn old_file_loads(text: &str) {
    let imported = libra_ini(Path::new("libra.ini"), text);
    for note in &imported.notes {
        assert!(!note.contains(char::is_control), "{note:?}");
    }
    if let Err(faults) = load(&BTreeMap::new(), imported.toml.as_bytes(), b"") {
        // The files of TLS are named as they were, and checking that they are there is not the import's business. What libra demanded
        // and the file does not have, or what cannot be carried over, is named in a note.
        let is_in = |words: &str| imported.notes.iter().any(|note| note.contains(words));
        let is_noted = |key: &str| is_in(&format!("set {key}")) || is_in(&format!("to which {key} refers"));
        let is_ours = |key: &str| !key.starts_with("gearman.ssl_") && !is_noted(key);
        let others: Vec<_> = faults.as_slice().iter().filter(|fault| is_ours(&fault.key)).collect();
        assert!(others.is_empty(), "{others:#?}\n{}\nfrom {text:?}", imported.toml);
    }
}

fuzz_target!(|data: &[u8]| {
    let mut source = Source(data);
    let has = |wanted: &[u8]| data.windows(wanted.len()).any(|bytes| bytes == wanted);
    let tells = has(SECRET.as_bytes()) || has(b"\\u") || has(b"\\U") || has(b"\\x");
    let mut environment = BTreeMap::from([("S".to_owned(), SECRET.to_owned())]);
    match source.below(4) {
        0 => old_file_loads(&String::from_utf8_lossy(source.0)),
        1 => {
            // A second file, from the first line of dashes on.
            let split = source.0.windows(5).position(|bytes| bytes == b"\n---\n").unwrap_or(source.0.len());
            let (text, added) = source.0.split_at(split);
            is_read_or_refused(&environment, tells, text, added.get(5..).unwrap_or_default());
        }
        2 => {
            let lines = String::from_utf8_lossy(source.0).into_owned();
            environment.extend(lines.lines().filter_map(|line| {
                let (name, value) = line.split_once('=')?;
                Some((format!("CAPSTAN_{name}"), value.to_owned()))
            }));
            is_read_or_refused(&environment, tells, b"", b"");
        }
        _ => is_read_or_refused(&environment, tells, source.0, b""),
    }
});
