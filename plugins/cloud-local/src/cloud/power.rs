//! Nodes: started, stopped and restarted.

use capstan_plugin_api::{CallContext, DriverError, cloud::node_state};

use super::{Cloud, Held, view::view};
use crate::record::{Record, Wanted};

impl Cloud {
    pub fn start_node(&self, call: &CallContext, id: &str) -> Result<(), DriverError> {
        let held = self.hold(call, id)?;
        let record = held.record()?;
        self.must_be(&held, &record, "started", &[node_state::STOPPED])?;
        self.run(call, &held, record)
    }

    pub fn stop_node(&self, call: &CallContext, id: &str) -> Result<(), DriverError> {
        let held = self.hold(call, id)?;
        let mut record = held.record()?;
        // A second stop goes on with the first.
        let from = [node_state::RUNNING, node_state::PENDING, node_state::REBOOTING, node_state::STOPPED, "stopping"];
        self.must_be(&held, &record, "stopped", &from)?;
        record.wanted = Wanted::Stopped;
        self.save(&held.folder, &record)?;
        self.end(call, &held.folder, record.plan.as_ref())
    }

    /// Also what mends a node in `error` that was built once.
    pub fn reboot_node(&self, call: &CallContext, id: &str, is_hard: bool) -> Result<(), DriverError> {
        let held = self.hold(call, id)?;
        let record = held.record()?;
        let from = [node_state::RUNNING, node_state::PENDING, node_state::REBOOTING, node_state::ERROR];
        self.must_be(&held, &record, "restarted", &from)?;
        let plan = record.plan.as_ref().filter(|_| !is_hard);
        self.end(call, &held.folder, plan)?;
        self.run(call, &held, record)
    }

    fn run(&self, call: &CallContext, held: &Held, mut record: Record) -> Result<(), DriverError> {
        if record.plan.is_none() {
            return Err(DriverError::conflict(
                "the node was never built; destroy it, or create it again with the same token",
            ));
        }
        record.wanted = Wanted::Running;
        record.run += 1;
        record.fault = None;
        self.save(&held.folder, &record)?;
        self.start(call, &held.folder, record.run)?;
        self.carry_addresses(call, &record.id)
    }

    fn must_be(&self, held: &Held, record: &Record, what: &str, from: &[&str]) -> Result<(), DriverError> {
        let state = view(&held.folder, record.clone()).state;
        if from.contains(&state.as_str()) {
            return Ok(());
        }
        let message = format!("a node that is {state} cannot be {what}; it must be {}", from.join(" or "));
        Err(DriverError::conflict(message))
    }
}
