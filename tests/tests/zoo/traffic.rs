//! Calls to a good driver, at a steady rate.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use capstan::drivers::{CallOptions, DriverHandle};
use capstan_tests::wait_for;
use serde_json::{Value, json};
use tokio::{runtime::Runtime, task::JoinHandle};

const CALLERS: u64 = 4;
/// Of all callers together.
const CALLS_A_SECOND: u64 = 1000;

const ENOUGH: u64 = 100;

/// Calls that go on until they are stopped.
pub struct Traffic {
    begun: Instant,
    shared: Arc<Shared>,
    callers: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    calls: AtomicU64,
    failures: Mutex<Vec<String>>,
}

impl Traffic {
    pub fn start(runtime: &Runtime, driver: &DriverHandle) -> Self {
        let shared = Arc::<Shared>::default();
        let callers = (0..CALLERS).map(|_| runtime.spawn(call(driver.clone(), Arc::clone(&shared)))).collect();
        Self { begun: Instant::now(), shared, callers }
    }

    /// Ends the calls when there were enough to tell; answers how many there were a second. None may have failed.
    pub fn stop(self, runtime: &Runtime) -> f64 {
        wait_for("calls to the good driver", Duration::from_secs(20), || {
            (self.shared.calls.load(Ordering::Acquire) > ENOUGH).then_some(())
        });
        self.shared.stop.store(true, Ordering::Release);
        for caller in self.callers {
            runtime.block_on(caller).unwrap();
        }
        let calls = self.shared.calls.load(Ordering::Acquire);
        let failures = self.shared.failures.lock().unwrap();
        assert!(failures.is_empty(), "{} of {calls} calls failed: {:#?}", failures.len(), failures.first());
        calls as f64 / self.begun.elapsed().as_secs_f64()
    }
}

async fn call(driver: DriverHandle, shared: Arc<Shared>) {
    // Late ticks are made up for, so the rate holds when the machine is slow for a moment.
    let mut ticks = tokio::time::interval(Duration::from_micros(1_000_000 * CALLERS / CALLS_A_SECOND));
    while !shared.stop.load(Ordering::Acquire) {
        ticks.tick().await;
        let options = CallOptions { deadline: Some(Duration::from_secs(10)), ..CallOptions::default() };
        let outcome = driver.call::<_, Value>("apply", &json!({ "load_balancers": [{ "id": "a" }] }), options).await;
        match outcome {
            Ok(answer) if answer["load_balancers"][0]["id"] == "a" => {}
            other => shared.failures.lock().unwrap().push(format!("{other:?}")),
        }
        shared.calls.fetch_add(1, Ordering::AcqRel);
    }
}
