//! The running HAProxy: its sockets, what it says of itself, and changes that need no reload.

mod change;
mod features;
mod info;
mod socket;
mod stat;

pub use change::{Change, Live, plan};
pub use features::{Features, Version};
pub use info::Info;
pub use socket::{SocketError, ask, look};
pub use stat::{Backend, LiveServer, StatError, backends, servers};
