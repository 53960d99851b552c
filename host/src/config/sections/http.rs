//! `[http]`: the listeners of the daemon.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use super::Daemon;
use crate::config::read::TableReader;

/// `sun_path` of unix(7) holds 108 bytes, the closing zero included.
const LONGEST_SOCKET_PATH: usize = 107;

/// `[http]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Http {
    /// Off means neither TCP nor the Unix socket.
    pub enabled: bool,
    /// TCP listeners, on loopback.
    pub listen: Vec<SocketAddr>,
    /// The socket for the operator's commands on this machine.
    pub socket: PathBuf,
}

impl Http {
    pub(super) fn read(table: &mut TableReader<'_, '_>, daemon: &Daemon) -> Self {
        let enabled = table.get("enabled", true);
        let listen = table.checked("listen", vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 8770))], |listen: &Vec<SocketAddr>| {
            match listen.iter().find(|address| !address.ip().is_loopback()) {
                None => Ok(()),
                Some(open) => Err((
                    format!("loopback addresses only ({open} is open to the network, and this version has no authentication)"),
                    "listen on 127.0.0.1 and put an authenticating proxy in front".to_owned(),
                )),
            }
        });
        table.inherit("socket", "daemon.run_dir");
        let socket = table.get("socket", daemon.run_dir.join("capstan.sock"));
        let length = socket.as_os_str().len();
        if length > LONGEST_SOCKET_PATH {
            let (key, found) = (table.key("socket"), format!("{}, which has {length} bytes", socket.display()));
            let expected = format!("a path of at most {LONGEST_SOCKET_PATH} bytes");
            table.session.fault_at(&key, &found, &expected, "set http.socket to a shorter path");
        }
        Self { enabled, listen, socket }
    }
}
