//! The four kinds of driver.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What a driver is for; the first part of its name in `known_drivers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Makes and removes nodes.
    Cloud,
    /// Speaks to an API server that keeps nodes.
    Mgm,
    /// Drives an appliance.
    LoadBalancer,
    /// Drives a database server.
    Database,
}

/// The text names no kind.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is no kind of driver; expected cloud, mgm, load_balancer or database")]
pub struct UnknownKind(pub String);

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Cloud, Self::Mgm, Self::LoadBalancer, Self::Database];

    /// As it stands in the configuration and in a manifest.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cloud => "cloud",
            Self::Mgm => "mgm",
            Self::LoadBalancer => "load_balancer",
            Self::Database => "database",
        }
    }

    /// The majors of this kind's interface that the host speaks.
    pub(crate) const fn interfaces(self) -> &'static [&'static str] {
        match self {
            Self::Cloud => &["cloud/1"],
            Self::Mgm => &["mgm/1"],
            Self::LoadBalancer => &["load_balancer/1"],
            Self::Database => &["database/1"],
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| UnknownKind(text.to_owned()))
    }
}
