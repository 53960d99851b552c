//! Which files are loaded as drivers, through the built binary: signatures, lock file, owners, and no way in but the
//! configuration.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a suite stops where something is wrong")]

mod lock;
mod no_other_way;
mod owners;
mod signatures;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use capstan_tests::{
    daemon::{Setup, Site},
    paths,
};
use serde_json::Value;

/// A site whose noop driver is a copy of its own, beside another copy under `known_drivers.load_balancer.acme`.
fn site(drivers: &str, noop: &str, acme: &str) -> Site {
    let more = format!("[known_drivers.load_balancer.acme]\nlibrary = \"@ROOT@/d/acme.so\"\n{acme}");
    let site = Site::new(Setup { drivers, more: &more, ..Setup::default() });
    let folder = site.path().join("d");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    for name in ["noop.so", "acme.so"] {
        copy(&paths::driver("load_balancer_noop"), &folder.join(name));
    }
    let text = fs::read_to_string(site.config()).unwrap();
    let library = format!("library = \"{}/noop.so\"\n{noop}", folder.display());
    site.configure(&text.replace("library = \"libcapstan_load_balancer_noop.so\"", &library));
    site
}

/// A copy that is writable by its owner only, put in place at once.
fn copy(from: &Path, to: &Path) {
    let new = to.with_extension("new");
    fs::copy(from, &new).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o644)).unwrap();
    fs::rename(new, to).unwrap();
}

/// Another content that is as good a driver: the bytes after the last section belong to nobody.
fn alter(path: &Path) {
    let new = path.with_extension("altered");
    fs::write(&new, [fs::read(path).unwrap(), b"another build".to_vec()].concat()).unwrap();
    copy(&new, path);
}

/// A file of a site.
fn at(site: &Site, name: &str) -> PathBuf {
    site.path().join(name)
}

/// What `driver list` has to say of a driver: its state, and its last error or nothing.
fn state(site: &Site, name: &str) -> (String, String) {
    let listed = site.expect(0, &["driver", "list", "--output", "json"]).json();
    let drivers = listed["drivers"].as_array().unwrap();
    let driver = drivers.iter().find(|driver| driver["name"] == name).unwrap();
    let text = |key: &str| driver[key].as_str().unwrap_or_default().to_owned();
    (text("state"), text("last_error"))
}

/// Each part has to be in the text, in this order.
fn assert_says(text: &str, parts: &[&str]) {
    let mut rest = text;
    for part in parts {
        let at = rest.find(part).unwrap_or_else(|| panic!("{part:?} is not in {rest:?} of {text:?}"));
        rest = &rest[at + part.len()..];
    }
}

fn texts(value: &Value, key: &str) -> Vec<String> {
    value.as_array().unwrap().iter().map(|one| one[key].as_str().unwrap().to_owned()).collect()
}
