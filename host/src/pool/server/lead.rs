//! Which daemon runs the schedules: the holder of one lease.

use tracing::warn;

use super::Server;
use crate::store::{
    Error,
    leases::{self, Acquired},
};

/// The lease under which the schedules run.
const LEASE: &str = "pool";

impl Server {
    /// Renews the lease while a long run goes on.
    pub(super) async fn keep_leading(&self, run: impl Future<Output = ()>) {
        tokio::pin!(run);
        loop {
            tokio::select! {
                () = &mut run => return,
                () = tokio::time::sleep(self.held / 3) => {
                    if !self.lead().await {
                        warn!("another daemon runs the schedules now; this run is given up");
                        return;
                    }
                }
            }
        }
    }

    /// Whether this daemon runs the schedules: takes the lease or renews it.
    pub(super) async fn lead(&self) -> bool {
        let mut lease = self.lease.lock().await;
        let (held, holder, time) = (lease.clone(), self.holder.clone(), self.held);
        let outcome = self
            .pool
            .store()
            .write(move |tx| match &held {
                Some(held) => leases::renew(tx, held, time).map(Some),
                None => match leases::acquire(tx, LEASE, &holder, time)? {
                    Acquired::Taken(lease) => Ok(Some(lease)),
                    Acquired::Held { .. } => Ok(None),
                },
            })
            .await;
        match outcome {
            Ok(taken) => *lease = taken,
            Err(Error::LeaseLost { .. }) => *lease = None,
            Err(error) => {
                warn!(%error, "the pool manager cannot tell whether it runs the schedules; it does not");
                return false;
            }
        }
        lease.is_some()
    }

    /// Gives the lease back.
    pub(super) async fn give_back(&self) {
        if let Some(lease) = self.lease.lock().await.take() {
            let released = self.pool.store().write(move |tx| leases::release(tx, &lease)).await;
            if let Err(error) = released {
                warn!(%error, "the pool manager's lease runs out by itself");
            }
        }
    }
}
