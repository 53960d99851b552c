//! The services that a daemon can run, each put together from the rooms below it.

use std::sync::Arc;

use tokio::{sync::watch, task::JoinHandle};

use crate::{
    cli::{exit::Failure, settings},
    config::Config,
    drivers::{DriverState, Kind, Registry},
    http::{Metrics, Readiness},
    jobs::{self, WorkerState},
    telemetry::names,
    worker::{Controller, DriverAppliance, Server},
};

/// Starts the embedded job server where the configuration asks for one and a service needs it.
pub async fn job_server(
    config: &Config,
    metrics: &Metrics,
    end: watch::Receiver<bool>,
) -> Result<Option<JoinHandle<()>>, Failure> {
    if !config.gearman.is_embedded() || config.daemon.roles.is_empty() {
        return Ok(None);
    }
    let server = jobs::Server::bind(config.gearman.embedded_listen, settings::job_server(&config.gearman))
        .await
        .map_err(|error| Failure::Unavailable(error.to_string()))?;
    metrics.observe(server.observer(metrics.figures().clone()));
    Ok(Some(tokio::spawn(server.run(end))))
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
        &settings::transport(&config.gearman)?,
        settings::worker_options(config),
    )
    .map_err(|error| Failure::Usage(error.to_string()))?;
    let server = Server::new(jobs, controller);

    let state = server.state();
    let connected = metrics.figures().gauge(&names::WORKER_JOB_SERVERS, []);
    let seen = state.clone();
    metrics.observe(move || connected.set(i64::try_from(seen.borrow().connected.len()).unwrap_or(i64::MAX)));
    let seen = state.clone();
    readiness.add(
        "worker",
        Arc::new(move || {
            let state = seen.borrow();
            match (&state.connected.is_empty(), &state.last_error) {
                (false, _) => Ok(()),
                (true, Some(error)) => Err(format!("no job server has the worker's registration: {error}")),
                (true, None) => Err("no job server has the worker's registration yet".to_owned()),
            }
        }),
    );
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
