//! The end of a generation that serves no more: what it has begun is finished, then it is closed.

use std::{
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use tokio::{runtime::Handle, sync::watch, task::JoinHandle};

use super::Driver;
use crate::drivers::pipeline::Generation;

/// How often a generation is looked at whether a call is still out.
const LOOK: Duration = Duration::from_millis(10);
/// How often one that was left open because calls hang in it is looked at whether they came back.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// All generations that are being closed.
pub(in crate::drivers) struct Drains {
    tasks: Mutex<Vec<JoinHandle<()>>>,
    /// When the daemon wants to have ended.
    end: watch::Sender<Option<Instant>>,
}

/// How long the end of a generation may take.
#[derive(Clone, Copy)]
pub(in crate::drivers) struct Times {
    /// For the calls that are out.
    pub calls: Duration,
    /// For what was cancelled.
    pub grace: Duration,
}

impl Default for Drains {
    fn default() -> Self {
        Self { tasks: Mutex::default(), end: watch::Sender::new(None) }
    }
}

impl Drains {
    /// Lets the calls of a generation that nobody can reach any more end for at most `times.calls`, and closes it. Returns at once.
    pub fn begin(&self, runtime: &Handle, driver: &Arc<Driver>, generation: Arc<Generation>, times: Times) {
        let mut draining = driver.draining.lock().unwrap_or_else(PoisonError::into_inner);
        draining.retain(|generation| generation.strong_count() > 0);
        draining.push(Arc::downgrade(&generation));
        drop(draining);
        let (driver, end) = (Arc::clone(driver), self.end.subscribe());
        let task = runtime.spawn(async move {
            drain(&driver, &generation, times, end).await;
            driver.record().restarts += generation.executor.condition().restarts;
        });
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.retain(|task| !task.is_finished());
        tasks.push(task);
    }

    /// The daemon ends: no generation is put in place any more, and those that are draining have until `deadline`.
    pub fn end_by(&self, deadline: Instant) {
        self.end.send_replace(Some(deadline));
    }

    /// The daemon ends.
    pub fn is_ending(&self) -> bool {
        self.end.borrow().is_some()
    }

    /// Waits until all have been closed or given up.
    pub async fn ended(&self) {
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for task in tasks {
            let _a_panic_was_logged = task.await;
        }
    }
}

async fn drain(driver: &Driver, generation: &Arc<Generation>, times: Times, mut end: watch::Receiver<Option<Instant>>) {
    let (name, number) = (driver.full_name(), generation.number);
    let own = Instant::now() + times.calls;
    let deadline = |end: &watch::Receiver<Option<Instant>>| end.borrow().map_or(own, |end| end.min(own));
    // A caller holds the generation from before its call is handed over until it has the answer.
    while Arc::strong_count(generation) > 1 && Instant::now() < deadline(&end) {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            Ok(()) = end.changed() => {}
        }
    }
    let out = generation.calls.all();
    if !out.is_empty() && Instant::now() >= deadline(&end) {
        let calls = out.len();
        tracing::warn!(driver = %name, generation = number, calls, "calls are out when the time for draining is over; they are cancelled");
        generation.cut_off.store(true, Ordering::Release);
        out.iter().for_each(|call| generation.executor.cancel(call));
    }
    drop(out);
    generation.services.end();
    let left = deadline(&end).saturating_duration_since(Instant::now());
    let mut closed = generation.executor.close(left.max(times.grace)).await;
    if let Err(fault) = &closed {
        tracing::warn!(driver = %name, generation = number, "{fault}");
    }
    while closed.is_err() && end.borrow().is_none() {
        tokio::select! {
            () = tokio::time::sleep(LOOK_AGAIN) => {}
            _ = end.changed() => break,
        }
        closed = generation.executor.close(Duration::ZERO).await;
    }
    if closed.is_ok() {
        tracing::info!(driver = %name, generation = number, "generation closed");
    }
}
