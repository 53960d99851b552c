//! HashiCorp's go-plugin: what is measured of it stands in `tests/benches/go-plugin`.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use capstan_tests::{paths, process::Process};

use crate::measure::{Round, nanoseconds};

/// Where Debian's packages of Go sources lie.
const SOURCES: &str = "/usr/share/gocode";

/// A running host of plugins.
pub struct GoPlugin {
    /// Process ids of the plugins that it started with.
    pub plugins: Vec<u32>,
    /// From the start of the host to the moment when all of them were ready, in nanoseconds.
    pub took: u64,
    host: Process,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// Builds it from what Debian ships, without a network; answers where the program lies.
pub(super) fn build(folder: &Path) -> PathBuf {
    let program = folder.join("go-plugin-echo");
    let built = Command::new("go")
        .args(["build", "-o"])
        .arg(&program)
        .arg(".")
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/go-plugin"))
        .envs([("GO111MODULE", "off"), ("GOPATH", SOURCES), ("GOFLAGS", "")])
        .env("GOCACHE", paths::build().join("go-cache"))
        .status()
        .unwrap_or_else(|error| panic!("go does not run ({error}); `.ci/setup bench` installs it"));
    assert!(built.success(), "go could not build tests/benches/go-plugin; `.ci/setup bench` installs what it needs");
    program
}

impl GoPlugin {
    pub(super) fn start(program: &Path, plugins: usize) -> Self {
        let mut command = Command::new(program);
        command.args(["host", &plugins.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let begun = Instant::now();
        let mut host = Process::spawn(&mut command).expect("the host of go-plugin starts");
        let commands = host.child().stdin.take();
        let answers = BufReader::new(host.child().stdout.take().expect("piped"));
        let mut started = Self { plugins: Vec::new(), took: 0, host, commands, answers };
        let ids = started.answer();
        started.took = nanoseconds(begun.elapsed());
        started.plugins = ids.into_iter().map(|id| u32::try_from(id).expect("a process id")).collect();
        started
    }

    /// The host's process id.
    pub fn id(&self) -> u32 {
        self.host.id()
    }

    /// Round trips with `size` bytes each way over `grpc` or `rpc`.
    pub fn calls(&mut self, protocol: &str, size: usize, warm_up: usize, count: usize) -> Round {
        self.command(&format!("call {protocol} {size} {warm_up} {count}"))
    }

    /// Starts of a plugin, each from nothing to its answer that it is healthy.
    pub fn starts(&mut self, count: usize) -> Round {
        self.command(&format!("start {count}"))
    }

    /// From the deadline to the caller's answer, of calls to a plugin that sleeps for `length` whatever it is told.
    pub fn overruns(&mut self, deadline: Duration, length: Duration, count: usize) -> Round {
        self.command(&format!("overrun {} {} {count}", deadline.as_nanos(), length.as_nanos()))
    }

    fn command(&mut self, line: &str) -> Round {
        let commands = self.commands.as_mut().expect("until it is dropped");
        writeln!(commands, "{line}").expect("the host of go-plugin takes a command");
        self.answer()
    }

    fn answer(&mut self) -> Round {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("the host of go-plugin answers");
        let numbers: Round = line.split_whitespace().map(|number| number.parse().expect("a number")).collect();
        assert!(!numbers.is_empty(), "the host of go-plugin ended early; it says why above");
        numbers
    }
}

impl Drop for GoPlugin {
    /// The host ends its plugins, which nobody would do after it.
    fn drop(&mut self) {
        drop(self.commands.take());
        let _its_end = self.host.child().wait();
    }
}
