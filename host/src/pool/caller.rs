//! A driver as the pool calls it: of no more at a time than the driver does at a time. What is beyond waits here, where neither the
//! length of the driver's queue nor the time for a call counts.

use std::sync::{Arc, Mutex, PoisonError};

use capstan_plugin_api::DriverError;
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::Semaphore;

use crate::drivers::{CallOptions, DriverHandle};

/// A driver. Clones share its places.
#[derive(Clone)]
pub(super) struct Caller {
    handle: DriverHandle,
    places: Arc<Semaphore>,
}

impl Caller {
    pub fn new(handle: DriverHandle) -> Self {
        let places = Arc::new(Semaphore::new(handle.max_concurrency()));
        Self { handle, places }
    }

    /// Name in `known_drivers`, without the kind.
    pub fn name(&self) -> &str {
        self.handle.name()
    }

    /// The driver answers `method`.
    pub fn has(&self, method: &str) -> bool {
        self.handle.has(method)
    }

    /// Calls the driver when it has a place. A call that goes on in the background has given its place back.
    ///
    /// # Errors
    /// As [`DriverHandle::call`].
    pub async fn call<P, R>(&self, method: &str, parameters: &P, options: CallOptions) -> Result<R, DriverError>
    where
        P: Serialize + Sync + ?Sized,
        R: DeserializeOwned,
    {
        // The semaphore is never closed.
        let place = Arc::new(Mutex::new(Arc::clone(&self.places).acquire_owned().await.ok()));
        let (held, told) = (Arc::clone(&place), options.on_pending.clone());
        let options = CallOptions {
            on_pending: Some(Arc::new(move |pending| {
                held.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(told) = &told {
                    told(pending);
                }
            })),
            ..options
        };
        let answer = self.handle.call(method, parameters, options).await;
        drop(place);
        answer
    }
}
