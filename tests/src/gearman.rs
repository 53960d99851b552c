//! A Gearman client of our own, read off the protocol's document and apart from the daemon's, and the foreign `gearman` tool.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

const SUBMIT_JOB: u32 = 7;
const JOB_CREATED: u32 = 8;
const WORK_STATUS: u32 = 12;
const WORK_COMPLETE: u32 = 13;
const WORK_FAIL: u32 = 14;
const ERROR: u32 = 19;
const WORK_EXCEPTION: u32 = 25;

/// What became of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its result.
    Complete(Vec<u8>),
    /// It failed.
    Failed,
    /// The server refused it; its words.
    Refused(String),
}

/// Submits a job under a new id and waits for its end.
pub fn submit(port: u16, function: &str, payload: &[u8]) -> Outcome {
    try_submit(port, function, payload).expect("the job server answers")
}

/// As [`submit`], for a server that may go away meanwhile.
pub fn try_submit(port: u16, function: &str, payload: &[u8]) -> io::Result<Outcome> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let unique = format!("suite-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    submit_as(port, function, &unique, payload)
}

/// Submits a job under an id of the caller's and waits for its end.
pub fn submit_as(port: u16, function: &str, unique: &str, payload: &[u8]) -> io::Result<Outcome> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(120)))?;
    let body = [function.as_bytes(), b"\0", unique.as_bytes(), b"\0", payload].concat();
    let mut packet = b"\0REQ".to_vec();
    packet.extend(SUBMIT_JOB.to_be_bytes());
    packet.extend(u32::try_from(body.len()).expect("a payload below 4 GiB").to_be_bytes());
    packet.extend(body);
    // A server that refuses the size answers before it has read everything.
    let written = stream.write_all(&packet);
    loop {
        let mut header = [0; 12];
        if let Err(error) = stream.read_exact(&mut header) {
            return Err(written.err().unwrap_or(error));
        }
        let [kind, length] = [4, 8].map(|at| u32::from_be_bytes(header[at..at + 4].try_into().expect("four bytes")));
        let mut body = vec![0; length as usize];
        stream.read_exact(&mut body)?;
        match kind {
            JOB_CREATED | WORK_EXCEPTION | WORK_STATUS => {}
            WORK_COMPLETE => {
                let after_handle = body.iter().position(|byte| *byte == 0).map_or(body.len(), |at| at + 1);
                return Ok(Outcome::Complete(body.split_off(after_handle)));
            }
            WORK_FAIL => return Ok(Outcome::Failed),
            ERROR => return Ok(Outcome::Refused(String::from_utf8_lossy(&body).into_owned())),
            other => return Err(io::Error::other(format!("packet {other} was not expected"))),
        }
    }
}

/// Runs the `gearman` tool as a client with this payload on its standard input.
pub fn tool(port: u16, arguments: &[&str], payload: &[u8]) -> Output {
    let mut child = Command::new("gearman")
        .args(["-h", "127.0.0.1", "-p", &port.to_string()])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the gearman tool starts; `make setup` installs it");
    child.stdin.take().expect("its input").write_all(payload).expect("it reads");
    child.wait_with_output().expect("it ends")
}
