//! How far a node has come, and why it is there.

use serde::{Deserialize, Serialize};

/// How far a node has come. The order of the words is the order of its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It is to be built. Whether the cloud has been asked, `asked_at` says.
    #[default]
    Planned,
    /// The cloud has it; it does not run yet.
    Building,
    /// It runs and is asked how it is.
    Checking,
    /// It is good and the API server is told.
    Registering,
    /// In stock.
    Ready,
    /// Somebody has taken it; it is given back when nobody confirms.
    Reserved,
    /// In use.
    Taken,
    /// It was built and is not fit for the stock yet; it is tested again.
    Failed,
    /// It was there and is no longer.
    Lost,
    /// It is to be deleted: the API server first, then the cloud.
    Deleting,
    /// The cloud has said twice that it is gone.
    Deleted,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 11] = [
        Self::Planned,
        Self::Building,
        Self::Checking,
        Self::Registering,
        Self::Ready,
        Self::Reserved,
        Self::Taken,
        Self::Failed,
        Self::Lost,
        Self::Deleting,
        Self::Deleted,
    ];

    /// The word in the store and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Building => "building",
            Self::Checking => "checking",
            Self::Registering => "registering",
            Self::Ready => "ready",
            Self::Reserved => "reserved",
            Self::Taken => "taken",
            Self::Failed => "failed",
            Self::Lost => "lost",
            Self::Deleting => "deleting",
            Self::Deleted => "deleted",
        }
    }

    /// The state of this word.
    pub fn from_name(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// A build is under way.
    pub const fn is_being_built(self) -> bool {
        matches!(self, Self::Planned | Self::Building | Self::Checking | Self::Registering)
    }

    /// The state does not last by itself: a job must be alive that leads out of it.
    pub const fn needs_a_job(self) -> bool {
        self.is_being_built() || matches!(self, Self::Deleting)
    }
}

/// Why a node is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// To fill a stock.
    #[default]
    Stock,
    /// Somebody asked for it by message and registers it himself.
    Message,
    /// It was found in a cloud with our tags and no row that explained it; it is deleted.
    Orphan,
}

impl Origin {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Stock => "stock",
            Self::Message => "message",
            Self::Orphan => "orphan",
        }
    }
}
