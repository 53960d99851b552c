//! `capstan store backup`.

use std::path::Path;

use serde_json::json;

use super::{failure, time};
use crate::{
    cli::{
        exit::Outcome,
        output::{self, Output},
        place::Place,
        rooms,
    },
    store::{Settings, backup},
};

pub(super) fn backup(place: &Place, settings: &Settings, file: &Path) -> Outcome {
    let taken = backup::take(settings, &rooms::migrations(), file).map_err(failure)?;
    match place.output {
        Output::Json => output::json(&json!({
            "file": file, "taken_at": taken.header.taken_at, "deployment": taken.header.deployment, "rows": taken.rows,
            "bytes": taken.bytes,
        })),
        Output::Table => output::line(&format!(
            "{}: {} rows of {}, {} KiB, as of {}",
            file.display(),
            taken.rows,
            taken.header.deployment,
            taken.bytes.div_ceil(1024),
            time(taken.header.taken_at)
        )),
    }
    Ok(())
}
