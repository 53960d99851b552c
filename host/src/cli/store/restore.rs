//! `capstan store restore`.

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

pub(super) fn restore(place: &Place, settings: &Settings, file: &Path, force: bool) -> Outcome {
    let brought = backup::bring_back(settings, &rooms::migrations(), file, force).map_err(failure)?;
    match place.output {
        Output::Json => output::json(&json!({
            "deployment": brought.header.deployment, "rows": brought.rows, "backup_of": brought.restored.backup_of,
            "restored_at": brought.restored.at, "set_aside": brought.set_aside,
        })),
        Output::Table => {
            let backup_of = time(brought.restored.backup_of);
            output::line(&format!("{} rows of {}, as of {backup_of}", brought.rows, brought.header.deployment));
            if let Some(path) = brought.set_aside {
                output::line(&format!("the file that was there before is now {}", path.display()));
            }
            output::note("the services compare the clouds with it before they act; start the daemon");
        }
    }
    Ok(())
}
