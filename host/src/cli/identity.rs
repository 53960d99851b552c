//! `capstan identity`.

use clap::Subcommand;
use hyper::Method;
use serde_json::{Value, json};

use super::{
    client::{Ask, Daemon},
    exit::{Failure, Outcome},
    output::{self, Output, segment},
    place::{Place, runtime},
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
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
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
}

pub fn run(place: &Place, command: Command) -> Outcome {
    runtime()?.block_on(async {
        let daemon = place.daemon()?;
        match command {
            Command::List { name } => list(place, &daemon, name).await,
            Command::Revoke { serial, reason } => revoke(place, &daemon, &serial, &reason).await,
            Command::Ca => ca(place, &daemon).await,
            Command::Token { name, minutes } => token(place, &daemon, &name, minutes).await,
        }
    })
}

async fn list(place: &Place, daemon: &Daemon, name: Option<String>) -> Outcome {
    let mut certificates = Vec::new();
    let filter = name.map(|name| format!("&name={}", segment(&name))).unwrap_or_default();
    let mut path = format!("/identity/v1/certificates?limit=1000{filter}");
    loop {
        let page = daemon.get(&path).await?;
        certificates.extend(page["certificates"].as_array().into_iter().flatten().cloned());
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/identity/v1/certificates?limit=1000{filter}&cursor={next}");
    }
    match place.output {
        Output::Json => output::json(&json!({ "certificates": certificates })),
        Output::Table => table(&certificates),
    }
    Ok(())
}

async fn revoke(place: &Place, daemon: &Daemon, serial: &str, reason: &str) -> Outcome {
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
    if let Some(error) = output::lost() {
        return Err(Failure::Failed(format!(
            "the token cannot be written to standard output: {error}; nobody has seen it, and it is of no use after {minutes} min"
        )));
    }
    if place.output == Output::Table {
        output::note(&format!(
            "for the node {name}, good once within {minutes} min; this is the only time it is shown"
        ));
    }
    Ok(())
}

fn table(certificates: &[Value]) {
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).unwrap_or("-").to_owned();
    let columns = ["serial", "name", "origin", "issued", "not_after", "revoked", "reason"];
    let rows = certificates.iter().map(|one| columns.iter().map(|column| text(&one[column])).collect());
    output::table(&["SERIAL", "NAME", "BY", "ISSUED", "ENDS", "REVOKED", "REASON"], rows);
}
