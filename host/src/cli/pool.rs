//! `capstan pool`: how the pool stands, and what an operator does with its nodes.

use std::{collections::BTreeMap, time::Duration};

use clap::{
    Subcommand,
    builder::{NonEmptyStringValueParser, PossibleValuesParser},
};
use hyper::Method;
use serde_json::{Value, json};

use super::{
    client::{Ask, Daemon},
    exit::{Failure, Outcome},
    hold,
    output::{self, Output, brief, segment, text},
    place::{Place, runtime},
};
use crate::pool::records::State;

/// How often `--watch` looks.
const LOOK: Duration = Duration::from_secs(1);

/// What is asked.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The stocks: how many nodes are spare, being built, failed, and why a stock is not full
    ///
    /// FREE is what can be handed out now: the nodes that are READY, less those that did not answer well when they were last asked.
    /// BY MESSAGE is what was built because a message asked for it; such nodes are in no other column.
    /// WHY is cut to one line; `capstan explain STOCK` has all of it.
    Status {
        /// Print it again each second until interrupted, also while the daemon is started again
        #[arg(long)]
        watch: bool,
    },
    /// The nodes
    Nodes {
        /// Only those in this state
        #[arg(long, value_name = "STATE", value_parser = PossibleValuesParser::new(State::ALL.map(State::as_str)))]
        state: Option<String>,
        /// Only those of this stock
        #[arg(long, value_name = "STOCK")]
        stock: Option<String>,
    },
    /// One node: what is wanted of it, what is known of it, the job at work on it, and what happened
    Show {
        /// Its id, its name, or the cloud's id
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        node: String,
    },
    /// Take a spare node for somebody, as the API server does
    Take {
        /// Who takes it; asked again for the same owner, the same node is given
        #[arg(long, value_name = "NAME")]
        owner: String,
        /// From which stock
        #[arg(long, value_name = "STOCK", default_value = "default")]
        stock: String,
        /// Nodes, by id or name, with which it should not share a host
        #[arg(long, value_name = "ID")]
        apart_from: Vec<String>,
        /// Give it without asking it how it is
        #[arg(long)]
        unchecked: bool,
    },
    /// Take a spare node out of the stock, to look at it; another one is built
    Drain {
        /// Its id, its name, or the cloud's id
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        node: String,
        /// Why, for whoever looks later
        #[arg(long)]
        reason: Option<String>,
    },
    /// Delete a node; another one is built if the stock needs it
    Retire {
        /// Its id, its name, or the cloud's id
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        node: String,
        /// Why, for whoever looks later
        #[arg(long)]
        reason: Option<String>,
    },
    /// Build no nodes for a stock until it is resumed
    Pause {
        /// The stock
        #[arg(default_value = "default", value_parser = NonEmptyStringValueParser::new())]
        stock: String,
        /// Why, for whoever looks later
        #[arg(long)]
        reason: Option<String>,
    },
    /// Build nodes for a stock again; what was lost before does not count any more
    Resume {
        /// The stock
        #[arg(default_value = "default", value_parser = NonEmptyStringValueParser::new())]
        stock: String,
    },
}

/// Runs it.
pub fn run(place: &Place, command: Command) -> Outcome {
    runtime()?.block_on(ask(place, &place.daemon()?, command))
}

async fn ask(place: &Place, daemon: &Daemon, command: Command) -> Outcome {
    match command {
        Command::Status { watch: true } => watch_status(place, daemon).await?,
        Command::Status { watch: false } => print(place, &daemon.get("/pool/v1/status").await?, status_table),
        Command::Nodes { state, stock } => nodes(place, daemon, state, stock).await?,
        Command::Show { node } => {
            let shown = daemon.get(&format!("/pool/v1/nodes/{}", segment(&node))).await?;
            print(place, &shown, show);
        }
        Command::Take { owner, stock, apart_from, unchecked } => {
            let is_apart = !apart_from.is_empty();
            let body = json!({ "owner": owner, "apart_from": apart_from, "check": !unchecked });
            let path = format!("/pool/v1/stocks/{}/take", segment(&stock));
            let taken = daemon.ask(Ask::change(Method::POST, &path).json(&body)).await?;
            hold::remind(&taken["hold"]);
            print(place, &taken, |taken| {
                let node = &taken["node"];
                output::line(&format!("{}\t{}\t{}", text(&node["id"]), text(&node["name"]), text(&node["address"])));
                match taken["apart"].as_str() {
                    Some("impossible") => {
                        output::note(
                            "no spare node is on another host; this one shares a host with one of those named",
                        );
                    }
                    Some("unknown") if is_apart => {
                        output::note(
                            "the cloud does not tell hosts; whether this one shares a host with one of those named is not known",
                        );
                    }
                    _ => {}
                }
            });
        }
        Command::Drain { node, reason } => change(place, daemon, &node, "drain", reason).await?,
        Command::Retire { node, reason } => change(place, daemon, &node, "retire", reason).await?,
        Command::Pause { stock, reason } => {
            let path = format!("/pool/v1/stocks/{}/pause", segment(&stock));
            let status = daemon.ask(Ask::change(Method::POST, &path).json(&body_of(reason))).await?;
            print(place, &status, status_table);
        }
        Command::Resume { stock } => {
            let status = daemon.post(&format!("/pool/v1/stocks/{}/resume", segment(&stock))).await?;
            print(place, &status, status_table);
        }
    }
    Ok(())
}

/// Shows the status again and again. Only a daemon that has never answered ends it.
async fn watch_status(place: &Place, daemon: &Daemon) -> Outcome {
    let mut status = daemon.get("/pool/v1/status").await?;
    loop {
        print(place, &status, status_table);
        output::line("");
        let mut is_told = false;
        status = loop {
            tokio::time::sleep(LOOK).await;
            match daemon.get("/pool/v1/status").await {
                Ok(status) => break status,
                Err(Failure::Unavailable(_)) if is_told => {}
                Err(Failure::Unavailable(_)) => {
                    output::note("the daemon does not answer; trying again");
                    is_told = true;
                }
                Err(failure) => return Err(failure),
            }
        };
    }
}

async fn nodes(place: &Place, daemon: &Daemon, state: Option<String>, stock: Option<String>) -> Outcome {
    let mut all = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let filters = [
            ("limit", Some("1000".to_owned())),
            ("state", state.clone()),
            ("stock", stock.clone()),
            ("cursor", cursor),
        ];
        let query: Vec<_> =
            filters.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", segment(&value?)))).collect();
        let page = daemon.get(&format!("/pool/v1/nodes?{}", query.join("&"))).await?;
        all.extend(page["nodes"].as_array().cloned().unwrap_or_default());
        let Some(next) = page["next"].as_str() else { break };
        cursor = Some(next.to_owned());
    }
    print(place, &json!({ "nodes": all }), |all| {
        let rows = all["nodes"].as_array().cloned().unwrap_or_default();
        let columns = ["id", "name", "stock", "state", "address", "owner", "reason"];
        output::table(
            &["ID", "NAME", "STOCK", "STATE", "ADDRESS", "OWNER", "REASON"],
            rows.iter().map(|node| columns.iter().map(|column| brief(&text(&node[column]))).collect()),
        );
    });
    Ok(())
}

async fn change(place: &Place, daemon: &Daemon, node: &str, what: &str, reason: Option<String>) -> Outcome {
    let path = format!("/pool/v1/nodes/{}/{what}", segment(node));
    let node = daemon.ask(Ask::change(Method::POST, &path).json(&body_of(reason))).await?;
    hold::remind(&node["hold"]);
    print(place, &node, |node| {
        let (name, state) = (text(&node["name"]), text(&node["state"]));
        match node["drained"].as_bool() {
            Some(true) => output::line(&format!("{name} is drained: it is out of the stock")),
            Some(false) => {
                let by = node["owner"].as_str().map(|owner| format!(" by {owner}")).unwrap_or_default();
                output::line(&format!("{name} is {state}{by} already; nothing done"));
            }
            None => output::line(&format!("{name} is {state}")),
        }
    });
    Ok(())
}

fn body_of(reason: Option<String>) -> Value {
    reason.map_or_else(|| json!({}), |reason| json!({ "reason": reason }))
}

fn print(place: &Place, value: &Value, table: impl Fn(&Value)) {
    match place.output {
        Output::Json => output::json(value),
        Output::Table => table(value),
    }
}

fn status_table(status: &Value) {
    let stocks = status["stocks"].as_array().cloned().unwrap_or_default();
    let columns = ["ready", "building", "reserved", "taken", "failed", "lost", "deleting", "by_message"];
    output::table(
        &[
            "STOCK",
            "CLOUD",
            "WANTED",
            "FREE",
            "READY",
            "BUILDING",
            "RESERVED",
            "TAKEN",
            "FAILED",
            "LOST",
            "DELETING",
            "BY MESSAGE",
            "WHY",
        ],
        stocks.iter().map(|stock| {
            let mut row =
                vec![text(&stock["name"]), text(&stock["cloud"]), text(&stock["wanted"]), text(&stock["free"])];
            row.extend(columns.iter().map(|column| text(&stock["counts"][column])));
            row.push(brief(&text(&stock["why"])));
            row
        }),
    );
    for hold in status["holds"].as_array().into_iter().flatten() {
        let (scope, by, at) = (text(&hold["scope"]), text(&hold["by"]), text(&hold["at"]));
        output::line(&format!("held: {scope} by {by} since {at}: {}", text(&hold["reason"])));
    }
    for cloud in status["clouds"].as_array().into_iter().flatten().filter(|cloud| cloud["last_error"] != "") {
        output::line(&format!("cloud {}: {}", text(&cloud["cloud"]), brief(&text(&cloud["last_error"]))));
    }
    let resting = |cloud: &&Value| cloud["resting_seconds"].as_u64().is_some_and(|seconds| seconds > 0);
    for cloud in status["clouds"].as_array().into_iter().flatten().filter(resting) {
        output::line(&format!(
            "cloud {}: rests {} s more, as it asked",
            text(&cloud["cloud"]),
            cloud["resting_seconds"]
        ));
    }
    for orphan in status["orphans"].as_array().into_iter().flatten() {
        let (cloud, node, reason) = (text(&orphan["cloud"]), text(&orphan["node"]), text(&orphan["reason"]));
        output::line(&format!("orphan: {node} in {cloud} carries this deployment's tags: {}", brief(&reason)));
    }
}

fn show(shown: &Value) {
    let fields: BTreeMap<String, Value> = serde_json::from_value(shown["node"].clone()).unwrap_or_default();
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_null() && **value != "") {
        let name = if name == "node" { "id in the cloud" } else { name };
        output::line(&format!("{name}: {}", text(value)));
    }
    if let hold @ Value::Object(_) = &shown["hold"] {
        output::line(&format!("held: {} by {}: {}", text(&hold["scope"]), text(&hold["by"]), text(&hold["reason"])));
    }
    if let Some(job) = shown["job"].as_object() {
        output::line(&format!("job: {}", Value::Object(job.clone())));
    }
    for event in shown["events"].as_array().into_iter().flatten() {
        output::line(&format!("event: {} {} {}", text(&event["at"]), text(&event["kind"]), event["detail"]));
    }
}
