//! The configuration is read again: what differs in the drivers and in the pool is done at once, the rest is named.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

use super::{roles, tell};
use crate::{
    cli::{
        place::{Place, SetByOption},
        settings,
    },
    config::{Config, Loaded, Secret},
    drivers::Registry,
    http::Certificates,
    pool::{Applied, Pool},
    telemetry::{Notifier, Scrubber, State},
};

/// The parts of the daemon that follow another configuration.
#[derive(Clone)]
pub struct Parts {
    pub registry: Registry,
    pub pool: Option<Pool>,
}

/// Reads the configuration again when it is asked to.
pub struct Reloader {
    place: Place,
    options: Vec<SetByOption>,
    /// What is in force; for sections that need a restart, what the daemon was started with.
    running: Config,
    scrubber: Scrubber,
    /// Every secret that may be in the hands of a driver, also of one that has been replaced.
    secrets: Vec<Secret>,
    /// None until the daemon is put together.
    parts: watch::Receiver<Option<Parts>>,
    notifier: Arc<Notifier>,
    /// Of the HTTP listeners, if they speak TLS.
    certificates: Option<Certificates>,
}

impl Reloader {
    pub fn new(
        place: &Place,
        options: Vec<SetByOption>,
        loaded: &Loaded,
        scrubber: Scrubber,
        parts: watch::Receiver<Option<Parts>>,
        notifier: &Arc<Notifier>,
    ) -> Self {
        Self {
            place: place.clone(),
            options,
            running: loaded.config.clone(),
            scrubber,
            secrets: loaded.secret_values(),
            parts,
            notifier: Arc::clone(notifier),
            certificates: None,
        }
    }

    /// Has these read again as well, whether their names have changed or not: whoever renews a certificate keeps its name.
    pub fn certificates(mut self, certificates: Option<Certificates>) -> Self {
        self.certificates = certificates;
        self
    }

    /// One reload for each time that is asked, one after the other.
    pub async fn serve(mut self, mut asked: mpsc::Receiver<()>) {
        while asked.recv().await.is_some() {
            let Ok(parts) = self.parts.wait_for(Option::is_some).await.map(|parts| parts.clone()) else { return };
            let Some(parts) = parts else { return };
            tell(&self.notifier, State::Reloading);
            let taken_over = self.reload(&parts).await;
            let status = if taken_over { "reloaded" } else { "the configuration was not taken over: see the log" };
            tell(&self.notifier, State::Status(status));
            tell(&self.notifier, State::Ready);
        }
    }

    async fn reload(&mut self, parts: &Parts) -> bool {
        let (place, options) = (self.place.clone(), self.options.clone());
        // Files are read, those of drivers too.
        let reading = tokio::task::spawn_blocking(move || place.load_all(&options));
        let loaded = match reading.await {
            Ok(Ok(loaded)) => loaded,
            Ok(Err(failure)) => {
                error!("the configuration was read again and the running one is kept: {failure}");
                return false;
            }
            Err(error) => {
                error!(%error, "the configuration cannot be read again");
                return false;
            }
        };
        for warning in &loaded.warnings {
            warn!("{warning}");
        }
        let new = loaded.secret_values().into_iter().filter(|secret| !self.secrets.contains(secret));
        let new: Vec<Secret> = new.collect();
        self.secrets.extend(new);
        self.scrubber.replace(self.secrets.iter().map(Secret::expose));
        let user_data = match &parts.pool {
            Some(_) => roles::user_data(&loaded.config.pool, self.running.identity.url.is_some()),
            None => Ok(BTreeMap::new()),
        };
        let user_data = match user_data {
            Ok(user_data) => user_data,
            Err(fault) => {
                error!("the configuration was read again and the running one is kept: {fault}");
                return false;
            }
        };
        let applied = match parts.registry.apply(settings::driver_settings(&loaded.config, |_| true)).await {
            Ok(applied) => applied,
            Err(faults) => {
                for fault in &faults.0 {
                    error!("{fault}");
                }
                error!(faults = faults.0.len(), "the configuration was read again and the running one is kept");
                return false;
            }
        };
        let tls_before = self.running.http.tls.clone();
        if !self.reload_certificates(&loaded.config) {
            return false;
        }
        let tls_follows = self.running.http.tls != tls_before;
        if tls_follows {
            info!("the configuration was read again and http.tls follows it");
        }
        self.running.drivers = loaded.config.drivers.clone();
        self.running.known_drivers = loaded.config.known_drivers.clone();
        let of_pool = match &parts.pool {
            Some(pool) => pool.apply(&loaded.config.pool, user_data),
            None => Applied::default(),
        };
        let mut rest: Vec<&str> = needs_restart(&self.running, &loaded.config);
        rest.extend(of_pool.needs_restart.iter().map(String::as_str));
        if !applied.is_empty() {
            let changed: Vec<String> = applied.changed.iter().map(|one| format!("{}.{}", one.kind, one.name)).collect();
            info!(
                added = applied.added.join(" "),
                changed = changed.join(" "),
                removed = applied.removed.join(" "),
                "the configuration was read again and the drivers follow it"
            );
        }
        if !of_pool.is_empty() {
            info!(
                added = of_pool.added.join(" "),
                changed = of_pool.changed.join(" "),
                removed = of_pool.removed.join(" "),
                "the configuration was read again and the pool manager follows it"
            );
        }
        if applied.is_empty() && of_pool.is_empty() && !tls_follows && rest.is_empty() {
            info!("the configuration was read again; nothing changed");
        }
        if !rest.is_empty() {
            warn!(sections = rest.join(" "), "the configuration was read again; restart to apply what changed");
        }
        true
    }
}

impl Reloader {
    /// The files as they are named now. Faulty ones leave what is shown as it is.
    fn reload_certificates(&mut self, config: &Config) -> bool {
        let (Some(certificates), Some(files)) = (&self.certificates, settings::server_files(&config.http)) else {
            return true;
        };
        match certificates.reload(&files) {
            Ok(()) => {
                // For other names a certificate is made at the next start.
                let names = |config: &Config| config.http.tls.as_ref().map(|tls| tls.identity.names().to_vec());
                if names(config) == names(&self.running) {
                    self.running.http.tls.clone_from(&config.http.tls);
                }
                true
            }
            Err(error) => {
                error!("http.tls was read again and the running certificate is kept: {error}");
                false
            }
        }
    }
}

/// What the services were told of the farm at their start; the accounts are the drivers', which follow.
fn clouds(config: &Config) -> impl Iterator<Item = (&str, &str)> {
    config.cloud_farm.iter().map(|cloud| (cloud.name.as_str(), cloud.engine.as_str()))
}

/// Sections that differ and that a reload does not apply.
fn needs_restart(a: &Config, b: &Config) -> Vec<&'static str> {
    [
        ("daemon", a.daemon != b.daemon),
        ("http", a.http != b.http),
        ("store", a.store != b.store),
        ("gearman", a.gearman != b.gearman),
        ("identity", a.identity != b.identity),
        ("cloud_farm", clouds(a).ne(clouds(b))),
        ("worker", a.worker != b.worker),
        ("lbaas", a.lbaas != b.lbaas),
        ("telemetry", a.telemetry != b.telemetry),
    ]
    .into_iter()
    .filter_map(|(name, differs)| differs.then_some(name))
    .collect()
}
