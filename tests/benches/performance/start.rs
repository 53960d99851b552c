//! From the start of the process to READY, and what the idle daemon takes.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::net::UnixDatagram,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use capstan_tests::{daemon::Site, free_port, paths, process::Process};
use rustix::process::Signal;

use crate::{
    measure::{Contender, Round, alternate, median, nanoseconds},
    memory::Memory,
    report::{Report, Row, quantiles, time},
};

const ROUNDS: usize = 5;
const STARTS: usize = 6;
/// The aims: nanoseconds to READY, and MiB.
const AIM_READY: f64 = 50e6;
const AIM_MEMORY: f64 = 30.0;

/// The shipped drivers besides `noop`, which [`Site::worker`] names.
const OTHER_DRIVERS: &str = r#"
[known_drivers.cloud.dummy]
library = "libcapstan_cloud_dummy.so"
[known_drivers.load_balancer.haproxy]
library = "libcapstan_load_balancer_haproxy.so"
"#;

fn site() -> Site {
    Site::worker_with("noop", "", None, OTHER_DRIVERS)
}

/// Starts the daemon and waits for READY=1 without looking away.
pub fn start(site: &Site) -> (Process, u64) {
    let path = site.path().join("notify");
    let _of_the_start_before = fs::remove_file(&path);
    let socket = UnixDatagram::bind(&path).expect("the notification socket");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a time limit");
    let log = fs::File::create(site.path().join("log")).expect("the log");
    let mut command = Command::new(paths::capstan());
    command.arg("--config").arg(site.config()).arg("serve").env("NOTIFY_SOCKET", &path);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let start = Instant::now();
    let process = Process::spawn(&mut command).expect("capstan starts");
    let mut buffer = [0; 4096];
    loop {
        let length =
            socket.recv(&mut buffer).unwrap_or_else(|error| panic!("no READY ({error}); its log:\n{}", site.log()));
        if String::from_utf8_lossy(&buffer[..length]).lines().any(|line| line == "READY=1") {
            return (process, nanoseconds(start.elapsed()));
        }
    }
}

/// Ends it as an operator does.
pub fn stop(site: &Site, mut process: Process) {
    process.signal(Signal::TERM);
    let status = process.wait(Duration::from_secs(20));
    assert!(status.success(), "capstan ended with {status}; its log:\n{}", site.log());
}

/// Starts gearmand and waits for its first answer.
fn start_gearmand() -> (Process, u64) {
    let port = free_port();
    let mut command = Command::new("gearmand");
    command.args(["-L", "127.0.0.1", "-t", "4", "--verbose=ERROR", "-l", "/dev/null", "-p", &port.to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let start = Instant::now();
    let process = Process::spawn(&mut command).expect("gearmand starts");
    let answers = || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        stream.write_all(b"version\r\n").ok()?;
        stream.read(&mut [0; 64]).ok().filter(|length| *length > 0)
    };
    while answers().is_none() {
        assert!(start.elapsed() < Duration::from_secs(10), "gearmand does not answer");
        thread::sleep(Duration::from_micros(200));
    }
    (process, nanoseconds(start.elapsed()))
}

/// The whole subject.
pub fn run(report: &mut Report) {
    report.subject(
        "Start and memory",
        &format!(
            "`capstan serve` with the shipped drivers, a worker and the embedded job server: from the start of the process to READY=1 \
             on the notification socket (the worker is registered by then). {ROUNDS} alternating rounds of {STARTS} starts. A first start has an \
             empty state directory: every driver is copied and probed. gearmand: until it answers `version`."
        ),
    );
    let kept = site();
    stop(&kept, start(&kept).0);
    let [later, first, gearmand] = alternate(
        ROUNDS,
        [
            Contender::new("capstan, later start", || {
                let once = |_| {
                    let (process, took) = start(&kept);
                    stop(&kept, process);
                    took
                };
                (0..STARTS).map(once).collect::<Round>()
            }),
            Contender::new("capstan, first start", || {
                let once = |_| {
                    let site = site();
                    let (process, took) = start(&site);
                    stop(&site, process);
                    took
                };
                (0..STARTS).map(once).collect::<Round>()
            }),
            Contender::new("gearmand", || (0..STARTS).map(|_| start_gearmand().1).collect::<Round>()),
        ],
    );
    report.series(&[&later, &first, &gearmand]);

    let mut table = vec![["idle, 2 s after its start", "RSS", "PSS", "threads"].map(String::from)];
    let mut measured = Vec::new();
    for (name, start) in [
        ("capstan serve", Box::new(|| start(&kept).0) as Box<dyn Fn() -> Process>),
        ("gearmand", Box::new(|| start_gearmand().0)),
    ] {
        let sizes: Vec<(f64, f64, usize)> = (0..3)
            .map(|_| {
                let process = start();
                // Nothing happens any more; what is measured is a state, not an event.
                thread::sleep(Duration::from_secs(2));
                let Memory { rss, pss, .. } = Memory::of(process.id());
                let threads = fs::read_dir(format!("/proc/{}/task", process.id())).map_or(0, Iterator::count);
                (rss, pss, threads)
            })
            .collect();
        let of = |figure: fn(&(f64, f64, usize)) -> f64| median(&sizes.iter().map(figure).collect::<Vec<_>>());
        let (rss, pss) = (of(|size| size.0), of(|size| size.1));
        table.push([name.to_owned(), format!("{rss:.1} MiB"), format!("{pss:.1} MiB"), sizes[0].2.to_string()]);
        measured.push((rss, pss));
    }
    report.table(&table);
    report.row(Row {
        what: "start to READY with the shipped drivers".into(),
        ours: quantiles(&later),
        beside: format!("gearmand to its first answer {}", time(gearmand.p50())),
        relation: String::new(),
        aim: "50 ms".into(),
        kept: Some(later.p50() <= AIM_READY),
    });
    report.row(Row {
        what: "first start, drivers copied and probed".into(),
        ours: quantiles(&first),
        beside: String::new(),
        relation: String::new(),
        aim: String::new(),
        kept: None,
    });
    report.row(Row {
        what: "memory of the idle daemon".into(),
        ours: format!("RSS {:.1} MiB, PSS {:.1} MiB", measured[0].0, measured[0].1),
        beside: format!("gearmand RSS {:.1} MiB, PSS {:.1} MiB", measured[1].0, measured[1].1),
        relation: String::new(),
        aim: "30 MB".into(),
        kept: Some(measured[0].0 * 1.048_576 <= AIM_MEMORY),
    });
}
