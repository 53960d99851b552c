//! What the tests stand on: a small host, web servers, a client, and a device with everything in a directory of its own.

mod client;
mod host;
mod web;
mod world;

#[allow(unused_imports, reason = "each suite uses its part")]
pub use {
    client::{Answer, Load, get, get_with_cookie},
    host::{Driver, TestHost},
    web::Web,
    world::{World, free_port, http, load_balancer, member, tcp, until},
};
