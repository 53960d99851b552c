//! A stand-in for Swift: takes PUT of containers and objects, and remembers what it was sent.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU16, Ordering},
    },
    thread::{self, JoinHandle},
};

/// A request that it got.
#[derive(Clone, Debug)]
pub struct Put {
    /// Its path.
    pub path: String,
    /// Its head, names in lower case.
    pub head: String,
    /// Its body.
    pub body: Vec<u8>,
}

impl Put {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.split_once(": ").filter(|(found, _)| *found == name)).map(|pair| pair.1)
    }
}

/// Serves until it is dropped.
#[derive(Debug)]
pub struct Swift {
    port: u16,
    status: Arc<AtomicU16>,
    puts: Arc<Mutex<Vec<Put>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Swift {
    /// Starts one that answers everything with 201.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("the port that was bound").port();
        let (status, stop) = (Arc::new(AtomicU16::new(201)), Arc::new(AtomicBool::new(false)));
        let puts = Arc::new(Mutex::new(Vec::new()));
        let thread = {
            let (status, stop, puts) = (Arc::clone(&status), Arc::clone(&stop), Arc::clone(&puts));
            thread::spawn(move || {
                for stream in listener.incoming() {
                    if stop.load(Ordering::Acquire) {
                        return;
                    }
                    if let Some(put) = stream.ok().and_then(|stream| take(stream, status.load(Ordering::Acquire))) {
                        puts.lock().expect("nobody panics").push(put);
                    }
                }
            })
        };
        Self { port, status, puts, stop, thread: Some(thread) }
    }

    /// Where it is.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}/v1/account", self.port)
    }

    /// What it answers from now on.
    pub fn answer(&self, status: u16) {
        self.status.store(status, Ordering::Release);
    }

    /// What it got so far.
    pub fn puts(&self) -> Vec<Put> {
        self.puts.lock().expect("nobody panics").clone()
    }
}

// One request to a connection: the answer says so.
fn take(mut stream: TcpStream, status: u16) -> Option<Put> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let (mut path, mut head) = (String::new(), String::new());
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if path.is_empty() {
            path = line.strip_prefix("PUT ")?.split(' ').next()?.to_owned();
        } else if let Some((name, value)) = line.split_once(':') {
            head.push_str(&format!("{}: {}\n", name.to_lowercase(), value.trim()));
        }
    }
    let mut put = Put { path, head, body: Vec::new() };
    let length = put.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    put.body.resize(length, 0);
    reader.read_exact(&mut put.body).ok()?;
    write!(stream, "HTTP/1.1 {status} Status\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").ok()?;
    Some(put)
}

impl Drop for Swift {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // Wakes the thread that accepts.
        let _nobody_listens_any_more = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}
