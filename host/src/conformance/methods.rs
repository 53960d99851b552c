//! The methods of each kind.

use serde_json::{Value, json};

use crate::drivers::Kind;

/// Methods that every driver of a kind answers.
pub(super) const fn required(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Cloud => &["list_nodes", "create_node", "destroy_node", "list_images", "list_sizes"],
        Kind::Database => &["initialise", "start", "stop", "status"],
        Kind::LoadBalancer => &["apply", "observe", "suspend", "enable", "delete"],
        Kind::Mgm => &["get_free_count", "add_node", "is_online", "get_url"],
    }
}

/// Methods that a driver of a kind may leave out.
pub(super) const fn optional(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Cloud => &[
            "start_node",
            "stop_node",
            "reboot_node",
            "create_volume",
            "create_snapshot",
            "get_node",
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
            "delete_volume",
            "attach_volume",
            "detach_volume",
            "list_snapshots",
            "delete_snapshot",
            "poll",
            "recover",
        ],
        Kind::Database => &[
            "create_user",
            "delete_user",
            "set_password",
            "become_primary",
            "replicate_from",
            "promote",
            "position",
            "dump",
            "restore",
            "logs",
            "poll",
            "recover",
        ],
        Kind::LoadBalancer => &["validate", "status", "statistics", "archive", "poll", "recover"],
        Kind::Mgm => &["usage", "list_nodes", "get_node", "update_node", "delete_node", "failed_nodes"],
    }
}

/// A required method that changes nothing, with parameters that it takes.
pub(super) fn reading(kind: Kind) -> (&'static str, Value) {
    match kind {
        Kind::Cloud => ("list_images", json!({})),
        Kind::Database => ("status", json!({ "server": "conformance" })),
        Kind::LoadBalancer => ("observe", json!({ "device": "conformance" })),
        Kind::Mgm => ("get_free_count", json!({})),
    }
}
