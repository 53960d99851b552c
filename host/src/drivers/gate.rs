//! Who may call now: so many at a time, so many waiting, and one at a time for each serial key.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Instant,
};

use capstan_plugin_api::{DriverError, Retry};
use tokio::sync::{Notify, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};

/// Admission to one generation of a driver.
pub(super) struct Gate {
    places: Arc<Semaphore>,
    most: usize,
    waiting: AtomicUsize,
    longest_queue: usize,
    keys: Arc<Mutex<HashMap<String, Weak<Key>>>>,
}

/// What a call holds: its place, given back when it ends or is given up for lost, and its key, given back only when the driver
/// has let go of the call.
#[derive(Default)]
pub(super) struct Pass {
    pub place: Option<OwnedSemaphorePermit>,
    pub turn: Option<Arc<Turn>>,
}

/// The turn of one key.
pub(super) struct Turn {
    key: Arc<Key>,
    _guard: OwnedMutexGuard<()>,
}

impl Turn {
    /// The call that holds the turn ran past its deadline and is still out: whoever waits for the turn is told now.
    pub fn overrun(&self) {
        self.key.overrun.store(true, Ordering::Release);
        self.key.changed.notify_waiters();
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.key.overrun.store(false, Ordering::Release);
    }
}

struct Key {
    name: String,
    lock: Arc<tokio::sync::Mutex<()>>,
    overrun: AtomicBool,
    changed: Notify,
    keys: Arc<Mutex<HashMap<String, Weak<Key>>>>,
}

impl Key {
    /// Waits for the turn, unless the call that has it is given up for lost.
    async fn wait(&self, deadline: Instant) -> Result<OwnedMutexGuard<()>, DriverError> {
        let changed = self.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        if self.overrun.load(Ordering::Acquire) {
            return Err(overrun(&self.name));
        }
        tokio::select! {
            guard = tokio::time::timeout_at(deadline.into(), Arc::clone(&self.lock).lock_owned()) => {
                guard.map_err(|_elapsed| waited_too_long())
            }
            () = changed => Err(overrun(&self.name)),
        }
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        // Another key of this name may have taken the place since the last user of this one let go.
        if keys.get(&self.name).is_some_and(|kept| kept.strong_count() == 0) {
            keys.remove(&self.name);
        }
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Gate {
    pub fn new(max_concurrency: usize, max_queue: usize) -> Self {
        let most = max_concurrency.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            places: Arc::new(Semaphore::new(most)),
            most,
            waiting: AtomicUsize::new(0),
            longest_queue: max_queue,
            keys: Arc::default(),
        }
    }

    /// Calls that run.
    pub fn running(&self) -> usize {
        self.most.saturating_sub(self.places.available_permits())
    }

    /// Calls that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    /// Waits for the key's turn and for a place, at most until `deadline`.
    pub async fn enter(&self, key: Option<&str>, deadline: Instant) -> Result<Pass, DriverError> {
        let turn = match key {
            None => None,
            Some(key) => Some(self.turn(key, deadline).await?),
        };
        let place = self.place(deadline).await?;
        Ok(Pass { place: Some(place), turn })
    }

    /// Waits for a place only; for a call that has its turn already.
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

    async fn turn(&self, name: &str, deadline: Instant) -> Result<Arc<Turn>, DriverError> {
        let key = self.key(name);
        if let Ok(guard) = Arc::clone(&key.lock).try_lock_owned() {
            return Ok(Arc::new(Turn { key, _guard: guard }));
        }
        let _waiting = self.wait("calls for one at a time")?;
        let guard = key.wait(deadline).await?;
        Ok(Arc::new(Turn { key, _guard: guard }))
    }

    fn key(&self, name: &str) -> Arc<Key> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = keys.get(name).and_then(Weak::upgrade) {
            return key;
        }
        let key = Arc::new(Key {
            name: name.to_owned(),
            lock: Arc::default(),
            overrun: AtomicBool::new(false),
            changed: Notify::new(),
            keys: Arc::clone(&self.keys),
        });
        keys.insert(name.to_owned(), Arc::downgrade(&key));
        key
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

fn waited_too_long() -> DriverError {
    DriverError::timeout("the deadline passed while the call waited for its turn; the driver has not seen it")
        .retry(Retry::Now)
}

fn overrun(key: &str) -> DriverError {
    let what = if key.is_empty() { "an earlier call".to_owned() } else { format!("an earlier call for {key}") };
    DriverError::unavailable(format!("{what} ran past its deadline and is still out"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use capstan_plugin_api::ErrorCode;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    #[tokio::test]
    async fn one_more_than_the_queue_holds_is_refused_at_once() {
        let gate = Arc::new(Gate::new(1, 1));
        let first = gate.enter(None, soon()).await.unwrap();
        let second = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.enter(None, soon()).await.is_ok() }
        });
        while gate.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        let third = gate.enter(None, soon()).await.err().unwrap();
        assert_eq!(third.code, ErrorCode::UNAVAILABLE);
        assert_eq!((gate.running(), gate.waiting()), (1, 1));
        drop(first);
        assert!(second.await.unwrap());
        assert_eq!((gate.running(), gate.waiting()), (0, 0));
    }

    #[tokio::test]
    async fn a_key_is_one_at_a_time_and_is_forgotten_afterwards() {
        let gate = Gate::new(4, 4);
        let first = gate.enter(Some("a"), soon()).await.unwrap();
        let _other = gate.enter(Some("b"), soon()).await.unwrap();
        let late = gate.enter(Some("a"), Instant::now() + Duration::from_millis(20)).await.err().unwrap();
        assert_eq!(late.code, ErrorCode::TIMEOUT);
        drop(first);
        let again = gate.enter(Some("a"), soon()).await.unwrap();
        drop(again);
        assert_eq!(gate.keys.lock().unwrap().len(), 1, "only b is held");
    }

    #[tokio::test]
    async fn whoever_waits_behind_an_overrun_call_is_told_at_once() {
        let gate = Arc::new(Gate::new(4, 4));
        let first = gate.enter(Some("a"), soon()).await.unwrap();
        let waiter = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.enter(Some("a"), soon()).await.err() }
        });
        while gate.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        first.turn.as_ref().unwrap().overrun();
        assert_eq!(waiter.await.unwrap().unwrap().code, ErrorCode::UNAVAILABLE);
        let later = gate.enter(Some("a"), soon()).await.err().unwrap();
        assert!(later.message.contains("still out"), "{later}");
        drop(first);
        assert!(gate.enter(Some("a"), soon()).await.is_ok());
    }
}
