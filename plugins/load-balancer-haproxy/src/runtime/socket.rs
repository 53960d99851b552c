//! One question over one of HAProxy's Unix sockets.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// Longest line of commands: half of HAProxy's buffer, which has to hold it.
pub const LONGEST_LINE: usize = 8 * 1024;
/// An answer longer than this is no answer: 10,000 servers make about 4 MB.
const LONGEST_ANSWER: usize = 64 * 1024 * 1024;

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Nobody listens: HAProxy is not running, or is being replaced right now.
    #[error("nobody answers on {path}: {source}")]
    Absent {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The connection broke or took too long.
    #[error("HAProxy broke off on {path}: {source}")]
    Broken {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl SocketError {
    /// The other side closed the connection without having read what was sent: nothing was done.
    pub fn is_unread(&self) -> bool {
        matches!(self, Self::Broken { source, .. }
            if matches!(source.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe))
    }

    /// Nobody listened, so nothing was asked.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent { .. })
    }
}

/// Asks a question that changes nothing. HAProxy may go away under it, because it is being replaced or was killed: then it
/// is asked again, for at most a second, until an answer comes or nobody listens.
pub fn look(path: &Path, question: &str, deadline: Instant) -> Result<String, SocketError> {
    let patience = deadline.min(Instant::now() + Duration::from_secs(1));
    loop {
        let gone = match ask(path, question, deadline) {
            Ok(answer) if !answer.is_empty() => return Ok(answer),
            Ok(_) => SocketError::Broken { path: path.to_owned(), source: ErrorKind::UnexpectedEof.into() },
            Err(error) if error.is_unread() => error,
            Err(error) => return Err(error),
        };
        if Instant::now() >= patience {
            return Err(gone);
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Sends one line (commands separated by `;`) and reads until HAProxy closes the connection, or the deadline passes.
pub fn ask(path: &Path, line: &str, deadline: Instant) -> Result<String, SocketError> {
    let broken = |source| SocketError::Broken { path: path.to_owned(), source };
    let mut stream =
        UnixStream::connect(path).map_err(|source| SocketError::Absent { path: path.to_owned(), source })?;
    let mut request = String::with_capacity(line.len() + 1);
    request.push_str(line);
    request.push('\n');
    stream.set_write_timeout(Some(left(deadline))).map_err(broken)?;
    stream.write_all(request.as_bytes()).map_err(broken)?;
    let mut answer = Vec::with_capacity(4096);
    let mut chunk = [0_u8; 16 * 1024];
    loop {
        stream.set_read_timeout(Some(left(deadline))).map_err(broken)?;
        match stream.read(&mut chunk) {
            Ok(0) => return Ok(String::from_utf8_lossy(&answer).into_owned()),
            Ok(read) if answer.len() + read > LONGEST_ANSWER => return Err(broken(ErrorKind::OutOfMemory.into())),
            Ok(read) => answer.extend_from_slice(&chunk[..read]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(broken(error)),
        }
    }
}

/// Zero would mean no limit at all to the system.
fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}
