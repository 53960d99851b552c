//! Who may call now: so many at a time, and so many waiting for a place or for their turn.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use capstan_plugin_api::{DriverError, SerialBy};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::turns::{Turn, Turns, waited_too_long};

/// Admission to one generation of a driver. Places are the generation's own, so that calls which hang in the one before take none
/// from it; turns are the driver's.
pub(super) struct Gate {
    places: Arc<Semaphore>,
    most: usize,
    waiting: AtomicUsize,
    longest_queue: usize,
    turns: Arc<Turns>,
}

/// What a call holds: its place, given back when it ends or is given up for lost, and its turn, given back only when the driver
/// has let go of the call.
#[derive(Default)]
pub(super) struct Pass {
    pub place: Option<OwnedSemaphorePermit>,
    pub turn: Option<Arc<Turn>>,
}

struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Gate {
    pub fn new(max_concurrency: usize, max_queue: usize, turns: Arc<Turns>) -> Self {
        let most = max_concurrency.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            places: Arc::new(Semaphore::new(most)),
            most,
            waiting: AtomicUsize::new(0),
            longest_queue: max_queue,
            turns,
        }
    }

    /// Calls that may run at the same time.
    pub const fn most(&self) -> usize {
        self.most
    }

    /// Calls that run.
    pub fn running(&self) -> usize {
        self.most.saturating_sub(self.places.available_permits())
    }

    /// Calls that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    /// Waits for the turn of a device, at most until `deadline`.
    pub async fn turn(&self, by: SerialBy, device: Option<&str>, deadline: Instant) -> Result<Arc<Turn>, DriverError> {
        if let Some(turn) = self.turns.take(by, device) {
            return Ok(Arc::new(turn));
        }
        let _waiting = self.wait("calls for one at a time")?;
        self.turns.wait(by, device, deadline).await.map(Arc::new)
    }

    /// Waits for a place, at most until `deadline`.
    pub async fn place(&self, deadline: Instant) -> Result<OwnedSemaphorePermit, DriverError> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(place);
        }
        let _waiting = self.wait("calls at the same time")?;
        match tokio::time::timeout_at(deadline.into(), Arc::clone(&self.places).acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_closed)) => Err(DriverError::unavailable("the driver is being closed")),
            Err(_elapsed) => Err(waited_too_long()),
        }
    }

    fn wait(&self, for_what: &str) -> Result<Waiting<'_>, DriverError> {
        let before = self.waiting.fetch_add(1, Ordering::AcqRel);
        let waiting = Waiting(&self.waiting);
        if before < self.longest_queue {
            return Ok(waiting);
        }
        Err(DriverError::unavailable("the driver is busy").for_operator(format!(
            "{} {for_what} are out and {before} wait (max_concurrency {}, max_queue {})",
            self.running(),
            self.most,
            self.longest_queue
        )))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use capstan_plugin_api::ErrorCode;

    use super::*;

    #[tokio::test]
    async fn one_more_than_the_queue_holds_is_refused_at_once() {
        let soon = || Instant::now() + Duration::from_secs(5);
        let gate = Arc::new(Gate::new(1, 1, Arc::new(Turns::new())));
        let first = gate.place(soon()).await.unwrap();
        let second = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.place(soon()).await.is_ok() }
        });
        while gate.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        let third = gate.place(soon()).await.err().unwrap();
        assert_eq!(third.code, ErrorCode::UNAVAILABLE);
        assert_eq!((gate.running(), gate.waiting()), (1, 1));
        drop(first);
        assert!(second.await.unwrap());
        assert_eq!((gate.running(), gate.waiting()), (0, 0));
        let turn = gate.turn(SerialBy::Device, Some("a"), soon()).await.unwrap();
        let second = gate.turn(SerialBy::Device, Some("a"), Instant::now() + Duration::from_millis(20)).await;
        assert_eq!(second.err().unwrap().code, ErrorCode::TIMEOUT);
        drop(turn);
    }
}
