//! A client that sees each failure.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

/// A response.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub cookie: Option<String>,
    pub body: String,
}

pub fn get(port: u16) -> Result<Answer, String> {
    get_with_cookie(port, None)
}

pub fn get_with_cookie(port: u16, cookie: Option<&str>) -> Result<Answer, String> {
    let text = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(text)?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).map_err(text)?;
    let cookie = cookie.map(|cookie| format!("Cookie: {cookie}\r\n")).unwrap_or_default();
    let request = format!("GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{cookie}\r\n");
    stream.write_all(request.as_bytes()).map_err(text)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(text)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| format!("no response: {answer:?}"))?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or("no status")?;
    let cookie = head.lines().find_map(|line| {
        let value = line.strip_prefix("set-cookie: ").or_else(|| line.strip_prefix("Set-Cookie: "))?;
        Some(value.split(';').next().unwrap_or(value).to_owned())
    });
    Ok(Answer { status, cookie, body: body.to_owned() })
}

/// Clients that ask without pause until they are stopped.
pub struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<(usize, Vec<String>)>>,
}

impl Load {
    pub fn start(port: u16, clients: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let client = |_| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                let (mut done, mut failures) = (0, Vec::new());
                while !stop.load(Ordering::SeqCst) {
                    match get(port) {
                        Ok(answer) if answer.status == 200 => done += 1,
                        Ok(answer) => failures.push(format!("status {}", answer.status)),
                        Err(error) => failures.push(error),
                    }
                }
                (done, failures)
            })
        };
        let clients = (0..clients).map(client).collect();
        Self { stop, clients }
    }

    /// Requests that were answered, and what went wrong with the others.
    pub fn stop(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::SeqCst);
        let mut all = (0, Vec::new());
        for client in self.clients {
            let (done, failures) = client.join().unwrap();
            all.0 += done;
            all.1.extend(failures);
        }
        all
    }
}
