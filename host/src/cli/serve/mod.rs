//! `capstan serve` and `capstan worker`: puts a daemon together, runs it, and takes it apart in order.

mod reload;
mod roles;
mod signals;

use std::{sync::Arc, time::Duration};

use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

use super::{
    exit::{Failure, Outcome},
    place::{Place, SetByOption, runtime},
    rooms, settings,
};
use crate::{
    config::{Config, Loaded, LogFormat, Role},
    drivers::Registry,
    http::{self, Certificates, Listeners, Metrics, OwnToken, Readiness, Routes, Tokens},
    identity::{self, Identity},
    lbaas, orchestrator, pool,
    store::{self, Store},
    telemetry::{self, Format, Notifier, State, names},
};

/// How long calls that are out at the end may take.
const DRAIN: Duration = Duration::from_secs(10);

/// How long the start waits for a first job server before it reports that it is up without one.
const FIRST_JOB_SERVER: Duration = Duration::from_secs(5);

/// `capstan serve`.
pub fn serve(place: &Place, watch: bool) -> Outcome {
    let place = with_own_token(place)?;
    let options = watching(watch);
    let loaded = place.load_all(&options)?;
    if loaded.config.daemon.roles.is_empty() && loaded.config.known_drivers.iter().next().is_none() {
        let known: Vec<_> = Role::ALL.iter().map(|role| format!("{:?}", role.as_str())).collect();
        let known = known.join(", ");
        return Err(Failure::Usage(format!(
            "no role is switched on and no driver is named; set daemon.roles to some of [{known}], or add an entry to known_drivers"
        )));
    }
    runtime()?.block_on(run(&place, loaded, options))
}

/// `capstan lbaas`.
pub fn lbaas(place: &Place, watch: bool) -> Outcome {
    let mut options = watching(watch);
    let roles = "[\"lbaas\"]".to_owned();
    options.push(SetByOption { key: "daemon.roles", value: roles, option: "capstan lbaas" });
    alone(place, options)
}

/// Runs with these options over the configuration.
fn alone(place: &Place, options: Vec<SetByOption>) -> Outcome {
    let place = with_own_token(place)?;
    runtime()?.block_on(run(&place, place.load_all(&options)?, options))
}

/// The token is made before the configuration is read, which may refer to it.
fn with_own_token(place: &Place) -> Result<Place, Failure> {
    let own = OwnToken::random().map_err(|error| Failure::Unavailable(error.to_string()))?;
    Ok(Place { own_token: Some(own), ..place.clone() })
}

/// `capstan orchestrator`.
pub fn orchestrator(place: &Place, watch: bool) -> Outcome {
    let mut options = watching(watch);
    let roles = "[\"orchestrator\"]".to_owned();
    options.push(SetByOption { key: "daemon.roles", value: roles, option: "capstan orchestrator" });
    alone(place, options)
}

/// `capstan worker --driver NAME`.
pub fn worker(place: &Place, driver: Option<String>, watch: bool) -> Outcome {
    let mut options = watching(watch);
    let roles = "[\"worker\"]".to_owned();
    options.push(SetByOption { key: "daemon.roles", value: roles, option: "capstan worker" });
    options.extend(driver.map(|value| SetByOption { key: "worker.driver", value, option: "--driver" }));
    alone(place, options)
}

/// `capstan pool-manager --driver NAME`.
pub fn pool_manager(place: &Place, driver: Option<String>, watch: bool) -> Outcome {
    let mut options = watching(watch);
    let roles = "[\"pool-manager\"]".to_owned();
    options.push(SetByOption { key: "daemon.roles", value: roles, option: "capstan pool-manager" });
    options.extend(driver.map(|value| SetByOption { key: "pool.driver", value, option: "--driver" }));
    alone(place, options)
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
    let (put_together, parts) = watch::channel(None);
    let (reload, reloads) = mpsc::channel(1);
    let store = open_store(&loaded.config).await?;
    let identity = open_identity(&loaded.config, store.as_ref()).await?;
    let certificates = certificates(&loaded, identity.as_ref())?;
    let reloader = reload::Reloader::new(place, options, &loaded, scrubber, parts, &notifier);
    let reloader = tokio::spawn(reloader.certificates(certificates.clone()).serve(reloads));
    let given = Given { own_token: place.own_token.clone(), certificates, store, identity };
    let outcome = tokio::select! {
        outcome = daemon(&loaded, given, &notifier, stopping, &put_together) => outcome,
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

/// What a daemon has before it starts.
struct Given {
    own_token: Option<OwnToken>,
    certificates: Option<Certificates>,
    store: Option<Store>,
    identity: Option<Identity>,
}

async fn daemon(
    loaded: &Loaded,
    given: Given,
    notifier: &Arc<Notifier>,
    stopping: watch::Receiver<bool>,
    put_together: &watch::Sender<Option<reload::Parts>>,
) -> Outcome {
    let config = &loaded.config;
    let metrics = Metrics::default();
    metrics.figures().gauge(&names::BUILD_INFO, [env!("CARGO_PKG_VERSION")]).set(1);

    let Given { own_token, certificates, store, identity } = given;
    // Before the drivers are opened: one of them may be given it.
    if let Some(own) = own_token.as_ref().filter(|_| config.http.enabled) {
        let path = config.daemon.device_token_file();
        own.write(&path).map_err(|error| {
            Failure::Unavailable(format!(
                "{} cannot be written: {error}; create its folder for this user, or set daemon.run_dir",
                path.display()
            ))
        })?;
    }
    let mut drivers = settings::driver_settings(config, |_| true);
    drivers.figures = metrics.figures().clone();
    let registry = Registry::open(drivers).await.map_err(|error| Failure::Unavailable(error.to_string()))?;
    if config.daemon.watch_drivers
        && let Err(error) = registry.watch()
    {
        warn!(%error, "the files of drivers are not watched; `capstan driver reload` loads what has changed");
    }
    let readiness = Readiness::default();
    let http = bind_http(loaded, certificates).await?;
    let mut addresses: Vec<String> = http.addresses().iter().map(ToString::to_string).collect();
    if config.http.enabled {
        addresses.push(config.http.socket.display().to_string());
    }

    // Rooms end in the reverse order of their start: first no new message, then the listeners, last the drivers.
    let (end_services, services_end) = watch::channel(false);
    let (end_listeners, listeners_end) = watch::channel(false);
    metrics.observe_drivers(registry.clone());
    let mut gate = settings::gate(&config.http, metrics.figures().clone());
    if let Some(own) = own_token {
        gate = gate.own_token(own);
    }
    let mut services = Routes::new();
    let mut pool = None;
    let way = roles::Way {
        keeper: roles::keeper(config, &readiness, &metrics, services_end.clone())?,
        own: identity.as_ref().and_then(|identity| identity.local().client),
    };
    if let Some(store) = &store {
        gate = gate.tokens(Tokens::new(store.clone()));
        let health = store.health();
        readiness.add("store", Arc::new(move || health.borrow().check()));
        if config.daemon.roles.contains(&Role::Lbaas) {
            services = services.merge(lbaas::routes(store.clone(), config.lbaas.open_device_api));
        }
        if config.daemon.roles.contains(&Role::PoolManager) {
            let put_together = roles::pool(config, &registry, store, identity.as_ref(), &way)?;
            services = services.merge(pool::routes(put_together.clone()));
            pool = Some(put_together);
        }
        if let Some(identity) = &identity {
            services = services.merge(identity::routes(identity.clone(), metrics.figures().clone()));
        }
    }
    let clouds = store.as_ref().and_then(|store| roles::clouds(config, &registry, store));
    if let Some(clouds) = &clouds {
        services = services.merge(orchestrator::clouds::routes(clouds.clone()));
    }
    put_together.send_replace(Some(reload::Parts { registry: registry.clone(), pool: pool.clone() }));
    let (_, limits) = settings::http_limits(&config.http);
    let daemon = http::Daemon {
        registry: registry.clone(),
        readiness: readiness.clone(),
        metrics: metrics.clone(),
        gate,
        store: store.clone(),
        hold_targets: pool.iter().map(|pool| Arc::new(pool.clone()) as Arc<dyn http::HoldTargets>).collect(),
        retries: pool.iter().map(|pool| Arc::new(pool.clone()) as Arc<dyn http::Retries>).collect(),
        limits,
        ending: listeners_end.clone(),
    };
    let router = http::router(daemon, services);
    let listeners = tokio::spawn(http.serve(router, listeners_end.clone()));
    let authority = identity.as_ref().map(Identity::local).unwrap_or_default();
    let job_server = roles::job_server(config, authority, &metrics, listeners_end.clone()).await?;
    let authority = identity.map(|identity| tokio::spawn(identity.keep(settings::issuing(config), listeners_end)));
    let mut pool_manager = None;
    if let Some(pool) = &pool {
        pool_manager = Some(roles::pool_manager(config, pool, &readiness, &metrics, &way, &services_end)?);
    }
    let jobs =
        store.as_ref().and_then(|store| roles::jobs(config, pool.as_ref(), clouds.as_ref(), store, &services_end));
    let mut worker = None;
    if config.daemon.roles.contains(&Role::Worker) {
        worker = Some(roles::worker(config, &registry, &readiness, &metrics, &way, services_end)?);
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
    if let Some(pool_manager) = pool_manager {
        pool_manager.ended().await;
    }
    if let Some(jobs) = jobs
        && let Err(error) = jobs.await
    {
        error!(%error, "what runs the jobs ended badly");
    }
    if let Some(keeper) = way.keeper {
        keeper.ended().await;
    }
    let _ = end_listeners.send(true);
    for task in [Some(listeners), job_server, authority].into_iter().flatten() {
        let _a_panic_is_logged = tokio::time::timeout(DRAIN, task).await;
    }
    registry.close(DRAIN).await;
    if let Some(store) = store {
        store.close().await;
    }
    let _its_life_is_over = std::fs::remove_file(config.daemon.device_token_file());
    watchdog.abort();
    info!("ended");
    Ok(())
}

/// The store, if this daemon keeps state.
async fn open_store(config: &Config) -> Result<Option<Store>, Failure> {
    if !settings::keeps_state(config) {
        return Ok(None);
    }
    let opened = Store::open(&store::Settings::of(&config.store, &config.daemon.state_dir), &rooms::migrations()).await;
    opened.map(Some).map_err(|error| Failure::Unavailable(format!("store: {error}")))
}

/// The authority for the certificates of nodes, and with it those of this daemon's own servers that have no files.
async fn open_identity(config: &Config, store: Option<&Store>) -> Result<Option<Identity>, Failure> {
    let Some(store) = store.filter(|_| config.has_authority()) else { return Ok(None) };
    let identity = Identity::open(store.clone(), settings::identity(config))
        .await
        .map_err(|error| Failure::Unavailable(error.to_string()))?;
    identity.certify_servers(&settings::issuing(config)).map_err(|error| Failure::Usage(format!("names: {error}")))?;
    Ok(Some(identity))
}

fn certificates(loaded: &Loaded, identity: Option<&Identity>) -> Result<Option<Certificates>, Failure> {
    let local = identity.map(Identity::local).unwrap_or_default();
    let files = settings::server_files(&loaded.config.http);
    let read = files.map(|files| Certificates::read(&files, local)).transpose();
    read.map_err(|error| Failure::Usage(format!("http.tls: {error}")))
}

async fn bind_http(loaded: &Loaded, certificates: Option<Certificates>) -> Result<http::Server, Failure> {
    let http = &loaded.config.http;
    let (limits, _) = settings::http_limits(http);
    let listeners = if http.enabled {
        Listeners { tcp: http.listen.clone(), unix: Some(http.socket.clone()), certificates, limits }
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
