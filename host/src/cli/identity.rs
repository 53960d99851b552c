//! `capstan identity`.

use std::io;

use clap::Subcommand;
use hyper::Method;
use serde_json::{Value, json};

use super::{
    client::{Ask, Daemon},
    exit::{Failure, Outcome},
    output::{self, Output, segment},
    place::{Place, runtime},
    token::checked_id,
};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// The certificates of nodes, expired and revoked ones among them
    List {
        /// Those of this node alone
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
    },
    /// Make a certificate useless at once: its connections end, and none is accepted any more
    Revoke {
        /// Its serial number, as `capstan identity list` shows it
        serial: String,
        /// Why, for the record
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Print the authority's certificate in PEM, and on standard error its fingerprint, by which nodes may know it
    Ca,
    /// Make an enrolment token for a node that no pool builds, and print it: it is good once, and shown this once
    Token {
        /// The node's name: the function that its worker registers
        name: String,
        /// How many minutes it is good
        #[arg(long, value_name = "MINUTES", default_value_t = 60)]
        minutes: u32,
    },
    /// The enrolment tokens that nobody has used yet, those of the pool's nodes among them; their texts are kept nowhere
    Tokens {
        /// Those for this node alone
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// Also those that are used, expired or revoked
        #[arg(long)]
        all: bool,
    },
    /// Make an enrolment token useless that nobody has used yet
    RevokeToken {
        /// Its id, as `capstan identity tokens` shows it: the part between the underscores
        id: String,
        /// Why, for the record
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
}

pub fn run(place: &Place, command: Command) -> Outcome {
    runtime()?.block_on(async {
        let daemon = place.daemon()?;
        match command {
            Command::List { name } => list(place, &daemon, name).await,
            Command::Revoke { serial, reason } => revoke(place, &daemon, &serial, reason.as_deref()).await,
            Command::Ca => ca(place, &daemon).await,
            Command::Token { name, minutes } => token(place, &daemon, &name, minutes).await,
            Command::Tokens { name, all } => tokens(place, &daemon, name, all).await,
            Command::RevokeToken { id, reason } => revoke_token(place, &daemon, &id, reason.as_deref()).await,
        }
    })
}

async fn list(place: &Place, daemon: &Daemon, name: Option<String>) -> Outcome {
    let certificates = whole_list(daemon, "certificates", &named(name)).await?;
    match place.output {
        Output::Json => output::json(&json!({ "certificates": certificates })),
        Output::Table => table(&certificates),
    }
    Ok(())
}

fn named(name: Option<String>) -> String {
    name.map(|name| format!("&name={}", segment(&name))).unwrap_or_default()
}

/// All pages of a list of the room.
async fn whole_list(daemon: &Daemon, things: &str, filter: &str) -> Result<Vec<Value>, Failure> {
    let mut all = Vec::new();
    let first = format!("/identity/v1/{things}?limit=1000{filter}");
    let mut path = first.clone();
    loop {
        let page = daemon.get(&path).await?;
        all.extend(page[things].as_array().into_iter().flatten().cloned());
        let Some(next) = page["next"].as_str() else { return Ok(all) };
        path = format!("{first}&cursor={next}");
    }
}

async fn revoke(place: &Place, daemon: &Daemon, serial: &str, reason: Option<&str>) -> Outcome {
    if serial.is_empty() || !serial.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let text =
            "expected the serial number of a certificate: hexadecimal digits, as `capstan identity list` shows them";
        return Err(Failure::Usage(text.to_owned()));
    }
    let path = format!("/identity/v1/certificates/{serial}/revoke");
    let revoked = daemon.ask(Ask::change(Method::POST, &path).json(&json!({ "reason": reason }))).await?;
    match place.output {
        Output::Json => output::json(&revoked),
        Output::Table => table(std::slice::from_ref(&revoked)),
    }
    Ok(())
}

async fn ca(place: &Place, daemon: &Daemon) -> Outcome {
    let answer = daemon.get("/identity/v1/ca").await?;
    match place.output {
        Output::Json => output::json(&answer),
        // The certificate alone on standard output: `capstan identity ca > FILE`.
        Output::Table => {
            output::line(answer["ca"].as_str().unwrap_or_default().trim_end());
            output::note(&format!("ca_fingerprint = \"{}\"", answer["fingerprint"].as_str().unwrap_or_default()));
        }
    }
    Ok(())
}

async fn token(place: &Place, daemon: &Daemon, name: &str, minutes: u32) -> Outcome {
    let body = json!({ "name": name, "expires_seconds": u64::from(minutes) * 60 });
    let made = daemon.ask(Ask::change(Method::POST, "/identity/v1/tokens").json(&body)).await?;
    match place.output {
        Output::Json => output::json(&made),
        Output::Table => output::line(made["token"].as_str().unwrap_or_default()),
    }
    let id = made["id"].as_str().unwrap_or_default();
    if let Some(error) = output::lost() {
        return Err(unseen(daemon, id, error).await);
    }
    if place.output == Output::Table {
        output::note(&format!(
            "for the node {name}, id {id}, good once within {minutes} min; this is the only time it is shown"
        ));
    }
    Ok(())
}

/// A token that nobody has seen is good for nothing; it is revoked.
async fn unseen(daemon: &Daemon, id: &str, error: &io::Error) -> Failure {
    let what = match ask_to_revoke(daemon, id, Some("nobody has seen it")).await {
        Ok(_) => "it is revoked again".to_owned(),
        Err(failure) => format!("it cannot be revoked either ({failure}): `capstan identity revoke-token {id}`"),
    };
    Failure::Failed(format!("the token {id} cannot be written to standard output: {error}; {what}"))
}

async fn ask_to_revoke(daemon: &Daemon, id: &str, reason: Option<&str>) -> Result<Value, Failure> {
    let path = format!("/identity/v1/tokens/{id}/revoke");
    daemon.ask(Ask::change(Method::POST, &path).json(&json!({ "reason": reason }))).await
}

async fn tokens(place: &Place, daemon: &Daemon, name: Option<String>, all: bool) -> Outcome {
    let state = if all { "" } else { "&state=unused" };
    let tokens = whole_list(daemon, "tokens", &format!("{}{state}", named(name))).await?;
    match place.output {
        Output::Json => output::json(&json!({ "tokens": tokens })),
        Output::Table => token_table(&tokens),
    }
    Ok(())
}

async fn revoke_token(place: &Place, daemon: &Daemon, id: &str, reason: Option<&str>) -> Outcome {
    let revoked = ask_to_revoke(daemon, checked_id(id)?, reason).await?;
    match place.output {
        Output::Json => output::json(&revoked),
        Output::Table => token_table(std::slice::from_ref(&revoked)),
    }
    Ok(())
}

fn token_table(tokens: &[Value]) {
    let columns = ["id", "name", "state", "created", "expires", "revoked", "reason"];
    show(&["ID", "NAME", "STATE", "CREATED", "EXPIRES", "REVOKED", "REASON"], columns, tokens);
}

fn table(certificates: &[Value]) {
    let columns = ["serial", "name", "origin", "issued", "not_after", "revoked", "reason"];
    show(&["SERIAL", "NAME", "BY", "ISSUED", "ENDS", "REVOKED", "REASON"], columns, certificates);
}

fn show<const N: usize>(heads: &[&str; N], columns: [&str; N], all: &[Value]) {
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).unwrap_or("-").to_owned();
    output::table(heads, all.iter().map(|one| columns.iter().map(|column| text(&one[*column])).collect()));
}
