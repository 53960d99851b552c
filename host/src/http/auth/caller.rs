//! Who calls.

use std::{convert::Infallible, fmt};

use axum::{extract::FromRequestParts, http::request::Parts};
use serde::{Deserialize, Serialize};

/// What a caller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Does everything, makes tokens among it.
    Admin,
    /// Reads everything and acts.
    Operator,
    /// Reads everything.
    Viewer,
    /// Uses the device API, as drivers and nodes do.
    Device,
    /// Uses the API of tenants, for one tenant.
    Tenant,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 5] = [Self::Admin, Self::Operator, Self::Viewer, Self::Device, Self::Tenant];

    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::Viewer => "viewer",
            Self::Device => "device",
            Self::Tenant => "tenant",
        }
    }

    /// The role of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == name)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// By what a caller is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    /// A bearer token.
    Token,
    /// A client certificate.
    Certificate,
    /// A place at the daemon's Unix socket.
    Socket,
    /// Nothing but a listener of loopback.
    Loopback,
    /// Nothing at all; such a caller reaches open routes only.
    None,
}

/// Who calls; an extractor for handlers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// What it is.
    pub role: Role,
    /// The tenant of a token that belongs to one. A tenant is never taken from a header or a path.
    pub tenant: Option<String>,
    /// By what it is known.
    pub credential: Credential,
    /// Who it is, for logs and events: `token k3v…`, `certificate NAME`, `user 1000`, `loopback`.
    pub name: String,
}

impl Caller {
    pub(super) fn new(role: Role, credential: Credential, name: impl Into<String>) -> Self {
        Self { role, tenant: None, credential, name: name.into() }
    }

    /// A caller of an open route of whom nothing is known.
    pub(super) fn nobody() -> Self {
        Self::new(Role::Tenant, Credential::None, "nobody")
    }

    /// May see what an operator sees.
    pub fn may_view(&self) -> bool {
        self.credential != Credential::None && matches!(self.role, Role::Viewer | Role::Operator | Role::Admin)
    }

    /// Whether a browser would show this credential by itself, whatever page made the request.
    pub(super) fn is_ambient(&self) -> bool {
        self.credential != Credential::Token
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_else(Self::nobody))
    }
}
