//! A daemon's rooms put together in this process: a store, the dummy cloud, the dummy API server, the pool, the authority.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use capstan::{
    config,
    drivers::{DriverEntry, Kind, Registry, Settings},
    http,
    identity::{self, Identity},
    lbaas,
    orchestrator::clouds::{self, Clouds},
    pool::{self, Api, Cloud, Pool, Server, records::State},
    store::{self, Store, runner::Runner},
};
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinHandle};

/// Quick, and without anything that would be reached over a network.
const POOL: &str = "[pool]\nnodes = 3\ndiagnostics = false\npoll_interval_seconds = 0.02\nsearch_seconds = 0.4\n\
build_timeout_seconds = 2\ncalls_per_second = 100000\nimage = \"debian-12\"\nsize = \"small\"\n\
assign_check_interval_seconds = 0.01\nmessages_at_once = 32\n";

/// The rooms, and the job runner at work.
pub struct World {
    /// The drivers.
    pub registry: Registry,
    /// With the tables of all rooms.
    pub store: Store,
    /// Keeps a stock of three nodes in the cloud `default`.
    pub pool: Pool,
    /// The same cloud for `/clouds/v1`.
    pub clouds: Clouds,
    /// An authority of its own.
    pub identity: Identity,
    end: watch::Sender<bool>,
    runner: JoinHandle<()>,
    _folder: tempfile::TempDir,
}

/// Where `tests/fuzz/run` has built the daemon and its drivers.
fn built(name: &str) -> PathBuf {
    let usual = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/debug");
    let folder = env::var_os("CAPSTAN_FUZZ_DRIVERS").map_or_else(usual, PathBuf::from);
    let path = folder.join(name);
    assert!(path.exists(), "{} is not there; tests/fuzz/run builds it", path.display());
    path.canonicalize().expect("it is there")
}

impl World {
    /// A new one. The cloud does `faults`, a list as in docs/drivers/cloud-dummy.md.
    pub async fn new(faults: Value) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut drivers = Settings::new(folder.path().join("state"), folder.path());
        drivers.trust_own_files = true;
        drivers.probe_executable = built("capstan");
        // A machine that is busy is no fault of a driver.
        drivers.call_timeout = Duration::from_secs(36_000);
        drivers.cancel_grace = Duration::from_secs(36_000);
        drivers.health_interval = Duration::ZERO;
        let mut cloud = DriverEntry::new(Kind::Cloud, "dummy@default", built("libcapstan_cloud_dummy.so"));
        cloud.config = json!({ "extra_params": { "faults": faults } });
        let mut mgm = DriverEntry::new(Kind::Mgm, "dummy", built("libcapstan_mgm_dummy.so"));
        mgm.config = json!({ "free": 0 });
        drivers.drivers = vec![cloud, mgm];
        let registry = Registry::open(drivers).await.expect("the drivers open");
        let failures = registry.failures();
        assert!(failures.is_empty(), "{failures:?}");

        let tables = [
            http::migrations(),
            lbaas::migrations(),
            identity::MIGRATIONS.to_vec(),
            pool::records::MIGRATIONS.to_vec(),
            clouds::MIGRATIONS.to_vec(),
        ];
        let place = store::Settings::sqlite(folder.path().join("capstan.db"));
        let store = Store::open(&place, &tables.concat()).await.expect("the store opens");
        let file = folder.path().join("capstan.toml");
        fs::write(&file, POOL).expect("a file");
        let settings = config::load(&file, &BTreeMap::new()).unwrap_or_else(|faults| panic!("{faults}")).config.pool;
        let handle = registry.handle(Kind::Cloud, "dummy@default").expect("it is ready");
        let cloud = Cloud::new("default", handle, settings.calls_per_second);
        let api = Api::new(registry.handle(Kind::Mgm, "dummy").expect("it is ready"));
        let pool = Pool::new(store.clone(), api, [cloud], settings, None, BTreeMap::new(), None);
        let members = [("default".to_owned(), "dummy".to_owned(), "dummy@default".to_owned())];
        let clouds = Clouds::new(registry.clone(), store.clone(), members);
        let authority = identity::Settings {
            life: Duration::from_secs(30 * 86_400),
            ca: None,
            is_reserved: Arc::new(|name| name == "operator"),
        };
        let identity = Identity::open(store.clone(), authority).await.expect("an authority");

        let (end, ending) = watch::channel(false);
        let runner = clouds::handlers(&clouds, pool.handlers(Runner::new(store.clone())));
        let runner = tokio::spawn(runner.run(ending, Duration::from_secs(1)));
        Self { registry, store, pool, clouds, identity, end, runner, _folder: folder }
    }

    /// Has the stock built; answers id and name of one of its nodes.
    pub async fn stocked(&self) -> (String, String) {
        Server::new(self.pool.clone(), Duration::from_secs(3600)).check_nodes().await.expect("the store works");
        loop {
            let ready = self.pool.nodes(Some(State::Ready), None, "", 10).await.expect("the store works");
            if let [first, _, _, ..] = ready.as_slice() {
                return (first.id.clone(), first.name.clone());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Ends everything that runs.
    pub async fn end(self) {
        self.end.send_replace(true);
        self.runner.await.expect("the runner ends well");
        self.registry.close(Duration::from_secs(2)).await;
        self.store.close().await;
    }
}
