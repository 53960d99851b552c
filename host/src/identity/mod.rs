//! Who a node is: an authority of the daemon's own, the certificates it gives to nodes, and the node's side of it.
//!
//! A node is told a token at its first start ([`Identity::admit`]) and exchanges it, once, for a certificate of its name; the key is
//! made on the node and never leaves it. It renews the certificate by itself ([`node`]). Whoever deletes a node revokes what was
//! given to it ([`expel`]) in the same transaction. docs/services/identity.md is the manual, docs/contract/identity-api.md the wire.

mod authority;
mod keep;
mod keys;
pub mod node;
mod proof;
mod records;
mod request;
mod routes;
mod service;
#[cfg(test)]
mod tests;

pub use authority::{Authority, AuthorityError, Life};
pub use keep::Issuing;
pub use records::{Certificate, EnrolmentToken, MIGRATIONS, TokenState, expel};
pub use request::{Request, RequestFault};
pub use routes::routes;
pub use service::{Identity, Refused, Settings};
