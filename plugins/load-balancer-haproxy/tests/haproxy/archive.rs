//! Archives of the log, with lines that real HAProxy wrote.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    os::unix::{fs::PermissionsExt as _, net::UnixDatagram},
    sync::mpsc,
    thread,
    time::Duration,
};

use flate2::read::GzDecoder;
use md5::{Digest as _, Md5};
use serde_json::{Value, json};

use crate::support::{Web, World, free_port, get, load_balancer, member};

/// A device with an HTTP and a Galera load balancer, each of which served a request that is in the log. The test stands in
/// for syslog: it writes what HAProxy sends to the socket into the file.
fn logged() -> World {
    let mut world = World::new();
    world.config["archive_directory"] = json!(world.place.path().join("archive").to_str().unwrap());
    world.reopen();
    let syslog = UnixDatagram::bind(world.place.path().join("log.sock")).unwrap();
    // HAProxy's worker has given up root's rights by the time it logs.
    for path in [world.place.path().to_owned(), world.place.path().join("log.sock")] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    syslog.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let (ports, a) = ([free_port(), free_port()], Web::start("a"));
    world.apply(&json!([
        load_balancer("web", "HTTP", ports[0], &[member("a", &a)]),
        load_balancer("db", "GALERA", ports[1], &[member("a", &a)]),
    ]));
    for port in ports {
        get(port).unwrap();
    }
    let mut log = std::fs::File::create(world.place.path().join("haproxy.log")).unwrap();
    let mut wanted = vec![" http-in http-servers/id-a ", " tcp-in tcp-servers/id-a "];
    let mut line = [0; 4096];
    while !wanted.is_empty() {
        let length = syslog.recv(&mut line).unwrap();
        let text = String::from_utf8_lossy(&line[..length]).into_owned();
        wanted.retain(|part| !text.contains(part));
        writeln!(log, "{}", text.trim_end()).unwrap();
    }
    world
}

fn unpacked(bytes: &[u8]) -> String {
    let mut text = String::new();
    GzDecoder::new(bytes).read_to_string(&mut text).unwrap();
    text
}

fn request(method: &str, protocol: &str, id: &str, basepath: &str) -> Value {
    json!({ "device": "lb-1", "method": method, "protocol": protocol, "load_balancer": id, "basepath": basepath })
}

#[test]
fn a_directory_gets_the_lines_of_one_protocol() {
    // BUG-17: libra's archive of a Galera log was empty.
    let world = logged();
    for (protocol, id, has, has_not) in [
        ("HTTP", "web", "http-in", "tcp-in"),
        ("GALERA", "db", "tcp-in", "http-in"),
        ("galera", "other", "tcp-in", "http-in"),
    ] {
        let archived = world.driver.call("archive", &request("directory", protocol, id, "logs")).unwrap();
        let object = archived["object"].as_str().unwrap();
        assert!(object.starts_with(&format!("{id}/haproxy-")) && object.ends_with(".log.gz"), "{object}");
        let bytes = std::fs::read(world.place.path().join("archive/logs").join(object)).unwrap();
        assert_eq!(archived["bytes"], bytes.len());
        let text = unpacked(&bytes);
        assert!(text.contains(has) && !text.contains(has_not), "{protocol}: {text}");
    }
    let left: Vec<_> = std::fs::read_dir(world.file("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with("archive-")), "{left:?}");
}

#[test]
fn h10_what_cannot_be_archived_is_said() {
    // H10.
    let mut world = World::new();
    world.config["archive_directory"] = json!(world.place.path().join("archive").to_str().unwrap());
    world.reopen();
    let refused = |request: &Value| world.driver.call("archive", request).unwrap_err();
    let error = refused(&request("invalid", "HTTP", "web", "logs"));
    assert_eq!(error.message, "Driver does not support archive method 'invalid'");
    assert_eq!(refused(&request("directory", "HTTP", "web", "logs")).message, "No HAProxy logs found");
    std::fs::write(world.place.path().join("haproxy.log"), "x\n").unwrap();
    for basepath in ["/etc", "../..", "a/../../b", "/"] {
        let error = refused(&request("directory", "HTTP", "web", basepath));
        assert_eq!(error.message, "The archive directory cannot be used.", "{basepath}");
    }
    std::fs::create_dir_all(world.place.path().join("archive")).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), world.place.path().join("archive/link")).unwrap();
    let error = refused(&request("directory", "HTTP", "web", "link"));
    assert_eq!(error.message, "The archive directory cannot be used.");
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    assert_eq!(refused(&request("directory", "UDP", "web", "logs")).message, "Unsupported protocol: udp");
    assert!(refused(&request("directory", "HTTP", "../web", "logs")).message.contains("load balancer id"));
    let mut swift = request("swift", "HTTP", "web", "logs");
    for (endpoint, token) in [("ftp://x", "t"), ("http://u:p@x", "t"), ("http://x", "a\r\nb"), ("http://x", "")] {
        swift["endpoint"] = json!(endpoint);
        swift["token"] = json!(token);
        assert_eq!(refused(&swift).code.as_str(), "invalid_argument", "{endpoint} {token:?}");
    }
}

/// One request as the stand-in saw it.
struct Seen {
    line: String,
    headers: Vec<String>,
    body: Vec<u8>,
}

/// A stand-in for Swift: it answers each PUT with the next status and passes on what it saw.
fn swift(statuses: &'static [&'static str]) -> (u16, mpsc::Receiver<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut statuses = statuses.iter();
        while let Some(status) = statuses.as_slice().first() {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream);
            let mut head = Vec::new();
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap() == 0 || line == "\r\n" {
                    break;
                }
                head.push(line.trim_end().to_owned());
            }
            if head.is_empty() {
                continue;
            }
            let length =
                head.iter().find_map(|line| line.to_lowercase().strip_prefix("content-length: ").map(str::to_owned));
            let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
            reader.read_exact(&mut body).unwrap();
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            reader.get_mut().write_all(answer.as_bytes()).unwrap();
            sender.send(Seen { line: head.remove(0), headers: head, body }).unwrap();
            statuses.next();
        }
    });
    (port, receiver)
}

#[test]
fn swift_gets_the_container_and_then_the_object_with_its_md5() {
    let world = logged();
    let (port, seen) = swift(&["202 Accepted", "201 Created"]);
    let mut request = request("swift", "HTTP", "web", "my logs");
    request["endpoint"] = json!(format!("http://127.0.0.1:{port}/v1/AUTH_1/"));
    request["token"] = json!("s3cr3t-t0ken");
    let archived = world.driver.call("archive", &request).unwrap();
    let [container, object] = [(); 2].map(|()| seen.recv_timeout(Duration::from_secs(5)).unwrap());
    assert_eq!(container.line, "PUT /v1/AUTH_1/my%20logs HTTP/1.1");
    assert!(container.body.is_empty());
    let name = archived["object"].as_str().unwrap();
    assert_eq!(object.line, format!("PUT /v1/AUTH_1/my%20logs/{name} HTTP/1.1"));
    assert!(unpacked(&object.body).contains("http-in"));
    let md5: String = Md5::digest(&object.body).iter().map(|byte| format!("{byte:02x}")).collect();
    let header = |seen: &Seen, name: &str| {
        let prefix = format!("{name}: ");
        seen.headers.iter().find_map(|line| line.to_lowercase().strip_prefix(&prefix).map(str::to_owned)).unwrap()
    };
    assert_eq!(header(&object, "etag"), md5);
    assert_eq!([header(&container, "x-auth-token"), header(&object, "x-auth-token")], ["s3cr3t-t0ken"; 2]);
    assert!(!object.headers.iter().any(|line| line.to_lowercase().starts_with("transfer-encoding")));
}

#[test]
fn a_refusal_of_swift_is_told_without_the_token() {
    let world = logged();
    let mut request = request("swift", "HTTP", "web", "logs");
    request["token"] = json!("s3cr3t-t0ken");
    for statuses in [&["401 Unauthorized"][..], &["202 Accepted", "422 Unprocessable Entity"], &["302 Found"]] {
        let (port, _seen) = swift(statuses);
        request["endpoint"] = json!(format!("http://127.0.0.1:{port}/v1"));
        let error = world.driver.call("archive", &request).unwrap_err();
        let last = statuses.last().unwrap();
        assert!(error.message.starts_with("Failure during Swift operations. Swift enabled?\n"), "{error}");
        assert!(error.message.contains(&last[..3]), "{error}");
        assert!(!error.to_string().contains("s3cr3t"), "{error}");
    }
    request["endpoint"] = json!(format!("http://127.0.0.1:{}/v1", free_port()));
    let error = world.driver.call("archive", &request).unwrap_err();
    assert!(error.message.starts_with("Failure during Swift operations. Swift enabled?\n"), "{error}");
    assert!(!world.host.log.lock().unwrap().iter().any(|line| line.contains("s3cr3t")));
}
