//! `capstan store check`.

use serde_json::json;

use super::failure;
use crate::{
    cli::{
        exit::{Failure, Outcome},
        output::{self, Output},
        place::Place,
        rooms,
    },
    store::{self, Error, Settings},
};

pub(super) fn check(place: &Place, settings: &Settings) -> Outcome {
    let checked = store::check(settings, &rooms::migrations(), &rooms::invariants()).map_err(unreadable)?;
    let number = checked.faults.len();
    match place.output {
        Output::Json => {
            output::json(&json!({ "whole": number == 0, "faults": checked.faults, "rows": checked.rows }));
        }
        Output::Table if number == 0 => output::line(&format!("whole: {} rows read", checked.rows)),
        Output::Table => checked.faults.iter().for_each(|fault| output::line(fault)),
    }
    if number == 0 {
        return Ok(());
    }
    Err(Failure::Failed(format!("found {number} faults in the store; {NEXT}")))
}

/// What follows a check that found the store damaged.
const NEXT: &str = "stop the daemon and bring a backup back with `capstan store restore FILE --force`";

/// The daemon's words for a damaged store advise this very check.
fn unreadable(error: Error) -> Failure {
    match error {
        Error::Corrupt(text) => Failure::Failed(format!("the store is damaged: {text}; {NEXT}")),
        other => failure(other),
    }
}
