use std::{collections::BTreeSet, fs, path::PathBuf, process::Command};

use capstan_tests::{c_driver, daemon::Site, http};
use serde_json::{Value, json};

/// The paths of every route that the daemon has; it lists them itself, and no other way to add one is there.
fn routes(site: &Site) -> BTreeSet<String> {
    let index = http::get(site.http_port, "/", "").unwrap().json();
    let routes = index["routes"].as_array().unwrap().iter();
    routes.map(|route| route["path"].as_str().unwrap().to_owned()).collect()
}

/// The route with every parameter filled in: once by what there is, once by the file.
fn filled(route: &str, file: &str) -> [String; 2] {
    let encoded = file.replace('/', "%2F");
    let fill = |kind: &str, name: &str| {
        let mut path = route.replace("{kind}", kind).replace("{name}", name);
        while let (Some(from), Some(to)) = (path.find('{'), path.find('}')) {
            path.replace_range(from..=to, &encoded);
        }
        path
    };
    [fill("load_balancer", "noop"), fill("load_balancer", &encoded)]
}

fn drivers(site: &Site) -> Vec<[Value; 4]> {
    let listed = site.expect(0, &["driver", "list", "--output", "json"]).json();
    let drivers = listed["drivers"].as_array().unwrap().iter();
    drivers.map(|driver| ["kind", "name", "path", "sha256"].map(|key| driver[key].clone())).collect()
}

/// Ways in which somebody would try to have a file loaded; each is refused, at the listener and at the operator's socket.
fn attempts(file: &str) -> Vec<(&'static str, String)> {
    let encoded = file.replace('/', "%2F");
    let mut attempts = Vec::new();
    for path in [
        "/drivers/v1".to_owned(),
        "/drivers/v1/load".to_owned(),
        "/drivers/v1/load_balancer".to_owned(),
        "/drivers/v1/load_balancer/eager".to_owned(),
        "/drivers/v1/load_balancer/noop".to_owned(),
        "/drivers/v1/load_balancer/noop/load".to_owned(),
        "/drivers/v1/load_balancer/eager/reload".to_owned(),
        format!("/drivers/v1/{encoded}"),
        format!("/drivers/v1/load_balancer/{encoded}"),
        format!("/drivers/v1/load_balancer/{encoded}/reload"),
        format!("/drivers/v1/load_balancer/..%2F{encoded}/restart"),
        format!("/drivers/v1/library/{encoded}/reload"),
    ] {
        attempts.extend(["POST", "PUT", "PATCH", "DELETE"].map(|method| (method, path.clone())));
    }
    attempts
}

/// Names of the files that the daemon keeps copies of.
fn copies(site: &Site) -> String {
    let files = fs::read_dir(site.path().join("state/drivers")).unwrap();
    files.map(|file| file.unwrap().file_name().into_string().unwrap() + " ").collect()
}

#[test]
fn no_request_has_a_file_loaded() {
    let site = Site::worker("noop", "");
    let (library, witness): (PathBuf, PathBuf) = (site.path().join("eager.so"), site.path().join("witness"));
    c_driver::build(&library, &c_driver::witness(&witness));
    let file = library.to_str().unwrap();
    let daemon = site.start();
    let routes = routes(&site);
    for known in ["/drivers/v1", "/drivers/v1/{kind}/{name}", "/livez", "/readyz", "/metrics"] {
        assert!(routes.contains(known), "{known} is not among {routes:?}");
    }
    let before = drivers(&site);
    let body = json!({
        "library": file, "path": file, "file": file, "command": [file], "url": format!("file://{file}"),
        "kind": "load_balancer", "name": "noop", "driver": { "library": file, "name": "eager" },
        "known_drivers": { "load_balancer": { "eager": { "library": file } } },
    });
    let query = format!("library={file}&path={file}&file={file}&command={file}&name=eager&kind=load_balancer");
    for route in routes.iter().map(String::as_str).chain(["/drivers/v1/load_balancer", "/drivers/v1/load", "/"]) {
        for path in filled(route, file) {
            for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
                let answer = http::send(site.http_port, method, &format!("{path}?{query}"), &body).unwrap();
                let status = answer.status;
                assert!(status < 500 || path == "/readyz", "{method} {path}: {status} {}", answer.body);
                assert!(!witness.exists(), "{method} {path} had the file loaded");
            }
        }
    }
    let socket = site.path().join("run/capstan.sock");
    for (method, path) in attempts(file) {
        let answers = [
            http::send(site.http_port, method, &path, &body).unwrap(),
            http::send_unix(&socket, method, &path, &body).unwrap(),
        ];
        for answer in answers {
            assert!([400, 404, 405].contains(&answer.status), "{method} {path}: {} {}", answer.status, answer.body);
        }
        assert!(!witness.exists(), "{method} {path} had the file loaded");
    }
    // A reload takes the file of the configuration, whatever is sent along.
    assert_eq!(http::send(site.http_port, "POST", "/drivers/v1/load_balancer/noop/reload", &body).unwrap().status, 200);
    assert_eq!(drivers(&site), before, "the same drivers, of the same files");
    let hash = Command::new("sha256sum").arg(&library).output().unwrap();
    let hash = String::from_utf8(hash.stdout).unwrap();
    assert!(!copies(&site).contains(&hash[..64]), "the file was copied: {}", copies(&site));
    assert!(
        copies(&site).contains(before[0][3].as_str().unwrap()),
        "a copy has the hash in its name: {}",
        copies(&site)
    );
    daemon.stop();
    assert!(!witness.exists(), "the file was loaded at the end");
    // The witness would have been there: what is in the configuration is loaded.
    site.expect(0, &["driver", "check", "--load-only", file]);
    assert!(witness.exists());
}
