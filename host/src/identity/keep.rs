//! What goes on as long as the daemon runs: the list of revoked certificates is kept fresh, the servers' own certificate is replaced in
//! time, and what has long ended is forgotten.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{AuthorityError, Identity, Life, records};
use crate::store::Error;

/// From one look at the list of revoked certificates to the next: what another daemon, or the pool, revokes holds here after this.
const LOOK: Duration = Duration::from_millis(500);

/// From one clearing to the next.
const CLEAR: Duration = Duration::from_secs(3600);

/// What has ended stays on record for so long, in milliseconds.
const KEPT: i64 = 30 * 86_400_000;

/// The names for which the servers of this process show a certificate of the authority; none where they have files.
#[derive(Clone, Debug, Default)]
pub struct Issuing(pub Vec<String>);

impl Identity {
    /// Certifies the servers of this process, and this process to them.
    ///
    /// # Errors
    /// A name is none; nothing can be signed.
    pub fn certify_servers(&self, names: &Issuing) -> Result<(), AuthorityError> {
        let Some(server) = self.0.local.server.as_ref().filter(|_| !names.0.is_empty()) else { return Ok(()) };
        let now =
            i64::try_from((time::OffsetDateTime::now_utc().unix_timestamp_nanos()) / 1_000_000).unwrap_or(i64::MAX);
        let certificate =
            self.0.authority.certify_server(&names.0, Life { from: now, until: now.saturating_add(self.life()) })?;
        server.replace(certificate);
        if let Some(client) = &self.0.local.client {
            let config = self
                .0
                .authority
                .certify_own_client(&client.name, Life { from: now, until: now.saturating_add(self.life()) })?;
            self.0.own_client.send_replace(Some(Arc::new(config)));
        }
        Ok(())
    }

    /// Runs until the end.
    pub async fn keep(self, names: Issuing, mut end: watch::Receiver<bool>) {
        let (mut certified, mut cleared, mut seen) = (Instant::now(), None::<Instant>, None);
        let half = self.0.settings.life / 2;
        let mut is_failing = false;
        loop {
            tokio::select! {
                _ = end.wait_for(|end| *end) => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            let outcome = self.refresh(&mut seen).await;
            if let (Err(error), false) = (&outcome, is_failing) {
                tracing::warn!(%error, "which certificates are revoked cannot be read; those that are known to be stay so");
            }
            is_failing = outcome.is_err();
            if certified.elapsed() >= half {
                certified = Instant::now();
                if let Err(error) = self.certify_servers(&names) {
                    tracing::error!(%error, "the servers of this daemon get no new certificate");
                }
            }
            if cleared.is_none_or(|at| at.elapsed() >= CLEAR) {
                cleared = Some(Instant::now());
                let cleared = self.0.store.write(|tx| {
                    let before = tx.now().saturating_sub(KEPT);
                    records::forget(tx, before)
                });
                let _next_hour_then: Result<(), Error> = cleared.await;
            }
        }
    }
}
