//! A stand-in for the syslog daemon: what HAProxy sends over UDP goes into a file.

use std::{
    fs::File,
    io::Write,
    net::UdpSocket,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// Writes until it is dropped.
#[derive(Debug)]
pub struct Syslog {
    port: u16,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Syslog {
    /// Appends each datagram as a line to this file.
    pub fn start(file: &Path) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a time limit");
        let port = socket.local_addr().expect("the port that was bound").port();
        let mut file = File::options().create(true).append(true).open(file).expect("the log file is opened");
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                let mut buffer = [0; 65_536];
                while !stop.load(Ordering::Acquire) {
                    let Ok(length) = socket.recv(&mut buffer) else { continue };
                    let line = String::from_utf8_lossy(&buffer[..length]);
                    writeln!(file, "{}", line.trim_end()).expect("the log file takes it");
                }
            })
        };
        Self { port, stop, thread: Some(thread) }
    }

    /// Its UDP port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Syslog {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}
