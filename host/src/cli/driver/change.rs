//! `capstan driver reload`, `rollback` and `restart`.

use serde_json::Value;

use super::named::loaded;
use crate::cli::{
    exit::Outcome,
    output::{self, Output},
    place::Place,
};

/// What the daemon is asked to do with a driver; a word of its paths.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    Reload,
    Rollback,
    Restart,
}

pub(super) async fn change(place: &Place, name: &str, change: Change) -> Outcome {
    let daemon = place.daemon()?;
    let list = daemon.get("/drivers/v1").await?;
    let (kind, name) = loaded(&list, name)?;
    let (word, done) = match change {
        Change::Reload => ("reload", "reloaded"),
        Change::Rollback => ("rollback", "rolled back"),
        Change::Restart => ("restart", "restarted"),
    };
    let changed = daemon.post(&format!("/drivers/v1/{kind}/{name}/{word}")).await?;
    if place.output == Output::Json {
        output::json(&changed);
        return Ok(());
    }
    output::line(&format!("{kind}.{name} {done}"));
    let row = |when: &str, edition: &Value| {
        let text = |key: &str| match &edition[key] {
            Value::String(text) => text.clone(),
            Value::Null => "-".to_owned(),
            other => other.to_string(),
        };
        vec![when.to_owned(), text("version"), text("generation"), text("sha256")]
    };
    let rows = [row("before", &changed["before"]), row("now", &changed["after"])];
    output::table(&["WHEN", "VERSION", "GENERATION", "SHA256"], rows);
    Ok(())
}
