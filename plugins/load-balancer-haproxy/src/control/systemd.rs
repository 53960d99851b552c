//! `control = "systemd"`: the machine's one HAProxy service.

use std::time::Instant;

use super::run;
use crate::{device::Fault, settings::Settings};

/// The unit.
pub struct Systemd<'a> {
    settings: &'a Settings,
}

impl<'a> Systemd<'a> {
    /// The unit that the settings name.
    pub fn new(settings: &'a Settings) -> Self {
        Self { settings }
    }

    pub(super) fn service(&self) -> &str {
        &self.settings.service_name
    }

    pub(super) fn is_running(&self, deadline: Instant) -> Result<bool, Fault> {
        Ok(run(&self.settings.systemctl_path, &["is-active", "--quiet", self.service()], deadline)?.status.success())
    }

    pub(super) fn act(&self, verb: &'static str, deadline: Instant) -> Result<(), Fault> {
        let finished = run(&self.settings.systemctl_path, &["--no-ask-password", verb, self.service()], deadline)?;
        if finished.status.success() {
            return Ok(());
        }
        Err(Fault::Systemctl { verb, service: self.service().to_owned(), said: finished.text })
    }
}
