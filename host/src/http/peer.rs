//! Where a request comes from: the listener puts it there, nothing that is sent can change it.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

/// The other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Over TCP.
    Tcp {
        /// Its address.
        address: SocketAddr,
        /// Whether the listener is bound to loopback. An address of loopback on another listener proves nothing: it may be a proxy.
        on_loopback: bool,
        /// The common name of its certificate, checked against the authority.
        certificate: Option<String>,
    },
    /// Over the daemon's Unix socket.
    Unix {
        /// The user of the process, as the kernel says.
        user: u32,
    },
}

/// As the log names it.
impl fmt::Display for Peer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { address, certificate: None, .. } => write!(out, "{address}"),
            Self::Tcp { address, certificate: Some(name), .. } => {
                write!(out, "{address} with the certificate of {name}")
            }
            Self::Unix { user } => write!(out, "user {user} of this machine"),
        }
    }
}

/// What failed attempts are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerKey(Key);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Address(u128),
    User(u32),
}

impl PeerKey {
    pub(super) const fn of_user(user: u32) -> Self {
        Self(Key::User(user))
    }
}

impl Peer {
    /// The address; of IPv6 the part that one site has.
    pub(crate) fn key(&self) -> PeerKey {
        match self {
            Self::Unix { user } => PeerKey::of_user(*user),
            Self::Tcp { address, .. } => PeerKey(Key::Address(match address.ip().to_canonical() {
                IpAddr::V4(address) => u128::from(address.to_bits()),
                IpAddr::V6(address) => address.to_bits() >> 64 << 64,
            })),
        }
    }
}
