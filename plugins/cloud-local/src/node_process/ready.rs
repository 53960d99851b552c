//! When a node's program is ready.

use std::{io, net::Ipv4Addr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::record::Ready;

/// From one look to the next.
const PAUSE: Duration = Duration::from_millis(50);
/// How long one look may take.
const LOOK: Duration = Duration::from_secs(2);

/// Returns once it is.
pub(super) async fn wait(ready: Option<&Ready>, address: Ipv4Addr) {
    let Some(ready) = ready else { return };
    while !timeout(LOOK, is_ready(ready, address)).await.is_ok_and(|looked| looked.unwrap_or(false)) {
        sleep(PAUSE).await;
    }
}

/// In words, for a node that does not get there.
pub(super) fn describe(ready: &Ready, address: Ipv4Addr) -> String {
    match ready {
        Ready::Port(port) => format!("{address}:{port} takes no connection"),
        Ready::Http { port, path } => format!("http://{address}:{port}{path} does not answer with 200"),
        Ready::File(path) => format!("{} is not there", path.display()),
    }
}

async fn is_ready(ready: &Ready, address: Ipv4Addr) -> io::Result<bool> {
    match ready {
        Ready::Port(port) => TcpStream::connect((address, *port)).await.map(|_| true),
        Ready::File(path) => Ok(path.exists()),
        Ready::Http { port, path } => {
            let mut stream = TcpStream::connect((address, *port)).await?;
            let request = format!("GET {path} HTTP/1.1\r\nhost: {address}:{port}\r\nconnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await?;
            // "HTTP/1.1 200"
            let mut start = [0; 12];
            stream.read_exact(&mut start).await?;
            Ok(start.starts_with(b"HTTP/1.") && start.ends_with(b" 200"))
        }
    }
}
