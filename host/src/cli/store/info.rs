//! `capstan store info`.

use serde_json::{Value, json};

use super::{failure, time};
use crate::{
    cli::{
        exit::Outcome,
        output::{self, Output},
        place::Place,
        rooms,
    },
    store::{self, Location, Settings},
};

pub(super) fn info(place: &Place, settings: &Settings) -> Outcome {
    let facts = store::facts(settings, &rooms::migrations()).map_err(failure)?;
    let url = match &settings.location {
        Location::Postgres { url, .. } => url.clone(),
        Location::Sqlite(path) => format!("sqlite:{}", path.display()),
    };
    if place.output == Output::Json {
        let schema: serde_json::Map<String, Value> =
            facts.schema.iter().map(|(room, version)| (room.clone(), (*version).into())).collect();
        let tables: serde_json::Map<String, Value> =
            facts.tables.iter().map(|table| (table.name.clone(), table.rows.into())).collect();
        let restored = facts.restored.map(|restored| json!({ "at": restored.at, "backup_of": restored.backup_of }));
        output::json(&json!({
            "url": url, "deployment": facts.deployment, "bytes": facts.bytes, "schema": schema, "rows": tables,
            "restored": restored,
        }));
        return Ok(());
    }
    output::line(&format!("{url}, {} KiB, deployment {}", facts.bytes.div_ceil(1024), facts.deployment));
    if let Some(restored) = facts.restored {
        output::line(&format!("restored {} from a backup of {}", time(restored.at), time(restored.backup_of)));
    }
    let versions = facts.schema.iter().map(|(room, version)| format!("{room} {version}")).collect::<Vec<_>>();
    output::line(&format!("tables of {}", versions.join(", ")));
    output::table(&["TABLE", "ROWS"], facts.tables.into_iter().map(|table| vec![table.name, table.rows.to_string()]));
    Ok(())
}
