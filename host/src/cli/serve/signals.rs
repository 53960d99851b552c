//! Signals: an end is asked for once; SIGHUP has the configuration read again.

use std::sync::Arc;

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};
use tracing::{error, info, warn};

use super::tell;
use crate::{
    cli::{exit::Failure, place::Place},
    config::{Config, Loaded},
    telemetry::{Notifier, State},
};

/// The signals that the daemon answers.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Takes the signals over from their defaults.
    pub fn new() -> Result<Self, Failure> {
        let take = |kind| signal(kind).map_err(|error| Failure::Bug(format!("a signal cannot be taken over: {error}")));
        Ok(Self {
            terminate: take(SignalKind::terminate())?,
            interrupt: take(SignalKind::interrupt())?,
            hang_up: take(SignalKind::hangup())?,
        })
    }

    /// Tells the daemon to stop at the first SIGTERM or SIGINT, and never returns: the daemon's own end does.
    pub async fn wait_for_end(
        &mut self,
        place: &Place,
        loaded: &Loaded,
        notifier: &Arc<Notifier>,
        stop: &watch::Sender<bool>,
    ) {
        loop {
            let name = tokio::select! {
                _ = self.terminate.recv() => "SIGTERM",
                _ = self.interrupt.recv() => "SIGINT",
                _ = self.hang_up.recv() => {
                    tell(notifier, State::Reloading);
                    reload(place, &loaded.config);
                    tell(notifier, State::Ready);
                    continue;
                }
            };
            if stop.send_replace(true) {
                warn!(signal = name, "already ending");
            } else {
                info!(signal = name, "asked to end");
                tell(notifier, State::Stopping);
            }
        }
    }
}

/// Reads the configuration again. A fault keeps the running one; a difference is named with what it takes.
fn reload(place: &Place, running: &Config) {
    match place.load_all(&[]) {
        Err(failure) => error!("the configuration was read again and the running one is kept: {failure}"),
        Ok(loaded) => {
            let sections = changed(running, &loaded.config);
            if sections.is_empty() {
                info!("the configuration was read again; nothing changed");
            } else {
                warn!(sections = sections.join(" "), "the configuration was read again; restart to apply what changed");
            }
        }
    }
}

fn changed(a: &Config, b: &Config) -> Vec<&'static str> {
    [
        ("daemon", a.daemon != b.daemon),
        ("http", a.http != b.http),
        ("store", a.store != b.store),
        ("gearman", a.gearman != b.gearman),
        ("drivers", a.drivers != b.drivers),
        ("known_drivers", a.known_drivers != b.known_drivers),
        ("cloud_farm", a.cloud_farm != b.cloud_farm),
        ("worker", a.worker != b.worker),
        ("telemetry", a.telemetry != b.telemetry),
    ]
    .into_iter()
    .filter_map(|(name, differs)| differs.then_some(name))
    .collect()
}

/// Tells the service manager at half its limit that the daemon lives.
pub async fn feed_watchdog(notifier: Arc<Notifier>) {
    let Some(interval) = notifier.watchdog_interval() else { return };
    let mut ticks = tokio::time::interval(interval);
    loop {
        ticks.tick().await;
        tell(&notifier, State::Watchdog);
    }
}
