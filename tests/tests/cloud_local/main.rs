//! The local cloud through the built daemon: nodes that are real processes, what ends and what goes on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a suite stops where something is wrong")]

mod configuration;
mod crashes;
mod durability;
mod floating;
mod kit;
mod lb_nodes;
mod life;
mod many;
mod namespaces;
mod shipped;
mod stock;
mod support;
