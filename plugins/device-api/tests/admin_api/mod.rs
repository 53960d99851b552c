//! libra's admin API (v1 devices), played on loopback for the suites of the mgm drivers: libra itself runs nowhere any more, and
//! no real server hangs, lies or breaks off when a test wants it to.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    dead_code,
    unused_imports,
    reason = "part of several test suites"
)]

mod answers;
mod fault;
mod tls;

use std::{
    collections::VecDeque,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use serde_json::Value;

pub use self::{fault::Fault, tls::Authority};

/// Waits for what must happen; longer than any machine needs.
const PATIENCE: Duration = Duration::from_secs(30);

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// What a server was asked, and how it is to behave.
#[derive(Default)]
pub struct Behaviour {
    requests: Mutex<Vec<String>>,
    arrived: Condvar,
    next: Mutex<VecDeque<Fault>>,
    always: Mutex<Option<Fault>>,
    token: Mutex<Option<String>>,
    /// Clients that hung up on a server that hung.
    abandoned: AtomicUsize,
    stop: AtomicBool,
}

#[derive(Clone)]
enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// A server. Dropping it stops it.
pub struct AdminApi {
    place: Place,
    devices: Arc<Mutex<Vec<Value>>>,
    behaviour: Arc<Behaviour>,
    thread: Option<JoinHandle<()>>,
}

impl AdminApi {
    /// Plain HTTP on a free port.
    pub fn plain() -> Self {
        Self::tcp(Arc::default(), None)
    }

    /// TLS on a free port, with this authority's certificate for a name.
    pub fn tls(authority: &Authority, name: &str) -> Self {
        Self::tcp(Arc::default(), Some(authority.server(name)))
    }

    /// Another server with the same devices.
    pub fn peer(&self) -> Self {
        Self::tcp(Arc::clone(&self.devices), None)
    }

    /// HTTP on a Unix socket.
    pub fn unix(path: &Path) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        Self::start(Place::Unix(path.to_owned()), Arc::default(), move || Some(Box::new(listener.accept().ok()?.0)))
    }

    fn tcp(devices: Arc<Mutex<Vec<Value>>>, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let place = Place::Tcp(listener.local_addr().unwrap());
        Self::start(place, devices, move || {
            let stream = listener.accept().ok()?.0;
            stream.set_nodelay(true).ok()?;
            Some(match &tls {
                None => Box::new(stream),
                Some(config) => {
                    Box::new(rustls::StreamOwned::new(rustls::ServerConnection::new(Arc::clone(config)).ok()?, stream))
                }
            })
        })
    }

    fn start(
        place: Place,
        devices: Arc<Mutex<Vec<Value>>>,
        mut accept: impl FnMut() -> Option<Box<dyn Stream + Send>> + Send + 'static,
    ) -> Self {
        let behaviour = Arc::<Behaviour>::default();
        let thread = {
            let (devices, behaviour) = (Arc::clone(&devices), Arc::clone(&behaviour));
            thread::spawn(move || {
                while let Some(mut stream) = accept() {
                    if behaviour.stop.load(Ordering::Acquire) {
                        return;
                    }
                    let (devices, behaviour) = (Arc::clone(&devices), Arc::clone(&behaviour));
                    thread::spawn(move || serve(stream.as_mut(), &devices, &behaviour));
                }
            })
        };
        Self { place, devices, behaviour, thread: Some(thread) }
    }

    /// "host:port".
    pub fn server(&self) -> String {
        match &self.place {
            Place::Tcp(address) => address.to_string(),
            Place::Unix(path) => path.display().to_string(),
        }
    }

    pub fn port(&self) -> u16 {
        match &self.place {
            Place::Tcp(address) => address.port(),
            Place::Unix(_) => panic!("a Unix socket has no port"),
        }
    }

    /// Every request so far, as it came.
    pub fn requests(&self) -> Vec<String> {
        self.behaviour.requests.lock().unwrap().clone()
    }

    /// First lines of the requests so far, without the version.
    pub fn asked(&self) -> Vec<String> {
        let first = |request: String| request.lines().next().unwrap().trim_end_matches(" HTTP/1.1").to_owned();
        self.requests().into_iter().map(first).collect()
    }

    /// Waits until so many requests have come.
    pub fn await_requests(&self, count: usize) {
        let requests = self.behaviour.requests.lock().unwrap();
        let (requests, _) =
            self.behaviour.arrived.wait_timeout_while(requests, PATIENCE, |requests| requests.len() < count).unwrap();
        assert!(requests.len() >= count, "{requests:#?}");
    }

    /// Waits until a client has hung up on a server that hung.
    pub fn await_hang_up(&self) {
        let requests = self.behaviour.requests.lock().unwrap();
        let is_waiting = |_: &mut Vec<String>| self.behaviour.abandoned.load(Ordering::Acquire) == 0;
        let (_requests, waited) = self.behaviour.arrived.wait_timeout_while(requests, PATIENCE, is_waiting).unwrap();
        assert!(!waited.timed_out(), "the client never hung up");
    }

    /// The devices that were registered.
    pub fn devices(&self) -> Vec<Value> {
        self.devices.lock().unwrap().clone()
    }

    pub fn put_device(&self, device: Value) {
        self.devices.lock().unwrap().push(device);
    }

    /// The next request meets this fault.
    pub fn fail_next(&self, fault: Fault) {
        self.behaviour.next.lock().unwrap().push_back(fault);
    }

    /// Every request from now on meets this fault.
    pub fn fail(&self, fault: Fault) {
        *self.behaviour.always.lock().unwrap() = Some(fault);
    }

    /// Fails no more.
    pub fn heal(&self) {
        *self.behaviour.always.lock().unwrap() = None;
    }

    /// Demands a bearer token from now on.
    pub fn demand(&self, token: &str) {
        *self.behaviour.token.lock().unwrap() = Some(token.to_owned());
    }

    /// Listens no longer.
    pub fn stop(&mut self) {
        self.behaviour.stop.store(true, Ordering::Release);
        // Wakes the thread that accepts.
        match &self.place {
            Place::Tcp(address) => drop(TcpStream::connect(address)),
            Place::Unix(path) => drop(UnixStream::connect(path)),
        }
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

impl Drop for AdminApi {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A request to its bytes, but for the order of its headers, which means nothing.
pub fn parts(request: &str) -> (Vec<&str>, &str) {
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let mut lines: Vec<&str> = head.split("\r\n").collect();
    lines[1..].sort_unstable();
    (lines, body)
}

fn serve(stream: &mut dyn Stream, devices: &Mutex<Vec<Value>>, behaviour: &Behaviour) -> Option<()> {
    let request = read(stream)?;
    behaviour.requests.lock().unwrap().push(request.clone());
    behaviour.arrived.notify_all();
    let fault = behaviour.next.lock().unwrap().pop_front().or_else(|| behaviour.always.lock().unwrap().clone());
    let token = behaviour.token.lock().unwrap().clone();
    let answer = || answers::answer(&request, &mut devices.lock().unwrap(), token.as_deref());
    match fault {
        None => stream.write_all(&answer()).ok()?,
        Some(fault) => fault.meet(stream, answer, || {
            behaviour.abandoned.fetch_add(1, Ordering::Release);
            let _turn = behaviour.requests.lock().unwrap();
            behaviour.arrived.notify_all();
        })?,
    }
    stream.flush().ok()
}

/// One whole request.
fn read(stream: &mut dyn Stream) -> Option<String> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        bytes.push(byte[0]);
    }
    let head = String::from_utf8(bytes).unwrap();
    let length = answers::header(&head, "content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some(head + std::str::from_utf8(&body).unwrap())
}
