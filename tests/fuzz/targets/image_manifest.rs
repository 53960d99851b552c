//! An image's manifest, through the table that the local cloud exports: it is listed and a node can be made of it, or it is refused in
//! one line. What a node is made of stays in its folder and comes from the image's, and its user data is for its owner.
#![no_main]
#![allow(unsafe_code, reason = "the target reads an exported symbol")]

#[path = "../../../plugin-api/tests/stand_in/mod.rs"]
mod stand_in;

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    sync::LazyLock,
};

use capstan_cloud_local as _;
use capstan_plugin_api::{
    DriverError, ErrorCode,
    abi::{DriverTable, STATUS_ERROR, STATUS_OK},
};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use stand_in::Driven;

/// The node's user data. An input that has it may say it.
const USER_DATA: &str = "7f3c-secret-91aa";
/// What stands outside of the image.
const OUTSIDE: &str = "b4e0-outside-2d17";

unsafe extern "C" {
    fn capstan_driver_epoch_1() -> *const DriverTable;
}

struct Place {
    folder: tempfile::TempDir,
    manifest: PathBuf,
    /// The cloud's nodes.
    nodes: PathBuf,
    driven: Driven,
}

/// A folder with one image, whose manifest is the input, and an empty cloud.
static PLACE: LazyLock<Place> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (images, cloud) = (folder.path().join("images"), folder.path().join("cloud"));
    let image = images.join("image");
    fs::create_dir_all(image.join("tls/deep")).expect("a folder");
    fs::create_dir(&cloud).expect("a folder");
    for (path, content) in [
        ("page", "<p>@NAME@ at @ADDRESS@, @WORD@</p>".as_bytes()),
        ("private", b"password = \"@USER_DATA@\""),
        ("unknown", b"@NOBODY@"),
        ("binary", &[0xff, 0, 0xfe]),
        ("tls/deep/cert.pem", b"certificate"),
        ("../../outside", OUTSIDE.as_bytes()),
    ] {
        fs::write(image.join(path), content).expect("a file");
    }
    for (link, path) in [("link", "../../outside"), ("up", "../..")] {
        symlink(path, image.join(link)).expect("a link");
    }
    let config = json!({ "directory": cloud, "images": images, "node_program": image.join("page") });
    // SAFETY: the driver's attribute made it.
    let table = unsafe { &*capstan_driver_epoch_1() };
    let driven = Driven::open(table, &config).expect("the driver opens");
    Place { manifest: image.join("image.toml"), nodes: cloud.join("nodes"), driven, folder }
});

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// The lines that the driver logged since.
fn logged() -> Vec<String> {
    let mut logged = PLACE.driven.services.logged.lock().expect("no call panicked");
    logged.drain(..).map(|(_, _, _, message, _)| message).collect()
}

fn is_a_line(text: &str) {
    assert!(!text.is_empty() && !text.contains(char::is_control), "{text:?}");
}

/// All files below a folder. Nothing there is a link.
fn holds(folder: &Path, tells: bool) {
    for entry in fs::read_dir(folder).expect("a folder of the node") {
        let path = entry.expect("an entry").path();
        let about = fs::symlink_metadata(&path).expect("it is there");
        assert!(!about.is_symlink(), "{}", path.display());
        if about.is_dir() {
            holds(&path, tells);
            continue;
        }
        let has = |wanted: &str, bytes: &[u8]| bytes.windows(wanted.len()).any(|window| window == wanted.as_bytes());
        let bytes = fs::read(&path).expect("a file of the node");
        assert!(tells || !has(OUTSIDE, &bytes), "{} has what is not the image's", path.display());
        let is_open = about.permissions().mode() & 0o077 != 0;
        assert!(tells || !is_open || !has(USER_DATA, &bytes), "{} shows user data", path.display());
    }
}

/// What the supervisor is told to run.
fn is_a_plan(plan: &Value, tells: bool) {
    let command = plan["command"].as_array().expect("a list");
    let program = command.first().and_then(Value::as_str).expect("a program");
    assert!(program.starts_with('/'), "{plan}");
    assert!(plan["stop_seconds"].as_u64().is_some_and(|seconds| seconds <= 60), "{plan}");
    assert!(["delay_ms", "window_seconds"].iter().all(|key| plan["restart"][*key].as_u64() > Some(0)), "{plan}");
    // Both stand where others read them: in the list of processes, and in what is said of a node that does not get ready.
    for seen in [&plan["command"], &plan["ready"]] {
        assert!(tells || !seen.to_string().contains(USER_DATA), "{plan}");
    }
}

fn is_made(node: &Value, tells: bool) {
    // There is nobody here who would start it, so it is in error at last; what it would be is there.
    assert_eq!(node["state"], json!("error"), "{node}");
    assert!(tells || !node.to_string().contains(USER_DATA), "{node}");
    let id = node["id"].as_str().expect("an id");
    assert_eq!(names(&PLACE.nodes), [id]);
    let folder = PLACE.nodes.join(id);
    let record = fs::read(folder.join("record.json")).expect("a record");
    let record: Value = serde_json::from_slice(&record).expect("a record is JSON");
    if !record["plan"].is_null() {
        is_a_plan(&record["plan"], tells);
        assert!(folder.join("disk/user-data").is_file(), "{record}");
    }
    if folder.join("disk").exists() {
        holds(&folder.join("disk"), tells);
    }
    assert!(names(&folder).iter().all(|name| ["changes.lock", "disk", "life.lock", "record.json"].contains(&&**name)));
}

fuzz_target!(|bytes: &[u8]| {
    let place = &*PLACE;
    let has = |wanted: &[u8]| bytes.windows(wanted.len()).any(|window| window == wanted);
    // As it is, or escaped.
    let tells = [USER_DATA, OUTSIDE].iter().any(|text| has(text.as_bytes())) || has(b"\\");
    fs::write(&place.manifest, bytes).expect("the manifest is written");

    let listed = place.driven.ok("list_images", &json!({}));
    let images = listed["items"].as_array().expect("a list");
    let told = logged();
    told.iter().for_each(|line| is_a_line(line));
    assert_eq!((images.len() + told.len(), images.len() <= 1), (1, true), "{images:?} {told:?}");
    assert!(told.iter().all(|line| line.contains("image.toml")), "{told:?}");
    assert!(images.iter().all(|image| image["id"] == "image"), "{images:?}");

    let request = json!({ "name": "lb-1", "image": "image", "size": "small", "user_data": USER_DATA });
    match place.driven.invoke("create_node", &request) {
        (STATUS_OK, node) => {
            assert_eq!(images.len(), 1, "{node}: {told:?}");
            is_made(&node, tells);
        }
        (STATUS_ERROR, error) => {
            let error: DriverError = serde_json::from_value(error).expect("an error's body is a DriverError");
            assert_eq!((&error.code, images.len()), (&ErrorCode::INVALID_ARGUMENT, 0), "{error:?}");
            is_a_line(&error.message);
            is_a_line(&error.operator_message);
            assert!(told[0].ends_with(&error.operator_message), "{told:?}: {error:?}");
            assert!(names(&place.nodes).is_empty(), "{error:?}");
        }
        (other, body) => panic!("status {other}: {body}"),
    }
    for line in logged() {
        is_a_line(&line);
        assert!(tells || !line.contains(USER_DATA), "{line}");
    }
    assert_eq!(names(place.folder.path()), ["cloud", "images", "outside"]);
    if place.nodes.exists() {
        fs::remove_dir_all(&place.nodes).expect("the nodes go");
    }
});
