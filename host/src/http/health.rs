//! `/livez` answers while the process does; `/readyz` answers 200 when every check passes, else 503 naming those that fail.

use std::sync::{Arc, Mutex, PoisonError};

use axum::{Json, extract::State, http::StatusCode};
use serde_json::{Value, json};

use super::{Access, Caller, Routes};

/// A check: `Err` says in one line what is wrong.
pub type Check = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The checks of everything that the daemon runs.
#[derive(Clone, Default)]
pub struct Readiness(Arc<Mutex<Vec<(String, Check)>>>);

impl Readiness {
    /// Adds a check under a name.
    pub fn add(&self, name: impl Into<String>, check: Check) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((name.into(), check));
    }

    /// Runs all checks: whether every one passed, and what each said.
    pub fn run(&self) -> (bool, Value) {
        let checks = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut ready = true;
        let mut said = serde_json::Map::new();
        for (name, check) in checks {
            let result = check();
            ready &= result.is_ok();
            said.insert(name, result.map_or_else(Value::String, |()| json!("ok")));
        }
        (ready, Value::Object(said))
    }
}

pub(super) fn routes(readiness: Readiness) -> Routes {
    Routes::new()
        .get("/livez", Access::Open, "whether the process answers", async || Json(json!({ "status": "live" })))
        .get("/readyz", Access::Open, "whether the daemon can serve, and for who may look, why not", ready)
        .with_state(readiness)
}

async fn ready(State(readiness): State<Readiness>, caller: Caller) -> (StatusCode, Json<Value>) {
    let (ready, checks) = readiness.run();
    let (status, word) = if ready { (StatusCode::OK, "ready") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready") };
    let body = if caller.may_view() { json!({ "status": word, "checks": checks }) } else { json!({ "status": word }) };
    (status, Json(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failing_check_makes_the_daemon_not_ready_and_is_named() {
        let readiness = Readiness::default();
        readiness.add("store", Arc::new(|| Ok(())));
        assert!(readiness.run().0);
        readiness.add("worker", Arc::new(|| Err("no job server answers".into())));
        let (ready, said) = readiness.run();
        assert!(!ready);
        assert_eq!(said, json!({ "store": "ok", "worker": "no job server answers" }));
    }
}
