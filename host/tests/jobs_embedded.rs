//! The embedded job server against our own client and worker, the real tools, and the ill-behaved.
#![allow(clippy::panic, clippy::unwrap_used, reason = "all of this file is tests")]

mod support;

use std::time::Duration;

use capstan::jobs::{
    Access, AccessRule, Admin, Client, ClientError, Endpoint, Job, JobResult, Progress, Server, ServerError,
    ServerOptions, SubmitOptions, Submitted, TlsFiles, Transport, Worker,
};
use support::worker::{Running, echo, quick};
use support::{Authority, counts, eventually, local, run, succeed, tool_worker, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

/// A server that runs beside a test.
struct Embedded {
    port: u16,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Embedded {
    async fn start(options: ServerOptions) -> Embedded {
        let server = Server::bind("127.0.0.1:0".parse().unwrap(), options).await.unwrap();
        let port = server.local_addr().port();
        let (stop, stopped) = watch::channel(false);
        Embedded { port, stop, task: tokio::spawn(server.run(stopped)) }
    }

    fn endpoint(&self) -> Endpoint {
        local(self.port)
    }

    async fn client(&self) -> Client {
        Client::connect(&[self.endpoint()], &Transport::plain()).await.unwrap()
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        within("the server stops", self.task).await.unwrap();
    }

    async fn raw(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).await.unwrap()
    }
}

/// A request in the binary protocol, made here by hand.
fn request(kind: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap();
    [b"\0REQ", &kind.to_be_bytes()[..], &length.to_be_bytes(), body].concat()
}

/// The next response: its type and body.
async fn response(stream: &mut TcpStream) -> (u32, Vec<u8>) {
    let mut header = [0; 12];
    within("a response", stream.read_exact(&mut header)).await.unwrap();
    assert_eq!(header[..4], *b"\0RES");
    let number = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap());
    let mut body = vec![0; number(8) as usize];
    within("a response", stream.read_exact(&mut body)).await.unwrap();
    (number(4), body)
}

// G10
#[tokio::test]
async fn the_tools_work_with_each_other_through_it() {
    let server = Embedded::start(ServerOptions::default()).await;
    let _worker = tool_worker(server.port, "reverse", &["rev"]).await;
    assert_eq!(succeed("gearman", server.port, &["-f", "reverse"], b"abc").await, b"cba");
    assert_eq!(succeed("gearman", server.port, &["-f", "reverse", "-I"], b"abc").await, b"cba");
    assert_eq!(succeed("gearman", server.port, &["-f", "reverse", "-L", "-u", "x"], b"abc").await, b"cba");
    succeed("gearman", server.port, &["-f", "reverse", "-b", "later"], b"").await;
    eventually("the background job is done", || async { counts(server.port, "reverse").await == Some((0, 0, 1)) })
        .await;
    let output = |arguments: &'static [&'static str]| {
        let port = server.port;
        async move { String::from_utf8(succeed("gearadmin", port, arguments, b"").await).unwrap() }
    };
    assert_eq!(output(&["--status"]).await, "reverse\t0\t0\t1\n.\n");
    assert_eq!(output(&["--priority-status"]).await, "reverse\t0\t0\t0\t1\n.\n");
    assert!(output(&["--workers"]).await.contains(": reverse\n"));
    assert!(output(&["--server-version"]).await.contains("capstan-"));
    assert!(output(&["--getpid"]).await.contains(&std::process::id().to_string()));
    assert_eq!(output(&["--show-jobs"]).await, ".\n");
    server.stop().await;
}

// G11
#[tokio::test]
async fn ours_and_the_tools_meet_on_it() {
    let server = Embedded::start(ServerOptions::default()).await;
    let _tool = tool_worker(server.port, "count", &["wc", "-c"]).await;
    let ours = Running::ready(&[server.endpoint()], "echo", echo).await;
    let client = server.client().await;
    let large: Vec<u8> = (0..=255_u8).cycle().take(10_000_000).collect();
    assert_eq!(client.call("count", &large, support::DEADLINE).await.unwrap(), b"10000000\n");
    assert_eq!(client.call("echo", &large, support::DEADLINE).await.unwrap(), large);
    assert_eq!(succeed("gearman", server.port, &["-f", "echo"], b"hello").await, b"hello");
    let mut admin = Admin::connect(&server.endpoint(), &Transport::plain()).await.unwrap();
    let workers = admin.workers().await.unwrap();
    let found = workers.iter().find(|entry| entry.client_id == "test-echo").unwrap();
    assert_eq!((found.address.as_str(), found.functions.clone()), ("127.0.0.1", vec!["echo".to_owned()]));
    ours.stop().await;
    assert_eq!(counts(server.port, "echo").await, Some((0, 0, 0)));
    server.stop().await;
}

// G12
#[tokio::test]
async fn the_job_of_a_killed_worker_goes_to_the_next() {
    let server = Embedded::start(ServerOptions::default()).await;
    let mut doomed = tool_worker(server.port, "slow", &["sleep", "60"]).await;
    let client = server.client().await;
    let call = tokio::spawn(async move { client.call("slow", b"work", support::DEADLINE).await });
    eventually("the job runs", || async { counts(server.port, "slow").await == Some((1, 1, 1)) }).await;
    doomed.kill();
    let _next = Running::ready(&[server.endpoint()], "slow", echo).await;
    assert_eq!(call.await.unwrap().unwrap(), b"work");
}

// G12
#[tokio::test]
async fn a_job_that_costs_every_worker_its_life_fails() {
    let server = Embedded::start(ServerOptions { max_attempts: 2, ..ServerOptions::default() }).await;
    let client = server.client().await;
    let call = tokio::spawn(async move { client.call("deadly", b"", support::DEADLINE).await });
    for _ in 0..2 {
        let mut worker = server.raw().await;
        worker.write_all(&request(1, b"deadly")).await.unwrap();
        worker.write_all(&request(4, b"")).await.unwrap();
        assert_eq!(response(&mut worker).await.0, 6);
        worker.write_all(&request(30, b"")).await.unwrap();
        assert_eq!(response(&mut worker).await.0, 31);
    }
    assert!(matches!(call.await.unwrap(), Err(ClientError::Failed { .. })));
}

// G13
#[tokio::test]
async fn equal_ids_from_different_clients_run_once() {
    let server = Embedded::start(ServerOptions::default()).await;
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..6 {
        // Every second pair shares a connection, which must hand out both results.
        let client = server.client().await;
        for _ in 0..=number % 2 {
            let client = client.clone();
            calls.spawn(async move {
                let options = SubmitOptions { unique: Some("same".to_owned()), ..SubmitOptions::default() };
                match client.submit("once", b"payload", options).await.unwrap() {
                    Submitted::Completed(done) => (done.data.len(), done.result),
                    other => panic!("{other:?}"),
                }
            });
        }
    }
    let asker = server.client().await;
    eventually("all nine wait for one job", || {
        let port = server.port;
        let asker = asker.clone();
        async move { asker.echo(b"").await.is_ok() && clients_of(port, "same").await == "9" }
    })
    .await;
    assert_eq!(counts(server.port, "once").await, Some((1, 0, 0)));
    let worker = Running::ready(&[server.endpoint()], "once", |_: Job, progress: Progress| async move {
        progress.data(b"part");
        JobResult::Complete(b"result".to_vec())
    })
    .await;
    while let Some(done) = calls.join_next().await {
        assert_eq!(done.unwrap(), (1, b"result".to_vec()));
    }
    assert_eq!(worker.state.borrow().done, 1);
}

/// What GET_STATUS_UNIQUE tells of the number of waiting clients.
async fn clients_of(port: u16, unique: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(&request(41, unique.as_bytes())).await.unwrap();
    let (kind, body) = response(&mut stream).await;
    assert_eq!(kind, 42);
    String::from_utf8(body).unwrap().rsplit('\0').next().unwrap().to_owned()
}

// G14
#[tokio::test]
async fn a_timed_out_job_is_withdrawn_and_others_of_its_client_go_on() {
    let server = Embedded::start(ServerOptions::default()).await;
    let client = server.client().await;
    let patient = client.clone();
    let other = tokio::spawn(async move { patient.call("patient", b"kept", support::DEADLINE).await });
    eventually("the patient one waits", || async { counts(server.port, "patient").await == Some((1, 0, 0)) }).await;
    let error = client.call("nobody", b"", Duration::from_millis(100)).await.unwrap_err();
    assert!(matches!(error, ClientError::TimedOut { .. }), "{error}");
    let _worker = Running::ready(&[server.endpoint()], "patient", echo).await;
    assert_eq!(other.await.unwrap().unwrap(), b"kept");
    eventually("the other is withdrawn", || async { counts(server.port, "nobody").await == Some((0, 0, 0)) }).await;
    assert_eq!(client.call("patient", b"again", support::DEADLINE).await.unwrap(), b"again");
}

// G15
#[tokio::test]
async fn garbage_costs_its_own_connection_alone() {
    let server = Embedded::start(ServerOptions { max_packet: 10_000, ..ServerOptions::default() }).await;
    let _worker = Running::ready(&[server.endpoint()], "echo", echo).await;
    let client = server.client().await;
    for garbage in [&b"\0RAQ\0\0\0\x07"[..], &[0; 64], &vec![b'x'; 20_000], b"\0REQ", b"\x16\x03\x01\x02\0\x01\0\n"] {
        let mut stream = server.raw().await;
        let _ = stream.write_all(garbage).await;
        let _ = stream.shutdown().await;
        let mut rest = Vec::new();
        let _ = within("the server closes", stream.read_to_end(&mut rest)).await;
        assert_eq!(client.call("echo", b"alive", support::DEADLINE).await.unwrap(), b"alive");
    }
    // Whole packets that make no sense are answered, and the connection lives on.
    let mut stream = server.raw().await;
    for (packet, code) in [
        (request(7, b"no separators"), "INVALID_PACKET"),
        (request(99, b""), "INVALID_COMMAND"),
        (request(36, b"f\0u\x000\0x"), "INVALID_COMMAND"),
        (request(8, b"H:x:1"), "INVALID_COMMAND"),
        (request(13, b"H:x:1\0r"), "JOB_NOT_FOUND"),
        (request(7, &[&b"echo\0u\0"[..], &vec![7; 10_000]].concat()), "ARGUMENT_TOO_LARGE"),
        (b"\0RES\0\0\0\x10\0\0\0\0".to_vec(), "INVALID_MAGIC"),
    ] {
        stream.write_all(&packet).await.unwrap();
        let (kind, body) = response(&mut stream).await;
        let text = String::from_utf8(body).unwrap();
        assert!(kind == 19 && text.starts_with(&format!("{code}\0")), "{kind} {text}");
        if code == "ARGUMENT_TOO_LARGE" {
            assert!(text.contains("10007") && text.contains("10000"), "{text}");
        }
    }
    stream.write_all(&request(16, b"still here")).await.unwrap();
    assert_eq!(response(&mut stream).await, (17, b"still here".to_vec()));
    // Text with either line end, half closed before the answer.
    stream.write_all(b"version\n").await.unwrap();
    stream.write_all(b"status\r\n").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut text = String::new();
    within("the answers", stream.read_to_string(&mut text)).await.unwrap();
    assert!(text.starts_with("OK capstan-") && text.ends_with("echo\t0\t0\t1\n.\n"), "{text}");
}

// G16
#[tokio::test]
async fn who_does_not_read_holds_up_nobody() {
    let options = ServerOptions { max_packet: 1_000_000, max_unsent: 2_000_000, ..ServerOptions::default() };
    let server = Embedded::start(options).await;
    let _worker = Running::ready(&[server.endpoint()], "echo", echo).await;
    let mut deaf = server.raw().await;
    let echo_request = request(16, &vec![7; 500_000]);
    let sending = tokio::spawn(async move {
        // Never reads: sooner or later the server stops taking more from it.
        while deaf.write_all(&echo_request).await.is_ok() {}
    });
    let client = server.client().await;
    for _ in 0..50 {
        assert_eq!(client.call("echo", b"served", support::DEADLINE).await.unwrap(), b"served");
    }
    assert!(!sending.is_finished());
    sending.abort();
    // One that is sent results it does not read is dropped, and its jobs end.
    let mut deaf = server.raw().await;
    for number in 0..40_u32 {
        let body = [&b"echo\0"[..], number.to_string().as_bytes(), b"\0", &vec![7; 900_000]].concat();
        if deaf.write_all(&request(7, &body)).await.is_err() {
            break;
        }
    }
    eventually("its jobs are done or dropped", || async { counts(server.port, "echo").await == Some((0, 0, 1)) }).await;
    assert_eq!(client.call("echo", b"served", support::DEADLINE).await.unwrap(), b"served");
}

// G17
#[tokio::test]
async fn connections_are_bounded() {
    let server = Embedded::start(ServerOptions { max_connections: 3, ..ServerOptions::default() }).await;
    let client = server.client().await;
    let (one, _two) = (server.raw().await, server.raw().await);
    let mut third = server.raw().await;
    let refused = within("the server closes", third.read(&mut [0; 1])).await;
    assert!(matches!(refused, Ok(0) | Err(_)));
    drop(one);
    eventually("a place is free again", || async {
        let mut stream = server.raw().await;
        stream.write_all(b"version\n").await.is_ok() && matches!(stream.read(&mut [0; 8]).await, Ok(8))
    })
    .await;
    assert_eq!(client.echo(b"x").await.unwrap(), b"x");
}

// G18
#[tokio::test]
async fn off_loopback_it_needs_certificates() {
    for listen in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let listen = listen.parse().unwrap();
        let error = Server::bind(listen, ServerOptions::default()).await.err().unwrap();
        assert!(matches!(error, ServerError::NeedsTls { .. }), "{error}");
        assert!(error.to_string().contains("without TLS"), "{error}");
    }
    let authority = Authority::new();
    let tls = Some(authority.issue("server").try_into().unwrap());
    let with_tls = Server::bind("0.0.0.0:0".parse().unwrap(), ServerOptions { tls, ..ServerOptions::default() }).await;
    assert!(with_tls.is_ok());
    let absent = TlsFiles { ca: "/nonexistent/ca.pem".into(), ..authority.issue("server") };
    let options = ServerOptions { tls: Some(absent.try_into().unwrap()), ..ServerOptions::default() };
    let error = Server::bind("127.0.0.1:0".parse().unwrap(), options).await.err().unwrap().to_string();
    assert!(error.contains("/nonexistent/ca.pem"), "{error}");
}

fn tls(files: &TlsFiles) -> Transport {
    Transport::tls(files).unwrap()
}

async fn with_certificates(authority: &Authority) -> Embedded {
    let access = Access {
        administrators: vec!["admin".to_owned()],
        rules: vec![AccessRule {
            common_name: "api".to_owned(),
            may_register: Vec::new(),
            may_submit: vec!["node-*".to_owned()],
        }],
    };
    Embedded::start(ServerOptions {
        tls: Some(authority.issue("server").try_into().unwrap()),
        access,
        ..ServerOptions::default()
    })
    .await
}

// G22
#[tokio::test]
async fn certificates_decide_who_may_do_what() {
    let authority = Authority::new();
    let server = with_certificates(&authority).await;
    let here = [server.endpoint()];
    let node = tls(&authority.issue("node-1"));
    let mut worker = Running::start(&here, &node, quick("node-1"), echo);
    worker.connected(1).await;

    let api = Client::connect(&here, &tls(&authority.issue("api"))).await.unwrap();
    let large = vec![9; 3_000_000];
    assert_eq!(api.call("node-1", &large, support::DEADLINE).await.unwrap(), large);
    let error = api.call("other", b"", support::DEADLINE).await.unwrap_err();
    assert!(matches!(&error, ClientError::Refused { code, .. } if code == "NOT_PERMITTED"), "{error}");

    // A node submits nothing, not even to itself, and lists nobody.
    let client = Client::connect(&here, &node).await.unwrap();
    let error = client.call("node-1", b"", support::DEADLINE).await.unwrap_err().to_string();
    assert!(error.contains("node-1") && error.contains("NOT_PERMITTED"), "{error}");
    let mut text = Admin::connect(&here[0], &node).await.unwrap();
    assert!(text.workers().await.unwrap_err().to_string().contains("NOT_PERMITTED"));

    // A node that registers another's name is refused, and never counts as connected.
    let mut thief = Running::start(&here, &tls(&authority.issue("node-2")), quick("node-1"), echo);
    let refused = thief.state.wait_for(|state| state.last_error.is_some());
    let reason = within("the refusal", refused).await.unwrap().last_error.clone().unwrap();
    assert!(reason.contains("node-2") && reason.contains("register node-1"), "{reason}");
    assert!(thief.state.borrow().connected.is_empty());

    let mut admin = Admin::connect(&here[0], &tls(&authority.issue("admin"))).await.unwrap();
    let status = admin.status().await.unwrap();
    assert!(status.iter().any(|entry| entry.function == "node-1" && entry.workers == 1), "{status:?}");
    thief.stop().await;
    worker.stop().await;
    server.stop().await;
}

// G23
#[tokio::test]
async fn who_shows_no_good_certificate_gets_nowhere() {
    let authority = Authority::new();
    let server = with_certificates(&authority).await;
    let stranger = Authority::new();
    let without = TlsFiles { identity: None, ..authority.issue("admin") };
    let forged = TlsFiles { ca: authority.ca(), ..stranger.issue("admin") };
    let expired = authority.issue_expired("admin");
    for (files, what) in [(without, "none"), (forged, "another authority's"), (expired, "an expired one")] {
        let outcome = within("a refusal", Client::connect(&[server.endpoint()], &tls(&files))).await;
        let error = outcome.map(drop).expect_err(what).to_string();
        assert!(error.contains(&server.endpoint().to_string()), "{what}: {error}");
        assert!(!error.contains("https://"), "{what}: {error}");
    }
    // Nor does one who speaks without TLS, or a server that shows another authority's certificate.
    assert!(within("a refusal", Client::connect(&[server.endpoint()], &Transport::plain())).await.is_err());
    let output = run("gearadmin", server.port, &["--status"], b"").await;
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    let trusting_others = tls(&stranger.issue("admin"));
    let error = Client::connect(&[server.endpoint()], &trusting_others).await.unwrap_err().to_string();
    assert!(error.contains("no TLS connection") && error.contains("invalid peer certificate"), "{error}");
    // Nor does one who speaks TLS to a server that does not, and is told what to set.
    let plain = Embedded::start(ServerOptions::default()).await;
    let error = Client::connect(&[plain.endpoint()], &tls(&authority.issue("admin"))).await.unwrap_err().to_string();
    assert!(error.contains("the other side does not speak TLS") && error.contains("gearman.embedded_tls"), "{error}");
    plain.stop().await;
    // All of them done, a good one is served.
    let admin = Client::connect(&[server.endpoint()], &tls(&authority.issue("admin"))).await.unwrap();
    assert_eq!(admin.echo(b"x").await.unwrap(), b"x");
}

// G24
#[tokio::test]
async fn a_worker_that_hangs_up_late_does_not_keep_the_server() {
    let server = Embedded::start(ServerOptions::default()).await;
    let (started, mut running) = mpsc::unbounded_channel();
    let worker = Running::ready(&[server.endpoint()], "held", move |_: Job, _: Progress| {
        let _ = started.send(());
        std::future::pending::<JobResult>()
    })
    .await;
    let client = server.client().await;
    let call = tokio::spawn(async move { client.call("held", b"", support::DEADLINE).await });
    running.recv().await.unwrap();
    let mut state = worker.state.clone();
    server.stop().await;
    assert!(matches!(call.await.unwrap(), Err(ClientError::ServerLost { was_accepted: true, .. })));
    within("the worker sees it", state.wait_for(|state| state.connected.is_empty())).await.unwrap();
}

// G51: a small write is one segment, and a segment arrives whole. So if the answer is ever seen without the question,
// they were two.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_and_the_next_question_leave_together() {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = Endpoint::from(listener.local_addr().unwrap());
    let server = tokio::task::spawn_blocking(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(support::DEADLINE)).unwrap();
        let expect = |stream: &mut std::net::TcpStream, expected: &[u8]| {
            let mut seen = vec![0; expected.len()];
            stream.read_exact(&mut seen).unwrap();
            assert_eq!(seen, expected);
        };
        let respond = |stream: &mut std::net::TcpStream, kind: u32, body: &[u8]| {
            let mut packet = request(kind, body);
            packet[3] = b'S';
            stream.write_all(&packet).unwrap();
        };
        // SET_CLIENT_ID, CAN_DO and the echo that confirms them; then the first question.
        let registration = [request(22, b"test-f"), request(1, b"f"), request(16, b"registered")].concat();
        expect(&mut stream, &registration);
        respond(&mut stream, 17, b"registered");
        expect(&mut stream, &request(30, b""));
        let both = [request(13, b"H:x:1\0payload"), request(30, b"")].concat();
        for _ in 0..500 {
            respond(&mut stream, 31, b"H:x:1\0f\0u\0payload");
            let mut first = [0; 200];
            stream.set_nonblocking(true).unwrap();
            let count = loop {
                match stream.peek(&mut first) {
                    Ok(count) => break count,
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => std::hint::spin_loop(),
                    Err(error) => panic!("{error}"),
                }
            };
            stream.set_nonblocking(false).unwrap();
            assert_eq!(first[..count], both);
            expect(&mut stream, &both);
        }
        respond(&mut stream, 10, b"");
        expect(&mut stream, &request(4, b""));
    });
    let worker = Worker::new(&[endpoint], &Transport::plain(), quick("f")).unwrap();
    let (_stop, stopped) = watch::channel(false);
    let task = tokio::spawn(worker.run(echo, stopped));
    within("the exchange", server).await.unwrap();
    task.abort();
}
