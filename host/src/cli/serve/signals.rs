//! Signals: an end is asked for once; SIGHUP has the configuration read again.

use std::sync::Arc;

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, watch},
};
use tracing::{info, warn};

use super::tell;
use crate::{
    cli::exit::Failure,
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

    /// Asks for a reload at each SIGHUP, tells the daemon to stop at the first SIGTERM or SIGINT, and never returns: the daemon's own
    /// end does.
    pub async fn wait_for_end(
        &mut self,
        reload: &mpsc::Sender<()>,
        notifier: &Arc<Notifier>,
        stop: &watch::Sender<bool>,
    ) {
        loop {
            let name = tokio::select! {
                _ = self.terminate.recv() => "SIGTERM",
                _ = self.interrupt.recv() => "SIGINT",
                _ = self.hang_up.recv() => {
                    // One that is asked for and has not begun reads what is there when it begins.
                    let _asked_already = reload.try_send(());
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

/// Tells the service manager at half its limit that the daemon lives.
pub async fn feed_watchdog(notifier: Arc<Notifier>) {
    let Some(interval) = notifier.watchdog_interval() else { return };
    let mut ticks = tokio::time::interval(interval);
    loop {
        ticks.tick().await;
        tell(&notifier, State::Watchdog);
    }
}
