//! What nodes write to their consoles.

use capstan_plugin_api::{
    DriverError,
    cloud::{Console, node_state},
};

use super::{change::Turn, state::World};

impl World {
    /// As much as the node's state allows for.
    pub(crate) fn console_output(&self, id: &str, turn: &Turn<'_>) -> Result<Console, DriverError> {
        let (number, record) = self.seen(id, turn.now)?;
        let node = record.view(number, self, turn.settings, turn.now);
        let mut lines = vec![
            "[    0.000000] Linux version 6.12.0-dummy (capstan) #1 SMP".to_owned(),
            format!("[    0.000000] DMI: Capstan Dummy Cloud, {}", node.host.as_deref().unwrap_or("no host")),
        ];
        if let Some(reason) = record.fate.as_ref().and_then(|fate| fate.error(turn.now)) {
            lines.push(format!("[    0.731942] Kernel panic - not syncing: {reason}"));
        } else if record.state(turn.now) != node_state::PENDING {
            lines.push("[    1.204811] systemd[1]: Reached target multi-user.target.".to_owned());
            let bytes = record.details.as_ref().map_or(0, |details| details.user_data_bytes);
            lines.push(format!("cloud-init: {bytes} bytes of user data"));
            let addresses = node.public_ips.iter().chain(&node.private_ips).map(ToString::to_string);
            lines.push(format!("ci-info: addresses {}", addresses.collect::<Vec<_>>().join(" ")));
            lines.push(match record.state(turn.now) {
                node_state::STOPPED => "[  310.400117] reboot: Power down".to_owned(),
                node_state::REBOOTING => "[  310.400117] reboot: Restarting system".to_owned(),
                _ => format!("{} login: ", record.name),
            });
        }
        Ok(Console { output: lines.join("\n") })
    }
}
