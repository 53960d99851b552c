//! Asks each driver for its health from time to time, so that one that is ill shows before a call needs it.

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use capstan_plugin_api::{ErrorCode, SerialBy};
use tokio::runtime::Handle;

use super::{
    error::one_line,
    gate::Pass,
    handle::{Driver, Phase},
};

/// Watches a driver until nobody holds it any more. A health that does not come back costs the driver what any hung call costs it.
pub(super) fn watch(driver: &Arc<Driver>, every: Duration, patience: Duration, runtime: &Handle) {
    if every.is_zero() {
        return;
    }
    let driver = Arc::downgrade(driver);
    runtime.spawn(async move {
        loop {
            tokio::time::sleep(every).await;
            if look(&driver, patience).await.is_none() {
                return;
            }
        }
    });
}

/// None once the driver is gone.
async fn look(driver: &Weak<Driver>, patience: Duration) -> Option<()> {
    let driver = driver.upgrade()?;
    let generation = driver.generation.load_full().filter(|_| matches!(**driver.phase.load(), Phase::Loaded));
    let Some(generation) = generation else { return Some(()) };
    // A driver that takes one call at a time need not read while it works: it is asked when it does not, or next time.
    let key = (generation.manifest.serial_by == SerialBy::Instance).then_some("");
    let turn = match key {
        Some(_) => generation.gate.enter(key, Instant::now()).await,
        None => Ok(Pass::default()),
    };
    let Ok(_turn) = turn else { return Some(()) };
    let found = match generation.executor.health(patience).await {
        Ok(_) => None,
        // The executor tells of it itself, and of more than this.
        Err(error) if error.code == ErrorCode::UNAVAILABLE => None,
        Err(error) => Some(one_line(&format!("unhealthy: {}: {error}", error.code))),
    };
    let before = driver.unwell.swap(Arc::new(found.clone()));
    match (&*before, &found) {
        (None, Some(why)) => tracing::warn!(driver = %driver.entry.full_name(), "{why}"),
        (Some(_), None) => tracing::info!(driver = %driver.entry.full_name(), "healthy again"),
        _ => {}
    }
    Some(())
}
