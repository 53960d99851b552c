//! The members of one load balancer, with the rules of libra's `add_server`.

use std::collections::HashSet;

use capstan_plugin_api::load_balancer::{Member, MemberState};
use serde_json::Value;

use super::{
    fields::{address, flag, port, present, weight},
    listeners::Protocol,
    message::Object,
};

/// Members accepted so far.
pub(super) struct Members {
    protocol: Protocol,
    ids: HashSet<String>,
    has_primary: bool,
    accepted: Vec<Member>,
}

impl Members {
    pub(super) fn new(protocol: Protocol) -> Self {
        Self { protocol, ids: HashSet::new(), has_primary: false, accepted: Vec::new() }
    }

    /// Adds a node under an id.
    ///
    /// # Errors
    /// Why it is refused.
    pub(super) fn add(
        &mut self,
        id: String,
        node: &Object,
        given_address: &Value,
        given_port: &Value,
    ) -> Result<(), String> {
        let member = Member {
            address: address(given_address)?,
            port: port(given_port)?,
            weight: weight(present(node, "weight"))?,
            backup: flag("backup", present(node, "backup"))?,
            // `condition` of a request says nothing: only enabled nodes are sent.
            state: MemberState::Enabled,
            id,
        };
        if self.protocol == Protocol::Galera && !member.backup {
            if self.has_primary {
                return Err("Galera protocol does not accept more than one non-backup node".to_owned());
            }
            self.has_primary = true;
        }
        if !self.ids.insert(member.id.clone()) {
            return Err("the id stands twice in this load balancer".to_owned());
        }
        self.accepted.push(member);
        Ok(())
    }

    pub(super) fn into_list(self) -> Vec<Member> {
        self.accepted
    }
}
