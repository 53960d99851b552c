//! The rivals in C, built by `cc` as the run begins, and how they are driven. Those in Go are built when they are wanted.

mod go_plugin;

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

use capstan_tests::{gearmand::wait_for_worker, process::Process};
use tempfile::TempDir;

use crate::{measure::Round, scratch};

pub use go_plugin::GoPlugin;

/// The built programs, and the folder of all files of this run.
pub struct Rivals {
    folder: TempDir,
    go_plugin: OnceLock<PathBuf>,
}

const PROGRAMS: [(&str, &[&str]); 4] = [
    ("gearman_client", &["-lgearman", "-lpthread"]),
    ("gearman_worker", &["-lgearman"]),
    ("echo", &[]),
    ("dlopen", &["-ldl"]),
];

impl Rivals {
    /// Builds them.
    pub fn build() -> Self {
        let folder = scratch::folder();
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/performance/rivals");
        for (name, libraries) in PROGRAMS {
            let built = Command::new("cc")
                .args(["-O2", "-Wall", "-o"])
                .arg(folder.path().join(name))
                .arg(sources.join(format!("{name}.c")))
                .args(libraries)
                .status()
                .expect("cc runs; `.ci/setup bench` installs it");
            assert!(built.success(), "cc could not build {name}.c");
        }
        Self { folder, go_plugin: OnceLock::new() }
    }

    /// Where a program lies.
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// go-plugin's host with so many plugins, all of them ready.
    pub fn go_plugin(&self, plugins: usize) -> GoPlugin {
        let program = self.go_plugin.get_or_init(|| go_plugin::build(self.folder.path()));
        GoPlugin::start(program, plugins)
    }

    /// A child that echoes `size` bytes over pipes.
    pub fn echo(&self, size: usize) -> Child {
        Command::new(self.program("echo"))
            .arg(size.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the echo child starts")
    }

    /// Plain libgearman workers that echo, registered when this returns.
    pub fn gearman_workers(&self, port: u16, function: &str, count: usize) -> Vec<Process> {
        let start = |_| {
            let mut command = Command::new(self.program("gearman_worker"));
            command.args(["127.0.0.1", &port.to_string(), function]).stdin(Stdio::null());
            Process::spawn(&mut command).expect("the libgearman worker starts")
        };
        let workers = (0..count).map(start).collect();
        wait_for_worker(port, function);
        workers
    }

    /// Foreground jobs from a plain libgearman client; see `gearman_client.c`. `warm_up` and `jobs` are per thread. Answers the
    /// times and how many jobs ended in a second.
    pub fn gearman_client(&self, to: &Target<'_>, threads: usize, warm_up: usize, jobs: usize) -> (Round, f64) {
        self.gearman_load("foreground", to, threads, warm_up, jobs)
    }

    /// As [`Rivals::gearman_client`], in the background: each job until the server has taken it on.
    pub fn gearman_submitter(&self, to: &Target<'_>, threads: usize, warm_up: usize, jobs: usize) -> (Round, f64) {
        self.gearman_load("background", to, threads, warm_up, jobs)
    }

    fn gearman_load(&self, mode: &str, to: &Target<'_>, threads: usize, warm_up: usize, jobs: usize) -> (Round, f64) {
        let payload = self.program("payload");
        fs::File::create(&payload).and_then(|mut file| file.write_all(to.payload)).expect("the payload is written");
        let output = Command::new(self.program("gearman_client"))
            .args(["127.0.0.1", &to.port.to_string(), to.function])
            .arg(&payload)
            .args([threads, warm_up, jobs].map(|number| number.to_string()))
            .arg(mode)
            .stdin(Stdio::null())
            .output()
            .expect("the libgearman client runs");
        assert!(output.status.success(), "{}: {}", to.function, String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&output.stdout);
        let (head, times) = text.split_once('\n').expect("a line with the elapsed time");
        let elapsed: f64 = head.strip_prefix("elapsed ").and_then(|text| text.parse().ok()).expect("nanoseconds");
        let round: Round = times.lines().map(|line| line.parse().expect("nanoseconds")).collect();
        let rate = round.len() as f64 / (elapsed / 1e9);
        (round, rate)
    }
}

/// Where jobs go.
pub struct Target<'a> {
    /// Port of the job server on loopback.
    pub port: u16,
    /// Name of the function.
    pub function: &'a str,
    /// Payload of each job.
    pub payload: &'a [u8],
}
