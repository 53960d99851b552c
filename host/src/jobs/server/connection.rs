//! One connection of the job server, from its first byte to its last.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::net::TcpStream;
use tracing::{debug, warn};

use super::access::Rights;
use super::core::{ConnectionId, Core};
use super::{Shared, prepare};
use crate::jobs::frames::{Frame, Frames};
use crate::jobs::outbox::Outbox;
use crate::jobs::packet::{FrameError, kind_name};
use crate::jobs::transport::{ReadEnd, WriteEnd, split_accepted};
use crate::tls::common_name;

/// A client whose answers pile up beyond this is not read until it takes some.
const HIGH_WATER: usize = 1024 * 1024;

/// How long the last answers may take to leave once the other side has said its last.
const LINGER: Duration = Duration::from_secs(5);

pub(super) async fn serve(shared: &Shared, stream: TcpStream, peer: SocketAddr) {
    if let Err(error) = prepare(&stream) {
        debug!(%peer, %error, "embedded job server lost a connection at once");
        return;
    }
    let Some((read, write, rights, certificate)) = authenticate(shared, stream, peer).await else {
        return;
    };
    let served = talk(shared, read, write, rights, peer);
    let Some(certificate) = certificate else { return served.await };
    tokio::select! {
        biased;
        reason = shared.options.authority.revocations.ended(&certificate) => {
            warn!(%peer, name = common_name(&certificate), reason, "embedded job server closes a connection: its certificate is of no use any more");
        }
        () = served => {}
    }
}

async fn talk(shared: &Shared, read: ReadEnd, write: WriteEnd, rights: Rights, peer: SocketAddr) {
    let limit = shared.options.max_unsent.max(shared.options.max_packet.saturating_mul(2));
    let (outbox, writer) = Outbox::new(write, limit);
    let outbox = Arc::new(outbox);
    let address = peer.ip().to_canonical().to_string();
    let id = shared.change(|core| core.connect(Arc::clone(&outbox), address, rights));
    // Taken off the books even when the server's end drops this task in the middle.
    let guard = Registered { shared, id };
    tokio::join!(
        async {
            read_all(shared, id, &outbox, read, peer).await;
            drop(guard);
            let _ = tokio::time::timeout(LINGER, outbox.room(0)).await;
            outbox.close();
        },
        outbox.run(writer)
    );
}

struct Registered<'a> {
    shared: &'a Shared,
    id: ConnectionId,
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.shared.change(|core| core.disconnect(self.id));
    }
}

/// The halves of the connection, what its bearer may do, and the certificate that says so; `None` when it was turned away.
async fn authenticate(
    shared: &Shared,
    stream: TcpStream,
    peer: SocketAddr,
) -> Option<(ReadEnd, WriteEnd, Rights, Option<CertificateDer<'static>>)> {
    let Some(acceptor) = &shared.tls else {
        let (read, write) = split_accepted(stream);
        return Some((read, write, Rights::Everything, None));
    };
    let limit = shared.options.handshake_timeout;
    let stream = match tokio::time::timeout(limit, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            warn!(%peer, %error, "embedded job server turned a client away: no TLS connection");
            return None;
        }
        Err(_) => {
            warn!(%peer, ?limit, "embedded job server turned a client away: the TLS handshake took too long");
            return None;
        }
    };
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).cloned();
    let Some(name) = certificate.as_deref().and_then(common_name) else {
        warn!(%peer, "embedded job server turned a client away: its certificate has no single common name");
        return None;
    };
    let rights = shared.options.access.rights(&name);
    let (read, write) = tokio::io::split(stream);
    Some((Box::new(read), WriteEnd::Tls(Box::new(write)), rights, certificate.map(CertificateDer::into_owned)))
}

async fn read_all(shared: &Shared, id: ConnectionId, outbox: &Outbox, mut read: ReadEnd, peer: SocketAddr) {
    let mut frames = Frames::new(shared.options.max_packet, true);
    loop {
        let count = tokio::select! {
            count = frames.fill(&mut read) => count,
            () = outbox.closed() => {
                debug!(%peer, "embedded job server closes a connection: it is broken, or its other side does not read");
                return;
            }
        };
        match count {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) => {
                debug!(%peer, %error, "embedded job server lost a connection");
                return;
            }
        }
        if let Err(error) = shared.change(|core| handle_all(core, id, &mut frames, shared.options.max_packet)) {
            warn!(%peer, %error, "embedded job server closes a connection");
            return;
        }
        outbox.room(HIGH_WATER).await;
    }
}

/// Handles all that has arrived whole.
fn handle_all(core: &mut Core, id: ConnectionId, frames: &mut Frames, limit: usize) -> Result<(), FrameError> {
    while let Some(frame) = frames.next_frame()? {
        match frame {
            Frame::Line(line) => core.handle_line(id, line),
            Frame::Packet { magic, packet: Ok(packet), .. } => core.handle(id, magic, &packet),
            Frame::Packet { packet: Err(error), .. } => core.handle_malformed(id, &error),
            Frame::Oversized { kind, size, .. } => {
                let text = FrameError::TooLarge { kind, size, limit }.to_string();
                warn!(packet = kind_name(kind), size, limit, "embedded job server refused a packet for its size");
                core.handle_oversized(id, &text);
            }
        }
    }
    Ok(())
}
