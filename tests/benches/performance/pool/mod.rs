//! The pool manager with the dummy cloud, as the daemon runs it.

pub mod build;
pub mod sweep;

use std::{
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use capstan_tests::{daemon::Site, http, pool::PoolSetup};
use serde_json::Value;

/// A site whose daemon keeps `nodes` nodes. `pool` and `cloud` are further TOML of `[pool]` and of the cloud's `extra_params`.
pub fn site(nodes: usize, pool: &str, cloud: &str) -> Site {
    let pool = format!("diagnostics = false\nnodes = {nodes}\nbuilds_at_once = 100\ncalls_per_second = 100000\n{pool}");
    PoolSetup { extra_params: cloud, pool: &pool, ..PoolSetup::DUMMY }.site()
}

/// What a path of the daemon answers.
pub fn get(site: &Site, path: &str) -> Value {
    let answer = http::get(site.http_port, path, "").expect("the daemon answers");
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    answer.json()
}

/// A count of the stock's nodes.
pub fn count(status: &Value, state: &str) -> u64 {
    status["stocks"][0]["counts"][state].as_u64().expect("a count of nodes")
}

/// Looks at the pool's status every 100 ms until it is as wanted; after `limit`, the status as it still is.
///
/// # Errors
/// It is not as wanted.
pub fn wait_until(site: &Site, limit: Duration, mut is_so: impl FnMut(&Value) -> bool) -> Result<(), Value> {
    let end = Instant::now() + limit;
    loop {
        let status = get(site, "/pool/v1/status");
        if is_so(&status) {
            return Ok(());
        }
        if Instant::now() >= end {
            return Err(status);
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// Milliseconds since 1970, as the daemon counts.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
    i64::try_from(since.as_millis()).expect("a time of this age")
}
