//! Nodes: started, stopped and restarted.

use capstan_plugin_api::{DriverError, cloud::node_state};

use super::{
    change::{Change, Plan, Turn},
    node::{Phase, Record},
    state::World,
};

impl World {
    pub(crate) fn start_node(&self, id: &str, turn: &Turn<'_>) -> Plan<()> {
        self.switch(id, turn, "started", &[node_state::STOPPED], Phase::Starting)
    }

    pub(crate) fn stop_node(&self, id: &str, turn: &Turn<'_>) -> Plan<()> {
        self.switch(id, turn, "stopped", &[node_state::RUNNING, node_state::REBOOTING], Phase::Stopped)
    }

    pub(crate) fn reboot_node(&self, id: &str, turn: &Turn<'_>) -> Plan<()> {
        self.switch(id, turn, "restarted", &[node_state::RUNNING, node_state::REBOOTING], Phase::Rebooting)
    }

    fn switch(&self, id: &str, turn: &Turn<'_>, what: &str, from: &[&str], phase: Phase) -> Plan<()> {
        let (number, record) = self.alive(id, turn.now)?;
        let state = if record.is_in_error(turn.now) { node_state::ERROR } else { record.state(turn.now) };
        if !from.contains(&state) {
            let message = format!("a node that is {state} cannot be {what}; it must be {}", from.join(" or "));
            return Err(DriverError::conflict(message));
        }
        let until = turn.now.saturating_add(turn.build_ms);
        Ok((vec![Change::Node(number, Some(Record { phase, until, ..record.clone() }))], ()))
    }
}
