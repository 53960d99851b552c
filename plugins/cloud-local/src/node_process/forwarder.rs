//! Carries TCP connections from a floating address to the node that has it.

use std::{
    io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
    sync::Semaphore,
    task::JoinSet,
};

use super::wait_for;
use crate::durable;

/// Connections at one time; those beyond it wait.
const MOST_CONNECTIONS: usize = 1000;

/// What is written of a floating address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Forward {
    pub address: Ipv4Addr,
    pub ports: Vec<u16>,
    /// The node that has it.
    pub node: Option<String>,
    /// That node's address.
    pub target: Option<Ipv4Addr>,
    /// Counts the assignments; what the forwarder says belongs to one of them.
    pub run: u64,
}

/// What the forwarder says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Forwarded {
    pub run: u64,
    /// Why it does not carry the address; none when it does.
    pub fault: Option<String>,
}

impl Forwarded {
    /// Where it is written, for the file of the address.
    pub fn path(file: &Path) -> PathBuf {
        file.with_extension("status")
    }
}

/// `forward`.
pub(super) fn run(file: &Path) -> io::Result<()> {
    let forward: Forward = durable::read(file)?.ok_or_else(|| io::Error::other("there is no such floating address"))?;
    let target = forward.target.ok_or_else(|| io::Error::other("the floating address is on no node"))?;
    wait_for(async {
        let mut told = signal(SignalKind::terminate())?;
        let mut listeners = Vec::new();
        let mut fault = None;
        for port in &forward.ports {
            match TcpListener::bind((forward.address, *port)).await {
                Ok(listener) => listeners.push((listener, *port)),
                Err(error) => fault = Some(format!("{}:{port} cannot be listened on: {error}", forward.address)),
            }
        }
        let failed = fault.clone();
        durable::replace_volatile(&Forwarded::path(file), &Forwarded { run: forward.run, fault })?;
        if let Some(fault) = failed {
            return Err(io::Error::other(fault));
        }
        let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        let mut ports = JoinSet::new();
        for (listener, port) in listeners {
            ports.spawn(accept(listener, target, port, Arc::clone(&room)));
        }
        // When we end the kernel closes every connection, and none goes on to the node that had the address.
        told.recv().await;
        Ok(())
    })
}

async fn accept(listener: TcpListener, target: Ipv4Addr, port: u16, room: Arc<Semaphore>) {
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        // An error is that of one connection, or lack of descriptors, which ends as others do.
        let Ok((mut client, _)) = listener.accept().await else {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            continue;
        };
        tokio::spawn(async move {
            if let Ok(mut node) = TcpStream::connect((target, port)).await {
                let _delay_is_all_that_differs = (client.set_nodelay(true), node.set_nodelay(true));
                let _either_side_may_go = copy_bidirectional(&mut client, &mut node).await;
            }
            drop(place);
        });
    }
}
