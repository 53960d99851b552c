//! `capstan hold`: stop all automatic repair, replacement, retirement and deletion, of everything or of one thing.

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};

use super::{
    client::{Ask, Daemon},
    exit::{Failure, Outcome},
    output::{self, Output},
    place::{Place, runtime},
};

/// What is asked.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(
    after_help = "While it is held, nothing is built to replace what is missing, nothing is registered again, retired or \
deleted by itself. Looking goes on, and so does what you ask for yourself. A hold lasts until it is lifted, over restarts as well.\n\n\
  capstan hold --reason \"the network is being rebuilt\"          everything\n\
  capstan hold pool --reason ...                                 one service\n\
  capstan hold default --reason ...                              a stock\n\
  capstan hold lb-0193... --reason ...                           a node, by name or id\n\
  capstan hold list\n\
  capstan hold lift pool"
)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// A service, or the name or id of an object, of a node also the cloud's id; everything if it is left out
    target: Option<String>,
    /// Why, for whoever finds the hold
    #[arg(long)]
    reason: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What is held, by whom and why
    List,
    /// Go on by itself again
    Lift {
        /// What was held, as it was named or as the list shows it
        #[arg(default_value = "all")]
        target: String,
    },
}

/// Runs it.
pub fn run(place: &Place, arguments: Arguments) -> Outcome {
    let Arguments { command, target, reason } = arguments;
    let reason = match (&command, reason) {
        (None, None) => {
            let example = target.as_deref().map(|target| format!("{target} ")).unwrap_or_default();
            let usage = format!(
                "say why: `capstan hold {example}--reason \"the rack is being moved\"`; whoever finds it will ask"
            );
            return Err(Failure::Usage(usage));
        }
        (_, reason) => reason,
    };
    runtime()?.block_on(async {
        let daemon = place.daemon()?;
        let holds = match command {
            None => {
                let body = json!({ "target": target, "reason": reason });
                daemon.ask(Ask::change(Method::POST, "/holds/v1/holds").json(&body)).await?
            }
            Some(Command::List) => list(&daemon).await?,
            Some(Command::Lift { target }) => {
                let path = format!("/holds/v1/holds/{}", output::segment(&target));
                let lifted = daemon.ask(Ask::change(Method::DELETE, &path)).await?;
                match place.output {
                    Output::Json => output::json(&lifted),
                    Output::Table => {
                        output::line(&format!("{} is no longer held", output::text(&lifted["scope"])));
                        let others = list(&daemon).await?;
                        let others = others["holds"].as_array().into_iter().flatten();
                        let others: Vec<_> = others.map(|hold| output::text(&hold["scope"])).collect();
                        if !others.is_empty() {
                            output::line(&format!("still held: {}", others.join(", ")));
                        }
                    }
                }
                return Ok(());
            }
        };
        match place.output {
            Output::Json => output::json(&holds),
            Output::Table => table(holds["holds"].as_array().map_or(std::slice::from_ref(&holds), Vec::as_slice)),
        }
        Ok(())
    })
}

async fn list(daemon: &Daemon) -> Result<Value, Failure> {
    let mut all = Vec::new();
    let mut path = "/holds/v1/holds?limit=1000".to_owned();
    loop {
        let page = daemon.get(&path).await?;
        all.extend(page["holds"].as_array().into_iter().flatten().cloned());
        let Some(next) = page["next"].as_str() else { return Ok(json!({ "holds": all })) };
        path = format!("/holds/v1/holds?limit=1000&cursor={next}");
    }
}

fn table(holds: &[Value]) {
    let columns = ["scope", "at", "by", "reason"];
    let rows = holds.iter().map(|hold| columns.iter().map(|column| output::text(&hold[column])).collect());
    output::table(&["SCOPE", "SINCE", "BY", "REASON"], rows);
}

/// Says on standard error that a command acts although there is a hold.
pub fn remind(hold: &Value) {
    if let Some(scope) = hold["scope"].as_str() {
        output::note(&format!(
            "{scope} is held by {} ({}); what you ask for is done all the same",
            output::text(&hold["by"]),
            output::text(&hold["reason"]),
        ));
    }
}
