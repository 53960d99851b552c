//! Whether the store can be relied on now.

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

/// Where the store's threads say how it goes.
#[derive(Clone)]
pub(super) struct Pulse(watch::Sender<Health>);

impl Pulse {
    pub fn new() -> Self {
        Self(watch::Sender::new(Health::Ready))
    }

    pub fn watch(&self) -> watch::Receiver<Health> {
        self.0.subscribe()
    }

    /// Something was stored or read.
    pub fn well(&self) {
        self.0.send_if_modified(|health| match health {
            // What is damaged is not mended by a write that went well beside the damage.
            Health::Ready | Health::Failing(Error::Corrupt(_)) => false,
            Health::Failing(_) => {
                tracing::info!("the store works again");
                *health = Health::Ready;
                true
            }
        });
    }

    /// The store failed; other errors are none of its health.
    pub fn failed(&self, error: &Error) {
        if !error.is_of_the_store() {
            return;
        }
        self.0.send_if_modified(|health| match health {
            Health::Failing(Error::Corrupt(_)) => false,
            Health::Failing(known) if known == error => false,
            _ => {
                tracing::error!(%error, "the store fails");
                *health = Health::Failing(error.clone());
                true
            }
        });
    }

    /// The damage that was found, if one was.
    pub fn damage(&self) -> Option<Error> {
        match &*self.0.borrow() {
            Health::Failing(error @ Error::Corrupt(_)) => Some(error.clone()),
            _ => None,
        }
    }
}
