//! Which daemon runs the schedules: the holder of one lease.

use tracing::{info, warn};

use super::Server;
use crate::{
    pool::{
        message::MESSAGE,
        shared::{BUILD, DELETE},
    },
    store::{
        Error, Transaction, jobs as work,
        leases::{self, Acquired},
    },
};

/// The lease under which the schedules run.
const LEASE: &str = "pool";

/// What a daemon finds that takes over the schedules.
struct TakenOver {
    /// Who had them before and did not give them back.
    before: Option<String>,
    /// Jobs of the pool that wait or run.
    jobs: u64,
}

impl TakenOver {
    fn look(tx: &mut Transaction<'_>, before: Option<String>) -> Result<Self, Error> {
        let is_of_pool = |kind: &str| [BUILD, DELETE, MESSAGE].contains(&kind);
        let counts = work::count(tx)?.into_iter();
        let live = counts.filter(|((kind, state), _)| is_of_pool(kind) && !state.is_final());
        Ok(Self { before, jobs: live.map(|(_, number)| number).sum() })
    }

    fn tell(&self) {
        if let Some(before) = &self.before {
            warn!(before, "the last daemon that ran the schedules ended without warning");
        }
        info!(jobs = self.jobs, "this daemon runs the schedules from now on; the jobs that wait go on");
    }
}

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
                Some(held) => leases::renew(tx, held, time).map(|lease| (Some(lease), None)),
                None => {
                    let before = leases::last_holder(tx, LEASE)?.filter(|before| *before != holder);
                    match leases::acquire(tx, LEASE, &holder, time)? {
                        Acquired::Taken(lease) => Ok((Some(lease), Some(TakenOver::look(tx, before)?))),
                        Acquired::Held { .. } => Ok((None, None)),
                    }
                }
            })
            .await;
        match outcome {
            Ok((taken, over)) => {
                *lease = taken;
                over.iter().for_each(TakenOver::tell);
            }
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
