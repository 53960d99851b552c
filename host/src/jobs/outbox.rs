//! What waits to be written to one connection.
//!
//! Bytes are appended under a short lock and written by whoever appended them, straight to the socket: on the fast path
//! no other task is woken. What the socket does not take at once is left to the connection's writer task. Over TLS the
//! writer task does all of it.

use std::io::ErrorKind;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Notify;

use super::transport::WriteEnd;

/// An empty queue that grew beyond this is given back to the allocator.
const KEEP: usize = 1024 * 1024;

/// The queue of one connection.
pub(super) struct Outbox {
    queue: Mutex<Queue>,
    /// The socket, unless the writer task keeps it to itself (TLS).
    direct: Option<OwnedWriteHalf>,
    /// Tells the writer task that there is something to write, or that the box was closed.
    wake: Notify,
    /// Tells whoever waits for room, or for the end, to look again.
    changed: Notify,
    limit: usize,
}

#[derive(Default)]
struct Queue {
    bytes: Vec<u8>,
    /// How much of `bytes` is already out.
    written: usize,
    /// Bytes that the TLS writer took and has not yet written.
    in_flight: usize,
    is_closed: bool,
    /// The writer task was woken to write; nobody else writes until it is done.
    is_handed_over: bool,
}

impl Queue {
    fn waiting(&self) -> usize {
        self.bytes.len() - self.written + self.in_flight
    }

    fn clear(&mut self) {
        self.written = 0;
        self.bytes.clear();
        if self.bytes.capacity() > KEEP {
            self.bytes = Vec::new();
        }
    }

    fn close(&mut self) {
        self.is_closed = true;
        self.clear();
    }
}

/// What the writer task needs: nothing, or the TLS half.
pub(super) struct Writer(Option<Box<dyn AsyncWrite + Send + Unpin>>);

impl Outbox {
    /// A box that holds at most `limit` bytes; more closes it, since the other side does not read. [`Outbox::run`] must
    /// be running for it.
    pub fn new(end: WriteEnd, limit: usize) -> (Outbox, Writer) {
        match end {
            WriteEnd::Plain(half) => (Outbox::with(Some(half), limit), Writer(None)),
            WriteEnd::Tls(half) => (Outbox::with(None, limit), Writer(Some(half))),
        }
    }

    fn with(direct: Option<OwnedWriteHalf>, limit: usize) -> Outbox {
        let queue = Mutex::new(Queue::default());
        Outbox { queue, direct, wake: Notify::new(), changed: Notify::new(), limit }
    }

    /// A box without a socket, whose content a test takes.
    #[cfg(test)]
    pub fn detached() -> Outbox {
        Outbox::with(None, usize::MAX)
    }

    /// Takes all that waits.
    #[cfg(test)]
    pub fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.lock().bytes)
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends what `write` puts down; nothing goes out before [`Outbox::flush`].
    pub fn append(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut queue = self.lock();
        if queue.is_closed {
            return;
        }
        write(&mut queue.bytes);
        if queue.waiting() > self.limit {
            queue.close();
            drop(queue);
            self.tell_closed();
        }
    }

    /// Bytes that wait.
    pub fn waiting(&self) -> usize {
        self.lock().waiting()
    }

    /// Nothing more will be written.
    pub fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// Drops what waits and ends the writer. After [`Outbox::room`]`(0)` nothing is lost.
    pub fn close(&self) {
        self.lock().close();
        self.tell_closed();
    }

    fn tell_closed(&self) {
        self.wake.notify_one();
        self.changed.notify_waiters();
    }

    /// Sends what waits, as far as the socket takes it now, and leaves the rest to the writer task.
    pub fn flush(&self) {
        let mut queue = self.lock();
        if queue.is_handed_over || queue.is_closed || queue.waiting() == 0 {
            return;
        }
        let all_out = self.direct.as_ref().is_some_and(|socket| write_some(&mut queue, socket));
        if !all_out {
            queue.is_handed_over = true;
            drop(queue);
            self.wake.notify_one();
        }
    }

    /// Waits until at most `most` bytes wait, or the box is closed.
    pub async fn room(&self, most: usize) {
        loop {
            let changed = self.changed.notified();
            {
                let queue = self.lock();
                if queue.is_closed || queue.waiting() <= most {
                    return;
                }
            }
            changed.await;
        }
    }

    /// Waits until the box is closed.
    pub async fn closed(&self) {
        loop {
            let changed = self.changed.notified();
            if self.is_closed() {
                return;
            }
            changed.await;
        }
    }

    /// The writer task: ends when the box is closed or the socket fails, and leaves the box closed and the socket shut.
    pub async fn run(&self, writer: Writer) {
        match (writer.0, &self.direct) {
            (Some(half), _) => self.run_task(half).await,
            (None, Some(socket)) => {
                self.run_direct(socket).await;
                // The other side learns of the end now, not when the last owner of this box lets go of it.
                let stream: &tokio::net::TcpStream = socket.as_ref();
                let _ = rustix::net::shutdown(stream, rustix::net::Shutdown::Both);
            }
            (None, None) => {}
        }
        self.close();
    }

    async fn run_direct(&self, socket: &OwnedWriteHalf) {
        loop {
            self.wake.notified().await;
            loop {
                {
                    let mut queue = self.lock();
                    if queue.is_closed {
                        return;
                    }
                    if write_some(&mut queue, socket) {
                        queue.is_handed_over = false;
                        break;
                    }
                }
                self.changed.notify_waiters();
                tokio::select! {
                    ready = socket.writable() => if ready.is_err() { return },
                    () = self.closed() => return,
                }
            }
            self.changed.notify_waiters();
        }
    }

    async fn run_task(&self, mut half: Box<dyn AsyncWrite + Send + Unpin>) {
        let mut going = Vec::new();
        loop {
            going.clear();
            {
                let mut queue = self.lock();
                if queue.is_closed {
                    break;
                }
                std::mem::swap(&mut going, &mut queue.bytes);
                queue.in_flight = going.len();
                queue.is_handed_over = !going.is_empty();
            }
            if going.is_empty() {
                self.changed.notify_waiters();
                self.wake.notified().await;
                continue;
            }
            let write = async {
                half.write_all(&going).await?;
                half.flush().await
            };
            tokio::select! {
                outcome = write => if outcome.is_err() { return },
                () = self.closed() => break,
            }
        }
        let _ = tokio::time::timeout(std::time::Duration::from_secs(1), half.shutdown()).await;
    }
}

/// Writes until the socket takes no more; true when nothing waits any longer. A socket that fails closes the queue.
fn write_some(queue: &mut Queue, socket: &OwnedWriteHalf) -> bool {
    while let Some(rest) = queue.bytes.get(queue.written..).filter(|rest| !rest.is_empty()) {
        match socket.try_write(rest) {
            Ok(count) => queue.written += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => {
                // The writer task finds the box closed and ends.
                queue.close();
                return false;
            }
        }
    }
    queue.clear();
    true
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::AsyncReadExt as _;

    use super::*;

    async fn pair(limit: usize) -> (Arc<Outbox>, tokio::net::TcpStream) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let far = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (near, _) = listener.accept().await.unwrap();
        let (_, write) = near.into_split();
        let (outbox, writer) = Outbox::new(WriteEnd::Plain(write), limit);
        let outbox = Arc::new(outbox);
        let task = Arc::clone(&outbox);
        tokio::spawn(async move { task.run(writer).await });
        (outbox, far)
    }

    #[tokio::test]
    async fn what_the_socket_does_not_take_follows_in_order() {
        let (outbox, mut far) = pair(usize::MAX).await;
        let block: Vec<u8> = (0..=255).cycle().take(1_000_000).collect();
        for _ in 0..20 {
            outbox.append(|bytes| bytes.extend_from_slice(&block));
            outbox.flush();
        }
        assert!(outbox.waiting() > 0, "the socket took 20 MB at once");
        let mut seen = vec![0; 20_000_000];
        far.read_exact(&mut seen).await.unwrap();
        assert!(seen.chunks(1_000_000).all(|chunk| chunk == block));
        outbox.room(0).await;
        outbox.close();
        assert_eq!(far.read(&mut seen).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn one_who_does_not_read_loses_the_connection() {
        let (outbox, _far) = pair(10_000_000).await;
        for _ in 0..30 {
            outbox.append(|bytes| bytes.resize(bytes.len() + 1_000_000, 0));
            outbox.flush();
        }
        outbox.closed().await;
        assert_eq!(outbox.waiting(), 0);
    }
}
