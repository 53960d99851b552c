//! Who may call the daemon, and as what: every route, every listener, every credential.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a suite stops where something is wrong")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    net::Ipv4Addr,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use capstan_tests::{
    authority::Authority,
    daemon::{Ended, Site},
    http::{Request, Response},
    paths, wait_for,
};
use rustix::process::Signal;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(10);

/// A daemon of the role lbaas. `http` are more keys of `[http]`, `more` more tables.
fn site(http: &str, more: &str) -> Site {
    let site = Site::worker("noop", "");
    let (port, job_server) = (site.http_port, site.job_server_port);
    let directory = paths::build();
    let directory = directory.display();
    site.configure(&format!(
        "[daemon]\nroles = [\"lbaas\"]\nstate_dir = \"@ROOT@/state\"\nrun_dir = \"@ROOT@/run\"\n\
         [http]\nlisten = [\"127.0.0.1:{port}\"]\n{http}\n\
         [gearman]\nembedded_listen = \"127.0.0.1:{job_server}\"\n\
         [drivers]\ndirectory = \"{directory}\"\ntrust_own_files = true\n{more}\n"
    ));
    site
}

fn socket(site: &Site) -> PathBuf {
    site.path().join("run/capstan.sock")
}

fn new_token(site: &Site, options: &[&str]) -> String {
    let ended = site.expect(0, &[&["token", "new"], options].concat());
    ended.out.trim().to_owned()
}

fn id(token: &str) -> &str {
    token.split('_').nth(1).unwrap()
}

/// The last letter of the secret changed.
fn wrong(token: &str) -> String {
    let (rest, last) = token.split_at(token.len() - 1);
    format!("{rest}{}", if last == "a" { "b" } else { "a" })
}

fn tokens_of_each_role(site: &Site) -> BTreeMap<&'static str, String> {
    ["admin", "operator", "viewer", "device", "tenant"]
        .into_iter()
        .map(|role| {
            let tenant: &[&str] = if role == "tenant" { &["--tenant", "acme"] } else { &[] };
            (role, new_token(site, &[&["--role", role, "--name", role], tenant].concat()))
        })
        .collect()
}

/// A token that was good for a second, and is no more.
fn expired(site: &Site) -> String {
    let token = new_token(site, &["--role", "admin", "--expires", "1s"]);
    wait_for("the token to expire", SOON, || {
        let shown = site.expect(0, &["token", "show", id(&token), "--output", "json"]).json();
        (shown["state"] == "expired").then_some(())
    });
    token
}

fn revoked(site: &Site) -> String {
    let token = new_token(site, &["--role", "admin"]);
    site.expect(0, &["token", "revoke", id(&token)]);
    token
}

/// Whether a role suffices for what a route asks; said here once more, so that a change of the guard is seen.
fn suffices(access: &str, role: &str) -> bool {
    match access {
        "open" => true,
        "viewer" => ["viewer", "operator", "admin"].contains(&role),
        "operator" => ["operator", "admin"].contains(&role),
        "admin" => role == "admin",
        "device" | "open_device" => ["device", "operator", "admin"].contains(&role),
        "tenant" => ["tenant", "operator", "admin"].contains(&role),
        other => panic!("an access that this suite does not know: {other}"),
    }
}

/// Every route of the daemon as a request, with what it asks.
fn routes(site: &Site) -> Vec<(Request, String, String)> {
    let index = Request::new("GET", "/").send_unix(&socket(site)).json();
    let routes = index["routes"].as_array().unwrap();
    assert!(routes.len() > 20, "{index}");
    routes
        .iter()
        .map(|route| {
            let (method, path) = (route["method"].as_str().unwrap(), route["path"].as_str().unwrap());
            let filled: Vec<_> = path.split('/').map(|part| if part.starts_with('{') { "0" } else { part }).collect();
            let filled = filled.join("/");
            (Request::new(method, &filled), format!("{method} {path}"), route["access"].as_str().unwrap().to_owned())
        })
        .collect()
}

#[test]
fn every_route_asks_who_calls_on_every_listener() {
    let site = site("anonymous = \"none\"", "");
    let _daemon = site.start();
    let tokens = tokens_of_each_role(&site);
    let bad = [
        ("malformed", "cap_x".to_owned()),
        ("unknown", format!("cap_aaaaaaaaaa_{}", "a".repeat(52))),
        ("wrong", wrong(&tokens["admin"])),
        ("expired", expired(&site)),
        ("revoked", revoked(&site)),
    ];
    let mut walked = 0;
    for (number, (request, route, access)) in (0_u8..).zip(routes(&site)) {
        // Each route from an address of its own: this is about answers, not about attempts.
        let over_tcp = |request: &Request| request.send_from(Ipv4Addr::new(127, 0, 1, number + 1), site.http_port);
        let over_unix = |request: &Request| request.send_unix(&socket(&site));
        let none = over_tcp(&request);
        assert_eq!(none.status == 401, access != "open", "{route} without credentials over TCP: {}", none.status);
        if access != "open" {
            assert!(none.header("www-authenticate").is_some(), "{route}");
        }
        let local = over_unix(&request);
        assert!(![401, 403].contains(&local.status), "{route} for the local operator: {}", local.status);
        for (name, send) in [("TCP", &over_tcp as &dyn Fn(&Request) -> Response), ("the socket", &over_unix)] {
            let mut said = Vec::new();
            for (kind, token) in &bad {
                for shown in [request.clone().token(token), request.clone().header("x-auth-token", token)] {
                    let answer = send(&shown);
                    assert_eq!(
                        answer.status == 401,
                        access != "open",
                        "{route}, {kind} over {name}: {}",
                        answer.status
                    );
                    if access != "open" && !answer.body.is_empty() {
                        let mut body = answer.json();
                        body["request_id"].take();
                        said.push(body);
                    }
                    walked += 1;
                }
            }
            assert!(said.windows(2).all(|pair| pair[0] == pair[1]), "{route}: the answer tells why: {said:?}");
            for (role, token) in &tokens {
                let answer = send(&request.clone().token(token));
                let refused = [401, 403].contains(&answer.status);
                assert_eq!(!refused, suffices(&access, role), "{route} as {role} over {name}: {}", answer.status);
                if refused {
                    assert_eq!(answer.status, 403, "{route} as {role}");
                    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
                    let (_, takes) = detail.split_once(&format!("not for the role {role}; it takes ")).unwrap();
                    let all = ["viewer", "operator", "admin", "device", "tenant"];
                    let enough = all.into_iter().filter(|role| suffices(&access, role));
                    let told: BTreeSet<_> = takes.split(" or ").collect();
                    assert_eq!(told, enough.collect(), "{route} as {role}");
                }
                walked += 1;
            }
        }
    }
    assert!(walked > 500, "{walked}");
    // What is not there tells a stranger nothing either.
    for request in [Request::new("GET", "/nothing"), Request::new("DELETE", "/drivers/v1")] {
        assert_eq!(request.send(site.http_port).status, 401);
    }
    assert_eq!(Request::new("GET", "/nothing").token(&tokens["device"]).send(site.http_port).status, 404);
}

#[test]
fn loopback_without_credentials_is_what_the_file_says() {
    for (anonymous, reads, acts) in [("operator", 200, 404), ("viewer", 200, 401), ("none", 401, 401)] {
        let site = site(&format!("anonymous = \"{anonymous}\""), "");
        let _daemon = site.start();
        assert_eq!(Request::new("GET", "/drivers/v1").send(site.http_port).status, reads, "{anonymous}");
        let act = Request::new("POST", "/drivers/v1/cloud/none/reload").send(site.http_port);
        assert_eq!(act.status, acts, "{anonymous}");
        // Nobody makes tokens for himself, and the device API was not opened.
        let body = json!({ "role": "admin" });
        assert_eq!(Request::new("POST", "/auth/v1/tokens").json(&body).send(site.http_port).status, 401);
        assert_eq!(Request::new("GET", "/v1/devices").send(site.http_port).status, 401);
        let ready = Request::new("GET", "/readyz").send(site.http_port);
        assert_eq!((ready.status, ready.json()["checks"].is_object()), (200, reads == 200), "{anonymous}");
    }
}

#[test]
fn a_token_is_shown_once_and_stored_as_a_hash_alone() {
    let site = site("", "");
    let daemon = site.start();
    let token = new_token(&site, &["--role", "viewer", "--name", "prometheus"]);
    assert_eq!(token.len(), 4 + 10 + 1 + 52);
    let listed = site.expect(0, &["token", "list"]);
    assert!(listed.out.contains("prometheus") && listed.out.contains(id(&token)) && listed.out.contains("valid"));
    let secret = token.rsplit('_').next().unwrap();
    let shown = site.expect(0, &["token", "show", id(&token), "--output", "json"]);
    assert!(!listed.out.contains(secret) && !shown.out.contains(secret));
    let (created, expires) = (shown.json()["created"].clone(), shown.json()["expires"].clone());
    assert!(created.as_str() < expires.as_str(), "90 days by default: {created} to {expires}");
    // Used, refused, and through the API with a key: nowhere is its text.
    assert_eq!(Request::new("GET", "/drivers/v1").token(&token).send(site.http_port).status, 200);
    assert_eq!(Request::new("GET", "/drivers/v1").token(&wrong(&token)).send(site.http_port).status, 401);
    let by_key =
        Request::new("POST", "/auth/v1/tokens").header("idempotency-key", "t-1").json(&json!({ "role": "viewer" }));
    let made = by_key.send_unix(&socket(&site));
    assert_eq!((made.status, made.header("cache-control")), (201, Some("no-store")));
    let again = by_key.send_unix(&socket(&site));
    assert_eq!((again.status, again.json()["location"].as_str()), (409, made.header("location")));
    daemon.stop();
    let made = made.json()["token"].as_str().unwrap().to_owned();
    for secret in [secret, made.rsplit('_').next().unwrap()] {
        assert!(!site.log().contains(secret));
        for file in files_below(site.path()) {
            let bytes = fs::read(&file).unwrap_or_default();
            assert!(!bytes.windows(secret.len()).any(|part| part == secret.as_bytes()), "{}", file.display());
        }
    }
    // It is good after a restart, and of no use from the moment it is revoked.
    let _daemon = site.start();
    let ask = Request::new("GET", "/drivers/v1").token(&token);
    assert_eq!(ask.send(site.http_port).status, 200);
    site.expect(0, &["token", "revoke", id(&token)]);
    assert_eq!(ask.send(site.http_port).status, 401);
    assert_eq!(site.expect(0, &["token", "show", id(&token), "--output", "json"]).json()["state"], "revoked");
}

#[test]
fn a_token_that_nobody_has_seen_is_revoked() {
    let site = site("", "");
    let _daemon = site.start();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let full = File::options().write(true).open("/dev/full").unwrap();
    for (out, why) in [(Stdio::from(writer), "Broken pipe"), (Stdio::from(full), "No space left on device")] {
        let mut command = Command::new(paths::capstan());
        command.arg("--config").arg(site.config()).args(["token", "new", "--role", "viewer"]);
        let ended = Ended::of(command.stdout(out).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap());
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.error.contains(why) && ended.error.ends_with("; it is revoked again\n"), "{ended:?}");
    }
    let listed = site.expect(0, &["token", "list", "--output", "json"]).json();
    let states: Vec<_> = listed["tokens"].as_array().unwrap().iter().map(|token| &token["state"]).collect();
    // The daemon's own for its drivers is the one that is good.
    assert_eq!(states.iter().filter(|state| **state == "revoked").count(), 2, "{listed}");
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

#[test]
fn what_a_token_may_not_be_is_refused() {
    let site = site("", "");
    let _daemon = site.start();
    for (body, field) in [
        (json!({ "role": "king" }), "role"),
        (json!({ "role": "tenant" }), "tenant"),
        (json!({ "role": "viewer", "tenant": "acme" }), "tenant"),
        (json!({ "role": "viewer", "expires_seconds": 0 }), "expires_seconds"),
        (json!({ "role": "viewer", "name": "a\nb" }), "name"),
        (json!({ "role": "viewer", "nmae": "a" }), "nmae"),
    ] {
        let answer = Request::new("POST", "/auth/v1/tokens").json(&body).send_unix(&socket(&site));
        assert_eq!(
            (answer.status, answer.json()["field"].as_str().map(str::to_owned)),
            (400, Some(field.to_owned())),
            "{body}"
        );
    }
    site.expect(64, &["token", "new", "--role", "tenant"]);
    site.expect(64, &["token", "new", "--role", "viewer", "--expires", "soon"]);
    site.expect(64, &["token", "revoke", "cap_aaaaaaaaaa_x"]);
    assert!(site.expect(1, &["token", "revoke", "aaaaaaaaaa"]).error.contains("no token of this id"));
    let forever = new_token(&site, &["--role", "viewer", "--expires", "never"]);
    assert!(site.expect(0, &["token", "show", id(&forever), "--output", "json"]).json()["expires"].is_null());
}

#[test]
fn who_guesses_waits_and_nobody_else_does() {
    let site = site("", "");
    let _daemon = site.start();
    let token = new_token(&site, &["--role", "viewer"]);
    let (guesser, other) = (Ipv4Addr::new(127, 0, 2, 1), Ipv4Addr::new(127, 0, 2, 2));
    let ask = |token: &str, from| Request::new("GET", "/drivers/v1").token(token).send_from(from, site.http_port);
    let refused = (0..60).map(|_| ask(&wrong(&token), guesser)).find(|answer| answer.status != 401).unwrap();
    assert_eq!(refused.status, 429);
    assert!(refused.header("retry-after").is_some());
    assert_eq!(ask(&token, guesser).status, 429, "a good token is not tried either");
    assert_eq!(ask(&token, other).status, 200);
    assert_eq!(Request::new("GET", "/livez").send_from(guesser, site.http_port).status, 200);
    // From where a token worked it goes on working, whoever guesses there.
    let _ = (0..60).map(|_| ask(&wrong(&token), other)).find(|answer| answer.status == 429);
    assert_eq!(ask(&token, other).status, 200);
    let figures = Request::new("GET", "/metrics").send_unix(&socket(&site)).body;
    assert!(figures.contains("capstan_http_refused_tokens_total{reason=\"wrong\"}"), "{figures}");
    assert!(figures.contains("capstan_http_refused_tokens_total{reason=\"too_many\"}"));
}

#[test]
fn the_daemons_own_token_lives_as_long_as_the_daemon() {
    let more = "[known_drivers.mgm.local]\ncommand = [\"@ROOT@/d/driver.py\"]\n[known_drivers.mgm.local.config]\n\
                path = \"@ROOT@/seen\"\ntoken = { file = \"@ROOT@/run/device.token\" }\n";
    let site = site("", more);
    fs::create_dir(site.path().join("d")).unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("drivers/remembers.py");
    fs::copy(source, site.path().join("d/driver.py")).unwrap();
    // What a driver was opened with, by each daemon anew.
    let given = || {
        let seen = fs::read(site.path().join("seen")).unwrap_or_else(|_| panic!("not opened: {}", site.log()));
        serde_json::from_slice::<Value>(&seen).unwrap()["token"].as_str().unwrap().to_owned()
    };
    // The reference is no fault before there is a daemon.
    site.expect(0, &["config", "check"]);
    let daemon = site.start();
    let path = site.path().join("run/device.token");
    let token = fs::read_to_string(&path).unwrap().trim().to_owned();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(given(), token);
    let ask = |path: &str| Request::new("GET", path).token(&token).send_unix(&socket(&site)).status;
    assert_eq!((ask("/v1/devices"), ask("/drivers/v1"), ask("/auth/v1/tokens")), (200, 403, 403));
    assert!(!site.expect(0, &["config", "show"]).out.contains(&token));
    daemon.kill();
    let daemon = site.start();
    assert_eq!(ask("/v1/devices"), 401, "another daemon's life");
    let next = fs::read_to_string(&path).unwrap().trim().to_owned();
    assert_ne!(next, token);
    assert_eq!(given(), next, "not what an earlier daemon left behind");
    daemon.stop();
    assert!(!path.exists());
}

#[test]
fn the_socket_is_for_its_owner_and_group() {
    let site = site("", "");
    let _daemon = site.start();
    let metadata = fs::metadata(socket(&site)).unwrap();
    assert_eq!((metadata.permissions().mode() & 0o777, metadata.uid()), (0o660, rustix::process::geteuid().as_raw()));
    let who = Request::new("GET", "/auth/v1/self").send_unix(&socket(&site)).json();
    assert_eq!(who["role"], "admin");
    if !rustix::process::geteuid().is_root() {
        // Only root can be somebody else; of a plain user there is the one above.
        return;
    }
    let path = socket(&site);
    for folder in path.ancestors().skip(1).take_while(|folder| folder.starts_with(site.path())) {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    }
    // A user outside the group, then one within, on reading and on what admins alone may.
    let group = metadata.gid().to_string();
    for (group, expected) in [("65534", ["000", "000"]), (&*group, ["200", "403"])] {
        let statuses = ["/drivers/v1", "/auth/v1/tokens"].map(|path_of_api| {
            let output = Command::new("setpriv")
                .args([
                    "--reuid",
                    "65534",
                    "--regid",
                    group,
                    "--clear-groups",
                    "curl",
                    "--silent",
                    "--output",
                    "/dev/null",
                ])
                .args(["--write-out", "%{http_code}", "--unix-socket", path.to_str().unwrap()])
                .arg(format!("http://localhost{path_of_api}"))
                .output()
                .expect("setpriv runs");
            String::from_utf8(output.stdout).unwrap()
        });
        assert_eq!(statuses, expected, "group {group}");
    }
    // The commands say whose the socket is, and not that there is no daemon.
    let capstan = site.path().join("capstan");
    fs::copy(paths::capstan(), &capstan).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(capstan);
    let ended = Ended::of(command.args(["driver", "list", "--socket"]).arg(&path).output().unwrap());
    let name = Command::new("id").arg("-gn").output().unwrap().stdout;
    let group = format!("the members of its group {} alone: ", String::from_utf8(name).unwrap().trim());
    assert!(ended.code == Some(69) && ended.error.contains(&group), "{ended:?}");
    assert!(!ended.error.contains("capstan serve"), "{ended:?}");
}

/// Asks over TLS with these options of curl; the status, or why there was none.
fn curl(url: &str, options: &[&str]) -> Result<(u16, String), String> {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "20", "--write-out", "\n%{http_code}"])
        .args(options)
        .arg(url)
        .stdin(Stdio::null())
        .output()
        .expect("curl runs");
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    Ok((status.parse().unwrap(), body.to_owned()))
}

#[test]
fn off_loopback_there_is_no_listener_without_tls() {
    let open = site("", "");
    let text = fs::read_to_string(open.config()).unwrap();
    open.configure(&text.replace("127.0.0.1:", "0.0.0.0:"));
    for command in [&["config", "check"][..], &["serve"]] {
        let ended = open.expect(64, command);
        assert!(ended.error.contains("http.listen") && ended.error.contains("http.tls.cert"), "{}", ended.error);
    }
}

#[test]
fn tls_certificates_and_their_renewal() {
    let (ours, theirs) = {
        let folder = tempfile::tempdir().unwrap().keep();
        (Authority::new(folder.join("ours")), Authority::new(folder.join("theirs")))
    };
    let [cert, key] = ours.issue("first", 2100);
    let tls = |auth: &str| {
        format!(
            "client_admins = [\"boss\"]\nclient_viewers = [\"looker\"]\n[http.tls]\ncert = \"{cert}\"\nkey = \"{key}\"\n\
             client_ca = \"{}\"\nclient_auth = \"{auth}\"\n",
            ours.ca()
        )
    };
    let site = site(&tls("optional"), "");
    // On all addresses, as on a network: there nothing passes without a credential.
    let text = fs::read_to_string(site.config()).unwrap();
    let open = format!("listen = [\"0.0.0.0:{}\"]", site.http_port);
    site.configure(&text.replace(&format!("listen = [\"127.0.0.1:{}\"]", site.http_port), &open));
    let daemon = site.start();
    let url = |path: &str| format!("https://127.0.0.1:{}{path}", site.http_port);
    let ca = ours.ca();
    let trust = ["--cacert", ca.as_str()];
    let as_client = |authority: &Authority, name: &str, end: i32| {
        let [cert, key] = authority.issue(name, end);
        ["--cert".to_owned(), cert, "--key".to_owned(), key]
    };
    let ask = |path: &str, more: &[String]| {
        let more: Vec<&str> = trust.iter().copied().chain(more.iter().map(String::as_str)).collect();
        curl(&url(path), &more).map(|(status, _)| status)
    };
    assert_eq!(ask("/livez", &[]), Ok(200));
    assert_eq!(ask("/drivers/v1", &[]), Ok(401), "an address of loopback is no credential on this listener");
    assert!(curl(&url("/livez"), &["--cacert", &theirs.ca()]).is_err(), "the client checks as well");
    let token = new_token(&site, &["--role", "viewer"]);
    let shown = ["--header".to_owned(), format!("authorization: Bearer {token}")];
    assert_eq!(ask("/drivers/v1", &shown), Ok(200));
    assert_eq!(ask("/drivers/v1", &as_client(&ours, "looker", 2100)), Ok(200));
    assert_eq!(ask("/auth/v1/tokens", &as_client(&ours, "looker", 2100)), Ok(403));
    assert_eq!(ask("/auth/v1/tokens", &as_client(&ours, "boss", 2100)), Ok(200));
    assert_eq!(ask("/drivers/v1", &as_client(&ours, "stranger", 2100)), Ok(401));
    // A wrong token beside a good certificate is refused; a page cannot ride on a browser's certificate.
    let both =
        [&as_client(&ours, "boss", 2100)[..], &["--header".to_owned(), "x-auth-token: cap_x".to_owned()]].concat();
    assert_eq!(ask("/drivers/v1", &both), Ok(401));
    let page =
        [&as_client(&ours, "boss", 2100)[..], &["-X", "POST", "-H", "origin: https://evil.example"].map(str::to_owned)]
            .concat();
    assert_eq!(ask("/drivers/v1/cloud/x/reload", &page), Ok(403));
    for (what, client) in
        [("another authority", as_client(&theirs, "boss", 2100)), ("expired", as_client(&ours, "boss", 2020))]
    {
        assert!(ask("/drivers/v1", &client).is_err(), "{what}");
    }
    // Plain HTTP on this port gets nothing.
    assert!(curl(&format!("http://127.0.0.1:{}/livez", site.http_port), &[]).is_err());

    // The commands, over TLS with a token; never with a token in the clear.
    let command = |options: &[&str], token: Option<&str>| {
        let mut capstan = Command::new(paths::capstan());
        capstan.args(options).arg("driver").arg("list").env_remove("CAPSTAN_TOKEN").stdin(Stdio::null());
        if let Some(token) = token {
            capstan.env("CAPSTAN_TOKEN", token);
        }
        Ended::of(capstan.output().unwrap())
    };
    let (https, file) = (url(""), site.path().join("token"));
    fs::write(&file, format!("{token}\n")).unwrap();
    let file = file.display().to_string();
    assert_eq!(command(&["--url", &https, "--ca", &ca], Some(&token)).code, Some(0));
    assert_eq!(command(&["--url", &https, "--ca", &ca, "--token-file", &file], None).code, Some(0));
    let refused = command(&["--url", &https, "--ca", &ca], None);
    assert!(refused.code == Some(1) && refused.error.contains("CAPSTAN_TOKEN"), "{refused:?}");
    assert_eq!(command(&["--url", &https, "--ca", &theirs.ca()], Some(&token)).code, Some(69));
    assert_eq!(command(&["--url", &https], Some(&token)).code, Some(64));
    let clear = command(&["--url", "http://192.0.2.1:8770"], Some(&token));
    assert!(clear.code == Some(64) && clear.error.contains("in the clear"), "{clear:?}");

    // Renewed files are taken over on SIGHUP; faulty ones are not, and what was goes on.
    let serial = || {
        curl(&url("/livez"), &["--cacert", &ca, "--verbose", "--stderr", "-"]).map(|(_, said)| {
            said.lines().find_map(|line| line.split_once("subject: ").map(|(_, name)| name.trim().to_owned()))
        })
    };
    assert_eq!(serial().unwrap().as_deref(), Some("CN=first"));
    let [new_cert, new_key] = ours.issue("second", 2100);
    fs::copy(new_cert, &cert).unwrap();
    fs::copy(new_key, &key).unwrap();
    daemon.signal(Signal::HUP);
    wait_for("the new certificate", SOON, || (serial().ok()?.as_deref() == Some("CN=second")).then_some(()));
    let good = fs::read(&cert).unwrap();
    fs::write(&cert, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    daemon.signal(Signal::HUP);
    wait_for("the fault in the log", SOON, || site.log().contains("running certificate is kept").then_some(()));
    assert_eq!(serial().unwrap().as_deref(), Some("CN=second"));
    // What is demanded of clients changes with them, and the log says so.
    fs::write(&cert, good).unwrap();
    let text = fs::read_to_string(site.config()).unwrap();
    site.configure(&text.replace("client_auth = \"optional\"", "client_auth = \"required\""));
    daemon.signal(Signal::HUP);
    wait_for("the change in the log", SOON, || site.log().contains("http.tls follows it").then_some(()));
    assert!(ask("/livez", &[]).is_err(), "it is in force");
    daemon.stop();
    assert!(!site.log().contains("restart to apply"), "{}", site.log());
    assert_eq!(site.log().matches("nothing changed").count(), 1, "of the renewed files alone: {}", site.log());
    site.configure(&text);

    // Where a certificate is demanded, no connection is made without one.
    let [cert, key] = ours.issue("third", 2100);
    let text = fs::read_to_string(site.config()).unwrap();
    let text = text.replace("client_auth = \"optional\"", "client_auth = \"required\"");
    site.configure(&text.replace("first-2100", "third-2100"));
    assert!(Path::new(&cert).exists() && Path::new(&key).exists());
    let _daemon = site.start();
    assert!(ask("/livez", &[]).is_err());
    assert!(ask("/livez", &shown).is_err(), "a token is no certificate");
    assert_eq!(ask("/livez", &as_client(&ours, "stranger", 2100)), Ok(200));
    assert_eq!(ask("/drivers/v1", &as_client(&ours, "looker", 2100)), Ok(200));
    fs::remove_dir_all(ours.folder().parent().unwrap()).unwrap();
}

#[test]
fn a_worker_alone_keeps_no_state_and_has_no_tokens() {
    let site = Site::worker("noop", "");
    let _daemon = site.start();
    assert!(!site.path().join("state/capstan.db").exists());
    let refused = site.expect(1, &["token", "list"]);
    assert!(refused.error.contains("keeps no state"), "{}", refused.error);
    // What comes with a role says with which, whoever asks for any of it.
    for (command, role) in [
        (&["pool", "status"][..], "pool-manager"),
        (&["cloud", "list"], "orchestrator or pool-manager"),
        (&["identity", "list"], "lbaas or pool-manager"),
    ] {
        let refused = site.expect(1, command);
        let says = format!("this daemon does not run the role {role}; set daemon.roles");
        assert!(refused.error.contains(&says), "{command:?}: {}", refused.error);
    }
    let said = |path: &str| Request::new("GET", path).send(site.http_port).json()["detail"].to_string();
    assert!(said("/v1/devices").contains("the role lbaas;") && said("/pool/v10").contains("no such path"));
    let body: Value = Request::new("GET", "/").send(site.http_port).json();
    assert!(!body["routes"].to_string().contains("/v1/devices"));
}
