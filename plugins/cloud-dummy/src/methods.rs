//! Names of the methods, as configuration, faults and the call log write them.

/// All that the driver answers.
pub(crate) const METHODS: [&str; 35] = [
    "list_nodes",
    "create_node",
    "destroy_node",
    "list_images",
    "list_sizes",
    "poll",
    "recover",
    "get_node",
    "start_node",
    "stop_node",
    "reboot_node",
    "list_locations",
    "console_output",
    "quotas",
    "set_tags",
    "list_key_pairs",
    "create_key_pair",
    "delete_key_pair",
    "list_security_groups",
    "create_security_group",
    "delete_security_group",
    "list_networks",
    "list_ips",
    "allocate_ip",
    "release_ip",
    "assign_ip",
    "remove_ip",
    "list_volumes",
    "create_volume",
    "delete_volume",
    "attach_volume",
    "detach_volume",
    "list_snapshots",
    "create_snapshot",
    "delete_snapshot",
];

/// Refuses a method that nobody has; `place` is the key that names it.
pub(crate) fn check(method: &str, place: &str) -> Result<(), String> {
    if METHODS.contains(&method) {
        return Ok(());
    }
    Err(format!("{place} names the method {method:?}, which no cloud driver has; known are {}", METHODS.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_the_manifests() {
        methods_of_the_interface().iter().for_each(|method| check(method, "x").unwrap());
        assert_eq!(methods_of_the_interface().len(), METHODS.len());
        assert!(check("list_node", "faults[0]").unwrap_err().starts_with("faults[0] names the method \"list_node\""));
    }

    /// The trait's methods from its public record, so that a method added there is added here.
    fn methods_of_the_interface() -> Vec<String> {
        let record = include_str!("../../../plugin-api/tests/golden/messages.txt");
        let interface = record.split("interface cloud/1").nth(1).unwrap().split("\n\n").next().unwrap();
        let lines = interface.lines().filter_map(|line| line.strip_prefix("    ")?.split_once(": "));
        lines.map(|(name, _)| name.to_owned()).collect()
    }
}
