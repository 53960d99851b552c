//! A real gearmand on loopback.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    process::{Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use crate::{free_port, process::Process, wait_for};

/// A job server of its own for one test.
#[derive(Debug)]
pub struct Gearmand {
    process: Process,
    port: u16,
    folder: TempDir,
}

impl Gearmand {
    /// Starts one on a free port and waits until it answers.
    pub fn start() -> Self {
        Self::start_on(free_port())
    }

    /// Starts one on this port.
    pub fn start_on(port: u16) -> Self {
        Self::start_by(Command::new("gearmand"), port)
    }

    /// Starts one on this port by a command that may have arguments already: `gearmand`, or what runs it in its own place.
    pub fn start_by(mut command: Command, port: u16) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let process = Process::spawn(
            command
                .args(["-L", "127.0.0.1", "-t", "4", "--verbose=ERROR", "-p", &port.to_string()])
                .arg("-l")
                .arg(folder.path().join("log"))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        )
        .expect("gearmand starts; `make setup` installs it");
        let server = Self { process, port, folder };
        wait_for("gearmand to answer", Duration::from_secs(10), || server.admin("version").ok());
        server
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Its folder.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// First line of an administrative command's answer.
    pub fn admin(&self, command: &str) -> std::io::Result<String> {
        admin(self.port, command)
    }

    /// Waits until a worker has registered `function`.
    pub fn wait_for_worker(&self, function: &str) {
        wait_for_worker(self.port, function);
    }
}

/// First line of the answer of the job server on `port` to an administrative command.
pub fn admin(port: u16, command: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "{command}\r\n")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    if line.is_empty() {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}

/// Waits until a worker has registered `function` with the job server on `port`.
pub fn wait_for_worker(port: u16, function: &str) {
    wait_for(&format!("a worker for {function}"), Duration::from_secs(15), || {
        let stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        (&stream).write_all(b"status\r\n").ok()?;
        BufReader::new(stream).lines().map_while(Result::ok).take_while(|line| line != ".").find(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            fields.first() == Some(&function) && fields.last().is_some_and(|workers| *workers != "0")
        })
    });
}
