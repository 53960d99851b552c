//! Real peers for the tests: gearmand, the gearman tools, certificates. What is started here ends with its guard.
#![allow(dead_code, reason = "each test file uses its own part of this module")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "this module is part of tests")]

pub mod worker;

use std::future::Future;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use capstan::jobs::{Admin, Endpoint, TlsFiles, TlsIdentity, Transport};

/// The bound of everything that is awaited.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Awaits with a bound.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {DEADLINE:?}"),
    }
}

/// Looks again until it is so.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut look: impl FnMut() -> F) {
    let end = Instant::now() + DEADLINE;
    while !look().await {
        assert!(Instant::now() < end, "{what}: not within {DEADLINE:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A port of loopback that was free a moment ago.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub fn local(port: u16) -> Endpoint {
    Endpoint::new("127.0.0.1", port)
}

/// A process that dies with this value, and whatever it started in its turn.
pub struct Process(Child);

impl Process {
    pub fn kill(&mut self) {
        use rustix::process::{Pid, Signal, kill_process_group};
        // Its own group, see `spawn`. Once it was waited for, its id may be another's.
        if let (Ok(None), Some(id)) = (self.0.try_wait(), Pid::from_raw(self.0.id().cast_signed())) {
            let _ = kill_process_group(id, Signal::KILL);
        }
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(command: &mut Command) -> Child {
    use std::os::unix::process::CommandExt as _;
    let shown = format!("{command:?}");
    command
        .process_group(0)
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {shown}: {error}; `make setup` installs it"))
}

/// A gearmand of its own.
pub struct Gearmand {
    pub port: u16,
    process: Process,
    folder: tempfile::TempDir,
}

impl Gearmand {
    pub async fn start() -> Gearmand {
        Gearmand::start_on(free_port()).await
    }

    pub async fn start_on(port: u16) -> Gearmand {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut command = Command::new("gearmand");
        command
            .args(["-L", "127.0.0.1", "-t", "4", "--verbose=ERROR", "-p", &port.to_string(), "-l"])
            .arg(&log)
            .arg("-P")
            .arg(folder.path().join("pid"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let gearmand = Gearmand { port, process: Process(spawn(&mut command)), folder };
        eventually("gearmand answers", || async {
            match Admin::connect(&local(port), &Transport::plain()).await {
                Ok(mut admin) => admin.version().await.is_ok(),
                Err(_) => false,
            }
        })
        .await;
        gearmand
    }

    pub fn endpoint(&self) -> Endpoint {
        local(self.port)
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }
}

/// Runs a tool to its end, off the runtime's threads.
pub async fn run(program: &'static str, port: u16, arguments: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new(program);
    command.args(["-h", "127.0.0.1", "-p", &port.to_string()]).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = spawn(&mut command);
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let task = tokio::task::spawn_blocking(move || {
        let writer = std::thread::spawn(move || {
            let _ = stdin.write_all(&input);
        });
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        output
    });
    within(program, task).await.unwrap()
}

/// Standard output of a tool that must succeed.
pub async fn succeed(program: &'static str, port: u16, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let output = run(program, port, arguments, input).await;
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {} {}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// A worker of the `gearman` tool that runs a command for each job.
pub async fn tool_worker(port: u16, function: &str, command: &[&str]) -> Process {
    let mut tool = Command::new("gearman");
    tool.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-w", "-f", function, "--"]).args(command);
    tool.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let worker = Process(spawn(&mut tool));
    eventually("the gearman tool registers", || async { workers_of(port, function).await > 0 }).await;
    worker
}

/// How many workers a server counts for a function.
pub async fn workers_of(port: u16, function: &str) -> u64 {
    counts(port, function).await.map_or(0, |(_, _, workers)| workers)
}

/// Jobs, running jobs and workers of a function, if the server knows it.
pub async fn counts(port: u16, function: &str) -> Option<(u64, u64, u64)> {
    let mut admin = Admin::connect(&local(port), &Transport::plain()).await.ok()?;
    let all = admin.status().await.ok()?;
    let found = all.into_iter().find(|entry| entry.function == function)?;
    Some((found.total, found.running, found.workers))
}

/// An authority that signs certificates, with the files it wrote.
pub struct Authority {
    folder: tempfile::TempDir,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    pub fn new() -> Authority {
        let folder = tempfile::tempdir().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "test authority");
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(folder.path().join("ca.pem"), certificate.pem()).unwrap();
        Authority { folder, issuer: rcgen::Issuer::new(params, key) }
    }

    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// The files of a certificate for this common name, good for a server on loopback too.
    pub fn issue(&self, common_name: &str) -> TlsFiles {
        self.issue_until(common_name, None)
    }

    pub fn issue_expired(&self, common_name: &str) -> TlsFiles {
        self.issue_until(common_name, Some(rcgen::date_time_ymd(2020, 1, 1)))
    }

    fn issue_until(&self, common_name: &str, end: Option<time::OffsetDateTime>) -> TlsFiles {
        let key = rcgen::KeyPair::generate().unwrap();
        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, common_name);
        if let Some(end) = end {
            params.not_before = rcgen::date_time_ymd(2019, 1, 1);
            params.not_after = end;
        }
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let path = |what: &str| self.folder.path().join(format!("{common_name}.{what}.pem"));
        std::fs::write(path("cert"), certificate.pem()).unwrap();
        std::fs::write(path("key"), key.serialize_pem()).unwrap();
        let identity = Some(TlsIdentity { certificate: path("cert"), key: path("key") });
        TlsFiles { ca: self.ca(), identity }
    }
}
