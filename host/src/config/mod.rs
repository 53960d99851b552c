//! The configuration: one TOML file, the files of `conf.d` beside it, the environment and the command line, read into typed
//! sections.
//!
//! Reading never stops at the first fault: every fault of every file is collected with its file and line, so that one run of
//! `capstan config check` tells all that is wrong. Nothing here imports another room of the host.
//!
//! A new section is one file under `sections/`, a field of [`Config`] and the line that reads it.

mod checks;
mod environment;
mod fault;
pub mod import;
mod instance;
mod load;
mod origin;
mod read;
mod schemas;
mod secret;
mod sections;
mod show;
mod stock_files;
mod text_file;
mod trust;

pub use environment::{Environment, ProcessEnvironment};
pub use fault::{Fault, Faults, Warning};
pub use instance::InstanceConfig;
pub use load::{Loaded, Loader, load};
pub use origin::{Origin, Uncompared};
pub use read::Effective;
pub(crate) use read::nearest;
pub use schemas::{DriverSchemas, Misfit, SchemaFault};
pub use secret::Secret;
pub use sections::{
    AnonymousRole, Channel, ClientAuth, CloudEntry, CloudFarm, Config, Daemon, DaemonUrl, DriverKind, DriverPolicy,
    DriverProgram, Drivers, EmbeddedLimits, EmbeddedTls, Endpoint, EndpointError, Gearman, Http, HttpTls, Identity,
    Isolation, JobServer, KnownDriver, KnownDrivers, Lbaas, Limits, LogFormat, NodeIdentity, Pool, Role, Sandbox,
    ServerIdentity, Stock, Store, Telemetry, TlsFiles, Worker, WorkerProtocol,
};
pub use show::{show_json, show_text};
pub(crate) use trust::pem_section;
pub use trust::{DriverLock, KeyFault, LockedFile, PublicKey, Trust, lock_file};

pub use load::reference;
