//! Whether the store can be relied on now.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::Error;

/// Whether the store can be relied on now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Health {
    /// The last thing asked of it went well.
    Ready,
    /// It cannot be used: in one line, why and what to do. It tries by itself whether it can again.
    Failing(Error),
}

impl Health {
    /// In the form of a readiness check.
    ///
    /// # Errors
    /// The line for the operator.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Self::Ready => Ok(()),
            Self::Failing(error) => Err(error.to_string()),
        }
    }
}

/// On which way something went well or badly. A fault is over when the same way is good again, so that a store which can still be
/// read does not pass for one that can be written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Way {
    /// To the place of the store: its files and their disk.
    Place,
    /// Writing. What was written could be read as well.
    Write,
    /// Reading.
    Read,
}

/// Where the store's threads say how it goes.
#[derive(Clone)]
pub(super) struct Pulse {
    told: watch::Sender<Health>,
    /// The last fault on each way, in the order of [`Way`].
    faults: Arc<Mutex<[Option<Error>; 3]>>,
}

impl Pulse {
    pub fn new() -> Self {
        Self { told: watch::Sender::new(Health::Ready), faults: Arc::default() }
    }

    pub fn watch(&self) -> watch::Receiver<Health> {
        self.told.subscribe()
    }

    /// Something went well on this way.
    pub fn well(&self, way: Way) {
        if *self.told.borrow() == Health::Ready {
            return;
        }
        self.change(|faults| {
            faults[way as usize] = None;
            if way == Way::Write {
                faults[Way::Read as usize] = None;
            }
        });
    }

    /// The store failed on this way; other errors are none of its health.
    pub fn failed(&self, way: Way, error: &Error) {
        if error.is_of_the_store() {
            self.change(|faults| faults[way as usize] = Some(error.clone()));
        }
    }

    fn change(&self, change: impl FnOnce(&mut [Option<Error>; 3])) {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut faults);
        let health = faults.iter().flatten().next().map_or(Health::Ready, |error| Health::Failing(error.clone()));
        self.told.send_if_modified(|told| {
            // What is damaged is not mended by what goes well beside the damage.
            if *told == health || matches!(told, Health::Failing(Error::Corrupt(_))) {
                return false;
            }
            match &health {
                Health::Ready => tracing::info!("the store works again"),
                Health::Failing(error) => tracing::error!(%error, "the store fails"),
            }
            *told = health;
            true
        });
    }

    /// The damage that was found, if one was.
    pub fn damage(&self) -> Option<Error> {
        match &*self.told.borrow() {
            Health::Failing(error @ Error::Corrupt(_)) => Some(error.clone()),
            _ => None,
        }
    }
}
