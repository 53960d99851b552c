//! Which calls may be made again when nobody knows what came of them.

/// A method that reads, or that by its contract does nothing when it finds its work done. What it makes anew each time
/// (`create_node`, `allocate_ip`) is not among them, nor is a method that this host does not know.
pub(super) fn is_safe(method: &str) -> bool {
    const READS: [&str; 13] = [
        "archive",
        "console_output",
        "failed_nodes",
        "health",
        "is_online",
        "logs",
        "observe",
        "poll",
        "position",
        "quotas",
        "statistics",
        "status",
        "validate",
    ];
    const SETTLES: [&str; 12] = [
        "apply",
        "become_primary",
        "delete",
        "destroy_node",
        "enable",
        "recover",
        "release_ip",
        "set_password",
        "set_tags",
        "suspend",
        "update_node",
        "usage",
    ];
    method.starts_with("list_")
        || method.starts_with("get_")
        || method.starts_with("delete_")
        || READS.contains(&method)
        || SETTLES.contains(&method)
}

#[cfg(test)]
mod tests {
    use super::is_safe;

    #[test]
    fn what_makes_something_anew_is_not_repeated() {
        for method in
            ["create_node", "allocate_ip", "create_volume", "add_node", "reboot_node", "restore", "of_a_later_host"]
        {
            assert!(!is_safe(method), "{method}");
        }
        for method in ["apply", "list_nodes", "get_url", "delete_volume", "poll", "destroy_node"] {
            assert!(is_safe(method), "{method}");
        }
    }
}
