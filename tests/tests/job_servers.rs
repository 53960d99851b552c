//! How a daemon stands towards job servers: the options that libra's worker ignored, IPv6 addresses, certificates
//! (BUG-40 to BUG-42 of `docs/contract/acceptance.md`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a suite stops where something is wrong")]

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    time::Duration,
};

use capstan_tests::{
    authority::Authority,
    daemon::{Ended, Setup, Site},
    free_port, gearman,
    gearmand::{self, Gearmand},
    message::action,
    paths, wait_for,
};
use serde_json::json;

const SOON: Duration = Duration::from_secs(10);

/// Gives a site these lines for its `[gearman]`.
fn set_gearman(site: &Site, lines: &str) {
    let text = fs::read_to_string(site.config()).unwrap();
    let (before, rest) = text.split_once("[gearman]\n").unwrap();
    let (_replaced, after) = rest.split_once("\n[drivers]").unwrap();
    site.configure(&format!("{before}[gearman]\n{lines}\n[drivers]{after}"));
}

/// The timer of an established connection to a port, from its client's side: kind and hundredths of a second.
fn timer_towards(port: u16) -> Option<(String, u64)> {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let remote = format!("0100007F:{port:04X}");
    let line = table.lines().find(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.get(2) == Some(&remote.as_str()) && fields.get(3) == Some(&"01")
    })?;
    let (kind, left) = line.split_whitespace().nth(5)?.split_once(':')?;
    Some((kind.to_owned(), u64::from_str_radix(left, 16).ok()?))
}

#[test]
fn bug40_keepalive_is_as_the_file_says() {
    for (lines, expected) in [
        ("keepalive = true\nkeepidle = 100\nkeepcnt = 3\nkeepintvl = 5", Some(100)),
        ("keepalive = true", Some(7200)),
        ("keepidle = 100", None),
    ] {
        let gearmand = Gearmand::start();
        let site = Site::new(Setup { job_server: Some(gearmand.port()), ..Setup::default() });
        set_gearman(&site, &format!("servers = [\"{}\"]\n{lines}", gearmand.address()));
        let daemon = site.start();
        gearmand.wait_for_worker(&site.function);
        // Kind 2 is keepalive, 0 none; others pass, while something is under way.
        let (kind, left) =
            wait_for("a quiet connection", SOON, || timer_towards(gearmand.port()).filter(|(kind, _)| kind != "01"));
        match expected {
            Some(idle) => assert!(kind == "02" && (idle - 20..=idle).contains(&left.div_ceil(100)), "{lines}: {left}"),
            None => assert_eq!(kind, "00", "{lines}"),
        }
        site.pass(&action("DISCOVER"));
        daemon.stop();
    }
}

#[test]
fn bug40_reconnect_sleep_bounds_every_pause() {
    let nobody = free_port();
    let site = Site::new(Setup { job_server: Some(nobody), ..Setup::default() });
    set_gearman(&site, &format!("servers = [\"127.0.0.1:{nobody}\"]\nreconnect_sleep_seconds = 0.15"));
    let daemon = site.start();
    let pauses = || -> Vec<String> {
        let lines = site.log_lines();
        lines.iter().filter_map(|line| line["retry_after"].as_str().map(str::to_owned)).collect()
    };
    // Unbounded, the seventh would be between 3.2 and 6.4 s.
    let pauses = wait_for("seven attempts", SOON, || Some(pauses()).filter(|all| all.len() >= 7));
    for pause in &pauses {
        let ms: f64 = pause.strip_suffix("ms").unwrap_or_else(|| panic!("{pauses:?}")).parse().unwrap();
        assert!(ms <= 150.0, "{pauses:?}");
    }
    // The server comes, and the worker is there.
    let gearmand = Gearmand::start_on(nobody);
    gearmand.wait_for_worker(&site.function);
    site.pass(&action("DISCOVER"));
    daemon.stop();
}

#[test]
fn bug42_job_servers_by_ipv6_address() {
    let (free, site) = (free_port(), Site::worker("noop", ""));
    set_gearman(&site, &format!("servers = [\"embedded\", \"[::1]:1\"]\nembedded_listen = \"[::1]:{free}\""));
    let daemon = site.start();
    let reply = site.send(&action("DIAGNOSTICS"));
    let expected = json!([{ "host": "::1", "status": "PASS" }, { "host": "::1", "status": "FAIL" }]);
    assert_eq!((&reply["hpcs_response"], &reply["gearman"]), (&json!("PASS"), &expected), "{reply}");
    let server = format!("[::1]:{free}");
    site.expect(0, &["job", "send", &site.function, "{\"hpcs_action\": \"DISCOVER\"}", "--server", &server]);
    let ended = site.expect(64, &["job", "send", &site.function, "{}", "--server", "::1:x"]);
    assert!(ended.error.contains("::1:x") && ended.error.contains("[2001:db8::1]:port"), "{}", ended.error);
    daemon.stop();
}

/// The options of a client that trusts this authority and shows a certificate of `by`.
fn client(authority: &Authority, by: &Authority, name: &str, end: i32) -> String {
    let [cert, key] = by.issue(name, end);
    format!("ssl_ca = \"{}\"\nssl_cert = \"{cert}\"\nssl_key = \"{key}\"", authority.ca())
}

/// Sends DISCOVER with a configuration of its own.
fn discover(folder: &Path, port: u16, function: &str, options: &str) -> Ended {
    let config = folder.join("client.toml");
    fs::write(&config, format!("[gearman]\nservers = [\"127.0.0.1:{port}\"]\n{options}\n")).unwrap();
    let output = std::process::Command::new(paths::capstan())
        .arg("--config")
        .arg(&config)
        .args(["job", "send", function, "{\"hpcs_action\": \"DISCOVER\"}", "--timeout", "10", "--output", "json"])
        .output()
        .unwrap();
    Ended::of(output)
}

/// Kind of the record that answers a hello of TLS 1.`minor - 1`, and the first two bytes in it.
fn answer_to_hello(port: u16, minor: u8) -> [u8; 3] {
    // Version, 32 random bytes, no session, one cipher with its group, signature and point format, no compression.
    let extensions: &[u8] = &[0, 10, 0, 4, 0, 2, 0, 0x1D, 0, 13, 0, 4, 0, 2, 4, 3, 0, 11, 0, 2, 1, 0, 0, 23, 0, 0];
    let length = u8::try_from(extensions.len()).unwrap();
    let hello = [&[3, minor][..], &[7; 32], &[0, 0, 2, 0xC0, 0x2B, 1, 0, 0, length], extensions].concat();
    let length = u8::try_from(hello.len()).unwrap();
    let record = [&[0x16, 3, 1, 0, length + 4, 1, 0, 0, length][..], &hello].concat();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(&record).unwrap();
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).unwrap();
    [answer[0], answer[5], answer[6]]
}

#[test]
fn bug41_certificates_are_demanded_and_old_tls_is_refused() {
    let site = Site::worker("noop", "");
    let (port, root) = (site.job_server_port, site.path().to_owned());
    let [ours, theirs] = ["ours", "theirs"].map(|name| Authority::new(root.join(name)));
    let [cert, key] = ours.issue("job-server", 2100);
    let ca = ours.ca();
    let lines = format!(
        "servers = [\"embedded\"]\nembedded_listen = \"127.0.0.1:{port}\"\nembedded_admins = [\"operator\"]\n{}\n\n\
         [gearman.embedded_tls]\nca = \"{}\"\ncert = \"{cert}\"\nkey = \"{key}\"\n",
        client(&ours, &ours, &site.function, 2100),
        ca,
    );
    set_gearman(&site, &lines);
    let daemon = site.start();

    // The node's own certificate registered it; the operator's sends.
    let operator = client(&ours, &ours, "operator", 2100);
    let ended = wait_for("the operator to be answered", SOON, || {
        Some(discover(&root, port, &site.function, &operator)).filter(|ended| ended.code == Some(0))
    });
    assert_eq!(ended.json()["hpcs_response"], "PASS");

    for (what, options, says) in [
        ("no TLS", String::new(), ""),
        ("another authority's certificate", client(&ours, &theirs, "operator", 2100), ""),
        ("an expired certificate", client(&ours, &ours, "operator", 2020), ""),
        ("a server of another authority", client(&theirs, &theirs, "operator", 2100), "invalid peer certificate"),
        ("a node's certificate", client(&ours, &ours, "node-2", 2100), "NOT_PERMITTED"),
        ("the worker's own certificate", client(&ours, &ours, &site.function, 2100), "NOT_PERMITTED"),
    ] {
        let ended = discover(&root, port, &site.function, &options);
        assert!(matches!(ended.code, Some(1 | 69)) && ended.out.is_empty(), "{what}: {ended:?}");
        assert!(ended.error.contains(says) && !ended.error.is_empty(), "{what}: {ended:?}");
    }
    // At most an alert of TLS, which begins so.
    let told = gearmand::admin(port, "status").ok().filter(|line| !line.starts_with('\u{15}'));
    assert_eq!(told, None, "text commands without TLS");
    assert!(gearman::try_submit(port, &site.function, b"{}").is_err(), "jobs without TLS");

    // The same hello with the version of TLS 1.1 and of 1.2: a fatal alert about the version, and a handshake.
    assert_eq!(answer_to_hello(port, 2), [0x15, 2, 70], "TLS 1.1");
    assert_eq!(answer_to_hello(port, 3)[0], 0x16, "TLS 1.2");

    assert_eq!(discover(&root, port, &site.function, &operator).code, Some(0), "and the operator is still served");
    daemon.stop();
}
