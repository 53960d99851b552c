//! How a node goes: what shall be is written, its processes are ended, its folder leaves the list at one stroke.

use std::fs;

use capstan_plugin_api::{CallContext, DriverError};

use super::{ASIDE, Cloud, failed};
use crate::{durable, record::Wanted};

impl Cloud {
    pub fn destroy_node(&self, call: &CallContext, id: &str) -> Result<(), DriverError> {
        let held = self.hold(call, id)?;
        let mut plan = None;
        if let Ok(mut record) = held.record.clone() {
            record.wanted = Wanted::Gone;
            self.save(&held.folder, &record)?;
            plan = record.plan;
        }
        self.end(call, &held.folder, plan.as_ref())?;
        let _cloud = self.lock(call)?;
        self.let_go_of_addresses(call, id)?;
        let aside = self.nodes().join(format!("{ASIDE}{id}"));
        let fault = |error: std::io::Error| failed("cannot remove the node", held.folder.path(), &error);
        fs::rename(held.folder.path(), &aside).map_err(fault)?;
        durable::sync_folder(&self.nodes()).map_err(fault)?;
        // It is gone; what is left of its files goes now or with the next node.
        self.clear();
        Ok(())
    }
}
