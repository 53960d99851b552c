//! The sections, one file each.

mod cloud_farm;
mod confinement;
mod daemon;
mod drivers;
mod endpoint;
mod gearman;
mod http;
mod identity;
mod known_drivers;
mod lbaas;
mod own_api;
mod pem;
mod pool;
mod server_identity;
mod store;
mod telemetry;
mod worker;

pub use cloud_farm::{CloudEntry, CloudFarm};
pub use confinement::{Limits, Sandbox};
pub use daemon::{Daemon, Role};
pub use drivers::{DriverPolicy, Drivers, Isolation};
pub use endpoint::{Endpoint, EndpointError, JobServer};
pub use gearman::{EmbeddedLimits, EmbeddedTls, Gearman, TlsFiles};
pub use http::{AnonymousRole, ClientAuth, Http, HttpTls};
pub use identity::{DaemonUrl, Identity, NodeIdentity};
pub use known_drivers::{Channel, DriverKind, DriverProgram, KnownDriver, KnownDrivers};
pub use lbaas::Lbaas;
pub(in crate::config) use pool::{DEFAULT_STOCK, is_basename};
pub use pool::{Pool, Stock};
pub use server_identity::ServerIdentity;
pub use store::Store;
pub use telemetry::{LogFormat, Telemetry};
pub use worker::{Worker, WorkerProtocol};

use super::read::TableReader;
use own_api::OwnApi;

/// The whole configuration. Two of them can be compared section by section, which is what a reload does.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // each section's type says what it is
pub struct Config {
    pub daemon: Daemon,
    pub http: Http,
    pub store: Store,
    pub gearman: Gearman,
    pub drivers: Drivers,
    pub known_drivers: KnownDrivers,
    pub cloud_farm: CloudFarm,
    pub pool: Pool,
    pub worker: Worker,
    pub identity: Identity,
    pub lbaas: Lbaas,
    pub telemetry: Telemetry,
}

impl Config {
    /// Whether this daemon has an authority for the certificates of nodes: where state is kept that belongs to all daemons.
    #[must_use]
    pub fn has_authority(&self) -> bool {
        self.daemon.roles.iter().any(|role| matches!(role, Role::Lbaas | Role::PoolManager))
    }

    /// Reads every section. Values at fault are replaced by their defaults, so that the rest is read as well.
    pub(super) fn read(root: &mut TableReader<'_, '_>) -> Self {
        let daemon = root.table("daemon", Daemon::read);
        root.session.issued_file = Some(daemon.device_token_file());
        let http = root.table("http", |table| Http::read(table, &daemon));
        let store = root.table("store", |table| Store::read(table, &daemon));
        let gearman = root.table("gearman", Gearman::read);
        let drivers = root.table("drivers", Drivers::read);
        let own = OwnApi::of(&http, &daemon);
        let known_drivers = root.table("known_drivers", |table| KnownDrivers::read(table, &drivers, &own));
        let cloud_farm = root.table("cloud_farm", CloudFarm::read);
        let pool = root.table("pool", Pool::read);
        let worker = root.table("worker", |table| Worker::read(table, &gearman));
        let identity = root.table("identity", |table| Identity::read(table, &daemon, &worker));
        let lbaas = root.table("lbaas", Lbaas::read);
        let telemetry = root.table("telemetry", Telemetry::read);
        Self {
            daemon,
            http,
            store,
            gearman,
            drivers,
            known_drivers,
            cloud_farm,
            pool,
            worker,
            identity,
            lbaas,
            telemetry,
        }
    }
}
