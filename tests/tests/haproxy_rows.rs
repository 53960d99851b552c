//! The acceptance rows of the HAProxy driver (`docs/contract/acceptance.md`) as they show from outside: through messages to the
//! built daemon, in the file that HAProxy loads, in HAProxy's answers, and in what clients get.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a suite stops where something is wrong")]

use std::{
    fs,
    io::Write,
    net::TcpListener,
    process::{Command, Stdio},
    time::Duration,
};

use capstan_tests::{
    daemon::{HAPROXY, Setup, Site, update},
    free_port,
    message::{action, node, of},
    process,
    swift::Swift,
    syslog::Syslog,
    wait_for,
    web::{self, WebServer},
};
use rustix::process::Signal;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(10);

fn backup(id: &str, port: u16) -> Value {
    json!({ "id": id, "address": "127.0.0.1", "port": port, "backup": "TRUE" })
}

/// The lines of one section, trimmed, without servers that stand for nobody yet.
fn section(site: &Site, head: &str) -> Vec<String> {
    let config = site.haproxy_config();
    let lines = config.lines().skip_while(|line| *line != head).skip(1);
    let lines = lines.take_while(|line| line.is_empty() || line.starts_with(' ')).map(str::trim);
    let lines: Vec<String> =
        lines.filter(|line| !line.is_empty() && !line.starts_with("server slot-")).map(str::to_owned).collect();
    assert!(!lines.is_empty(), "no section {head:?} in\n{config}");
    lines
}

#[test]
fn h02_h11_h14_h20_http_as_libra_wrote_it() {
    let site = Site::haproxy();
    let daemon = site.start();
    let (port, web) = (free_port(), WebServer::start("web"));
    let mut message = update(port, &[("7", web.port()), ("a-b", web.port())]);
    message["loadBalancers"][0]["nodes"][1]["weight"] = json!(12);
    message["loadBalancers"][0]["nodes"][1]["backup"] = json!("TRUE");
    site.pass(&message);
    assert_eq!(
        section(&site, "frontend http-in"),
        [
            "mode http".to_owned(),
            format!("bind 127.0.0.1:{port}"),
            "timeout client 30000ms".to_owned(),
            "default_backend http-servers".to_owned(),
            "option httplog".to_owned(),
        ],
        "H11, H20"
    );
    assert_eq!(
        section(&site, "backend http-servers"),
        [
            "mode http".to_owned(),
            "balance roundrobin".to_owned(),
            "timeout connect 30000ms".to_owned(),
            "timeout server 30000ms".to_owned(),
            "retries 3".to_owned(),
            "cookie SERVERID insert indirect".to_owned(),
            "option httpclose".to_owned(),
            "option forwardfor".to_owned(),
            format!("server id-7 127.0.0.1:{} cookie id-7 weight 1 check inter 30s", web.port()),
            format!("server id-a-b 127.0.0.1:{} backup cookie id-a-b weight 12 check inter 30s", web.port()),
        ],
        "H11, H14, H20"
    );
    assert_eq!(section(&site, "defaults"), ["log global", "option dontlognull", "option redispatch", "maxconn 50000"]);
    let config = site.haproxy_config();
    assert!(!config.contains("stick") && config.ends_with('\n'), "H11: {config}");
    let answer = web::get(port, None).unwrap();
    assert_eq!((answer.body.as_str(), answer.cookie.as_deref()), ("web", Some("SERVERID=id-7")), "what it does");

    // H02, H28: without a port it is 80, in either form of message.
    for message in [
        of(json!([{ "protocol": "http", "nodes": [node("7", web.port())] }])),
        json!({ "hpcs_action": "CREATE", "nodes": [{ "address": "127.0.0.1", "port": web.port() }] }),
    ] {
        let is_free = TcpListener::bind("127.0.0.1:80").is_ok();
        let reply = site.ask(&message);
        if is_free || site.haproxy_config().contains("bind 127.0.0.1:80\n") {
            assert_eq!(reply["hpcs_response"], "PASS", "{reply}");
            assert!(section(&site, "frontend http-in").contains(&"bind 127.0.0.1:80".to_owned()), "H02, H28");
            assert_eq!(web::get(80, None).unwrap().body, "web");
        } else {
            // This user may not bind it, or somebody has it; either way the port is named and the old configuration serves.
            assert_eq!(reply["hpcs_response"], "FAIL", "{reply}");
            assert_eq!(web::get(port, None).unwrap().body, "web");
        }
    }
    daemon.stop();
}

#[test]
fn h08_h16_h17_h19_algorithms_and_monitors() {
    let site = Site::haproxy();
    let daemon = site.start();
    let (port, web) = (free_port(), WebServer::start("web"));
    let with = |name: &str, value: Value| {
        let mut message = update(port, &[("1", web.port())]);
        message["loadBalancers"][0][name] = value;
        message
    };
    for (given, written) in [("ROUND_ROBIN", "roundrobin"), ("least_connections", "leastconn")] {
        site.pass(&with("algorithm", json!(given)));
        assert!(section(&site, "backend http-servers").contains(&format!("balance {written}")), "H08: {given}");
    }
    let monitor = |kind: Value, delay: Value, timeout: Value, attempts: Value, path: Value| {
        with("monitor", json!({ "type": kind, "delay": delay, "timeout": timeout, "attempts": attempts, "path": path }))
    };
    for (id, message, check, timeout, path) in [
        (
            "H16",
            monitor(json!("CONNECT"), json!(20), json!(10), json!(4), json!("/x")),
            "check inter 20s rise 4 fall 4",
            "10s",
            None,
        ),
        (
            "H16",
            monitor(json!("http"), json!(20), json!(10), json!(4), json!("/x?y=1")),
            "check inter 20s rise 4 fall 4",
            "10s",
            Some("/x?y=1"),
        ),
        (
            "H17",
            monitor(json!("HTTP"), Value::Null, Value::Null, Value::Null, json!("")),
            "check inter 30s rise 2 fall 2",
            "30s",
            Some("/"),
        ),
        (
            "H17",
            monitor(json!("HTTP"), json!(8), Value::Null, json!(1), json!("health")),
            "check inter 8s rise 1 fall 1",
            "8s",
            Some("/health"),
        ),
        (
            "H19",
            monitor(json!("CONNECT"), json!(30), json!(30), json!(1), Value::Null),
            "check inter 30s rise 1 fall 1",
            "30s",
            None,
        ),
    ] {
        site.pass(&message);
        let lines = section(&site, "backend http-servers");
        assert!(lines.last().unwrap().ends_with(check), "{id}: {lines:?}");
        assert!(lines.contains(&format!("timeout check {timeout}")), "{id}: {lines:?}");
        let asked: Vec<&String> = lines.iter().filter(|line| line.contains("httpchk")).collect();
        assert_eq!(asked, path.map(|path| format!("option httpchk GET {path}")).iter().collect::<Vec<_>>(), "{id}");
    }
    let before = site.haproxy_config();
    site.fail(
        &monitor(json!("CONNECT"), json!(30), json!(31), json!(1), Value::Null),
        "Timeout cannot be greater than delay",
    );
    assert_eq!(site.haproxy_config(), before, "H19: what is refused changes nothing");
    daemon.stop();
}

#[test]
fn h05_h07_h13_tcp_and_galera() {
    let site = Site::haproxy();
    let daemon = site.start();
    let port = free_port();
    let [mut writer, reserve] = ["writer", "reserve"].map(WebServer::start);
    let tcp = of(
        json!([{ "protocol": "tcp", "port": port, "nodes": [node("1", writer.port()), node("2", reserve.port())] }]),
    );
    site.pass(&tcp);
    let backend = section(&site, "backend tcp-servers");
    for line in ["mode tcp", "stick-table type ip size 200k expire 30m", "stick store-request src", "stick match src"] {
        assert!(backend.contains(&line.to_owned()), "{line}: {backend:?}");
    }
    assert!(!backend.iter().any(|line| line.contains("cookie") || line.contains("httpclose")), "{backend:?}");
    assert!(section(&site, "frontend tcp-in").contains(&"option tcplog".to_owned()));
    let first = web::get(port, None).unwrap().body;
    assert!((0..6).all(|_| web::get(port, None).unwrap().body == first), "a client stays with its server");

    let mut galera = of(json!([{
        "protocol": "GALERA", "port": port,
        "monitor": { "type": "CONNECT", "delay": 1, "timeout": 1, "attempts": 1 },
        "nodes": [node("1", writer.port()), backup("2", reserve.port())],
    }]));
    site.pass(&galera);
    let backend = section(&site, "backend tcp-servers");
    assert!(
        backend.contains(&"mode tcp".to_owned()) && !backend.iter().any(|line| line.contains("stick")),
        "H13: {backend:?}"
    );
    let servers: Vec<bool> =
        backend.iter().filter(|line| line.starts_with("server ")).map(|line| line.contains(" backup ")).collect();
    assert_eq!(servers, [false, true], "H13");
    section(&site, "frontend tcp-in");
    assert!((0..6).all(|_| web::get(port, None).unwrap().body == "writer"), "one writer takes everything");
    writer.stop();
    wait_for("the reserve to take over", SOON, || {
        web::get(port, None).is_ok_and(|answer| answer.body == "reserve").then_some(())
    });
    galera["loadBalancers"][0]["nodes"][1]["backup"] = json!("FALSE");
    let reply =
        site.fail(&galera, "Failure adding server 2: Galera protocol does not accept more than one non-backup node");
    assert_eq!(reply["loadBalancers"][0]["nodes"][1]["condition"], "DISABLED", "H07");
    assert_eq!(web::get(port, None).unwrap().body, "reserve", "H07: what ran runs on");
    // Backups alone are a device that is down, not a fault.
    galera["loadBalancers"][0]["nodes"] = json!([backup("2", reserve.port())]);
    site.pass(&galera);
    assert_eq!(web::get(port, None).unwrap().body, "reserve");
    daemon.stop();
}

/// HAProxy's master: the process that the daemon started.
fn master(site: &Site) -> u32 {
    *site.haproxy_processes().first().expect("HAProxy runs")
}

#[test]
fn h22_h23_h25_h29_changes_never_restart_and_delete_leaves_nothing() {
    let site = Site::haproxy();
    let daemon = site.start();
    fs::write(site.path().join("haproxy.log"), "a line of before\n").unwrap();
    let port = free_port();
    let [a, b] = ["a", "b"].map(WebServer::start);
    site.pass(&update(port, &[("a-b", a.port()), ("c.d_e", b.port())]));
    let (process, before) = (master(&site), site.haproxy_config());

    // H29: the order is the message's.
    let names: Vec<String> = section(&site, "backend http-servers")
        .iter()
        .filter_map(|line| line.strip_prefix("server ")?.split(' ').next().map(str::to_owned))
        .collect();
    assert_eq!(names, ["id-a-b", "id-c.d_e"], "H29");
    let ids = site.pass(&action("STATS"))["nodes"].clone();
    let ids: Vec<&str> = ids.as_array().unwrap().iter().map(|node| node["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["a-b", "c.d_e"], "H25, BUG-15: ids come back whole");

    // H22: the file that was good is kept, and the process is reloaded, not restarted.
    let mut other = update(port, &[("a-b", a.port())]);
    other["loadBalancers"][0]["options"] = json!({ "client_timeout": 12345 });
    site.pass(&other);
    assert_eq!(fs::read_to_string(site.haproxy_state().join("haproxy.cfg.good")).unwrap(), before, "H22");
    assert_eq!(master(&site), process, "H22: reload, not restart");
    assert!(section(&site, "frontend http-in").contains(&"timeout client 12345ms".to_owned()));

    // A configuration that does not come up leaves the old one: the port is somebody else's.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken_port = taken.local_addr().unwrap().port();
    let good = site.haproxy_config();
    site.fail(&update(taken_port, &[("a-b", a.port())]), &format!("Port {taken_port} is in use by another program."));
    assert_eq!((site.haproxy_config(), master(&site)), (good, process));
    assert_eq!(web::get(port, None).unwrap().body, "a");

    // H23: nothing is left, and the log is empty for syslog to go on with.
    site.pass(&action("DELETE"));
    assert_eq!(site.haproxy_processes(), Vec::<u32>::new(), "H23");
    let mut left: Vec<String> = fs::read_dir(site.haproxy_state())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["lock"], "H23");
    assert_eq!(fs::read_to_string(site.path().join("haproxy.log")).unwrap(), "", "H23");
    site.pass(&action("DELETE"));
    for name in ["SUSPEND", "ENABLE"] {
        assert_eq!(site.ask(&action(name))["hpcs_response"], "FAIL", "{name} of what is not there");
    }
    site.pass(&update(port, &[("a-b", a.port())]));
    assert_eq!(web::get(port, None).unwrap().body, "a", "it can be made again");
    daemon.stop();
}

#[test]
fn h26_suspend_ends_the_process_and_enable_brings_the_same_back() {
    let drivers = "call_timeout_seconds = 2";
    let site = Site::new(Setup { driver: "haproxy", driver_config: HAPROXY, drivers, ..Setup::default() });
    let daemon = site.start();
    let (port, web) = (free_port(), WebServer::start("web"));
    site.pass(&update(port, &[("1", web.port())]));
    let file = site.haproxy_config();
    site.pass(&action("SUSPEND"));
    assert_eq!(site.haproxy_processes(), Vec::<u32>::new(), "H26: PASS means that it is gone");
    assert_eq!(site.haproxy_config(), file);
    site.pass(&action("SUSPEND"));
    site.pass(&action("ENABLE"));
    site.pass(&action("ENABLE"));
    assert_eq!(web::get(port, None).unwrap().body, "web");
    // One that hangs answers nobody: that is a failure in time, and no PASS.
    let hanging = site.haproxy_processes();
    for pid in &hanging {
        process::signal_to(*pid, Signal::STOP);
    }
    site.fail(&action("SUSPEND"), "HAProxy did not answer.");
    assert_eq!(site.haproxy_processes(), hanging, "H26");
    for pid in &hanging {
        process::signal_to(*pid, Signal::CONT);
    }
    site.pass(&action("SUSPEND"));
    assert_eq!(site.haproxy_processes(), Vec::<u32>::new());
    site.pass(&update(port, &[("1", web.port())]));
    assert_eq!(web::get(port, None).unwrap().body, "web", "an UPDATE ends the suspension, as libra's did");
    daemon.stop();
}

/// Asks a number of times and answers the bytes that came back.
fn transfer(port: u16, times: usize) -> i64 {
    (0..times)
        .map(|_| {
            let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream.set_read_timeout(Some(SOON)).unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nhost: suite\r\nconnection: close\r\n\r\n").unwrap();
            let mut answer = Vec::new();
            std::io::Read::read_to_end(&mut stream, &mut answer).unwrap();
            i64::try_from(answer.len()).unwrap()
        })
        .sum()
}

/// HAProxy counts an answer a moment after its client has it: waits until its process shows so many bytes.
fn until_counted(site: &Site, bytes: i64) {
    wait_for("HAProxy to have counted", SOON, || {
        let answer = site.ask_haproxy("show stat -1 2 -1");
        let counted =
            answer.lines().find(|line| line.starts_with("tcp-servers,"))?.split(',').nth(9)?.parse::<i64>().ok()?;
        (counted >= bytes).then_some(())
    });
}

/// METRICS: start, end, and the bytes of tcp.
fn metrics(site: &Site) -> (String, String, i64) {
    let reply = site.pass(&action("METRICS"));
    let text = |name: &str| reply[name].as_str().unwrap().to_owned();
    let all = reply["loadBalancers"].as_array().unwrap();
    let tcp = all.iter().find(|one| one["protocol"] == "tcp").unwrap();
    (text("utc_start"), text("utc_end"), tcp["bytes_out"].as_i64().unwrap())
}

#[test]
fn m05_m07_m10_every_byte_is_reported_once() {
    let site = Site::haproxy();
    let daemon = site.start();
    let (port, web) = (free_port(), WebServer::start("web"));
    let with_timeout = |timeout: u32| {
        of(json!([{
            "protocol": "galera", "port": port, "options": { "client_timeout": timeout }, "nodes": [node("1", web.port())],
        }]))
    };
    site.pass(&with_timeout(30_000));
    let (start, end, bytes) = metrics(&site);
    assert_eq!((start.as_str(), bytes), (end.as_str(), 0), "M01: no period and nothing counted");
    let digits: String = end.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    assert_eq!(digits, "9999-99-99 99:99:99.999999", "BUG-16");

    let first = transfer(port, 3);
    until_counted(&site, first);
    let (start, _, bytes) = metrics(&site);
    assert_eq!(bytes, first, "M05; GALERA is counted as tcp");
    let micros = |stamp: &str| stamp[20..].parse::<u32>().unwrap();
    assert_eq!(micros(&start), (micros(&end) + 1) % 1_000_000, "M10: {end} and {start}");
    assert_eq!(metrics(&site).2, 0, "nothing twice");

    // Reloads, a stop, a restart of the daemon, and a crash of it: HAProxy's counters begin anew, ours go on.
    let mut expected = 0;
    let mut of_this_process = first;
    for timeout in [31_000, 32_000] {
        let bytes = transfer(port, 2);
        of_this_process += bytes;
        until_counted(&site, of_this_process);
        expected += bytes;
        of_this_process = 0;
        site.pass(&with_timeout(timeout));
        wait_for("the new process to serve alone", SOON, || (site.haproxy_processes().len() == 2).then_some(()));
    }
    let bytes = transfer(port, 4);
    until_counted(&site, bytes);
    expected += bytes;
    site.pass(&action("SUSPEND"));
    site.pass(&action("ENABLE"));
    daemon.stop();
    let daemon = site.start();
    let bytes = transfer(port, 1);
    until_counted(&site, bytes);
    expected += bytes;
    daemon.kill();
    let daemon = site.start();
    assert_eq!(metrics(&site).2, expected, "M07");

    // Restarted behind our back: what it had not reported is the customer's, and nothing is negative.
    let lost = transfer(port, 1);
    until_counted(&site, bytes + lost);
    for pid in site.haproxy_processes() {
        process::signal_to(pid, Signal::KILL);
    }
    wait_for("HAProxy to be gone", SOON, || site.haproxy_processes().is_empty().then_some(()));
    site.fail(&action("METRICS"), "HAProxy is not running.");
    site.pass(&with_timeout(32_000));
    let bytes = transfer(port, 2);
    until_counted(&site, bytes);
    assert_eq!(metrics(&site).2, bytes);
    daemon.stop();
}

#[test]
fn w15_bug17_the_log_is_archived_to_swift() {
    const TOKEN: &str = "s3cr3t-t0k3n";
    let syslog_file = tempfile::NamedTempFile::new().unwrap();
    let syslog = Syslog::start(syslog_file.path());
    let config = format!("{HAPROXY}\nlog_target = \"127.0.0.1:{}\"", syslog.port())
        .replace("@ROOT@/haproxy.log", syslog_file.path().to_str().unwrap());
    let site = Site::new(Setup { driver: "haproxy", driver_config: &config, ..Setup::default() });
    let daemon = site.start();
    let swift = Swift::start();
    let ports = [free_port(), free_port()];
    let web = WebServer::start("web");
    site.pass(&of(json!([
        { "protocol": "http", "port": ports[0], "nodes": [node("h", web.port())] },
        { "protocol": "galera", "port": ports[1], "nodes": [node("t", web.port())] },
    ])));
    for port in ports {
        assert_eq!(web::get(port, None).unwrap().body, "web");
    }
    wait_for("both requests to be logged", SOON, || {
        let log = fs::read_to_string(syslog_file.path()).unwrap();
        (log.contains("http-servers/id-h") && log.contains("tcp-servers/id-t")).then_some(())
    });
    let archive = |protocol: &str| {
        json!({
            "hpcs_action": "ARCHIVE", "hpcs_object_store_type": "Swift", "hpcs_object_store_basepath": "lbaaslogs",
            "hpcs_object_store_endpoint": swift.endpoint(), "hpcs_object_store_token": TOKEN,
            "loadBalancers": [{ "id": "15", "name": "lb", "protocol": protocol }, { "id": "16", "protocol": "HTTP" }],
        })
    };
    let reply = site.pass(&archive("HTTP"));
    assert_eq!(reply["hpcs_object_store_token"], "*****", "W15");
    let puts = swift.puts();
    assert_eq!(puts.len(), 2, "{puts:?}");
    assert!(puts.iter().all(|put| put.header("x-auth-token") == Some(TOKEN)), "{puts:?}");
    assert_eq!(puts[0].path, "/v1/account/lbaaslogs");
    let name =
        puts[1].path.strip_prefix("/v1/account/lbaaslogs/15/haproxy-").unwrap_or_else(|| panic!("{}", puts[1].path));
    let stamp = name.strip_suffix(".log.gz").unwrap();
    assert!(
        stamp.len() == 15
            && stamp.chars().enumerate().all(|(at, c)| (at == 8) == (c == '-') && (c == '-' || c.is_ascii_digit())),
        "{stamp}"
    );
    let packed = site.path().join("packed.gz");
    fs::write(&packed, &puts[1].body).unwrap();
    let output = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).arg(&packed).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{program}");
        String::from_utf8(output.stdout).unwrap()
    };
    let lines = output("gzip", &["-dc"]);
    assert!(lines.contains("http-servers/id-h") && !lines.contains("tcp-servers"), "{lines}");
    assert_eq!(puts[1].header("etag"), Some(&output("md5sum", &[])[..32]));

    // BUG-17: the log of GALERA is that of tcp, under both names. The log itself stays as it is.
    for protocol in ["GALERA", "tcp"] {
        site.pass(&archive(protocol));
        fs::write(&packed, &swift.puts().last().unwrap().body).unwrap();
        let lines = output("gzip", &["-dc"]);
        assert!(lines.contains("tcp-servers/id-t") && !lines.contains("http-servers"), "{protocol}: {lines}");
    }
    assert!(fs::read_to_string(syslog_file.path()).unwrap().contains("http-servers/id-h"));

    // What goes wrong there is told without the token.
    swift.answer(401);
    let reply = site.ask(&archive("HTTP"));
    let error = reply["hpcs_error"].as_str().unwrap();
    assert!(error.starts_with("Failure during Swift operations. Swift enabled?\n") && error.contains("401"), "{reply}");
    drop(swift);
    let reply = site.ask(&archive_to(&archive_endpoint(free_port()), TOKEN));
    assert_eq!(reply["hpcs_response"], "FAIL");
    assert!(reply["hpcs_error"].as_str().unwrap().starts_with("Failure during Swift operations."), "{reply}");
    for endpoint in ["file:///etc/passwd", "gopher://127.0.0.1/", "http://u@127.0.0.1:1/", "http://127.0.0.1:1/?x"] {
        assert_eq!(site.ask(&archive_to(endpoint, TOKEN))["hpcs_response"], "FAIL", "{endpoint}");
    }
    fs::remove_file(syslog_file.path()).unwrap();
    site.fail(&archive_to(&archive_endpoint(1), TOKEN), "No HAProxy logs found");
    daemon.stop();
    assert!(!site.log().contains(TOKEN), "{}", site.log());
    drop(syslog);
}

fn archive_endpoint(port: u16) -> String {
    format!("http://127.0.0.1:{port}/v1/account")
}

fn archive_to(endpoint: &str, token: &str) -> Value {
    json!({
        "hpcs_action": "ARCHIVE", "hpcs_object_store_type": "swift", "hpcs_object_store_basepath": "lbaaslogs",
        "hpcs_object_store_endpoint": endpoint, "hpcs_object_store_token": token,
        "loadBalancers": [{ "id": "15", "protocol": "HTTP" }],
    })
}

#[test]
fn a_member_that_joins_is_stuck_to_and_no_request_is_lost() {
    let site = Site::haproxy();
    let daemon = site.start();
    let port = free_port();
    let [a, b] = ["a", "b"].map(WebServer::start);
    site.pass(&update(port, &[("a", a.port())]));
    let processes = site.haproxy_processes();
    let load = capstan_tests::load::Load::start(port, 2);
    site.pass(&update(port, &[("a", a.port()), ("b", b.port())]));
    let cookie = wait_for("b to be asked", SOON, || {
        let answer = web::get(port, None).ok().filter(|answer| answer.body == "b")?;
        answer.cookie
    });
    for _ in 0..10 {
        assert_eq!(web::get(port, Some(&cookie)).unwrap().body, "b", "the client sticks to the new member");
    }
    site.pass(&update(port, &[("b", b.port())]));
    wait_for("a to be gone", SOON, || {
        (0..4).all(|_| web::get(port, None).is_ok_and(|answer| answer.body == "b")).then_some(())
    });
    let seen = load.stop();
    assert!(seen.failures.is_empty() && !seen.answers.is_empty(), "{seen:?}");
    assert_eq!(site.haproxy_processes(), processes, "neither was a reload");
    // The client is still with its member when HAProxy comes up from its file.
    site.pass(&action("SUSPEND"));
    site.pass(&action("ENABLE"));
    assert_eq!(web::get(port, Some(&cookie)).unwrap().body, "b");
    daemon.stop();
}
