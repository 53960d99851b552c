//! libra's device API (v1 of its admin API) as a client sees it: one set of requests, over TLS to some of several servers or
//! over the Unix socket of the daemon on this machine.
//!
//! [`Client`] is what a driver holds. A [`Channel`] says how a server is reached; each call has connections of its own, which
//! obey the call's deadline and its cancellation at every read and write ([`line`]). Connections are not kept: one that the
//! server closed meanwhile would leave a POST of which nobody knows whether it was done.
//!
//! HTTP is ureq's, which a driver of this house uses already; only how bytes come and go is written here, because nothing on the
//! shelf is cancelled in the middle of a read, and one line serves TCP and Unix sockets alike. A driver that never names [`Tls`]
//! is linked without TLS.

pub mod channel;
mod client;
mod exchange;
mod line;
mod refusal;
mod run;
mod wire;

pub use channel::{Channel, Tls, Unix};
pub use client::{Client, Options};
pub use wire::Generation;
