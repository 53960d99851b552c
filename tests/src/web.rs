//! Web servers to balance, and the client that asks them.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// A web server that answers every request with its name. It keeps connections open, as HAProxy likes it.
#[derive(Debug)]
pub struct WebServer {
    name: String,
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    requests: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl WebServer {
    /// Starts one on a free port of loopback.
    pub fn start(name: &str) -> Self {
        Self::start_on(name, Ipv4Addr::LOCALHOST.into())
    }

    /// Starts one on a free port of this address.
    pub fn start_on(name: &str, address: IpAddr) -> Self {
        let listener = TcpListener::bind((address, 0)).expect("a free port");
        let address = listener.local_addr().expect("the port that was bound");
        let (stop, requests) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let thread = {
            let (name, stop, requests) = (name.to_owned(), Arc::clone(&stop), Arc::clone(&requests));
            thread::spawn(move || serve(&listener, &name, &stop, &requests))
        };
        Self { name: name.to_owned(), address, stop, requests, thread: Some(thread) }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Requests answered so far.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Stops listening and drops its connections.
    pub fn stop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // Wakes the thread that accepts.
        let _nobody_listens_any_more = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn serve(listener: &TcpListener, name: &str, stop: &Arc<AtomicBool>, requests: &Arc<AtomicU64>) {
    for stream in listener.incoming() {
        if stop.load(Ordering::Acquire) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let (name, stop, requests) = (name.to_owned(), Arc::clone(stop), Arc::clone(requests));
        thread::spawn(move || answer(stream, &name, &stop, &requests));
    }
}

fn answer(mut stream: TcpStream, name: &str, stop: &AtomicBool, requests: &AtomicU64) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let mut line = String::new();
        let mut close = false;
        while reader.read_line(&mut line).ok()? > 0 {
            close |= line.eq_ignore_ascii_case("connection: close\r\n");
            if line == "\r\n" {
                break;
            }
            line.clear();
        }
        if line != "\r\n" || stop.load(Ordering::Acquire) {
            return None;
        }
        requests.fetch_add(1, Ordering::Relaxed);
        let connection = if close { "close" } else { "keep-alive" };
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: {connection}\r\n\r\n{name}", name.len())
            .ok()?;
        if close {
            return None;
        }
    }
}

/// What a request got.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Status of the answer.
    pub status: u16,
    /// The `name=value` of the cookie that was set.
    pub cookie: Option<String>,
    /// Its body.
    pub body: String,
}

/// GETs `/` of this machine on a connection of its own.
pub fn get(port: u16, cookie: Option<&str>) -> io::Result<Answer> {
    get_at(SocketAddr::from(([127, 0, 0, 1], port)), cookie)
}

/// GETs `/` at this address on a connection of its own.
pub fn get_at(address: SocketAddr, cookie: Option<&str>) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let cookie = cookie.map(|cookie| format!("cookie: {cookie}\r\n")).unwrap_or_default();
    // In one write: a second small one would wait for the answer to the first (Nagle, and 40 ms of delayed ACK).
    stream.write_all(format!("GET / HTTP/1.1\r\nhost: demo\r\n{cookie}connection: close\r\n\r\n").as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
    let cookie = head
        .lines()
        .find_map(|line| line.strip_prefix("set-cookie: "))
        .and_then(|cookie| cookie.split(';').next())
        .map(str::to_owned);
    Ok(Answer { status, cookie, body: body.to_owned() })
}
