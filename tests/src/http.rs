//! Raw HTTP over TCP and Unix sockets, as an operator's `curl` sends it.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use serde_json::Value;

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

fn exchange(stream: impl Read + Write, method: &str, path: &str, headers: &str) -> io::Result<Response> {
    answer(stream, &format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n{headers}connection: close\r\n\r\n"))
}

fn answer(mut stream: impl Read + Write, request: &str) -> io::Result<Response> {
    stream.write_all(request.as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
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
