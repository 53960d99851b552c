//! Gearman: client, worker and the embedded job server.
//!
//! Everything here speaks the protocol of gearmand 1.1 and its tools. Messages are carried, never kept: a job may be
//! delivered twice or lost with its server, so whoever cannot afford that stores the work first and repeats it by its
//! unique id. `docs/contract/gearman.md` says what is spoken and where it differs from gearmand.

pub mod admin;
pub mod client;
pub mod frames;
mod outbox;
pub mod packet;
pub mod server;
pub mod transport;
pub mod worker;

pub use crate::config::Endpoint;
pub use crate::tls::{TlsError, TlsFiles, TlsIdentity};
pub use admin::{Admin, FunctionStatus, WorkerEntry};
pub use client::{Client, ClientError, Completed, JobHandle, JobStatus, SubmitOptions, Submitted};
pub use packet::Priority;
pub use server::{Access, AccessRule, Server, ServerError, ServerOptions, ServerTls};
pub use transport::{Keepalive, Transport, TransportError};
pub use worker::{Handler, Job, JobResult, Progress, Worker, WorkerError, WorkerOptions, WorkerState};
