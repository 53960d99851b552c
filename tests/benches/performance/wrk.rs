//! Load by wrk, and what it counted.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use capstan_tests::process::Process;

/// Whether clients keep their connections.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Connections {
    /// As HTTP/1.1 does unless told otherwise.
    Kept,
    /// `Connection: close` in each request.
    Closed,
}

impl Connections {
    /// For a table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kept => "keep-alive",
            Self::Closed => "Connection: close",
        }
    }
}

/// What one run of wrk counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counted {
    /// Requests answered.
    pub requests: u64,
    /// Requests answered in a second.
    pub rate: f64,
    /// Socket errors of every sort, and answers that are neither 2xx nor 3xx.
    pub failed: u64,
}

/// A run that goes on in the background.
pub struct Load(Process);

/// Starts `clients` connections for `seconds`.
pub fn start(port: u16, connections: Connections, clients: u32, seconds: u64) -> Load {
    let mut command = Command::new("wrk");
    command.args(["-t1", &format!("-c{clients}"), &format!("-d{seconds}s"), "--timeout", "5s"]);
    if connections == Connections::Closed {
        // Without the blank wrk drops the header in silence.
        command.args(["-H", "Connection: close"]);
    }
    command.arg(format!("http://127.0.0.1:{port}/")).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    Load(Process::spawn(&mut command).expect("wrk starts; `make setup` installs it"))
}

/// Runs to the end.
pub fn run(port: u16, connections: Connections, clients: u32, seconds: u64) -> Counted {
    start(port, connections, clients, seconds).finish(seconds)
}

impl Load {
    /// Waits for the end and reads the counts.
    pub fn finish(mut self, seconds: u64) -> Counted {
        let status = self.0.wait(Duration::from_secs(seconds + 20));
        let text = output(self.0.child());
        assert!(status.success(), "wrk ended with {status}:\n{text}");
        read(&text)
    }
}

fn output(child: &mut Child) -> String {
    let mut text = String::new();
    let mut pipe = child.stdout.take().expect("wrk's output is piped");
    std::io::Read::read_to_string(&mut pipe, &mut text).expect("wrk's output is text");
    text
}

fn read(text: &str) -> Counted {
    let mut counted = Counted::default();
    for line in text.lines().map(str::trim) {
        if let Some(rate) = line.strip_prefix("Requests/sec:") {
            counted.rate = rate.trim().parse().expect("a rate");
        } else if let Some(errors) = line.strip_prefix("Socket errors:") {
            // "connect 0, read 3, write 0, timeout 0"
            counted.failed +=
                errors.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse::<u64>().ok()).sum::<u64>();
        } else if let Some(count) = line.strip_prefix("Non-2xx or 3xx responses:") {
            counted.failed += count.trim().parse::<u64>().expect("a count");
        } else if let Some((count, _)) = line.split_once(" requests in ") {
            counted.requests = count.trim().parse().expect("a count");
        }
    }
    assert!(counted.requests > 0, "wrk reached nobody:\n{text}");
    counted
}
