//! Asks each driver for its health from time to time, so that one that is ill shows before a call needs it.

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use capstan_plugin_api::{ErrorCode, SerialBy};

use super::{error::one_line, generations::Driver, registry::Inner};

/// How often it is looked whether drivers are to be asked, while they are not.
const SWITCHED_OFF: Duration = Duration::from_secs(10);

/// Watches a driver until nobody holds it any more. A health that does not come back costs the driver what any hung call costs it.
pub(super) fn watch(inner: &Arc<Inner>, driver: &Arc<Driver>) {
    let runtime = inner.runtime.clone();
    let (inner, driver) = (Arc::downgrade(inner), Arc::downgrade(driver));
    runtime.spawn(async move {
        loop {
            // Read each time, since a new table may say something else.
            let Some(settings) = inner.upgrade().map(|inner| inner.settings.load_full()) else { return };
            let (every, patience) = (settings.health_interval, settings.health_timeout);
            drop(settings);
            tokio::time::sleep(if every.is_zero() { SWITCHED_OFF } else { every }).await;
            if !every.is_zero() && look(&driver, patience).await.is_none() {
                return;
            }
        }
    });
}

/// None once the driver is gone.
async fn look(driver: &Weak<Driver>, patience: Duration) -> Option<()> {
    let driver = driver.upgrade()?;
    let Some(generation) = driver.serving() else { return Some(()) };
    let by = generation.manifest.serial_by;
    // A driver that takes one call at a time need not read while it works: it is asked when it does not, or next time.
    let is_serial = !matches!(by, SerialBy::None | SerialBy::Device);
    let turn = if is_serial { Some(generation.gate.turn(by, None, Instant::now()).await) } else { None };
    let Ok(_turn) = turn.transpose() else { return Some(()) };
    let found = match generation.executor.health(patience).await {
        Ok(_) => None,
        // The executor tells of it itself, and of more than this.
        Err(error) if error.code == ErrorCode::UNAVAILABLE => None,
        Err(error) => Some(one_line(&format!("unhealthy: {}: {error}", error.code))),
    };
    if !driver.serving().is_some_and(|now| Arc::ptr_eq(&now, &generation)) {
        return Some(());
    }
    let before = driver.unwell.swap(Arc::new(found.clone()));
    match (&*before, &found) {
        (None, Some(why)) => tracing::warn!(driver = %driver.full_name(), "{why}"),
        (Some(_), None) => tracing::info!(driver = %driver.full_name(), "healthy again"),
        _ => {}
    }
    Some(())
}
