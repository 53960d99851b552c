//! What a load balancer is and did: the answers of the calls.

use serde::{Deserialize, Serialize};

use crate::DriverError;

/// Answer of `apply`, `suspend`, `enable` and `delete`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Applied {
    /// One result for each load balancer of the request, in its order.
    pub load_balancers: Vec<LoadBalancerResult>,
    /// How the change was made, for people and figures: `unchanged`, `runtime`, `reload`, `start`, ... An open string.
    #[serde(default)]
    pub method: String,
}

impl Applied {
    /// All load balancers took the change.
    pub fn all_ok(&self) -> bool {
        self.load_balancers.iter().all(|result| result.error.is_none() && result.members.is_empty())
    }
}

/// What became of one load balancer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LoadBalancerResult {
    /// Its id.
    pub id: String,
    /// Why it did not take the change. Then nothing changed on the device, unless the error says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<DriverError>,
    /// Members that were refused. With `skip_refused_members` the rest was applied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<MemberError>,
}

/// A refused member.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MemberError {
    /// Id of the member.
    pub id: String,
    /// Why.
    pub error: DriverError,
}

/// Answer of `validate`: what `apply` would refuse or could not express. Empty means that it would be accepted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Validation {
    /// One result for each load balancer of the request, in its order.
    pub load_balancers: Vec<LoadBalancerResult>,
}

/// Answer of `observe`: what is really there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    /// Generation that runs; 0 when nothing does.
    pub generation: u64,
    /// The load balancers found.
    pub load_balancers: Vec<ObservedLoadBalancer>,
    /// What differs between what was applied and what runs, for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drift: Vec<String>,
}

/// A load balancer that was found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ObservedLoadBalancer {
    /// Its id.
    pub id: String,
    /// State.
    pub state: LoadBalancerState,
    /// Its members.
    #[serde(default)]
    pub members: Vec<MemberStatus>,
}

/// State of a load balancer on the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LoadBalancerState {
    /// Serves.
    Running,
    /// Configured, not serving.
    Suspended,
    /// Should serve, but its program does not run.
    Failed,
    /// A state that whoever reads it does not know yet.
    #[default]
    #[serde(other)]
    Unknown,
}

/// Answer of `status`. A device whose load balancers were deleted answers `not_found`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Every member of every load balancer.
    pub members: Vec<MemberStatus>,
}

/// Health of a member.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MemberStatus {
    /// Load balancer that it belongs to; empty when the appliance cannot tell.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub load_balancer: String,
    /// Id of the member.
    pub id: String,
    /// It takes traffic now.
    pub up: bool,
    /// The appliance's own word.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// Answer of `statistics`: what passed since the last call. A deleted device answers `not_found`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    /// Begin of the period, UTC, `YYYY-MM-DD HH:MM:SS.ffffff`.
    pub start: String,
    /// End of the period, likewise.
    pub end: String,
    /// One entry for each listener.
    pub listeners: Vec<ListenerStatistics>,
}

/// Figures of one listener over the period.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ListenerStatistics {
    /// Load balancer that it belongs to.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub load_balancer: String,
    /// Protocol in lower case as the appliance runs it: `http` or `tcp`.
    pub protocol: String,
    /// Bytes sent to clients.
    pub bytes_out: i64,
    /// Bytes received from clients, where the appliance tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_in: Option<i64>,
}

/// Answer of `archive`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Archived {
    /// Name of the object or file that was written.
    pub object: String,
    /// Its size in bytes.
    pub bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_of_a_later_driver_can_be_read() {
        let json = r#"{"id":"http","state":"degraded"}"#;
        assert_eq!(serde_json::from_str::<ObservedLoadBalancer>(json).unwrap().state, LoadBalancerState::Unknown);
        assert_eq!(serde_json::to_value(LoadBalancerState::Failed).unwrap(), "failed");
    }
}
