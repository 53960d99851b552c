//! `capstan cloud`: the clouds of the farm.

use clap::Subcommand;
use serde_json::{Value, json};

use super::{
    client::Daemon,
    exit::{Failure, Outcome},
    output::{self, Output, segment, text},
    place::{Place, runtime},
};

/// What is asked.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The clouds: their driver, and whether it can be called
    List,
    /// One cloud, with all that its driver can do
    Show {
        /// Its name in the farm
        #[arg(default_value = "default")]
        cloud: String,
    },
    /// The images that nodes can be made from
    Images {
        /// The cloud's name in the farm
        #[arg(default_value = "default")]
        cloud: String,
    },
    /// The sizes that nodes can have
    Sizes {
        /// The cloud's name in the farm
        #[arg(default_value = "default")]
        cloud: String,
    },
}

/// Runs it.
pub fn run(place: &Place, command: Command) -> Outcome {
    runtime()?.block_on(async {
        let daemon = place.daemon()?;
        match command {
            Command::List => {
                let list = daemon.get("/clouds/v1/clouds").await?;
                print(
                    place,
                    &list,
                    "clouds",
                    &[
                        ("NAME", "name"),
                        ("ENGINE", "engine"),
                        ("STATE", "state"),
                        ("VERSION", "version"),
                        ("ERROR", "error"),
                    ],
                );
            }
            Command::Show { cloud } => {
                let shown = daemon.get(&path(&cloud)).await?;
                match place.output {
                    Output::Json => output::json(&shown),
                    Output::Table => {
                        for field in ["name", "engine", "state", "version", "error"] {
                            output::line(&format!("{field}: {}", text(&shown[field])));
                        }
                        let can: Vec<_> = shown["capabilities"].as_array().into_iter().flatten().map(text).collect();
                        output::line(&format!("can: {}", can.join(", ")));
                    }
                }
            }
            Command::Images { cloud } => {
                let list = all(&daemon, &format!("{}/images", path(&cloud)), "images").await?;
                print(place, &list, "images", &[("ID", "id"), ("NAME", "name")]);
            }
            Command::Sizes { cloud } => {
                let list = all(&daemon, &format!("{}/sizes", path(&cloud)), "sizes").await?;
                let columns = [
                    ("ID", "id"),
                    ("NAME", "name"),
                    ("RAM MIB", "ram_mib"),
                    ("DISK GIB", "disk_gib"),
                    ("VCPUS", "vcpus"),
                ];
                print(place, &list, "sizes", &columns);
            }
        }
        Ok(())
    })
}

/// The path of a cloud.
pub fn path(cloud: &str) -> String {
    format!("/clouds/v1/clouds/{}", segment(cloud))
}

/// All pages of a list.
pub async fn all(daemon: &Daemon, path: &str, name: &str) -> Result<Value, Failure> {
    let and = if path.contains('?') { '&' } else { '?' };
    let first = format!("{path}{and}limit=1000");
    let (mut rows, mut next) = (Vec::new(), first.clone());
    loop {
        let page = daemon.get(&next).await?;
        rows.extend(page[name].as_array().into_iter().flatten().cloned());
        let Some(cursor) = page["next"].as_str() else { return Ok(json!({ name: rows })) };
        next = format!("{first}&cursor={cursor}");
    }
}

/// A list in columns: heading and field.
pub fn print(place: &Place, list: &Value, name: &str, columns: &[(&str, &str)]) {
    if place.output == Output::Json {
        output::json(list);
        return;
    }
    let headings: Vec<_> = columns.iter().map(|(heading, _)| *heading).collect();
    let rows = list[name].as_array().cloned().unwrap_or_default();
    output::table(&headings, rows.iter().map(|row| columns.iter().map(|(_, field)| cell(&row[*field])).collect()));
}

fn cell(value: &Value) -> String {
    match value {
        Value::Array(items) if !items.is_empty() => items.iter().map(text).collect::<Vec<_>>().join(","),
        Value::Array(_) => "-".to_owned(),
        value => text(value),
    }
}
