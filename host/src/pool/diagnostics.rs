//! Asking a node how it is, over the job servers, and what its answer says.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    drivers::cut,
    jobs::{Client, ClientError, SubmitOptions, Submitted},
};

/// What is known of a node after DIAGNOSTICS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It may be handed out.
    Good,
    /// It may not, and why.
    Bad(String),
    /// It could not be asked, which says nothing about the node.
    Unasked(String),
}

/// Asks the worker on the node, which listens under the node's name.
pub(super) async fn ask(client: &Client, node: &str, timeout: Duration) -> Verdict {
    let payload = json!({ "hpcs_action": "DIAGNOSTICS" }).to_string();
    let options = SubmitOptions { timeout: Some(timeout), ..SubmitOptions::default() };
    match client.submit(node, payload.as_bytes(), options).await {
        Ok(Submitted::Completed(completed)) => judge(&completed.whole()),
        Ok(Submitted::Background(_)) => Verdict::Unasked("the job server took the job into the background".to_owned()),
        Err(error @ (ClientError::NoServer(_) | ClientError::Refused { .. } | ClientError::Protocol { .. })) => {
            Verdict::Unasked(error.to_string())
        }
        Err(error @ ClientError::ServerLost { .. }) => Verdict::Unasked(error.to_string()),
        Err(error) => Verdict::Bad(error.to_string()),
    }
}

/// libra's verdict: a worker too old for the question is good; without its network, or with more than a third of the job servers
/// out of its reach, a node is bad.
fn judge(reply: &[u8]) -> Verdict {
    let Ok(reply) = serde_json::from_slice::<Value>(reply) else {
        let mut text = String::from_utf8_lossy(reply).into_owned();
        cut(&mut text, 80);
        return Verdict::Bad(format!("its worker's reply is no JSON: {text:?}"));
    };
    if reply["hpcs_response"] == "FAIL" {
        return Verdict::Good;
    }
    if reply["network"] == "FAIL" {
        return Verdict::Bad("its worker has no network".to_owned());
    }
    let servers = reply["gearman"].as_array().map(Vec::as_slice).unwrap_or_default();
    let failed = servers.iter().filter(|server| server["status"] == "FAIL").count();
    if failed > servers.len() / 3 {
        return Verdict::Bad(format!("its worker cannot reach {failed} of {} job servers", servers.len()));
    }
    Verdict::Good
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(reply: &Value) -> Verdict {
        judge(reply.to_string().as_bytes())
    }

    fn servers(statuses: &[&str]) -> Value {
        let servers: Vec<_> = statuses.iter().map(|status| json!({ "host": "h", "status": status })).collect();
        json!({ "hpcs_response": "PASS", "network": "PASS", "gearman": servers })
    }

    #[test]
    fn q07_a_worker_that_does_not_know_the_question_is_good() {
        assert_eq!(judged(&json!({ "hpcs_response": "FAIL", "network": "FAIL" })), Verdict::Good);
    }

    #[test]
    fn q05_without_its_network_a_node_is_bad() {
        assert!(matches!(judged(&json!({ "hpcs_response": "PASS", "network": "FAIL" })), Verdict::Bad(_)));
    }

    #[test]
    fn a_third_of_the_job_servers_may_be_out_of_reach() {
        assert_eq!(judged(&servers(&["FAIL", "PASS", "PASS"])), Verdict::Good);
        assert!(matches!(judged(&servers(&["FAIL", "PASS"])), Verdict::Bad(_)));
        assert!(matches!(judged(&servers(&["FAIL", "FAIL", "PASS", "PASS"])), Verdict::Bad(_)));
        assert_eq!(judged(&servers(&[])), Verdict::Good);
    }

    #[test]
    fn a_reply_that_cannot_be_read_is_bad_and_shown() {
        assert_eq!(judge(b"<html>"), Verdict::Bad("its worker's reply is no JSON: \"<html>\"".to_owned()));
    }
}
