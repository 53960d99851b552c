//! `capstan node`: nodes of any cloud of the farm. The pool's own are `capstan pool nodes`.

use std::{collections::BTreeMap, path::PathBuf};

use capstan_plugin_api::cloud::node_state;
use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};

use super::{
    client::{Ask, Daemon},
    cloud,
    exit::{Failure, Outcome},
    output::{self, Output, segment, text},
    place::{Place, runtime},
    wait::{self, WaitOptions},
};

/// What is asked.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Nodes of one cloud, or of all
    List {
        /// The cloud's name in the farm; all clouds if it is left out
        #[arg(long, value_name = "CLOUD")]
        cloud: Option<String>,
        /// Only those of exactly this name
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// Only those in this state
        #[arg(long, value_name = "STATE", value_parser = STATES)]
        state: Option<String>,
        /// Only those with this tag
        #[arg(long, value_name = "NAME=VALUE")]
        tag: Option<String>,
    },
    /// One node
    Show {
        /// The cloud's id of it
        id: String,
        /// The cloud's name in the farm
        #[arg(long, value_name = "CLOUD", default_value = "default")]
        cloud: String,
    },
    /// Make a node; with --wait it is shown, its id too, once it runs
    Create(Box<Create>),
    /// Remove a node
    Delete {
        /// The cloud's id of it
        id: String,
        /// The cloud's name in the farm
        #[arg(long, value_name = "CLOUD", default_value = "default")]
        cloud: String,
        /// Also one that belongs to a pool, this deployment's or another's
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        wait: WaitOptions,
    },
}

/// A node to be made.
#[derive(Debug, Args)]
pub struct Create {
    /// Its name; one is made if it is left out
    name: Option<String>,
    /// The cloud's name in the farm
    #[arg(long, value_name = "CLOUD", default_value = "default")]
    cloud: String,
    /// Id or name; `capstan cloud images` lists them
    #[arg(long, value_name = "IMAGE")]
    image: String,
    /// Id or name; `capstan cloud sizes` lists them
    #[arg(long, value_name = "SIZE")]
    size: String,
    /// Id of the zone
    #[arg(long, value_name = "LOCATION")]
    location: Option<String>,
    /// Name of the key pair
    #[arg(long, value_name = "NAME")]
    key_pair: Option<String>,
    /// Name of a security group; may be given several times
    #[arg(long, value_name = "NAME")]
    security_group: Vec<String>,
    /// Id of a network; may be given several times
    #[arg(long, value_name = "ID")]
    network: Vec<String>,
    /// File whose text the node gets at its first start
    #[arg(long, value_name = "FILE")]
    user_data: Option<PathBuf>,
    /// A tag; may be given several times
    #[arg(long, value_name = "NAME=VALUE")]
    tag: Vec<String>,
    /// Asked again with the same key, the same node is meant
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    #[command(flatten)]
    wait: WaitOptions,
}

/// What a node's state may be.
const STATES: [&str; 7] = [
    node_state::PENDING,
    node_state::RUNNING,
    node_state::REBOOTING,
    node_state::STOPPED,
    node_state::TERMINATED,
    node_state::ERROR,
    node_state::UNKNOWN,
];

const COLUMNS: [(&str, &str); 7] = [
    ("CLOUD", "cloud"),
    ("ID", "id"),
    ("NAME", "name"),
    ("STATE", "state"),
    ("PUBLIC", "public_ips"),
    ("PRIVATE", "private_ips"),
    ("CREATED", "created_at"),
];

/// Runs it.
pub fn run(place: &Place, command: Command) -> Outcome {
    runtime()?.block_on(async {
        let daemon = place.daemon()?;
        match command {
            Command::List { cloud, name, state, tag } => {
                let filters = [("name", name), ("state", state), ("tag", tag)];
                let query: Vec<_> = filters
                    .into_iter()
                    .filter_map(|(name, value)| Some(format!("{name}={}", segment(&value?))))
                    .collect();
                list(place, &daemon, cloud, &query.join("&")).await
            }
            Command::Show { id, cloud } => {
                let shown = daemon.get(&path(&cloud, &id)).await?;
                match place.output {
                    Output::Json => output::json(&shown),
                    Output::Table => {
                        for (name, value) in shown.as_object().into_iter().flatten() {
                            output::line(&format!("{name}: {}", text(value)));
                        }
                    }
                }
                Ok(())
            }
            Command::Create(new) => create(place, &daemon, *new).await,
            Command::Delete { id, cloud, force, wait } => {
                let path = format!("{}?force={force}", path(&cloud, &id));
                let job = daemon.ask(Ask::change(Method::DELETE, &path)).await?;
                wait::operation(place, &daemon, job, wait, "done").await.map(drop)
            }
        }
    })
}

fn path(cloud: &str, id: &str) -> String {
    format!("{}/nodes/{}", cloud::path(cloud), segment(id))
}

/// Of all clouds, one that does not answer is told of and the others are shown.
async fn list(place: &Place, daemon: &Daemon, cloud: Option<String>, query: &str) -> Outcome {
    let is_one = cloud.is_some();
    let clouds = match cloud {
        Some(cloud) => vec![cloud],
        None => {
            let all = daemon.get("/clouds/v1/clouds").await?;
            all["clouds"].as_array().into_iter().flatten().map(|cloud| text(&cloud["name"])).collect()
        }
    };
    let (mut nodes, mut failure) = (Vec::new(), None);
    for cloud in clouds {
        let path = format!("{}/nodes?{query}", cloud::path(&cloud));
        match cloud::all(daemon, path.trim_end_matches('?'), "nodes").await {
            Ok(found) => nodes.extend(found["nodes"].as_array().into_iter().flatten().cloned().map(|mut node| {
                node["cloud"] = json!(cloud);
                node
            })),
            Err(error) if is_one => return Err(error),
            Err(error) => {
                output::note(&format!("cloud {cloud}: {error}"));
                failure = Some(error);
            }
        }
    }
    cloud::print(place, &json!({ "nodes": nodes }), "nodes", &COLUMNS);
    failure.map_or(Ok(()), Err)
}

async fn create(place: &Place, daemon: &Daemon, new: Create) -> Outcome {
    let user_data = new.user_data.map(|path| {
        std::fs::read_to_string(&path)
            .map_err(|error| Failure::Usage(format!("--user-data: {} cannot be read: {error}", path.display())))
    });
    let mut tags = BTreeMap::new();
    for tag in &new.tag {
        let (name, value) =
            tag.split_once('=').ok_or_else(|| Failure::Usage(format!("--tag: found {tag:?}; expected NAME=VALUE")))?;
        tags.insert(name, value);
    }
    let mut body = json!({
        "image": new.image, "size": new.size, "security_groups": new.security_group, "networks": new.network, "tags": tags,
    });
    let optional = [
        ("name", new.name),
        ("location", new.location),
        ("key_pair", new.key_pair),
        ("user_data", user_data.transpose()?),
    ];
    for (field, value) in optional {
        if let Some(value) = value {
            body[field] = Value::String(value);
        }
    }
    let path = format!("{}/nodes", cloud::path(&new.cloud));
    let key = new.idempotency_key.unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
    let ask = Ask::change(Method::POST, &path).json(&body).once(key);
    let job = daemon.ask(ask).await?;
    let job = wait::operation(place, daemon, job, new.wait, "done").await?;
    if new.wait.wait && place.output == Output::Table {
        let mut node = job["result"]["node"].clone();
        node["cloud"] = json!(new.cloud);
        cloud::print(place, &json!({ "nodes": [node] }), "nodes", &COLUMNS);
    }
    Ok(())
}
