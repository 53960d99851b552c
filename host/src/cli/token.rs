//! `capstan token`.

use std::io;

use clap::Subcommand;
use hyper::Method;
use serde_json::{Value, json};

use super::{
    client::{Ask, Daemon},
    exit::{Failure, Outcome},
    output::{self, Output},
    place::{Place, runtime},
};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a token and print it: it is shown this once
    New {
        /// admin (everything), operator (reads all, acts), viewer (reads all), device (device API), tenant (its own things)
        #[arg(long, value_name = "ROLE", value_parser = ["admin", "operator", "viewer", "device", "tenant"])]
        role: String,
        /// The tenant that a token of the role tenant is for
        #[arg(long, value_name = "TENANT", required_if_eq("role", "tenant"))]
        tenant: Option<String>,
        /// What it is for; shown in lists and logs
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// How long it is good: 12h, 90d, 2w, 3600s, or never
        #[arg(long, value_name = "TIME", default_value = "90d")]
        expires: String,
    },
    /// The tokens, revoked and expired ones among them; their texts are kept nowhere
    List,
    /// One token
    Show {
        /// Its id: the part between the underscores
        id: String,
    },
    /// Make a token useless at once
    Revoke {
        /// Its id: the part between the underscores
        id: String,
    },
}

pub fn run(place: &Place, command: Command) -> Outcome {
    runtime()?.block_on(async {
        let daemon = place.daemon()?;
        match command {
            Command::New { role, tenant, name, expires } => {
                let seconds = life(&expires)?;
                let body = json!({ "role": role, "tenant": tenant, "name": name, "expires_seconds": seconds });
                new(place, &daemon, &body).await
            }
            Command::List => list(place, &daemon).await,
            Command::Show { id } => show(place, &daemon.get(&path(&id)?).await?),
            Command::Revoke { id } => show(place, &daemon.ask(Ask::change(Method::DELETE, &path(&id)?)).await?),
        }
    })
}

/// Seconds of `90d`; none of `never`.
fn life(text: &str) -> Result<Option<u64>, Failure> {
    const UNITS: [(char, u64); 5] = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400), ('w', 7 * 86_400)];
    if text == "never" {
        return Ok(None);
    }
    let unit = UNITS.into_iter().find(|(unit, _)| text.ends_with(*unit));
    let seconds = unit.and_then(|(unit, seconds)| {
        text.trim_end_matches(unit).parse::<u64>().ok().filter(|number| *number > 0)?.checked_mul(seconds)
    });
    let usage = || {
        Failure::Usage(format!("--expires: found {text:?}; expected a number with s, m, h, d or w behind it, or never"))
    };
    seconds.map(Some).ok_or_else(usage)
}

/// Whoever pastes a whole token where its id is asked for has it in the shell's history; it is not sent on as well.
pub(super) fn checked_id(id: &str) -> Result<&str, Failure> {
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        let expected = "expected the id of a token: in cap_ID_SECRET the part between the underscores";
        return Err(Failure::Usage(expected.to_owned()));
    }
    Ok(id)
}

fn path(id: &str) -> Result<String, Failure> {
    checked_id(id).map(|id| format!("/auth/v1/tokens/{id}"))
}

async fn new(place: &Place, daemon: &Daemon, body: &Value) -> Outcome {
    let made = daemon.ask(Ask::change(Method::POST, "/auth/v1/tokens").json(body)).await?;
    match place.output {
        Output::Json => output::json(&made),
        // The token alone on standard output: `capstan token new … > FILE`.
        Output::Table => output::line(made["token"].as_str().unwrap_or_default()),
    }
    let (role, id) = (text(&made["role"]), text(&made["id"]));
    if let Some(error) = output::lost() {
        return Err(unseen(daemon, &id, error).await);
    }
    if place.output == Output::Table {
        let until = made["expires"].as_str().map_or_else(|| "for good".to_owned(), |time| format!("until {time}"));
        output::note(&format!("role {role}, id {id}, good {until}; this is the only time it is shown"));
    }
    Ok(())
}

/// A token that nobody has seen is good for nothing; it is revoked.
async fn unseen(daemon: &Daemon, id: &str, error: &io::Error) -> Failure {
    let path = format!("/auth/v1/tokens/{id}");
    let what = match daemon.ask(Ask::change(Method::DELETE, &path)).await {
        Ok(_) => "it is revoked again".to_owned(),
        Err(failure) => format!("it cannot be revoked either ({failure}): `capstan token revoke {id}`"),
    };
    Failure::Failed(format!("the token {id} cannot be written to standard output: {error}; {what}"))
}

async fn list(place: &Place, daemon: &Daemon) -> Outcome {
    let mut tokens = Vec::new();
    let mut path = "/auth/v1/tokens?limit=1000".to_owned();
    loop {
        let page = daemon.get(&path).await?;
        tokens.extend(page["tokens"].as_array().into_iter().flatten().cloned());
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/auth/v1/tokens?limit=1000&cursor={next}");
    }
    if place.output == Output::Json {
        output::json(&json!({ "tokens": tokens }));
        return Ok(());
    }
    table(&tokens);
    Ok(())
}

fn show(place: &Place, token: &Value) -> Outcome {
    match place.output {
        Output::Json => output::json(token),
        Output::Table => table(std::slice::from_ref(token)),
    }
    Ok(())
}

fn table(tokens: &[Value]) {
    let columns = ["id", "role", "tenant", "name", "state", "created", "expires", "last_used"];
    let rows = tokens.iter().map(|token| columns.iter().map(|column| text(&token[column])).collect());
    output::table(&["ID", "ROLE", "TENANT", "NAME", "STATE", "CREATED", "EXPIRES", "LAST USED"], rows);
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or("-").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives_are_written_with_a_unit() {
        for (text, seconds) in [("90d", Some(7_776_000)), ("12h", Some(43_200)), ("1s", Some(1)), ("never", None)] {
            assert_eq!(life(text).unwrap(), seconds);
        }
        for bad in ["90", "d", "0d", "-1d", "1y", "", "9999999999999999999d"] {
            assert!(matches!(life(bad), Err(Failure::Usage(_))), "{bad}");
        }
    }

    #[test]
    fn a_whole_token_is_no_id() {
        assert!(path("cap_abcdefghij_x").is_err() && path("../x").is_err() && path("").is_err());
        assert_eq!(path("abcdefghij").unwrap(), "/auth/v1/tokens/abcdefghij");
    }
}
