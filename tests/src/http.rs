//! Raw HTTP over TCP and Unix sockets, as an operator's `curl` sends it.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddrV4, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// An answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// Its status.
    pub status: u16,
    /// Its head, names in lower case.
    pub head: String,
    /// Its body.
    pub body: String,
}

impl Response {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.split_once(": ").filter(|(found, _)| *found == name)).map(|pair| pair.1)
    }

    /// The body, read as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// A time in a body, in milliseconds since 1970; none where there is none.
pub fn time(value: &Value) -> Option<i64> {
    let time = OffsetDateTime::parse(value.as_str()?, &Rfc3339).expect("a time is RFC 3339");
    i64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok()
}

/// GETs a path over TCP; `headers` are whole lines, each with its line end.
pub fn get(port: u16, path: &str, headers: &str) -> io::Result<Response> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    exchange(stream, "GET", path, headers)
}

/// POSTs to a path over TCP, without a body.
pub fn post(port: u16, path: &str, headers: &str) -> io::Result<Response> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    exchange(stream, "POST", path, headers)
}

/// GETs a path over a Unix socket.
pub fn get_unix(socket: &Path, path: &str, headers: &str) -> io::Result<Response> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    exchange(stream, "GET", path, headers)
}

/// Sends any request with a JSON body over TCP.
pub fn send(port: u16, method: &str, path: &str, body: &Value) -> io::Result<Response> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    with_body(stream, method, path, body)
}

/// Sends any request with a JSON body over a Unix socket.
pub fn send_unix(socket: &Path, method: &str, path: &str, body: &Value) -> io::Result<Response> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    with_body(stream, method, path, body)
}

fn with_body(stream: impl Read + Write, method: &str, path: &str, body: &Value) -> io::Result<Response> {
    let body = body.to_string();
    let head = format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len());
    answer(stream, &format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n{head}connection: close\r\n\r\n{body}"))
}

/// A request of any method, with headers and a body.
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    path: String,
    headers: String,
    body: Vec<u8>,
}

impl Request {
    /// A request without headers and body.
    pub fn new(method: &str, path: &str) -> Self {
        Self { method: method.to_owned(), path: path.to_owned(), headers: String::new(), body: Vec::new() }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    /// Shows a token.
    #[must_use]
    pub fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// Has a body of JSON.
    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string().as_bytes())
    }

    /// Has a body of this type.
    #[must_use]
    pub fn body(mut self, kind: &str, body: &[u8]) -> Self {
        self = self.header("content-type", kind);
        self.body = body.to_vec();
        self
    }

    /// Sends it over TCP; panics when no answer comes.
    pub fn send(&self, port: u16) -> Response {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the daemon listens");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a time limit");
        self.exchange(stream)
    }

    /// Sends it over TCP from another address of loopback, as another peer; panics when no answer comes.
    pub fn send_from(&self, source: Ipv4Addr, port: u16) -> Response {
        use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
        let stream = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
        bind(&stream, &SocketAddrV4::new(source, 0)).expect("an address of loopback");
        connect(&stream, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)).expect("the daemon listens");
        let stream = TcpStream::from(stream);
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a time limit");
        self.exchange(stream)
    }

    /// Sends it over a Unix socket; panics when no answer comes.
    pub fn send_unix(&self, socket: &Path) -> Response {
        let stream = UnixStream::connect(socket).expect("the daemon listens");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a time limit");
        self.exchange(stream)
    }

    fn exchange(&self, mut stream: impl Read + Write) -> Response {
        let Self { method, path, headers, body } = self;
        let host = if headers.to_lowercase().contains("host: ") { "" } else { "host: localhost\r\n" };
        let length = if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
        let head = format!("{method} {path} HTTP/1.1\r\n{host}{headers}{length}connection: close\r\n\r\n");
        let mut whole = head.into_bytes();
        whole.extend_from_slice(body);
        // A body that is too long is refused before it is read to its end.
        let _may_be_cut_off = stream.write_all(&whole);
        let mut text = Vec::new();
        let _may_be_cut_off = stream.read_to_end(&mut text);
        parse(&String::from_utf8_lossy(&text)).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }
}

fn exchange(stream: impl Read + Write, method: &str, path: &str, headers: &str) -> io::Result<Response> {
    answer(stream, &format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n{headers}connection: close\r\n\r\n"))
}

fn answer(mut stream: impl Read + Write, request: &str) -> io::Result<Response> {
    stream.write_all(request.as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    parse(&text)
}

fn parse(text: &str) -> io::Result<Response> {
    let (head, body) = text.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
    let head = head
        .lines()
        .map(|line| {
            line.split_once(": ")
                .map_or_else(|| line.to_owned(), |(name, value)| format!("{}: {value}", name.to_lowercase()))
        })
        .collect::<Vec<_>>()
        .join("\n");
    Ok(Response { status, head, body: body.to_owned() })
}
