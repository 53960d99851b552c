//! The certificates of nodes, through the doors: HTTP over TLS, the embedded job server, the commands, and a worker on a node.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on ends")]

#[path = "identity/home.rs"]
mod home;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
    time::Duration,
};

use capstan_tests::{daemon::Ended, http::Request, paths, wait_for};
use home::{FAR, Home, NodeKey, node_site, told_site, user_data_file};
use serde_json::{Value, json};

#[test]
fn a_token_is_exchanged_once_and_every_refusal_is_the_same() {
    let home = Home::new("");
    let daemon = home.site.start();
    let token = home.token("lb-1");
    let key = NodeKey::new("lb-1");
    let enrol =
        |token: &str, key: &NodeKey| home.post("/identity/v1/enrol", &json!({ "token": token, "csr": key.csr }));
    let refused = |token: &str, key: &NodeKey| {
        let (status, mut body) = enrol(token, key);
        body.as_object_mut().unwrap().remove("request_id");
        assert_eq!(status, 401, "{body}");
        body
    };

    // Of other names, unknown, wrong and malformed: nothing tells which it was.
    let plain = refused("nonsense", &key);
    assert_eq!(plain["detail"], "the token is not accepted");
    wait_for("the log to name who asked", FAR, || home.site.log().contains(r#""peer":"127.0.0.1:"#).then_some(()));
    let unknown = "cap_aaaaaaaaaa_".to_owned() + token.rsplit_once('_').unwrap().1;
    let wrong = token.rsplit_once('_').unwrap().0.to_owned() + "_" + &"a".repeat(52);
    for (token, key) in [(&unknown, &key), (&wrong, &key), (&token, &NodeKey::new("lb-2"))] {
        assert_eq!(refused(token, key), plain);
    }
    // What is no request is told so whatever the token is, and no more of it.
    let good = refused(&wrong, &key);
    for csr in [&key.csr.replace('M', "N"), "", &"x".repeat(20_000), &home::csr_of_an_authority("lb-1")] {
        for token in [&token, &wrong] {
            let (status, body) = home.post("/identity/v1/enrol", &json!({ "token": token, "csr": csr }));
            assert!(status == 400 && body["field"] == "csr", "{status} {body}");
        }
    }
    assert_eq!(good, plain);

    let (status, first) = enrol(&token, &key);
    assert_eq!(status, 200, "{first}");
    assert_eq!(first["ca"], home.ca());
    let (status, again) = enrol(&token, &key);
    assert_eq!((status, &again["serial"]), (200, &first["serial"]));
    assert_eq!(refused(&token, &NodeKey::new("lb-1")), plain);

    let expired = home.token_for("lb-3", 1);
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(refused(&expired, &NodeKey::new("lb-3")), plain);

    // Who has the rights of an operator by his certificate's name is no node.
    let ended = home.site.expect(1, &["identity", "token", "operator"]);
    assert!(ended.error.contains("other rights"), "{ended:?}");

    // The authority is the same after a restart, and knows its own.
    let ca = home.ca();
    daemon.stop();
    let _daemon = home.site.start();
    assert_eq!(home.fetch_ca(), ca);
    let (status, again) = enrol(&token, &key);
    assert_eq!((status, &again["serial"]), (200, &first["serial"]));
}

#[test]
fn a_token_that_nobody_has_used_is_listed_and_can_be_revoked() {
    let home = Home::new("");
    let daemon = home.site.start();
    let made = home.site.expect(0, &["identity", "token", "lb-1", "--output", "json"]).json();
    let (id, token) = (made["id"].as_str().unwrap(), made["token"].as_str().unwrap());
    assert!(token.starts_with(&format!("cap_{id}_")), "{made}");
    let used = home.token("lb-2");
    let used_id = used.split('_').nth(1).unwrap();
    let enrol = |token: &str, name: &str| {
        home.post("/identity/v1/enrol", &json!({ "token": token, "csr": NodeKey::new(name).csr }))
    };
    let (status, held) = enrol(&used, "lb-2");
    assert_eq!(status, 200, "{held}");
    let expired = home.token_for("lb-3", 1);
    let listed = |options: &[&str]| {
        let answer = home.site.expect(0, &[&["identity", "tokens", "--output", "json"], options].concat());
        assert!(
            !answer.out.contains(token.rsplit_once('_').unwrap().1) && !answer.out.contains("sha256"),
            "{answer:?}"
        );
        let states = answer.json()["tokens"].as_array().unwrap().clone();
        states.iter().map(|one| format!("{} {}", one["name"], one["state"]).replace('"', "")).collect::<Vec<_>>()
    };
    wait_for("the short token to expire", FAR, || (listed(&[]) == ["lb-1 unused"]).then_some(()));
    assert_eq!(listed(&["--all"]), ["lb-1 unused", "lb-2 used", "lb-3 expired"]);
    assert_eq!(listed(&["--all", "--name", "lb-2"]), ["lb-2 used"]);
    let page = home.operate(&Request::new("GET", "/identity/v1/tokens?limit=2")).json();
    let next = format!("/identity/v1/tokens?limit=2&cursor={}", page["next"].as_str().unwrap());
    let page = home.operate(&Request::new("GET", &next)).json();
    assert_eq!((page["tokens"].as_array().unwrap().len(), &page["tokens"][0]["name"]), (1, &json!("lb-3")), "{page}");
    assert_eq!(home.operate(&Request::new("GET", "/identity/v1/tokens?state=good")).status, 400);

    // Neither is a viewer's business.
    let viewer = home.site.expect(0, &["token", "new", "--role", "viewer"]).out;
    for (verb, path) in
        [("GET", "/identity/v1/tokens".to_owned()), ("POST", format!("/identity/v1/tokens/{id}/revoke"))]
    {
        let asked = Request::new(verb, &path).header("authorization", &format!("Bearer {}", viewer.trim()));
        assert_eq!(home.operate(&asked).status, 403, "{verb} {path}");
    }
    let revoked = home.site.expect(0, &["identity", "revoke-token", id, "--reason", "sent to the wrong one"]);
    assert!(revoked.out.contains("sent to the wrong one") && revoked.out.contains("revoked"), "{revoked:?}");
    let (status, refused) = enrol(token, "lb-1");
    assert_eq!((status, &refused["detail"]), (401, &json!("the token is not accepted")));
    assert!(home.certificates("lb-1").is_empty());
    assert_eq!(listed(&["--all"])[0], "lb-1 revoked");
    assert!(listed(&[]).is_empty());
    // Revoked again it stays as it is.
    let again = home.site.expect(0, &["identity", "revoke-token", id, "--reason", "again"]);
    assert!(again.out.contains("sent to the wrong one"), "{again:?}");

    let late = home.site.expect(1, &["identity", "revoke-token", used_id]);
    assert!(late.error.contains(&format!("capstan identity revoke {}", held["serial"].as_str().unwrap())), "{late:?}");
    let (status, again) = enrol(&used, "lb-2");
    assert_eq!(status, 401, "another key: {again}");
    let unknown = home.site.expect(1, &["identity", "revoke-token", "aaaaaaaaaa"]);
    assert!(unknown.error.contains("capstan identity tokens"), "{unknown:?}");
    let whole = home.site.expect(64, &["identity", "revoke-token", &expired]);
    assert!(whole.error.contains("between the underscores"), "{whole:?}");

    // A restart forgets none of it.
    daemon.stop();
    let _daemon = home.site.start();
    assert_eq!(enrol(token, "lb-1").0, 401);
    assert_eq!(listed(&["--all"]), ["lb-1 revoked", "lb-2 used", "lb-3 expired"]);
}

#[test]
fn an_enrolment_token_that_nobody_has_seen_is_revoked() {
    let home = Home::new("");
    let _daemon = home.site.start();
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(paths::capstan());
    command.arg("--config").arg(home.site.config()).args(["identity", "token", "lb-1"]);
    let ended = Ended::of(command.stdout(full).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap());
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.error.ends_with("; it is revoked again\n"), "{ended:?}");
    let listed = home.site.expect(0, &["identity", "tokens", "--all", "--output", "json"]).json();
    assert_eq!((&listed["tokens"][0]["state"], &listed["tokens"][1]), (&json!("revoked"), &Value::Null), "{listed}");
}

#[test]
fn guessing_is_slowed_down() {
    let home = Home::new("");
    let _daemon = home.site.start();
    let key = NodeKey::new("lb-1");
    let guess = || home.post("/identity/v1/enrol", &json!({ "token": home::a_token(), "csr": key.csr })).0;
    let answers: Vec<u16> = (0..25).map(|_| guess()).collect();
    assert!(answers.iter().take(20).all(|status| *status == 401) && answers.contains(&429), "{answers:?}");
}

#[test]
fn whatever_is_sent_is_answered_and_nothing_breaks() {
    let home = Home::new("");
    let _daemon = home.site.start();
    let key = NodeKey::new("lb-1");
    let mut random = capstan_tests::random::Random::new(20_261_126);
    for _ in 0..100 {
        let mut csr = key.csr.clone().into_bytes();
        for _ in 0..1 + random.below(8) {
            let at = usize::try_from(random.below(csr.len() as u64)).unwrap();
            csr[at] = u8::try_from(random.below(128)).unwrap();
        }
        let body =
            json!({ "token": "x", "csr": String::from_utf8_lossy(&csr), "signature": "AAAA", "certificate": "x" });
        for path in ["/identity/v1/enrol", "/identity/v1/renew"] {
            let mut body = body.clone();
            let fields: &[&str] = if path.ends_with("enrol") { &["signature", "certificate"] } else { &["token"] };
            fields.iter().for_each(|field| drop(body.as_object_mut().unwrap().remove(*field)));
            let (status, answer) = home.post(path, &body);
            assert!(matches!(status, 400 | 401 | 429), "{status} {answer} for {body}");
        }
    }
    let (status, _) = home.post("/identity/v1/enrol", &json!({ "token": "x" }));
    assert_eq!(status, 400);
}

#[test]
fn a_renewal_needs_the_old_key_and_a_certificate_that_holds() {
    let home = Home::with_files();
    let _daemon = home.site.start();
    let key = NodeKey::new("lb-1");
    let (_, held) = home.post("/identity/v1/enrol", &json!({ "token": home.token("lb-1"), "csr": key.csr }));
    let held = held["certificate"].as_str().unwrap().to_owned();
    let next = NodeKey::new("lb-1");
    let renew = |certificate: &str, key: &NodeKey, next: &NodeKey| {
        let body = json!({ "certificate": certificate, "csr": next.csr, "signature": key.prove(next) });
        home.post("/identity/v1/renew", &body)
    };
    for (what, certificate, key, next) in [
        ("without the key", &held, &NodeKey::new("lb-1"), &next),
        ("of another name", &held, &key, &NodeKey::new("lb-2")),
        ("after its end", &home.certify(&key, 2019, 2020), &key, &next),
        ("before its beginning", &home.certify(&key, 2098, 2099), &key, &next),
        ("of another authority", &key.self_signed(), &key, &next),
        ("none", &"nonsense".to_owned(), &key, &next),
    ] {
        let (status, body) = renew(certificate, key, next);
        assert_eq!((status, &body["detail"]), (401, &json!("the certificate is not accepted")), "{what}");
    }
    let (status, renewed) = renew(&held, &key, &next);
    assert_eq!(status, 200, "{renewed}");
    let all = home.certificates("lb-1");
    assert_eq!(all.len(), 2, "{all:?}");

    home.site.expect(0, &["identity", "revoke", all[0]["serial"].as_str().unwrap(), "--reason", "stolen"]);
    let (status, _) = renew(&held, &key, &NodeKey::new("lb-1"));
    assert_eq!(status, 401);
    let renewed = renewed["certificate"].as_str().unwrap().to_owned();
    assert_eq!(renew(&renewed, &next, &NodeKey::new("lb-1")).0, 200);
    let shown = home.site.expect(0, &["identity", "list", "--name", "lb-1"]);
    assert!(shown.out.contains("stolen") && shown.out.contains("renewal"), "{}", shown.out);
    home.site.expect(64, &["identity", "revoke", "../x"]);
    home.site.expect(1, &["identity", "revoke", "abcdef"]);
}

#[test]
fn a_revoked_certificate_is_cut_off_and_comes_in_nowhere() {
    let home = Home::new("");
    let _daemon = home.site.start();
    let key = NodeKey::new("lb-1");
    let (_, held) = home.post("/identity/v1/enrol", &json!({ "token": home.token("lb-1"), "csr": key.csr }));
    let certificate = held["certificate"].as_str().unwrap();
    let client = home.client(Some((certificate, &key)));
    let echo = |connection: &mut home::Connection| home::echo(connection);
    let mut open = home::connect(home.site.job_server_port, &client).unwrap();
    assert!(echo(&mut open));
    let mut idle = home::connect(home.http_port(), &client).unwrap();
    assert_eq!(home::get(&mut idle, "/livez").unwrap(), 200);
    // Without a certificate the job server lets nobody in.
    let mut nobody = home::connect(home.site.job_server_port, &home.client(None)).unwrap();
    assert!(!echo(&mut nobody));

    let serial = held["serial"].as_str().unwrap();
    home.site.expect(0, &["identity", "revoke", serial]);
    assert!(!echo(&mut open), "an open connection to the job server goes on");
    assert!(home::get(&mut idle, "/livez").is_err(), "an open connection to the HTTP listener goes on");
    for port in [home.site.job_server_port, home.http_port()] {
        let error = home::refusal(port, &home.client(Some((certificate, &key))));
        assert!(error.contains("CertificateRevoked"), "{port}: {error}");
        // Who takes up an earlier session of TLS shows no certificate again, and is cut off all the same.
        home::refusal(port, &client);
    }
    let other = NodeKey::new("lb-2");
    let (_, held) = home.post("/identity/v1/enrol", &json!({ "token": home.token("lb-2"), "csr": other.csr }));
    let client = home.client(Some((held["certificate"].as_str().unwrap(), &other)));
    assert!(echo(&mut home::connect(home.site.job_server_port, &client).unwrap()));
}

#[test]
fn a_worker_enrols_itself_renews_and_is_cut_off_when_its_node_is_deleted() {
    // The pool asks for DIAGNOSTICS before a node enters the stock: over TLS, with the certificates of this authority on both sides.
    let home = Home::of("certificate_seconds = 6", "nodes = 1");
    let _daemon = home.site.start();
    let node = wait_for("a node in the cloud", FAR, || {
        home.pool_nodes().into_iter().find(|node| node["state"] == "failed" || node["state"] == "checking")
    });
    let (id, name) = (node["id"].as_str().unwrap().to_owned(), node["name"].as_str().unwrap().to_owned());
    let worker = node_site(&home, &name, &home.token(&name), "renew_before_seconds = 3");
    let running = worker.start_with(&["worker"]);
    wait_for("the node to enter the stock", FAR, || {
        home.pool_nodes().into_iter().find(|node| node["id"] == id && node["state"] == "ready")
    });
    let key = worker.path().join("state/identity/key.pem");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);

    let renewed = wait_for("two renewals", FAR, || Some(home.certificates(&name)).filter(|all| all.len() >= 3));
    assert!(
        renewed.iter().skip(1).all(|one| one["origin"] == "renewal" && one["node"] == renewed[0]["node"]),
        "{renewed:?}"
    );
    let anew = |text: &str| worker.log_lines().iter().any(|line| line.to_string().contains(text));
    wait_for("the worker to connect anew", FAR, || anew("connects anew").then_some(()));
    assert!(!worker.log().contains(&fs::read_to_string(&key).unwrap()[40..80]), "the key is in the log");

    let figures = home.operate(&Request::new("GET", "/metrics")).body;
    assert!(figures.contains("capstan_identity_certificates_total{by=\"renewal\"}"), "{figures}");
    let figures = capstan_tests::http::get(worker.http_port, "/metrics", "").unwrap().body;
    assert!(figures.lines().any(|line| line.starts_with("capstan_identity_certificate_end_timestamp 1")), "{figures}");

    let answer = home.operate(&Request::new("POST", &format!("/pool/v1/nodes/{id}/retire")));
    assert!(answer.status < 300, "{answer:?}");
    wait_for("its certificates to be revoked", FAR, || {
        let all = home.certificates(&name);
        all.iter().all(|one| one["revoked"].is_string()).then_some(())
    });
    wait_for("the worker to be cut off", FAR, || anew("is not connected to the job server").then_some(()));
    // The node is told why, and where to look, in no words of a library's manual.
    wait_for("the reason", FAR, || anew("it may be revoked or have ended").then_some(()));
    assert!(anew("capstan identity list") && !worker.log().contains("docs.rs"), "{}", worker.log());
    running.stop();
}

#[test]
fn the_pool_tells_its_nodes_all_they_need() {
    let home = Home::of("", "nodes = 1\nsearch_seconds = 1").with_recording_cloud();
    let _daemon = home.site.start();
    let told = |number: u32| {
        let path = home.site.path().join(format!("user-data-{number}"));
        wait_for("the cloud to be asked", FAR, || fs::read_to_string(&path).ok())
    };
    // Asked a second time after an answer that was lost, the cloud is asked for the same.
    let user_data = told(1);
    assert_eq!(told(2), user_data);
    let token = user_data.lines().find_map(|line| line.strip_prefix("token = ")).unwrap().trim_matches('"').to_owned();
    let node = told_site(&home, &user_data);
    let running = node.start_with(&["worker"]);
    let ready = wait_for("the node to enter the stock", FAR, || {
        home.pool_nodes().into_iter().find(|node| node["state"] == "ready")
    });
    let all = home.certificates(ready["name"].as_str().unwrap());
    assert!(all.len() == 1 && all[0]["node"] == ready["id"], "{all:?}");
    // The token is in no log and not in the store.
    assert!(!home.site.log().contains(&token) && !node.log().contains(&token));
    let store = fs::read(home.site.path().join("state/capstan.db")).unwrap();
    let wal = fs::read(home.site.path().join("state/capstan.db-wal")).unwrap_or_default();
    let secret = token.rsplit_once('_').unwrap().1.as_bytes();
    assert!(!store.windows(secret.len()).chain(wal.windows(secret.len())).any(|window| window == secret));
    running.stop();
}

#[test]
fn a_daemon_killed_between_issue_and_answer_gives_the_same_certificate_again() {
    let home = Home::new("");
    let daemon = home.site.start();
    let token = home.token("lb-1");
    daemon.stop();
    let mut doomed = home.site.spawn(&[("CAPSTAN_FAILPOINT", "identity.enrol.recorded")]);
    home.up();
    let worker = node_site(&home, "lb-1", &token, "");
    let running = worker.start_with(&["worker"]);
    assert!(!doomed.wait(FAR).success());
    assert!(!worker.path().join("state/identity/cert.pem").exists());
    let _daemon = home.site.start();
    wait_for("the certificate", FAR, || worker.path().join("state/identity/key.pem").exists().then_some(()));
    let all = home.certificates("lb-1");
    assert_eq!(all.len(), 1, "{all:?}");
    running.stop();
    // It is there at the next start, with nobody to ask.
    let before = fs::read_to_string(worker.path().join("state/identity/cert.pem")).unwrap();
    let running = worker.start_with(&["worker"]);
    assert_eq!(fs::read_to_string(worker.path().join("state/identity/cert.pem")).unwrap(), before);
    running.stop();
}

#[test]
fn a_renewal_whose_answer_was_lost_is_no_second_one() {
    let home = Home::of("certificate_seconds = 12", "nodes = 0");
    let daemon = home.site.start();
    let token = home.token("lb-1");
    daemon.stop();
    let mut doomed = home.site.spawn(&[("CAPSTAN_FAILPOINT", "identity.renew.recorded")]);
    home.up();
    let worker = node_site(&home, "lb-1", &token, "renew_before_seconds = 6");
    let running = worker.start_with(&["worker"]);
    assert!(!doomed.wait(FAR).success());
    let _daemon = home.site.start();
    let all = home.certificates("lb-1");
    let renewed = all.get(1).and_then(|one| one["serial"].as_str()).unwrap_or_else(|| panic!("{all:?}")).to_owned();
    wait_for("the renewed certificate on the node", FAR, || {
        worker.log_lines().iter().any(|line| line["serial"] == renewed.as_str()).then_some(())
    });
    running.stop();
}

#[test]
fn a_node_that_is_refused_says_why_and_is_not_ready() {
    let home = Home::new("");
    let _daemon = home.site.start();
    let worker = node_site(&home, "lb-1", &home::a_token(), "");
    let running = worker.start_with(&["worker"]);
    let ready = || capstan_tests::http::get(worker.http_port, "/readyz", "").unwrap();
    let said = wait_for("a refusal", FAR, || Some(ready()).filter(|answer| answer.body.contains("not accepted")));
    assert_eq!(said.status, 503, "{said:?}");
    let list: Value = home.site.expect(0, &["identity", "list", "--output", "json"]).json();
    assert_eq!(list["certificates"], json!([]));
    running.stop();

    // Of a daemon of another authority it takes nothing, and shows it no token.
    let elsewhere = Home::new("");
    let _elsewhere = elsewhere.site.start();
    let lured = node_site(&elsewhere, "lb-2", &home.token("lb-2"), "");
    let file = user_data_file(&lured);
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace(&elsewhere.fingerprint(), &home.fingerprint())).unwrap();
    let running = lured.start_with(&["worker"]);
    wait_for("the refusal", FAR, || lured.log().contains("UnknownIssuer").then_some(()));
    running.stop();
}
