//! Node operations by Gearman message: libra's pool manager of the last generation, which its API server talks to.
//!
//! A message is a job of the store before anything is done for it, under the unique id that it came with. Delivered again it is not
//! done again: it waits for the same job and gets the same answer.

mod device;
mod ip;

use std::{future::Future, pin::Pin, time::Duration};

use serde_json::{Map, Value, json};

use super::Pool;
use crate::{
    failpoint,
    jobs::{self, Handler as JobHandler, JobResult},
    store::{
        Error,
        jobs::{self as work, Accepted, NewJob, State, Unique},
        runner::{Handler, Next, Running},
    },
};

/// Kind of the jobs that messages become.
pub(super) const MESSAGE: &str = "pool.message";
/// How often it is looked whether a message is done that another daemon may be doing.
const LOOK: Duration = Duration::from_secs(1);
/// The first look after its handler has returned here: its end is about to be written.
const SOON: Duration = Duration::from_millis(2);
/// How often whoever waits for an answer is told that it is still worked on.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Takes the messages.
#[derive(Clone)]
pub struct Messages(Pool);

/// Runs the jobs that they become.
pub(super) struct Runs(pub Pool);

/// What a message asks for.
pub(super) type Request = Map<String, Value>;
/// What is added to the request in the reply, or why it failed; what is known even so is added as well.
pub(super) type Answer = Result<Map<String, Value>, (String, Map<String, Value>)>;

impl Messages {
    /// The operations of a pool.
    pub const fn new(pool: Pool) -> Self {
        Self(pool)
    }

    /// Accepts a message and waits for what comes of it.
    async fn answer(&self, job: &jobs::Job, progress: &jobs::Progress) -> Result<Value, Error> {
        let request = match serde_json::from_slice::<Value>(&job.payload) {
            Ok(Value::Object(request)) => request,
            Ok(_) => return Ok(refusal(Map::new(), "the message is no JSON object")),
            Err(error) => return Ok(refusal(Map::new(), &format!("the message is no JSON: {error}"))),
        };
        if let Err(reason) = action(&request) {
            return Ok(refusal(request, &reason));
        }
        let spec = Value::Object(request.clone()).to_string();
        let new = NewJob {
            unique: (!job.unique.is_empty()).then(|| Unique::WhileKept(job.unique.clone())),
            max_attempts: u32::MAX,
            request_id: Some(job.handle.clone()),
            ..NewJob::new(MESSAGE, spec.clone())
        };
        // From before its job can run.
        let mut news = self.0.inner.news.listen();
        let accepted = self.0.store().write(move |tx| work::accept(tx, &new)).await?;
        if let Accepted::Known(known) = &accepted
            && known.spec != spec
        {
            return Ok(refusal(request, "another message came under the same unique id; send it under its own"));
        }
        failpoint::reached("pool.message.accepted");
        let id = accepted.id().to_owned();
        let mut told = tokio::time::Instant::now();
        let mut wait = LOOK;
        loop {
            let job_id = id.clone();
            let found = self.0.store().read(move |tx| work::get(tx, &job_id)).await?;
            match found {
                Some(job) if job.state == State::Done => {
                    return Ok(job.result.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default());
                }
                Some(job) if job.state.is_final() => {
                    return Ok(refusal(request, &job.error.unwrap_or_else(|| "it was cancelled".to_owned())));
                }
                Some(_) => {}
                None => return Ok(refusal(request, "its job is not kept any more")),
            }
            if told.elapsed() > HEARTBEAT {
                progress.status(0, 1);
                told = tokio::time::Instant::now();
            }
            tokio::select! {
                () = news.about(&id) => wait = SOON,
                () = tokio::time::sleep(wait) => wait = (wait * 2).min(LOOK),
            }
        }
    }
}

impl JobHandler for Messages {
    async fn handle(&self, job: jobs::Job, progress: jobs::Progress) -> JobResult {
        match self.answer(&job, &progress).await {
            Ok(reply) => JobResult::Complete(reply.to_string().into_bytes()),
            // Not accepted, so not answered: the submitter sends it again.
            Err(error) => {
                tracing::error!(job = job.handle, %error, "a message could not be stored and is refused");
                JobResult::Fail
            }
        }
    }
}

impl Handler for Runs {
    fn run(&self, running: Running) -> Pin<Box<dyn Future<Output = Result<Next, Error>> + Send + '_>> {
        Box::pin(async move {
            let outcome = self.0.operate(&running).await;
            self.0.inner.news.tell(&running.job.id);
            outcome
        })
    }
}

impl Pool {
    /// Does what a message asks for.
    async fn operate(&self, running: &Running) -> Result<Next, Error> {
        let request: Request = serde_json::from_str(&running.job.spec).unwrap_or_default();
        let outcome = match action(&request) {
            Ok("BUILD_DEVICE") => self.build_device(running, &request).await?,
            Ok("DELETE_DEVICE") => self.delete_device(running, &request).await?,
            Ok("BUILD_IP") => self.build_ip(running, &request).await?,
            Ok("ASSIGN_IP") => Ok(self.assign_ip(running, &request).await),
            Ok("REMOVE_IP") => Ok(self.remove_ip(&request).await),
            Ok(_) => Ok(self.delete_ip(running, &request).await?),
            Err(reason) => Ok(Err((reason, Map::new()))),
        };
        let answer = match outcome {
            Ok(answer) => answer,
            Err(next) => return Ok(next),
        };
        let reply = match answer {
            Ok(added) => {
                let mut reply = request;
                reply.extend(added);
                reply.insert("response".to_owned(), json!("PASS"));
                Value::Object(reply)
            }
            Err((reason, added)) => {
                tracing::warn!(job = running.job.id, reason, "a node operation failed");
                let mut reply = request;
                reply.extend(added);
                refusal(reply, &reason)
            }
        };
        failpoint::reached("pool.message.done");
        Ok(Next::Done(reply))
    }
}

/// The action of a request; its case does not matter.
fn action(request: &Request) -> Result<&'static str, String> {
    const ACTIONS: [&str; 6] = ["BUILD_DEVICE", "DELETE_DEVICE", "BUILD_IP", "ASSIGN_IP", "REMOVE_IP", "DELETE_IP"];
    let known = ACTIONS.join(", ");
    let Some(value) = request.get("action") else {
        return Err(format!("the message has no \"action\"; it is one of {known}"));
    };
    let text = value.as_str().unwrap_or_default();
    let found = ACTIONS.into_iter().find(|action| action.eq_ignore_ascii_case(text));
    found.ok_or_else(|| format!("unknown action {value}; it is one of {known}"))
}

/// The request with libra's word and, beyond libra, the reason.
fn refusal(mut request: Request, reason: &str) -> Value {
    request.insert("response".to_owned(), json!("FAIL"));
    request.insert("reason".to_owned(), json!(reason));
    Value::Object(request)
}

/// A text field that must be there, and that the store can look for: none of its texts has a NUL.
pub(super) fn text<'r>(request: &'r Request, field: &str) -> Result<&'r str, (String, Map<String, Value>)> {
    request
        .get(field)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty() && !text.contains('\0'))
        .ok_or_else(|| (format!("the message has no text in \"{field}\""), Map::new()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(value: Value) -> Request {
        match value {
            Value::Object(request) => request,
            _ => Map::new(),
        }
    }

    #[test]
    fn q01_q02_what_is_no_action_is_refused_with_the_request_and_a_reason() {
        for (message, part) in [
            (json!({ "name": "n" }), "no \"action\""),
            (json!({ "action": "EXPLODE" }), "unknown action \"EXPLODE\""),
            (json!({ "action": 7 }), "unknown action 7"),
        ] {
            let request = request(message.clone());
            let reason = action(&request).unwrap_err();
            assert!(reason.contains(part), "{reason}");
            let reply = refusal(request, &reason);
            assert_eq!(reply["response"], "FAIL");
            assert_eq!(reply["name"], message["name"]);
        }
        assert_eq!(action(&request(json!({ "action": "build_device" }))), Ok("BUILD_DEVICE"));
    }

    #[test]
    fn what_no_text_of_the_store_can_be_is_refused_and_not_tried_for_ever() {
        for bad in [json!({}), json!({ "name": 7 }), json!({ "name": "" }), json!({ "name": "a\0" })] {
            assert!(text(&request(bad.clone()), "name").is_err(), "{bad}");
        }
        assert_eq!(text(&request(json!({ "name": "lb-1" })), "name"), Ok("lb-1"));
    }
}
