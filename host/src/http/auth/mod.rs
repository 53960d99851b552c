//! Who calls, and whether they may. Nothing is admitted that its route does not admit.
//!
//! A credential is a bearer token, a client certificate whose name the configuration gives a role, or a place at the daemon's Unix
//! socket. One that is shown counts alone: a wrong token is refused on loopback and on the socket as well. Where none is shown, a
//! listener of loopback admits what `http.anonymous` says, any other nothing.

mod access;
mod attempts;
mod bearer;
mod caller;
mod gate;
mod own_token;
mod routes;
mod tokens;

pub use access::Access;
pub(crate) use attempts::Attempts;
pub use bearer::{TokenText, presented};
pub use caller::{Caller, Credential, Role};
pub use gate::{CertificateRoles, Gate};
pub use own_token::OwnToken;
pub use tokens::{Tokens, migrations};

pub(super) use access::{guard, refuse_strangers};
pub(super) use routes::routes;
