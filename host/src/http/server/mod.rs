//! Listeners on TCP, with and without TLS, and on the operator's Unix socket: their bounds and their clean end.

mod accept;
mod bind;
mod connection;
mod tls;

pub use bind::{BindError, Listeners, Server};
pub use connection::ConnectionLimits;
pub use tls::{Certificates, ClientCertificates, ServerFiles};
