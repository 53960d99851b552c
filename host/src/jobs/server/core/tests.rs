//! The state alone: packets in, packets out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::super::access::Access;
use super::*;
use crate::jobs::packet::{Decoded, Grab, decode, decode_packet};

/// A state with some connections, whose answers are read as text.
struct Bench {
    core: Core,
    outboxes: Vec<(ConnectionId, Arc<Outbox>)>,
}

impl Bench {
    fn new(options: ServerOptions) -> Bench {
        Bench { core: Core::new(&options, "H:test".to_owned()), outboxes: Vec::new() }
    }

    fn join(&mut self) -> ConnectionId {
        self.join_as(Rights::Everything)
    }

    fn join_as(&mut self, rights: Rights) -> ConnectionId {
        let outbox = Arc::new(Outbox::detached());
        let id = self.core.connect(Arc::clone(&outbox), "127.0.0.1".to_owned(), rights);
        self.outboxes.push((id, outbox));
        id
    }

    fn send(&mut self, from: ConnectionId, packet: &Packet<'_>) {
        self.core.handle(from, Magic::Request, packet);
    }

    /// What a connection received since the last call, one short text for each packet.
    fn received(&self, by: ConnectionId) -> Vec<String> {
        let bytes = self.outboxes.iter().find(|(id, _)| *id == by).map(|(_, outbox)| outbox.take()).unwrap();
        let mut rest = bytes.as_slice();
        let mut seen = Vec::new();
        while !rest.is_empty() {
            let Ok(Decoded::Whole { packet: Ok(packet), consumed, .. }) = decode(rest, 1 << 30) else {
                return vec![String::from_utf8_lossy(rest).into_owned()];
            };
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            seen.push(match packet {
                Packet::JobCreated { handle } => format!("created {}", text(handle)),
                Packet::JobAssign { handle, function, payload } => {
                    format!("assign {} {} {}", text(handle), text(function), text(payload))
                }
                Packet::JobAssignUnique { handle, function, unique, payload } => {
                    format!("assign {} {} [{}] {}", text(handle), text(function), text(unique), text(payload))
                }
                Packet::WorkComplete { handle, result } => {
                    format!("complete {} {}", text(handle), text(result))
                }
                Packet::WorkFail { handle } => format!("fail {}", text(handle)),
                Packet::WorkException { handle, data } => {
                    format!("exception {} {}", text(handle), text(data))
                }
                Packet::WorkData { data, .. } => format!("data {}", text(data)),
                Packet::WorkWarning { data, .. } => format!("warning {}", text(data)),
                Packet::WorkStatus { numerator, denominator, .. } => {
                    format!("status {}/{}", text(numerator), text(denominator))
                }
                Packet::StatusRes { known, running, numerator, denominator, .. } => {
                    format!("{} {} {}/{}", text(known), text(running), text(numerator), text(denominator))
                }
                Packet::StatusResUnique { known, running, clients, .. } => {
                    format!("{} {} by {}", text(known), text(running), text(clients))
                }
                Packet::Error { code, .. } => format!("error {}", text(code)),
                Packet::Noop => "noop".to_owned(),
                Packet::NoJob => "no job".to_owned(),
                other => format!("{other:?}"),
            });
            rest = &rest[consumed..];
        }
        seen
    }

    fn line(&mut self, from: ConnectionId, line: &str) -> String {
        self.received(from);
        self.core.handle_line(from, line.as_bytes());
        let bytes = self.outboxes.iter().find(|(id, _)| *id == from).map(|(_, outbox)| outbox.take()).unwrap();
        String::from_utf8(bytes).unwrap()
    }
}

fn job<'a>(function: &'a str, unique: &'a str, payload: &'a str) -> Packet<'a> {
    Packet::Submit {
        priority: Priority::Normal,
        background: false,
        function: function.as_bytes(),
        unique: unique.as_bytes(),
        payload: payload.as_bytes(),
    }
}

fn background<'a>(function: &'a str, unique: &'a str, priority: Priority) -> Packet<'a> {
    Packet::Submit {
        priority,
        background: true,
        function: function.as_bytes(),
        unique: unique.as_bytes(),
        payload: unique.as_bytes(),
    }
}

const CAN_DO: Packet<'static> = Packet::CanDo { function: b"f" };
const GRAB: Packet<'static> = Packet::GrabJob(Grab::Unique);

// G30
#[test]
fn a_job_travels_from_client_to_worker_and_back() {
    let mut bench = Bench::new(ServerOptions::default());
    let (client, worker) = (bench.join(), bench.join());
    bench.send(worker, &CAN_DO);
    bench.send(worker, &GRAB);
    bench.send(worker, &Packet::PreSleep);
    assert_eq!(bench.received(worker), ["no job"]);
    bench.send(client, &job("f", "u", "payload"));
    assert_eq!(bench.received(client), ["created H:test:1"]);
    assert_eq!(bench.received(worker), ["noop"]);
    bench.send(worker, &GRAB);
    assert_eq!(bench.received(worker), ["assign H:test:1 f [u] payload"]);
    bench.send(client, &Packet::GetStatus { handle: b"H:test:1" });
    bench.send(worker, &Packet::WorkStatus { handle: b"H:test:1", numerator: b"1", denominator: b"4" });
    bench.send(client, &Packet::GetStatus { handle: b"H:test:1" });
    bench.send(client, &Packet::GetStatusUnique { unique: b"u" });
    bench.send(worker, &Packet::WorkData { handle: b"H:test:1", data: b"part" });
    bench.send(worker, &Packet::WorkWarning { handle: b"H:test:1", data: b"careful" });
    bench.send(worker, &Packet::WorkComplete { handle: b"H:test:1", result: b"done" });
    bench.send(client, &Packet::GetStatus { handle: b"H:test:1" });
    assert_eq!(
        bench.received(client),
        [
            "1 1 0/0",
            "status 1/4",
            "1 1 1/4",
            "1 1 by 1",
            "data part",
            "warning careful",
            "complete H:test:1 done",
            "0 0 0/0"
        ]
    );
    bench.send(worker, &Packet::WorkComplete { handle: b"H:test:1", result: b"again" });
    assert_eq!(bench.received(worker), ["error JOB_NOT_FOUND"]);
}

// G31
#[test]
fn equal_unique_ids_share_one_job() {
    let mut bench = Bench::new(ServerOptions::default());
    let (one, two, worker) = (bench.join(), bench.join(), bench.join());
    bench.send(worker, &CAN_DO);
    bench.send(one, &job("f", "u", "first"));
    bench.send(two, &job("f", "u", "second"));
    bench.send(two, &job("g", "u", "other function"));
    bench.send(two, &job("f", "", "no id"));
    bench.send(two, &job("f", "", "no id"));
    bench.send(two, &job("f", "-", "by payload"));
    bench.send(two, &job("f", "-", "by payload"));
    let handles = ["created H:test:1", "created H:test:2", "created H:test:3", "created H:test:4", "created H:test:5"];
    assert_eq!(bench.received(one), [handles[0]]);
    assert_eq!(bench.received(two)[1..], [handles[1], handles[2], handles[3], handles[4], handles[4]]);
    bench.send(worker, &GRAB);
    bench.send(two, &job("f", "u", "while it runs"));
    bench.received(two);
    assert_eq!(bench.received(worker), ["assign H:test:1 f [u] first"]);
    bench.send(worker, &Packet::WorkComplete { handle: b"H:test:1", result: b"r" });
    assert_eq!(bench.received(one), ["complete H:test:1 r"]);
    assert_eq!(bench.received(two), ["complete H:test:1 r", "complete H:test:1 r"]);
    bench.send(one, &job("f", "u", "a new one"));
    assert_eq!(bench.received(one), ["created H:test:6"]);
}

// G32
#[test]
fn urgent_jobs_come_first_and_functions_take_turns() {
    let mut bench = Bench::new(ServerOptions::default());
    let (client, worker) = (bench.join(), bench.join());
    for (unique, priority) in
        [("low", Priority::Low), ("one", Priority::Normal), ("two", Priority::Normal), ("high", Priority::High)]
    {
        bench.send(client, &background("f", unique, priority));
    }
    bench.send(client, &background("g", "other", Priority::Normal));
    bench.send(worker, &CAN_DO);
    bench.send(worker, &Packet::CanDo { function: b"g" });
    assert_eq!(bench.line(client, "prioritystatus\r"), "f\t1\t2\t1\t1\ng\t0\t1\t0\t1\n.\n");
    let mut order = Vec::new();
    for _ in 0..6 {
        bench.send(worker, &Packet::GrabJob(Grab::Plain));
        order.extend(bench.received(worker));
    }
    let order: Vec<&str> = order.iter().map(|text| text.rsplit(' ').next().unwrap()).collect();
    assert_eq!(order, ["high", "other", "one", "two", "low", "job"]);
}

// G33
#[test]
fn the_job_of_a_lost_worker_goes_to_the_next_until_it_was_tried_enough() {
    let mut bench = Bench::new(ServerOptions { max_attempts: 2, ..ServerOptions::default() });
    let client = bench.join();
    bench.send(client, &job("f", "u", "p"));
    assert_eq!(bench.received(client), ["created H:test:1"]);
    for attempt in 1..=2 {
        let worker = bench.join();
        bench.send(worker, &CAN_DO);
        bench.send(worker, &GRAB);
        assert_eq!(bench.received(worker), ["assign H:test:1 f [u] p"]);
        bench.core.disconnect(worker);
        let expected: &[&str] = if attempt == 2 { &["fail H:test:1"] } else { &[] };
        assert_eq!(bench.received(client), expected);
    }
    assert_eq!(bench.line(client, "status"), "f\t0\t0\t0\n.\n");
}

// G34
#[test]
fn what_only_a_vanished_client_wanted_is_dropped() {
    let mut bench = Bench::new(ServerOptions::default());
    let (gone, stays, worker) = (bench.join(), bench.join(), bench.join());
    bench.send(gone, &job("f", "alone", "1"));
    bench.send(gone, &job("f", "shared", "2"));
    bench.send(stays, &job("f", "shared", "2"));
    bench.send(gone, &job("f", "kept", "3"));
    bench.send(stays, &background("f", "kept", Priority::Normal));
    bench.core.disconnect(gone);
    bench.received(stays);
    assert_eq!(bench.line(stays, "show unique jobs"), "shared\nkept\n.\n");
    bench.send(worker, &CAN_DO);
    bench.send(worker, &GRAB);
    bench.send(worker, &GRAB);
    bench.send(worker, &GRAB);
    assert_eq!(bench.received(worker), ["assign H:test:2 f [shared] 2", "assign H:test:3 f [kept] 3", "no job"]);
}

// G35
#[test]
fn full_queues_are_refused() {
    let options = ServerOptions { max_queue: 2, max_bytes: 100, ..ServerOptions::default() };
    let mut bench = Bench::new(options);
    let client = bench.join();
    for unique in ["1", "2", "3"] {
        bench.send(client, &job("f", unique, "p"));
    }
    assert_eq!(bench.received(client)[2], "error QUEUE_ERROR");
    assert_eq!(bench.line(client, "maxqueue f 3"), "OK\r\n");
    for unique in ["3", "4"] {
        bench.send(client, &job("f", unique, "p"));
    }
    assert_eq!(bench.received(client), ["created H:test:3", "error QUEUE_ERROR"]);
    bench.send(client, &job("g", "large", &"x".repeat(98)));
    bench.send(client, &job("g", "u", "123456"));
    assert_eq!(bench.received(client), ["error QUEUE_ERROR", "created H:test:4"]);
    bench.send(client, &job("g", &"u".repeat(65), "p"));
    bench.send(client, &job("", "u", "p"));
    assert_eq!(bench.received(client), ["error ARGUMENT_TOO_LARGE", "error INVALID_FUNCTION_NAME"]);
}

// G36
#[test]
fn exceptions_go_to_those_who_asked_for_them() {
    let mut bench = Bench::new(ServerOptions::default());
    let (plain, keen, worker) = (bench.join(), bench.join(), bench.join());
    bench.send(keen, &Packet::OptionReq { name: b"exceptions" });
    bench.send(keen, &Packet::OptionReq { name: b"unheard" });
    bench.send(worker, &CAN_DO);
    bench.send(plain, &job("f", "u", "p"));
    bench.send(keen, &job("f", "u", "p"));
    bench.send(worker, &GRAB);
    bench.send(worker, &Packet::WorkException { handle: b"H:test:1", data: b"why" });
    assert_eq!(bench.received(plain), ["created H:test:1", "fail H:test:1"]);
    assert_eq!(bench.received(keen)[1..], ["error UNKNOWN_OPTION", "created H:test:1", "exception H:test:1 why"]);
}

// G37
#[test]
fn one_worker_is_woken_first_and_the_rest_if_it_does_not_come() {
    let mut bench = Bench::new(ServerOptions::default());
    let client = bench.join();
    let workers: Vec<_> = (0..3).map(|_| bench.join()).collect();
    for worker in &workers {
        bench.send(*worker, &CAN_DO);
        bench.send(*worker, &Packet::PreSleep);
    }
    bench.send(client, &job("f", "u", "p"));
    let woken = |bench: &Bench| workers.iter().map(|worker| bench.received(*worker).len()).collect::<Vec<_>>();
    assert_eq!(woken(&bench), [1, 0, 0]);
    assert!(bench.core.has_left_asleep());
    bench.core.wake_rest();
    assert_eq!(woken(&bench), [0, 1, 1]);
    assert!(!bench.core.has_left_asleep());
    // Whoever goes to sleep beside a waiting job is woken at once.
    bench.send(workers[0], &Packet::PreSleep);
    assert_eq!(woken(&bench), [1, 0, 0]);
}

// G38
#[test]
fn a_worker_that_takes_too_long_loses_its_job() {
    let mut bench = Bench::new(ServerOptions::default());
    let (client, worker) = (bench.join(), bench.join());
    bench.send(worker, &Packet::CanDoTimeout { function: b"f", seconds: b"3" });
    bench.send(client, &job("f", "u", "p"));
    bench.send(worker, &GRAB);
    bench.received(client);
    bench.core.expire(Instant::now() + Duration::from_secs(2));
    assert!(bench.received(client).is_empty());
    bench.core.expire(Instant::now() + Duration::from_secs(4));
    assert_eq!(bench.received(client), ["fail H:test:1"]);
}

// G21
#[test]
fn a_node_may_do_its_own_name_and_nothing_else() {
    let mut bench = Bench::new(ServerOptions::default());
    let (node, other) = (bench.join_as(Access::default().rights("node-1")), bench.join());
    bench.send(node, &Packet::CanDo { function: b"node-1" });
    assert!(bench.received(node).is_empty());
    bench.send(node, &Packet::CanDo { function: b"node-2" });
    bench.send(node, &job("node-1", "u", "p"));
    assert_eq!(bench.received(node), ["error NOT_PERMITTED", "error NOT_PERMITTED"]);
    bench.send(other, &job("node-2", "secret", "p"));
    bench.send(other, &job("node-1", "own", "p"));
    bench.send(node, &Packet::GetStatus { handle: b"H:test:1" });
    bench.send(node, &Packet::GetStatusUnique { unique: b"secret" });
    bench.send(node, &Packet::GetStatus { handle: b"H:test:2" });
    bench.send(node, &GRAB);
    bench.send(node, &GRAB);
    assert_eq!(bench.received(node), ["0 0 0/0", "0 0 by 0", "1 0 0/0", "assign H:test:2 node-1 [own] p", "no job"]);
    assert!(bench.line(node, "status").starts_with("ERR NOT_PERMITTED"));
    // The job of another worker cannot be answered, even when its handle is guessed.
    bench.send(node, &Packet::WorkComplete { handle: b"H:test:1", result: b"forged" });
    assert_eq!(bench.received(node), ["error JOB_NOT_FOUND"]);
}

// G39
#[test]
fn text_commands_have_the_form_that_gearadmin_reads() {
    let mut bench = Bench::new(ServerOptions::default());
    let (client, worker) = (bench.join(), bench.join());
    bench.send(worker, &Packet::SetClientId { id: b"node 7\n" });
    bench.send(worker, &CAN_DO);
    bench.send(worker, &Packet::CanDo { function: b"a\nb" });
    bench.send(client, &job("f", "u", "p"));
    bench.received(client);
    for (line, expected) in [
        ("status", "a_b\t0\t0\t1\nf\t1\t0\t1\n.\n"),
        ("STATUS", "a_b\t0\t0\t1\nf\t1\t0\t1\n.\n"),
        ("workers", "1 127.0.0.1 - :\n2 127.0.0.1 node_7_ : f a_b\n.\n"),
        ("show jobs", "H:test:1\t0\t0\t0\n.\n"),
        ("show unique jobs", "u\n.\n"),
        ("show", "ERR UNKNOWN_SHOW_ARGUMENTS\r\n"),
        ("cancel job H:test:9", "ERR UNKNOWN_JOB\r\n"),
        ("create function new", "OK\r\n"),
        ("drop function new", "OK\r\n"),
        ("drop function new", "ERR function not found\r\n"),
        ("drop function f", "ERR there are still connected workers or executing clients\r\n"),
        ("shutdown", "ERR NOT_PERMITTED stop+the+daemon+that+embeds+this+server\r\n"),
        ("nonsense", "ERR UNKNOWN_COMMAND Unknown+server+commandnonsense\r\n"),
    ] {
        assert_eq!(bench.line(client, line), expected, "{line}");
    }
    assert!(bench.line(client, "version").starts_with("OK capstan-"));
    bench.core.handle_line(client, b"cancel job H:test:1");
    let text = bench.outboxes[0].1.take();
    assert!(text.ends_with(b"OK\r\n"));
    bench.send(worker, &GRAB);
    assert_eq!(bench.received(worker), ["no job"]);
}

// G40
#[test]
fn names_nobody_uses_make_room() {
    let mut bench = Bench::new(ServerOptions { max_functions: 2, ..ServerOptions::default() });
    let (client, worker) = (bench.join(), bench.join());
    for name in ["one", "two", "three"] {
        bench.send(worker, &Packet::CanDo { function: name.as_bytes() });
    }
    assert_eq!(bench.received(worker), ["error INVALID_FUNCTION_NAME"]);
    bench.send(worker, &Packet::CantDo { function: b"one" });
    bench.send(client, &job("three", "u", "p"));
    assert_eq!(bench.received(client), ["created H:test:1"]);
}

proptest! {
    // G41: whatever packets come in whatever order, the books balance.
    #[test]
    fn the_books_balance(
        steps in proptest::collection::vec((0_u64..5, 0_u32..44, proptest::collection::vec(any::<u8>(), 0..12)), 0..120)
    ) {
        let mut bench = Bench::new(ServerOptions { max_queue: 8, max_attempts: 2, ..ServerOptions::default() });
        for _ in 0..4 {
            bench.join();
        }
        let functions: [&[u8]; 2] = [b"f", b"g"];
        for (from, kind, noise) in &steps {
            let from = from + 1;
            let flavour = usize::from(noise.first().copied().unwrap_or(0));
            let handle = format!("H:test:{}", flavour % 9 + 1).into_bytes();
            let function = functions[flavour % 2];
            let unique = &noise[..noise.len().min(1)];
            let body: Vec<u8> = match kind {
                1 | 2 => function.to_vec(),
                7 | 18 | 21 | 32 | 33 | 34 => {
                    let unique: Vec<u8> = unique.iter().map(|byte| byte % 3 + b'a').collect();
                    [function, &[0], &unique, &[0], noise].concat()
                }
                12 => [&handle[..], b"\x001\x002"].concat(),
                13 | 25 | 28 | 29 => [&handle[..], &[0], noise].concat(),
                14 | 15 => handle.clone(),
                23 => [function, b"\x005"].concat(),
                43 => {
                    bench.core.disconnect(from);
                    bench.core.expire(Instant::now() + Duration::from_secs(noise.len() as u64));
                    continue;
                }
                _ => noise.clone(),
            };
            match decode_packet(*kind, &body) {
                Ok(packet) => bench.send(from, &packet),
                Err(error) => bench.core.handle_malformed(from, &error),
            }
            bench.core.take_dirty();
            bench.core.check();
        }
        for id in 0..=5 {
            bench.core.disconnect(id);
            bench.core.check();
        }
        prop_assert!(bench.core.jobs.values().all(|job| job.is_background));
    }
}

impl Core {
    /// What must hold between any two packets.
    fn check(&self) {
        assert_eq!(self.bytes, self.jobs.values().map(|job| job.payload.len()).sum::<usize>());
        assert_eq!(self.timed_jobs, self.jobs.values().filter(|job| job.deadline.is_some()).count());
        for (id, function) in self.functions.sorted() {
            let jobs = || self.jobs.values().filter(|job| job.function == id);
            assert_eq!(function.total, jobs().count());
            assert_eq!(function.running, jobs().filter(|job| job.worker.is_some()).count());
            let queued: usize = function.waiting(|job| self.jobs.contains_key(&job)).sum();
            assert_eq!(queued, function.total - function.running);
            assert!(function.uniques.values().all(|job| self.jobs.contains_key(job)));
            assert!(function.workers.iter().all(|worker| self.connections.contains_key(worker)));
        }
        for (id, job) in &self.jobs {
            assert!(job.is_background || job.worker.is_some() || !job.clients.is_empty());
            for client in &job.clients {
                assert!(self.connections[client].waiting.contains(id));
            }
            if let Some(worker) = job.worker {
                assert!(self.connections[&worker].running.contains(id));
            }
        }
        for connection in self.connections.values() {
            assert!(connection.waiting.iter().chain(&connection.running).all(|job| self.jobs.contains_key(job)));
        }
    }
}
