//! Long work, watched: what an operation became, how far it is while a person looks on.

use std::io::{self, IsTerminal, Write};

use clap::Args;
use serde_json::Value;

use super::{
    client::Daemon,
    exit::Failure,
    output::{self, Output},
    place::Place,
};

/// Options of a command of which long work comes.
#[derive(Clone, Copy, Debug, Args)]
pub struct WaitOptions {
    /// Return when the work has ended, with exit code 1 if it failed
    #[arg(long)]
    pub wait: bool,
}

/// Follows a job to its end if that is wanted, prints it and gives it back. `job` is the body of the answer that accepted it; `wanted`
/// the state in which it should end.
pub async fn operation(
    place: &Place,
    daemon: &Daemon,
    job: Value,
    options: WaitOptions,
    wanted: &str,
) -> Result<Value, Failure> {
    let id = job["id"].as_str().unwrap_or_default().to_owned();
    let job = if options.wait { ended(daemon, &id, job).await? } else { job };
    let state = job["state"].as_str().unwrap_or_default().to_owned();
    match place.output {
        Output::Json => output::json(&job),
        Output::Table if options.wait => output::line(&format!("job {id}: {state}")),
        Output::Table => {
            output::line(&format!("job {id}: {}; `capstan job show {id}` tells how it goes", self::state(&job)))
        }
    }
    if options.wait && state != wanted {
        let reason = match job["error"].as_str() {
            Some(reason) => reason,
            None if wanted == "cancelled" => "it ended before it could be cancelled",
            None => "nothing says why",
        };
        return Err(Failure::Failed(format!("job {id} is {state}: {reason}")));
    }
    Ok(job)
}

/// The job once it has ended. On a terminal its progress is one line that changes.
async fn ended(daemon: &Daemon, id: &str, first: Value) -> Result<Value, Failure> {
    let mut progress = Progress { on_terminal: io::stderr().is_terminal(), width: 0 };
    let mut last = first;
    while last["finished"].is_null() {
        let mut text = Vec::new();
        let path = format!("/jobs/v1/jobs/{id}/events");
        // A daemon that ends closes the stream; the next one goes on with the job.
        let followed = daemon
            .follow(&path, |piece| {
                text.extend_from_slice(piece);
                while let Some(end) = text.windows(2).position(|pair| pair == b"\n\n") {
                    let event: Vec<u8> = text.drain(..end + 2).collect();
                    if let Some(job) = job_of(&event) {
                        progress.show(&job);
                        last = job;
                    }
                }
                !last["finished"].is_null()
            })
            .await;
        if last["finished"].is_null() {
            followed?;
            last = daemon.get(&format!("/jobs/v1/jobs/{id}?wait=1")).await?;
        }
    }
    progress.clear();
    Ok(last)
}

/// How far a job is, and whether it was asked to stop and has not yet.
pub fn state(job: &Value) -> String {
    let state = job["state"].as_str().unwrap_or_default();
    let is_asked = job["cancel_requested"] == true && job["finished"].is_null();
    format!("{state}{}", if is_asked { ", cancel asked for" } else { "" })
}

/// The job in an event of the stream; none in a comment.
fn job_of(event: &[u8]) -> Option<Value> {
    let text = std::str::from_utf8(event).ok()?;
    serde_json::from_str(text.lines().find_map(|line| line.strip_prefix("data: "))?).ok()
}

struct Progress {
    on_terminal: bool,
    width: usize,
}

impl Progress {
    fn show(&mut self, job: &Value) {
        if !self.on_terminal {
            return;
        }
        let percent = job["progress"]["percent"].as_u64().map(|percent| format!(" {percent} %"));
        let text = job["progress"]["text"].as_str().map(|text| format!(" {text}"));
        let line = format!(
            "{}: {}{}{}",
            job["kind"].as_str().unwrap_or("job"),
            state(job),
            percent.unwrap_or_default(),
            text.unwrap_or_default(),
        );
        // What a driver says is shown on a terminal, so nothing in it may drive one.
        let line: String = line.chars().filter(|character| !character.is_control()).take(120).collect();
        let _nobody_may_look = write!(io::stderr(), "\r{line:width$}", width = self.width);
        self.width = line.chars().count();
    }

    fn clear(&mut self) {
        if self.width > 0 {
            let _nobody_may_look = write!(io::stderr(), "\r{:width$}\r", "", width = self.width);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::job_of;

    #[test]
    fn events_are_jobs_and_comments_are_not() {
        assert_eq!(job_of(b"id: 1\nevent: job\ndata: {\"id\":\"x\"}\n\n").unwrap()["id"], "x");
        assert_eq!(job_of(b": still here\n\n"), None);
    }
}
