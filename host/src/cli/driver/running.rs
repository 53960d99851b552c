//! What the daemon says of a driver, for `capstan driver info`.

use serde_json::Value;

use super::named::loaded;
use crate::{
    cli::{output, place::Place},
    config::KnownDriver,
};

/// The daemon's answer; none when no daemon answers, it does not know the driver, or has several instances of it.
pub(super) async fn ask(place: &Place, driver: &KnownDriver) -> Option<Value> {
    let daemon = place.daemon().ok()?;
    let list = daemon.get("/drivers/v1").await.ok()?;
    let (kind, name) = loaded(&list, &format!("{}.{}", driver.kind, driver.name)).ok()?;
    daemon.get(&format!("/drivers/v1/{kind}/{name}")).await.ok()
}

/// Prints it below what the file says; `sha256` is the file's.
pub(super) fn print(running: &Value, sha256: &str) {
    output::line("in the daemon");
    for (title, key) in [
        ("state", "state"),
        ("isolation", "isolation"),
        ("used by", "used_by"),
        ("version", "version"),
        ("generation", "generation"),
        ("sha256", "sha256"),
        ("rollback to", "rollback_sha256"),
        ("reloads", "reloads"),
        ("refused", "failed_reloads"),
        ("restarts", "restarts"),
        ("ends", "ends"),
        ("process", "pid"),
        ("calls", "calls"),
        ("errors", "errors"),
        ("panics", "panics"),
        ("running", "in_flight"),
        ("waiting", "queue"),
        ("lost threads", "lost_threads"),
        ("p50", "p50"),
        ("p99", "p99"),
        ("seconds", "seconds"),
        ("figures", "figures"),
        ("draining", "draining_generations"),
        ("retired", "retired_generations"),
        ("last error", "last_error"),
        ("last refusal", "last_reload_error"),
    ] {
        let text = match &running[key] {
            Value::Null => continue,
            Value::String(text) => text.clone(),
            Value::Array(names) if names.is_empty() => continue,
            Value::Object(counts) if counts.is_empty() => continue,
            Value::Object(counts) => {
                counts.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
            }
            Value::Number(time) if matches!(key, "p50" | "p99") => output::seconds(time.as_f64().unwrap_or_default()),
            Value::Array(names) => names.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
            other => other.to_string(),
        };
        output::line(&format!("  {title:14}{text}"));
    }
    if running["sha256"].as_str().is_some_and(|serving| serving != sha256) {
        let (kind, name) = (output::text(&running["kind"]), output::text(&running["name"]));
        output::note(&format!("the file is not the one that serves; `capstan driver reload {kind}.{name}` loads it"));
    }
}
