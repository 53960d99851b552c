//! What becomes of a node that a fault befell.

use capstan_plugin_api::cloud::{Node, node_state};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::change::Turn;
use crate::faults::Fault;

/// Decided when the node is made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Fate {
    /// In state `error` from this time on, for this reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<(i64, String)>,
    /// When it is well again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error_until: Option<i64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_never_up: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    has_no_address: bool,
    /// Stands where `running` would.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_garbage: bool,
}

/// A gateway's page, control and direction marks, and what somebody's shell, database or logger might take for its own.
const GARBAGE: &str = "<html><body><h1>502 Bad Gateway</h1></body></html>\r\n\u{0}\u{1b}[31m\u{202e}'; DROP TABLE nodes; -- $(reboot) ${jndi:x} %s%n ../../etc";

impl Fate {
    /// None where nothing is the matter.
    pub fn of(turn: &Turn<'_>) -> Option<Box<Self>> {
        let fired = turn.fired;
        let span = |milliseconds| i64::try_from(milliseconds).unwrap_or(i64::MAX / 4);
        let failing = fired.find(Fault::NodeError);
        let error = failing.map(|rule| {
            let after = rule.delay_ms.map_or(turn.build_ms, span);
            let reason = rule.message.clone().unwrap_or_else(|| "no host of this cloud can take the node".to_owned());
            (turn.now.saturating_add(after), reason)
        });
        let duration = failing.and_then(|rule| rule.duration_ms).map(span);
        let error_until = error.as_ref().zip(duration).map(|((from, _), duration)| from.saturating_add(duration));
        let state = fired.find(Fault::UnknownState);
        let fate = Self {
            error,
            error_until,
            is_never_up: fired.has(Fault::NeverUp),
            has_no_address: fired.has(Fault::NoAddress),
            state: state.map(|rule| rule.state.clone().unwrap_or_else(|| "hibernating".to_owned())),
            is_garbage: fired.has(Fault::Garbage),
        };
        (fate != Self::default()).then(|| Box::new(fate))
    }

    /// The reason for which it is in error.
    pub fn error(&self, now: i64) -> Option<&str> {
        let is_over = self.error_until.is_some_and(|until| until <= now);
        self.error.as_ref().filter(|(at, _)| *at <= now && !is_over).map(|(_, reason)| reason.as_str())
    }

    /// Changes what is shown of the node.
    pub fn befall(&self, node: &mut Node, now: i64) {
        if self.has_no_address {
            node.public_ips.clear();
            node.private_ips.clear();
        }
        if let Some(state) = self.state.as_ref().filter(|_| node.state == node_state::RUNNING) {
            node.state.clone_from(state);
        }
        if let Some(reason) = self.error(now) {
            node.state = node_state::ERROR.to_owned();
            node.fault = Some(reason.to_owned());
        }
        if self.is_garbage {
            node.name.push_str(GARBAGE);
            for text in [&mut node.image, &mut node.size, &mut node.location, &mut node.created_at, &mut node.fault] {
                *text = Some(GARBAGE.to_owned());
            }
            node.state = GARBAGE.to_owned();
            node.tags.insert(GARBAGE.to_owned(), GARBAGE.to_owned());
            node.extra.insert(GARBAGE.to_owned(), json!([[[GARBAGE]], null, -0.0, "A".repeat(64 << 10)]));
        }
    }
}
