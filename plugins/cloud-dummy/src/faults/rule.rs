//! One rule: a fault, and the calls that it befalls.

use capstan_plugin_api::{ConfigSchema, ErrorCode};
use serde::{Deserialize, Serialize};

use crate::methods;

/// Kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ConfigSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fault {
    /// The call does nothing and answers an error.
    Error,
    /// Likewise, with `rate_limited`.
    RateLimited,
    /// The call takes longer.
    Slow,
    /// The call is done, and answers an error.
    ReplyLost,
    /// A new node is not seen for a while, a destroyed one goes on being seen.
    EventuallyConsistent,
    /// Another node of the same name comes with the node, as somebody else would have made it: without tags and token.
    DuplicateName,
    /// The node is made twice, tags and all.
    DuplicateNode,
    /// The node goes to `error`.
    NodeError,
    /// The node stays `pending`.
    NeverUp,
    /// The node is gone after a while.
    Vanish,
    /// The node runs without an address.
    NoAddress,
    /// The node is in a state that nobody knows.
    UnknownState,
    /// The node has the id of another.
    ReusedId,
    /// The node's texts are rubbish.
    Garbage,
    /// `destroy_node` is a success, and the node stays.
    NeverGone,
    /// The list has many nodes of somebody else.
    ManyNodes,
    /// The list comes in one page, whatever the limit.
    IgnoresLimit,
    /// The list gives the same cursor again and again.
    RepeatedCursor,
}

/// A fault, when it happens and what belongs to it.
#[derive(Clone, Debug, Deserialize, ConfigSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    /// What goes wrong.
    pub fault: Fault,
    /// Methods that it befalls. Default: every one for `error`, `rate_limited` and `slow`; else the ones that it is about.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Only calls that create a node whose name begins so, or that are about the object of this id.
    pub node: Option<String>,
    /// Probability for each call, 0 to 1.
    pub probability: Option<f64>,
    /// Which calls, counted from 1.
    #[serde(default)]
    pub calls: Vec<u64>,
    /// Each so many-th call.
    pub every: Option<u64>,
    /// Happens so often at most. Default: until it is taken away.
    pub times: Option<u64>,
    /// Milliseconds: how much longer, how long unseen, after what time.
    pub delay_ms: Option<u64>,
    /// Milliseconds that a node stays in error, after which it is as it would have been. Default: for good.
    pub duration_ms: Option<u64>,
    /// Error code of `error` (default `unavailable`) and `reply_lost` (default `timeout`).
    pub code: Option<String>,
    /// Message of the error, or of the node's fault.
    pub message: Option<String>,
    /// What an error says about coming back, in milliseconds. Default: nothing; a second for `rate_limited`.
    pub retry_after_ms: Option<u64>,
    /// The state of `unknown_state`. Default: `hibernating`.
    pub state: Option<String>,
    /// The number of nodes of `many_nodes`. Default: 1,000,000.
    pub count: Option<u32>,
}

impl Fault {
    /// Its name in the configuration.
    pub(crate) fn name(self) -> String {
        serde_json::to_value(self).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
    }

    /// The methods that it befalls when none are named, and those that it can befall. Empty: all.
    fn methods(self) -> (&'static [&'static str], &'static [&'static str]) {
        const LIST: &[&str] = &["list_nodes"];
        const CREATE: &[&str] = &["create_node"];
        match self {
            Self::Error | Self::RateLimited | Self::Slow => (&[], &[]),
            Self::ReplyLost => (CREATE, &[]),
            Self::EventuallyConsistent => (&["create_node", "destroy_node"], &["create_node", "destroy_node"]),
            Self::NeverGone => (&["destroy_node"], &["destroy_node"]),
            Self::ManyNodes | Self::IgnoresLimit | Self::RepeatedCursor => (LIST, LIST),
            _ => (CREATE, CREATE),
        }
    }
}

impl Rule {
    /// Refuses what can never be; `place` is where the rule stands.
    pub(crate) fn check(&self, place: &str) -> Result<(), String> {
        let (_, possible) = self.fault.methods();
        for method in &self.methods {
            methods::check(method, &format!("{place}.methods"))?;
            if !possible.is_empty() && !possible.contains(&method.as_str()) {
                let (fault, possible) = (self.fault.name(), possible.join(" and "));
                return Err(format!("{place}.methods has {method}, but {fault} can befall {possible} only"));
            }
        }
        if let Some(chance) = self.probability.filter(|chance| !(0.0..=1.0).contains(chance)) {
            return Err(format!("{place}.probability is {chance}; expected 0 to 1"));
        }
        if self.every == Some(0) || self.calls.contains(&0) {
            return Err(format!("{place}: calls are counted from 1, so neither every nor calls can be 0"));
        }
        Ok(())
    }

    pub(super) fn is_about(&self, method: &str, subject: &str) -> bool {
        let (usual, _) = self.fault.methods();
        let is_method = if self.methods.is_empty() {
            usual.is_empty() || usual.contains(&method)
        } else {
            self.methods.iter().any(|named| named == method)
        };
        is_method
            && match &self.node {
                None => true,
                Some(prefix) if method == "create_node" => subject.starts_with(prefix.as_str()),
                Some(id) => subject == id,
            }
    }

    /// Whether it befalls the `met`-th call that it is about.
    pub(super) fn fires(&self, met: u64, chance: impl FnOnce() -> f64) -> bool {
        let is_always = self.probability.is_none() && self.calls.is_empty() && self.every.is_none();
        is_always
            || self.calls.contains(&met)
            || self.every.is_some_and(|every| met.is_multiple_of(every))
            || self.probability.is_some_and(|probability| chance() < probability)
    }

    /// Milliseconds.
    pub(crate) fn delay(&self) -> u64 {
        self.delay_ms.unwrap_or(match self.fault {
            Fault::Slow | Fault::EventuallyConsistent => 5_000,
            Fault::Vanish => 10_000,
            _ => 0,
        })
    }

    /// The code of the error that it answers; the name of an unknown one goes through as it is.
    pub(crate) fn error_code(&self) -> ErrorCode {
        let usual = match self.fault {
            Fault::RateLimited => ErrorCode::RATE_LIMITED,
            Fault::ReplyLost => ErrorCode::TIMEOUT,
            _ => ErrorCode::UNAVAILABLE,
        };
        let named = self.code.clone().and_then(|code| serde_json::from_value(code.into()).ok());
        named.unwrap_or(usual)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_never_be_is_refused() {
        for (json, words) in [
            (r#"{ "fault": "vanish", "methods": ["list_nodes"] }"#, "vanish can befall create_node only"),
            (r#"{ "fault": "slow", "methods": ["list_node"] }"#, "f.methods names the method"),
            (r#"{ "fault": "slow", "probability": 1.5 }"#, "f.probability is 1.5"),
            (r#"{ "fault": "slow", "every": 0 }"#, "counted from 1"),
        ] {
            let rule: Rule = serde_json::from_str(json).unwrap();
            let said = rule.check("f").unwrap_err();
            assert!(said.contains(words), "{said}");
        }
        assert!(serde_json::from_str::<Rule>(r#"{ "fault": "slow", "probabilty": 1 }"#).is_err());
    }

    #[test]
    fn codes_are_open_words() {
        let rule: Rule = serde_json::from_str(r#"{ "fault": "error", "code": "tape_full" }"#).unwrap();
        assert_eq!(rule.error_code().as_str(), "tape_full");
    }
}
