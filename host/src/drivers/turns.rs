//! Whose turn it is: calls that a driver wants one at a time. The turns belong to the driver, not to a generation, so that the
//! next generation waits for what the one before still does to a device.
//!
//! A driver has one lock, and each device another. A call holds both, shared or alone, as its generation's manifest says:
//!
//! | `serial_by` | the driver's | the device's |
//! |---|---|---|
//! | `none` | shared | shared |
//! | `device` | shared | alone |
//! | `instance` | alone | |
//!
//! Hence no two calls of one device overlap if one of them must not, also when two generations say different things.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Instant,
};

use capstan_plugin_api::{DriverError, Retry, SerialBy};
use tokio::sync::{Notify, OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

type Keys = Arc<Mutex<HashMap<String, Weak<Key>>>>;

/// The turns of one driver, over all its generations.
pub(super) struct Turns {
    driver: Arc<Key>,
    devices: Keys,
}

/// The turn of one call; given back when it is dropped.
pub(super) struct Turn {
    driver: Hold,
    device: Option<Hold>,
}

#[derive(Clone, Copy, PartialEq)]
enum Way {
    Shared,
    Alone,
}

struct Hold {
    key: Arc<Key>,
    overran: AtomicBool,
    _guard: Guard,
}

#[allow(dead_code, reason = "held, not looked at")]
enum Guard {
    Shared(OwnedRwLockReadGuard<()>),
    Alone(OwnedRwLockWriteGuard<()>),
}

/// A lock with a name; empty for the driver's own.
struct Key {
    name: String,
    lock: Arc<RwLock<()>>,
    /// Holders that ran past their deadline and are still out.
    overrun: AtomicUsize,
    changed: Notify,
    keys: Keys,
}

impl Turns {
    pub fn new() -> Self {
        let devices = Keys::default();
        Self { driver: Arc::new(Key::new("", &devices)), devices }
    }

    /// The turn, when it is to be had at once.
    pub fn take(&self, by: SerialBy, device: Option<&str>) -> Option<Turn> {
        let (driver_way, device_way) = ways(by);
        let driver = self.driver.take(driver_way)?;
        let device = match (device_way, device) {
            (Some(way), Some(name)) => Some(self.device(name).take(way)?),
            _ => None,
        };
        Some(Turn { driver, device })
    }

    /// Waits for the turn until `deadline`, unless a call that has it is given up for lost.
    pub async fn wait(&self, by: SerialBy, device: Option<&str>, deadline: Instant) -> Result<Turn, DriverError> {
        let (driver_way, device_way) = ways(by);
        let driver = self.driver.wait(driver_way, deadline).await?;
        let device = match (device_way, device) {
            (Some(way), Some(name)) => Some(self.device(name).wait(way, deadline).await?),
            _ => None,
        };
        Ok(Turn { driver, device })
    }

    fn device(&self, name: &str) -> Arc<Key> {
        let mut devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = devices.get(name).and_then(Weak::upgrade) {
            return key;
        }
        let key = Arc::new(Key::new(name, &self.devices));
        devices.insert(name.to_owned(), Arc::downgrade(&key));
        key
    }
}

const fn ways(by: SerialBy) -> (Way, Option<Way>) {
    match by {
        SerialBy::None => (Way::Shared, Some(Way::Shared)),
        SerialBy::Device => (Way::Shared, Some(Way::Alone)),
        // `instance`, and whatever a later host may know.
        _ => (Way::Alone, None),
    }
}

impl Turn {
    /// The call that holds the turn ran past its deadline and is still out: whoever waits for the turn is told now.
    pub fn overrun(&self) {
        for hold in [Some(&self.driver), self.device.as_ref()].into_iter().flatten() {
            if !hold.overran.swap(true, Ordering::AcqRel) {
                hold.key.overrun.fetch_add(1, Ordering::AcqRel);
                hold.key.changed.notify_waiters();
            }
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if *self.overran.get_mut() {
            self.key.overrun.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl Key {
    fn new(name: &str, keys: &Keys) -> Self {
        Self {
            name: name.to_owned(),
            lock: Arc::default(),
            overrun: AtomicUsize::new(0),
            changed: Notify::new(),
            keys: Arc::clone(keys),
        }
    }

    fn take(self: &Arc<Self>, way: Way) -> Option<Hold> {
        let lock = Arc::clone(&self.lock);
        let guard = match way {
            Way::Shared => Guard::Shared(lock.try_read_owned().ok()?),
            Way::Alone => Guard::Alone(lock.try_write_owned().ok()?),
        };
        Some(self.held(guard))
    }

    async fn wait(self: &Arc<Self>, way: Way, deadline: Instant) -> Result<Hold, DriverError> {
        let changed = self.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        if let Some(hold) = self.take(way) {
            return Ok(hold);
        }
        if self.overrun.load(Ordering::Acquire) > 0 {
            return Err(overrun(&self.name));
        }
        let lock = Arc::clone(&self.lock);
        let guard = async {
            match way {
                Way::Shared => Guard::Shared(lock.read_owned().await),
                Way::Alone => Guard::Alone(lock.write_owned().await),
            }
        };
        tokio::select! {
            guard = tokio::time::timeout_at(deadline.into(), guard) => match guard {
                Ok(guard) => Ok(self.held(guard)),
                Err(_elapsed) => Err(waited_too_long()),
            },
            () = changed => Err(overrun(&self.name)),
        }
    }

    fn held(self: &Arc<Self>, guard: Guard) -> Hold {
        Hold { key: Arc::clone(self), overran: AtomicBool::new(false), _guard: guard }
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

pub(super) fn waited_too_long() -> DriverError {
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
    async fn a_device_is_one_at_a_time_and_is_forgotten_afterwards() {
        let turns = Turns::new();
        let first = turns.take(SerialBy::Device, Some("a")).unwrap();
        let _other = turns.take(SerialBy::Device, Some("b")).unwrap();
        assert!(turns.take(SerialBy::Device, Some("a")).is_none());
        let soon_over = Instant::now() + Duration::from_millis(20);
        let late = turns.wait(SerialBy::Device, Some("a"), soon_over).await.err().unwrap();
        assert_eq!(late.code, ErrorCode::TIMEOUT);
        drop(first);
        drop(turns.wait(SerialBy::Device, Some("a"), soon()).await.unwrap());
        assert_eq!(turns.devices.lock().unwrap().len(), 1, "only b is held");
    }

    #[tokio::test]
    async fn whoever_waits_behind_an_overrun_call_is_told_at_once() {
        let turns = Arc::new(Turns::new());
        let first = turns.take(SerialBy::Device, Some("a")).unwrap();
        let waiter = tokio::spawn({
            let turns = Arc::clone(&turns);
            async move { turns.wait(SerialBy::Device, Some("a"), soon()).await.err() }
        });
        // Once it waits, it has let this task run.
        tokio::task::yield_now().await;
        first.overrun();
        first.overrun();
        assert_eq!(waiter.await.unwrap().unwrap().code, ErrorCode::UNAVAILABLE);
        let later = turns.wait(SerialBy::Device, Some("a"), soon()).await.err().unwrap();
        assert!(later.message.contains("for a ran past"), "{later}");
        let all = turns.wait(SerialBy::Instance, None, soon()).await.err().unwrap();
        assert!(all.message.contains("an earlier call ran past"), "{all}");
        assert!(turns.take(SerialBy::Device, Some("b")).is_some(), "another device is not concerned");
        drop(first);
        assert!(turns.wait(SerialBy::Instance, None, soon()).await.is_ok());
    }

    /// What may run beside what, also when one generation says one thing and the next another.
    #[test]
    fn generations_that_say_different_things_do_not_overlap_either() {
        use SerialBy::{Device, Instance, None as Any};
        let cases = [
            (Any, Any, "a", true),
            (Any, Device, "a", false),
            (Any, Device, "b", true),
            (Device, Any, "a", false),
            (Device, Any, "b", true),
            (Device, Device, "a", false),
            (Device, Device, "b", true),
            (Instance, Any, "b", false),
            (Instance, Device, "b", false),
            (Any, Instance, "b", false),
            (Device, Instance, "b", false),
            (Instance, Instance, "a", false),
        ];
        for (old, new, device, beside) in cases {
            let turns = Turns::new();
            let held = turns.take(old, Some("a")).unwrap();
            let taken = turns.take(new, Some(device)).is_some();
            assert_eq!(taken, beside, "{old:?} with a, {new:?} with {device}");
            drop(held);
            assert!(turns.take(new, Some(device)).is_some(), "{old:?}, {new:?}");
        }
    }
}
