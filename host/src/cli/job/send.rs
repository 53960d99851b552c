//! `capstan job send`: a message to a worker.

use std::{
    io::Read,
    time::{Duration, Instant},
};

use clap::Args;
use serde_json::{Value, json};

use crate::{
    cli::{
        exit::{Failure, Outcome},
        output::{self, Output},
        place::Place,
        settings,
    },
    config::Endpoint,
    jobs::{Client, ClientError, SubmitOptions, Submitted},
};

#[derive(Debug, Args)]
pub struct Send {
    /// The function: a worker's is worker.function, by default its host name
    function: String,
    /// The message; `-` reads it from standard input
    json: String,
    /// Return once the job server has the job, and print its handle
    #[arg(long)]
    background: bool,
    /// Seconds to wait for the reply
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    timeout: u64,
    /// Id of the job: the same id twice is the same job
    #[arg(long, value_name = "ID")]
    unique: Option<String>,
    /// Job server instead of gearman.servers, port 4730 unless said; may be given several times
    #[arg(long, value_name = "HOST[:PORT]")]
    server: Vec<String>,
}

pub(super) async fn send(place: &Place, send: Send) -> Outcome {
    let mut text = send.json;
    if text == "-" {
        text.clear();
        std::io::stdin()
            .read_to_string(&mut text)
            .map_err(|error| Failure::Usage(format!("standard input cannot be read: {error}")))?;
    }
    if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(&text) {
        return Err(Failure::Usage(format!("the message is no JSON: {error}; quote it for the shell: '{{\"a\": 1}}'")));
    }
    let (endpoints, transport) = servers(place, &send.server)?;
    let client = Client::connect(&endpoints, &transport).await.map_err(failure)?;
    let options = SubmitOptions {
        unique: send.unique,
        background: send.background,
        timeout: Some(Duration::from_secs(send.timeout)),
        ..SubmitOptions::default()
    };
    let begun = Instant::now();
    match client.submit(&send.function, text.as_bytes(), options).await.map_err(failure)? {
        Submitted::Background(job) => match place.output {
            Output::Json => {
                output::json(&json!({ "server": job.server.to_string(), "handle": job.handle, "unique": job.unique }))
            }
            Output::Table => {
                output::line(&format!("{} accepted {} (unique id {})", job.server, job.handle, job.unique))
            }
        },
        Submitted::Completed(completed) => {
            let bytes = completed.whole();
            match serde_json::from_slice::<Value>(&bytes) {
                Ok(reply) => output::json(&reply),
                Err(_) => output::line(&String::from_utf8_lossy(&bytes)),
            }
            if place.output == Output::Table {
                output::note(&format!("{} answered in {:.1} ms", send.function, begun.elapsed().as_secs_f64() * 1e3));
            }
        }
    }
    Ok(())
}

/// The job servers of the command line, else those of the configuration.
fn servers(place: &Place, named: &[String]) -> Result<(Vec<Endpoint>, crate::jobs::Transport), Failure> {
    if !named.is_empty() && !place.config.exists() {
        return Ok((parse(named)?, crate::jobs::Transport::plain()));
    }
    let gearman = place.load()?.config.gearman;
    let endpoints = if named.is_empty() { gearman.endpoints() } else { parse(named)? };
    Ok((endpoints, settings::transport(&gearman, None, None)?))
}

fn parse(named: &[String]) -> Result<Vec<Endpoint>, Failure> {
    named
        .iter()
        .map(|text| Endpoint::of_job_server(text).map_err(|error| Failure::Usage(format!("--server: {error}"))))
        .collect()
}

fn failure(error: ClientError) -> Failure {
    match error {
        ClientError::NoServer(_) => Failure::Unavailable(error.to_string()),
        ClientError::Invalid { .. } => Failure::Usage(error.to_string()),
        _ => Failure::Failed(error.to_string()),
    }
}
