//! The start of a driver's process: from its file by the daemon's pipeline, and the child alone.

use std::{
    cell::RefCell,
    fs, io,
    io::{Read, Write},
    os::{
        fd::OwnedFd,
        unix::{net::UnixStream, process::CommandExt},
    },
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use capstan::drivers::{
    Isolation, Kind, Registry,
    frames::{CallId, FrameReader, FromDriver, FromHost, Hello, Open, PROTOCOL, Reply, frame, read_message},
};
use capstan_tests::{paths, process::Process};
use serde_json::value::RawValue;

use super::{dummy, runtime};
use crate::{
    hosted,
    measure::{Contender, Round, Series, alternate, nanoseconds},
    report::{Report, Row, quantiles, time},
    rivals::Rivals,
    scratch,
};

const ROUNDS: usize = 5;
const STARTS: usize = 20;
/// The aim, in nanoseconds.
const AIM: f64 = 2e6;

/// What the daemon started a driver's process with, as it stands on the process's command line.
fn specification(id: u32) -> String {
    let line = fs::read(format!("/proc/{id}/cmdline")).expect("the command line of a driver's process");
    let arguments = String::from_utf8(line).expect("UTF-8");
    let [_, "__driver", specification, ..] = arguments.split('\0').collect::<Vec<_>>()[..] else {
        panic!("found a driver's process with the command line {arguments:?}")
    };
    specification.to_owned()
}

/// The daemon's end of the socket.
struct Socket {
    stream: UnixStream,
    reader: FrameReader,
}

impl Socket {
    fn send(&mut self, message: &FromHost<'_>) {
        let bytes = frame(message).expect("a frame");
        self.stream.write_all(&bytes).expect("the child takes a frame");
    }

    /// Reads until `wanted` comes, and passes over lines for the log.
    fn wait_for(&mut self, wanted: impl Fn(&FromDriver<'_>) -> bool) {
        loop {
            while let Some(frame) = self.reader.next_frame().expect("a frame") {
                let message: FromDriver<'_> = read_message(frame).expect("a message");
                if wanted(&message) {
                    return;
                }
                assert!(message.log.is_some(), "found {}", String::from_utf8_lossy(frame));
            }
            let Self { stream, reader } = self;
            let count = reader.fill(|room| stream.read(room)).expect("the child's end of the socket");
            assert!(count > 0, "the child ended before it was ready");
        }
    }

    fn wait_for_result(&mut self, id: u64) {
        self.wait_for(|message| matches!(message.reply, Some(Reply { id: of, result: Some(_), .. }) if of == id));
    }
}

/// Nanoseconds from the start of the child to its hello, and to its answer that its open instance is healthy.
fn start_child(specification: &str) -> (u64, u64) {
    let (own, theirs) = UnixStream::pair().expect("a pair of sockets");
    let (lifeline_reader, lifeline) = io::pipe().expect("a pipe");
    let mut command = Command::new(paths::capstan());
    command
        .arg0("capstan")
        .args(["__driver", specification])
        .env_clear()
        .current_dir("/")
        .stdin(OwnedFd::from(theirs))
        .stdout(lifeline_reader)
        .stderr(Stdio::null())
        .process_group(0);
    let begun = Instant::now();
    let mut child = Process::spawn(&mut command).expect("the child starts");
    // With it go our copies of the child's ends.
    drop(command);
    let mut socket = Socket { stream: own, reader: FrameReader::default() };
    let hello = Hello { protocol: PROTOCOL, features: Vec::new(), name: "capstan".into(), manifest: None };
    socket.send(&FromHost { hello: Some(hello), ..FromHost::default() });
    socket.wait_for(|message| message.hello.is_some());
    let greeted = nanoseconds(begun.elapsed());
    let config: &RawValue = serde_json::from_str("{}").expect("JSON");
    socket.send(&FromHost { open: Some(Open { id: 1, config }), ..FromHost::default() });
    socket.wait_for_result(1);
    socket.send(&FromHost { health: Some(CallId { id: 2 }), ..FromHost::default() });
    socket.wait_for_result(2);
    let ready = nanoseconds(begun.elapsed());
    drop((socket, lifeline));
    let _its_end = child.child().wait();
    (greeted, ready)
}

/// Nanoseconds from the start of the least that can be a plugin to its first answer.
fn start_echo(rivals: &Rivals) -> u64 {
    let mut bytes = [7; 16];
    let begun = Instant::now();
    let mut child = Process::from(rivals.echo(bytes.len()));
    let (to, from) = (child.child().stdin.take(), child.child().stdout.take());
    to.expect("piped").write_all(&bytes).expect("the child reads");
    from.expect("piped").read_exact(&mut bytes).expect("the child answers");
    let took = nanoseconds(begun.elapsed());
    let _its_end = child.child().wait();
    took
}

/// The whole subject.
pub fn run(report: &mut Report, rivals: &Rivals) {
    report.subject(
        "The start of a driver's process",
        &format!(
            "cloud-dummy, {ROUNDS} alternating rounds of {STARTS} starts. The child alone: `capstan __driver` as the daemon starts it, from \
             its start to the answers to `open` and `health`. From its file: the daemon's checks of the file before that (probed \
             before). go-plugin: from its host's order to the plugin's answer that it is healthy, no checksum of its file."
        ),
    );
    let runtime = runtime();
    let state = scratch::folder();
    let (registry, _handle) = hosted::open(&runtime, state.path(), dummy(Isolation::Process));
    let running = registry.info(Kind::Cloud, "dummy").expect("the driver is known");
    let specification = specification(running.pid.expect("a process of its own"));
    let other_state = scratch::folder();
    let from_its_file = || {
        let settings = hosted::settings(other_state.path(), vec![dummy(Isolation::Process)]);
        let begun = Instant::now();
        let registry = runtime.block_on(Registry::open(settings)).expect("a registry");
        let took = nanoseconds(begun.elapsed());
        assert_eq!(registry.failures(), []);
        runtime.block_on(registry.close(Duration::from_secs(5)));
        took
    };
    // The first one is probed.
    from_its_file();
    let go_plugin = RefCell::new(rivals.go_plugin(1));
    let mut hello = Series::new("child alone, to its hello");
    let [ready, from_file, theirs, least] = alternate(
        ROUNDS,
        [
            Contender::new("child alone, to ready", || {
                let (greeted, ready): (Round, Round) = (0..STARTS).map(|_| start_child(&specification)).unzip();
                hello.add(greeted);
                ready
            }),
            Contender::new("isolated driver, from its file to ready", || {
                (0..STARTS).map(|_| from_its_file()).collect()
            }),
            Contender::new("go-plugin, to ready", || go_plugin.borrow_mut().starts(STARTS)),
            Contender::new("a C program, to its first answer over pipes", || {
                (0..STARTS).map(|_| start_echo(rivals)).collect()
            }),
        ],
    );
    runtime.block_on(registry.close(Duration::from_secs(5)));
    report.series(&[&hello, &ready, &from_file, &theirs, &least]);
    let relation = |ours: &Series| format!("go-plugin takes {:.1} x as long", theirs.p50() / ours.p50());
    report.row(Row {
        what: "isolated driver, its child alone, from its start to ready".into(),
        ours: format!("{}; hello after {}", quantiles(&ready), time(hello.p50())),
        beside: format!("go-plugin {}; the least C program {}", quantiles(&theirs), time(least.p50())),
        relation: relation(&ready),
        aim: "2 ms".into(),
        kept: Some(ready.p50() <= AIM),
    });
    report.row(Row {
        what: "isolated driver, from its file to ready".into(),
        ours: quantiles(&from_file),
        beside: format!("go-plugin {}", quantiles(&theirs)),
        relation: relation(&from_file),
        aim: String::new(),
        kept: None,
    });
}
