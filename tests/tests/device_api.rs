//! libra's admin API v1 for devices, to the letter of `docs/contract/device-api.md`, as its pool manager sends it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a suite stops where something is wrong")]

#[allow(dead_code, reason = "the store's own suites use the rest")]
#[path = "../../host/tests/store_support/postgres.rs"]
mod postgres;

use std::{fs, path::PathBuf, thread};

use capstan_tests::{
    daemon::Site,
    http::{Request, Response},
};
use serde_json::{Value, json};

/// Where the daemon keeps the devices.
#[derive(Clone, Copy)]
enum Backend {
    Sqlite,
    Postgres,
}

macro_rules! on_both_backends {
    ($($name:ident)*) => {
        mod on_sqlite {
            $(#[test]
            fn $name() {
                super::$name(super::Backend::Sqlite);
            })*
        }

        mod on_postgres {
            $(#[test]
            fn $name() {
                super::$name(super::Backend::Postgres);
            })*
        }
    };
}

on_both_backends! {
    a_pool_manager_registers_counts_reads_changes_and_removes
    faults_are_in_libras_words
    a_name_is_registered_once_however_many_ask
    pages_are_counted_from_a_marker_until_one_is_empty
}

/// A daemon run by `capstan lbaas`; `more` are more tables.
fn site(backend: Backend, more: &str) -> Site {
    let site = Site::worker("noop", "");
    let text = fs::read_to_string(site.config()).unwrap();
    let url = match backend {
        Backend::Sqlite => "sqlite:capstan.db".to_owned(),
        Backend::Postgres => postgres::Database::new().url(),
    };
    site.configure(&format!("{text}\n[store]\nurl = \"{url}\"\n{more}\n"));
    site
}

fn socket(site: &Site) -> PathBuf {
    site.path().join("run/capstan.sock")
}

struct Api<'a> {
    site: &'a Site,
    token: String,
}

impl<'a> Api<'a> {
    fn of(site: &'a Site) -> Self {
        let token = site.expect(0, &["token", "new", "--role", "device"]).out.trim().to_owned();
        Self { site, token }
    }

    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Response {
        let mut request = Request::new(method, &format!("/v1/devices{path}")).token(&self.token);
        if let Some(body) = body {
            request = request.json(body);
        }
        request.send(self.site.http_port)
    }

    fn add(&self, name: &str) -> Value {
        let answer = self.ask("POST", "", Some(&device(name)));
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    }
}

fn device(name: &str) -> Value {
    json!({ "name": name, "publicIpAddr": "15.185.1.1", "floatingIpAddr": "15.185.1.1", "az": 2,
            "type": "basename: lb, image: 7" })
}

fn keys(value: &Value) -> Vec<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

fn a_pool_manager_registers_counts_reads_changes_and_removes(backend: Backend) {
    let site = site(backend, "");
    let daemon = site.start_with(&["lbaas"]);
    let api = Api::of(&site);
    assert_eq!(api.ask("GET", "/usage", None).json(), json!({ "total": 0, "free": 0, "taken": 0 }));
    let made = api.add("lb-1");
    assert_eq!(
        (&made["status"], &made["pingCount"], &made["loadBalancers"]),
        (&json!("OFFLINE"), &json!(0), &json!([]))
    );
    // The first generation of the driver sent name and address alone, and no content type.
    let seed = Request::new("POST", "/v1/devices")
        .token(&api.token)
        .body("text/plain", br#"{"name": "lb-2", "address": "10.0.0.2"}"#)
        .send(site.http_port);
    let second = seed.json();
    assert_eq!(
        (seed.status, &second["publicIpAddr"], &second["floatingIpAddr"]),
        (200, &json!("10.0.0.2"), &json!("10.0.0.2"))
    );

    let id = made["id"].as_i64().unwrap();
    let read = api.ask("GET", &format!("/{id}"), None).json();
    let expected =
        ["az", "created", "floatingIpAddr", "id", "loadBalancers", "name", "publicIpAddr", "status", "type", "updated"];
    assert_eq!(keys(&read), expected);
    let created = read["created"].as_str().unwrap();
    assert!(created.len() == 19 && created.as_bytes()[10] == b'T', "{created}");

    let put = api.ask("PUT", &format!("/{id}"), Some(&json!({ "status": "ERROR", "statusDescription": "no answer" })));
    assert_eq!((put.status, put.json()["status"].clone()), (200, json!("ERROR")));
    assert_eq!(api.ask("GET", "/usage", None).json(), json!({ "total": 2, "free": 1, "taken": 1 }));

    daemon.kill();
    let _daemon = site.start_with(&["lbaas"]);
    assert_eq!(api.ask("GET", &format!("/{id}"), None).json()["status"], "ERROR", "what was answered is kept");
    let deleted = api.ask("DELETE", &format!("/{id}"), None);
    assert_eq!((deleted.status, deleted.body.as_str()), (200, ""));
    assert_eq!(api.ask("GET", "/usage", None).json()["total"], 1);
}

fn faults_are_in_libras_words(backend: Backend) {
    let site = site(backend, "");
    let text = fs::read_to_string(site.config()).unwrap();
    site.configure(&text.replace("[http]\n", "[http]\nmax_body_bytes = 4096\n"));
    let _daemon = site.start_with(&["lbaas"]);
    let api = Api::of(&site);
    api.add("lb-1");
    let fault = |method: &str, path: &str, body: Option<Value>| {
        let answer = api.ask(method, path, body.as_ref());
        (answer.status, answer.json())
    };
    let bad = |details: &str| (400, json!({ "message": "Bad Request", "details": details }));
    let missing = |field: &str| {
        bad(&format!("Invalid input for field/attribute {field}. Value: 'None'. Mandatory field missing."))
    };
    assert_eq!(fault("GET", "/77", None), (404, json!({ "status": 404, "message": "device id 77not found" })));
    assert_eq!(fault("GET", "/x", None), (404, json!({ "status": 404, "message": "device id xnot found" })));
    assert_eq!(fault("POST", "", Some(device("lb-1"))), bad("Device name lb-1 already exists"));
    for field in ["name", "publicIpAddr", "floatingIpAddr", "az", "type"] {
        let mut body = device("lb-2");
        body.as_object_mut().unwrap().remove(field);
        assert_eq!(fault("POST", "", Some(body)), missing(field));
    }
    assert_eq!(fault("POST", "", None).0, 400, "an empty body is no 500");
    let (status, body) = fault("POST", "", Some(json!({ "name": "x".repeat(5000) })));
    assert_eq!((status, keys(&body)), (413, vec!["details".to_owned(), "message".to_owned()]));
    let state = json!({ "status": "ONLINE", "statusDescription": "" });
    assert_eq!(fault("PUT", "/77", Some(state)), bad("Device ID is not valid"));
    assert_eq!(fault("PUT", "/1", Some(json!({ "status": "ONLINE" }))), missing("statusDescription"));
    let (status, body) = fault("PUT", "/1", Some(json!({ "status": "UP", "statusDescription": "" })));
    assert!(
        status == 400 && body["details"].as_str().unwrap().ends_with("Value should be one of: ONLINE, ERROR"),
        "{body}"
    );
    let gone = json!({ "faultcode": "Client", "faultstring": "Device ID is not valid" });
    assert_eq!(fault("DELETE", "/77", None), (400, gone));
    for query in ["?limit=x", "?marker=-1", "?limit=10001"] {
        assert_eq!(fault("GET", query, None).0, 400, "{query}");
    }
}

fn a_name_is_registered_once_however_many_ask(backend: Backend) {
    let site = site(backend, "");
    let _daemon = site.start_with(&["lbaas"]);
    let api = Api::of(&site);
    let statuses: Vec<u16> = thread::scope(|scope| {
        let asked: Vec<_> = (0..8).map(|_| scope.spawn(|| api.ask("POST", "", Some(&device("lb-1"))).status)).collect();
        asked.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert_eq!(api.ask("GET", "/usage", None).json()["total"], 1);
}

fn pages_are_counted_from_a_marker_until_one_is_empty(backend: Backend) {
    let site = site(backend, "");
    let _daemon = site.start_with(&["lbaas"]);
    let api = Api::of(&site);
    for number in 0..45 {
        api.add(&format!("lb-{number:02}"));
    }
    let (mut marker, mut names) = (0, Vec::new());
    loop {
        let page = api.ask("GET", &format!("?marker={marker}&limit=20"), None).json();
        let page = page["devices"].as_array().unwrap().clone();
        if page.is_empty() {
            break;
        }
        marker += page.len();
        names.extend(page.iter().map(|device| device["name"].as_str().unwrap().to_owned()));
    }
    assert_eq!(names, (0..45).map(|number| format!("lb-{number:02}")).collect::<Vec<_>>());
    assert_eq!(api.ask("GET", "", None).json()["devices"].as_array().unwrap().len(), 45);
}

#[test]
fn the_open_form_is_on_loopback_and_only_when_it_is_switched_on() {
    for (open, status) in [(false, 401), (true, 200)] {
        let site = site(Backend::Sqlite, &format!("[lbaas]\nopen_device_api = {open}\n"));
        let _daemon = site.start_with(&["lbaas"]);
        let list = Request::new("GET", "/v1/devices");
        assert_eq!(list.send(site.http_port).status, status, "{open}");
        assert_eq!(list.send_unix(&socket(&site)).status, 200);
        // Openness is for those who show nothing.
        assert_eq!(list.token("cap_x").send(site.http_port).status, 401);
        assert_eq!(Request::new("GET", "/auth/v1/tokens").send(site.http_port).status, 401);
    }
}
