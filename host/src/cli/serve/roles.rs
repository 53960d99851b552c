//! The services that a daemon can run, each put together from the rooms below it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use capstan_plugin_api::Secret;
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    cli::{exit::Failure, settings},
    config::{self, Config, Gearman, Role},
    drivers::{DriverState, Kind, Registry},
    http::{Check, Metrics, Readiness},
    identity::{Identity, node::Keeper},
    jobs::{self, Transport, WorkerState},
    orchestrator::{self, clouds::Clouds},
    pool::{self, Api, Cloud, Enrolment, Messages, Pool},
    store::{Store, runner::Runner},
    telemetry::names,
    tls::{LocalAuthority, OwnClient},
    worker::{Controller, DriverAppliance, Server},
};

/// Starts the embedded job server where the configuration asks for one and a service needs it.
pub async fn job_server(
    config: &Config,
    authority: LocalAuthority,
    metrics: &Metrics,
    end: watch::Receiver<bool>,
) -> Result<Option<JoinHandle<()>>, Failure> {
    if !config.gearman.is_embedded() || config.daemon.roles.is_empty() {
        return Ok(None);
    }
    let server = jobs::Server::bind(config.gearman.embedded_listen, settings::job_server(&config.gearman, authority))
        .await
        .map_err(|error| Failure::Unavailable(error.to_string()))?;
    metrics.observe(server.observer(metrics.figures().clone()));
    Ok(Some(tokio::spawn(server.run(end))))
}

/// By what this daemon is known to job servers.
pub struct Way {
    /// Keeps the certificate of this machine, if it is a node.
    pub keeper: Option<Keeper>,
    /// What it shows to its own servers, if it has an authority.
    pub own: Option<OwnClient>,
}

impl Way {
    fn transport(&self, gearman: &Gearman) -> Result<Transport, Failure> {
        settings::transport(gearman, self.keeper.as_ref(), self.own.as_ref())
    }
}

/// Starts what keeps this machine's certificate good, if it is a node.
pub fn keeper(
    config: &Config,
    readiness: &Readiness,
    metrics: &Metrics,
    end: watch::Receiver<bool>,
) -> Result<Option<Keeper>, Failure> {
    let Some(settings) = settings::node_identity(config) else { return Ok(None) };
    let keeper = Keeper::start(settings, metrics.figures(), end).map_err(Failure::Usage)?;
    let standing = keeper.standing();
    readiness.add("identity", Arc::new(move || standing.borrow().clone()));
    Ok(Some(keeper))
}

/// A worker that runs.
pub struct Worker {
    task: JoinHandle<()>,
    state: watch::Receiver<WorkerState>,
}

impl Worker {
    /// Waits until a job server has taken the registration.
    pub async fn connected(&mut self) {
        // An error means that the worker ended, which is as far as waiting goes.
        let _ended = self.state.wait_for(|state| !state.connected.is_empty()).await;
    }

    /// Waits until the message at hand is answered and the worker has ended.
    pub async fn ended(self) {
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the worker ended badly");
        }
    }
}

/// Starts the worker. It needs its driver.
pub fn worker(
    config: &Config,
    registry: &Registry,
    readiness: &Readiness,
    metrics: &Metrics,
    way: &Way,
    end: watch::Receiver<bool>,
) -> Result<Worker, Failure> {
    let name = config.worker.driver.clone();
    let handle = registry
        .handle(Kind::LoadBalancer, &name)
        .map_err(|error| Failure::Unavailable(format!("worker.driver: {error}")))?;
    let controller = Controller::new(Arc::new(DriverAppliance::new(handle)), settings::controller(config))
        .with_figures(metrics.figures().clone());
    let jobs = jobs::Worker::new(
        &config.gearman.endpoints(),
        &way.transport(&config.gearman)?,
        settings::worker_options(config),
    )
    .map_err(|error| Failure::Usage(error.to_string()))?;
    let server = Server::new(jobs, controller);

    let state = server.state();
    let connected = metrics.figures().gauge(&names::WORKER_JOB_SERVERS, []);
    let seen = state.clone();
    metrics.observe(move || connected.set(i64::try_from(seen.borrow().connected.len()).unwrap_or(i64::MAX)));
    readiness.add("worker", registered(state.clone()));
    let registry = registry.clone();
    readiness.add(
        format!("driver load_balancer.{name}"),
        Arc::new(move || match registry.info(Kind::LoadBalancer, &name) {
            Ok(driver) if driver.lost_threads > 0 => Err(format!(
                "{} calls did not come back from the driver; restart the daemon if they stay away",
                driver.lost_threads
            )),
            Ok(driver) if driver.state == DriverState::Ready => Ok(()),
            Ok(driver) => Err(driver.last_error.unwrap_or_else(|| driver.state.as_str().to_owned())),
            Err(error) => Err(error.to_string()),
        }),
    );
    Ok(Worker { task: tokio::spawn(server.main(end)), state })
}

/// Ready when some job server has the registration.
fn registered(state: watch::Receiver<WorkerState>) -> Check {
    Arc::new(move || {
        let state = state.borrow();
        match (&state.connected.is_empty(), &state.last_error) {
            (false, _) => Ok(()),
            (true, Some(error)) => Err(format!("no job server has the worker's registration: {error}")),
            (true, None) => Err("no job server has the worker's registration yet".to_owned()),
        }
    })
}

/// How long jobs that run may take to stop at the end.
const JOBS_STOP: Duration = Duration::from_secs(5);

/// What the pool manager calls of an API server's driver, whichever it is.
const MGM_METHODS: &[&str] = &["get_free_count", "add_node", "is_online", "get_url"];
/// What it calls of a cloud's driver, whichever it is.
const CLOUD_METHODS: &[&str] = &["list_nodes", "create_node", "destroy_node", "list_images", "list_sizes"];

/// What the files say that stocks name, by stock. Only with an address of the authority may they ask for what it gives.
pub fn user_data(pool: &config::Pool, has_authority_url: bool) -> Result<BTreeMap<String, Secret>, String> {
    let mut all = BTreeMap::new();
    for stock in &pool.stocks {
        let Some(path) = &stock.user_data else { continue };
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("pool.user_data: {} cannot be read: {error}; correct the path", path.display()))?;
        if !has_authority_url && pool::asks_for_enrolment(&text) {
            return Err(format!(
                "pool.user_data: {} has a place for a token, an address or an authority, and identity.url is not set; set it to \
                 where nodes reach this daemon",
                path.display()
            ));
        }
        all.insert(stock.name.clone(), Secret::new(text));
    }
    Ok(all)
}

/// The pool, put together and not running yet.
pub fn pool(
    config: &Config,
    registry: &Registry,
    store: &Store,
    identity: Option<&Identity>,
    way: &Way,
) -> Result<Pool, Failure> {
    let unavailable = |key: &str, error: &dyn std::fmt::Display| Failure::Unavailable(format!("{key}: {error}"));
    let mgm = registry.handle(Kind::Mgm, &config.pool.driver).map_err(|error| unavailable("pool.driver", &error))?;
    let api = Api::new(mgm.used_by("the pool manager", MGM_METHODS));
    let mut clouds = Vec::new();
    for cloud in config.cloud_farm.iter() {
        let is_used = config.pool.stocks.iter().any(|stock| stock.cloud == cloud.name);
        match registry.handle(Kind::Cloud, &settings::cloud_instance(cloud)) {
            Ok(handle) => {
                let handle = handle.used_by("the pool manager", CLOUD_METHODS);
                clouds.push(Cloud::new(&cloud.name, handle, config.pool.calls_per_second));
            }
            Err(error) if is_used => return Err(unavailable(&format!("cloud_farm.{}", cloud.name), &error)),
            Err(error) => tracing::warn!(cloud = cloud.name, %error, "a cloud that no stock uses is left out"),
        }
    }
    let nodes = jobs::Client::lazy(&config.gearman.endpoints(), &way.transport(&config.gearman)?);
    let user_data = user_data(&config.pool, config.identity.url.is_some()).map_err(Failure::Usage)?;
    let enrolment = identity.zip(config.identity.url.as_ref()).map(|(identity, url)| Enrolment {
        identity: identity.clone(),
        url: url.to_string(),
        slack: config.identity.token_slack,
    });
    Ok(Pool::new(store.clone(), api, clouds, config.pool.clone(), Some(nodes), user_data, enrolment))
}

/// The clouds of the farm for `/clouds/v1`, where a role has to do with them.
pub fn clouds(config: &Config, registry: &Registry, store: &Store) -> Option<Clouds> {
    let has_to_do = |role: &Role| matches!(role, Role::Orchestrator | Role::PoolManager);
    config.daemon.roles.iter().any(has_to_do).then(|| {
        let members = config
            .cloud_farm
            .iter()
            .map(|cloud| (cloud.name.clone(), cloud.engine.clone(), settings::cloud_instance(cloud)));
        Clouds::new(registry.clone(), store.clone(), members)
    })
}

/// Starts to run the jobs of all roles that have some.
pub fn jobs(
    config: &Config,
    pool: Option<&Pool>,
    clouds: Option<&Clouds>,
    store: &Store,
    end: &watch::Receiver<bool>,
) -> Option<JoinHandle<()>> {
    if pool.is_none() && clouds.is_none() {
        return None;
    }
    let mut runner = Runner::new(store.clone()).lease(config.store.lease);
    if let Some(pool) = pool {
        runner = pool.handlers(runner);
    }
    if let Some(clouds) = clouds {
        runner = orchestrator::clouds::handlers(clouds, runner);
    }
    Some(tokio::spawn(runner.run(end.clone(), JOBS_STOP)))
}

/// A pool manager that runs.
pub struct PoolManager {
    tasks: Vec<JoinHandle<()>>,
}

impl PoolManager {
    /// Waits until its schedules and its messages have ended.
    pub async fn ended(self) {
        for task in self.tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a part of the pool manager ended badly");
            }
        }
    }
}

/// Starts the pool manager: its schedules and the node operations by message.
pub fn pool_manager(
    config: &Config,
    pool: &Pool,
    readiness: &Readiness,
    metrics: &Metrics,
    way: &Way,
    end: &watch::Receiver<bool>,
) -> Result<PoolManager, Failure> {
    let server = pool::Server::new(pool.clone(), config.store.lease);
    let schedules = {
        let end = end.clone();
        tokio::spawn(async move {
            let _told_in_the_log = server.main(end).await;
        })
    };
    let gauges = tokio::spawn(pool.clone().keep_gauges(metrics.figures().clone(), end.clone()));
    let (counted, figures) = (pool.clone(), metrics.figures().clone());
    metrics.observe(move || counted.show_counts(&figures));
    let mut tasks = vec![schedules, gauges];
    if !config.pool.function.is_empty() {
        let options = jobs::WorkerOptions {
            concurrency: config.pool.messages_at_once,
            reconnect_sleep: config.gearman.reconnect_sleep,
            ..jobs::WorkerOptions::new("capstan-pool-manager", &config.pool.function)
        };
        let transport = way.transport(&config.gearman)?;
        let worker = jobs::Worker::new(&config.gearman.endpoints(), &transport, options)
            .map_err(|error| Failure::Usage(format!("pool.function: {error}")))?;
        readiness.add("pool messages", registered(worker.state()));
        tasks.push(tokio::spawn(worker.run(Messages::new(pool.clone()), end.clone())));
    }
    Ok(PoolManager { tasks })
}
