//! `capstan serve` and `capstan worker`: puts a daemon together, runs it, and takes it apart in order.

mod reload;
mod roles;
mod signals;

use std::{sync::Arc, time::Duration};

use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use super::{
    exit::{Failure, Outcome},
    place::{Place, SetByOption, runtime},
    settings,
};
use crate::{
    config::{Loaded, LogFormat, Role},
    drivers::Registry,
    http::{self, Listeners, Metrics, Readiness},
    telemetry::{self, Format, Notifier, State, names},
};

/// How long calls that are out at the end may take.
const DRAIN: Duration = Duration::from_secs(10);

/// How long the start waits for a first job server before it reports that it is up without one.
const FIRST_JOB_SERVER: Duration = Duration::from_secs(5);

/// `capstan serve`.
pub fn serve(place: &Place, watch: bool) -> Outcome {
    let options = watching(watch);
    let loaded = place.load_all(&options)?;
    if loaded.config.daemon.roles.is_empty() && loaded.config.known_drivers.iter().next().is_none() {
        return Err(Failure::Usage(
            "no role is switched on and no driver is named; set daemon.roles = [\"worker\"], or add an entry to known_drivers"
                .to_owned(),
        ));
    }
    runtime()?.block_on(run(place, loaded, options))
}

/// `capstan worker --driver NAME`.
pub fn worker(place: &Place, driver: Option<String>, watch: bool) -> Outcome {
    let mut options = watching(watch);
    let roles = "[\"worker\"]".to_owned();
    options.push(SetByOption { key: "daemon.roles", value: roles, option: "capstan worker" });
    options.extend(driver.map(|value| SetByOption { key: "worker.driver", value, option: "--driver" }));
    runtime()?.block_on(run(place, place.load_all(&options)?, options))
}

fn watching(watch: bool) -> Vec<SetByOption> {
    let set = SetByOption { key: "daemon.watch_drivers", value: "true".to_owned(), option: "--watch" };
    watch.then_some(set).into_iter().collect()
}

async fn run(place: &Place, loaded: Loaded, options: Vec<SetByOption>) -> Outcome {
    let format = match loaded.config.telemetry.format {
        LogFormat::Auto => Format::Auto,
        LogFormat::Json => Format::Json,
        LogFormat::Text => Format::Text,
    };
    let scrubber =
        telemetry::init(&loaded.config.telemetry.level, format).map_err(|error| Failure::Usage(error.to_string()))?;
    let secrets = loaded.secret_values();
    scrubber.replace(secrets.iter().map(crate::config::Secret::expose));
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
    if loaded.config.daemon.roles.is_empty() {
        warn!("no role is switched on: drivers are hosted and no service uses them; daemon.roles names services");
    }
    let notifier = Arc::new(Notifier::from_process().map_err(|error| Failure::Usage(error.to_string()))?);
    let _lock = lock(&loaded.config.daemon.state_dir)?;
    let mut signals = signals::Signals::new()?;

    let (stop, stopping) = watch::channel(false);
    let (loaded_drivers, drivers) = watch::channel(None);
    let (reload, reloads) = mpsc::channel(1);
    let reloader = reload::Reloader::new(place, options, &loaded, scrubber, drivers, &notifier);
    let reloader = tokio::spawn(reloader.serve(reloads));
    let outcome = tokio::select! {
        outcome = daemon(&loaded, &notifier, stopping, &loaded_drivers) => outcome,
        () = signals.wait_for_end(&reload, &notifier, &stop) => unreachable_end(),
    };
    reloader.abort();
    tell(&notifier, State::Stopping);
    outcome
}

// `wait_for_end` only returns together with the daemon, which it has told to stop.
fn unreachable_end() -> Outcome {
    Ok(())
}

async fn daemon(
    loaded: &Loaded,
    notifier: &Arc<Notifier>,
    stopping: watch::Receiver<bool>,
    loaded_drivers: &watch::Sender<Option<Registry>>,
) -> Outcome {
    let config = &loaded.config;
    let metrics = Metrics::default();
    metrics.figures().gauge(&names::BUILD_INFO, [env!("CARGO_PKG_VERSION")]).set(1);

    let mut drivers = settings::driver_settings(config, |_| true);
    drivers.figures = metrics.figures().clone();
    let registry = Registry::open(drivers).await.map_err(|error| Failure::Unavailable(error.to_string()))?;
    if config.daemon.watch_drivers
        && let Err(error) = registry.watch()
    {
        warn!(%error, "the files of drivers are not watched; `capstan driver reload` loads what has changed");
    }
    loaded_drivers.send_replace(Some(registry.clone()));
    let readiness = Readiness::default();
    let http = bind_http(loaded).await?;
    let mut addresses: Vec<String> = http.addresses().iter().map(ToString::to_string).collect();
    if config.http.enabled {
        addresses.push(config.http.socket.display().to_string());
    }

    // Rooms end in the reverse order of their start: first no new message, then the listeners, last the drivers.
    let (end_services, services_end) = watch::channel(false);
    let (end_listeners, listeners_end) = watch::channel(false);
    metrics.observe_drivers(registry.clone());
    let router = http::router(http::Daemon {
        registry: registry.clone(),
        readiness: readiness.clone(),
        metrics: metrics.clone(),
    });
    let listeners = tokio::spawn(http.serve(router, listeners_end.clone()));
    let job_server = roles::job_server(config, &metrics, listeners_end).await?;
    let mut worker = None;
    if config.daemon.roles.contains(&Role::Worker) {
        worker = Some(roles::worker(config, &registry, &readiness, &metrics, services_end)?);
    }

    if let Some(worker) = &mut worker {
        let _goes_on_without = tokio::time::timeout(FIRST_JOB_SERVER, worker.connected()).await;
    }
    let (ready, said) = readiness.run();
    info!(version = env!("CARGO_PKG_VERSION"), http = addresses.join(" "), ready, checks = %said, "capstan is up");
    tell(notifier, State::Status(if ready { "ready" } else { "up; not ready: see /readyz" }));
    tell(notifier, State::Ready);
    let watchdog = tokio::spawn(signals::feed_watchdog(Arc::clone(notifier)));

    let mut stopping = stopping;
    // Let go at once: what it gives holds the channel's lock, which a second signal needs.
    drop(stopping.wait_for(|stop| *stop).await);
    info!("ending: no new messages are taken, the current one is finished");
    let _ = end_services.send(true);
    if let Some(worker) = worker {
        worker.ended().await;
    }
    let _ = end_listeners.send(true);
    for task in [Some(listeners), job_server].into_iter().flatten() {
        let _a_panic_is_logged = tokio::time::timeout(DRAIN, task).await;
    }
    registry.close(DRAIN).await;
    watchdog.abort();
    info!("ended");
    Ok(())
}

async fn bind_http(loaded: &Loaded) -> Result<http::Server, Failure> {
    let http = &loaded.config.http;
    let listeners = if http.enabled {
        Listeners { tcp: http.listen.clone(), unix: Some(http.socket.clone()) }
    } else {
        Listeners::default()
    };
    http::Server::bind(&listeners).await.map_err(|error| Failure::Unavailable(error.to_string()))
}

/// One daemon at a time uses a state directory; the lock ends with the process, however that ends.
fn lock(state_dir: &std::path::Path) -> Result<std::fs::File, Failure> {
    let failed = |error: std::io::Error| {
        Failure::Unavailable(format!(
            "{} cannot be used: {error}; create it for this user, or set daemon.state_dir",
            state_dir.display()
        ))
    };
    std::fs::create_dir_all(state_dir).map_err(failed)?;
    let file = std::fs::File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(state_dir.join("lock"))
        .map_err(failed)?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(|_| {
        Failure::Unavailable(format!(
            "another daemon uses {}; stop it, or give this one a daemon.state_dir of its own",
            state_dir.display()
        ))
    })?;
    Ok(file)
}

fn tell(notifier: &Notifier, state: State<'_>) {
    if let Err(error) = notifier.notify(state) {
        warn!(%error, "the service manager cannot be told");
    }
}
