//! Load balancers. An author implements [`LoadBalancerDriver`] (the eight queued calls of the seed, and later ones with a
//! default) or [`DeclarativeLoadBalancer`]; on the wire there is only the second, the [`adapter`] turns the first into it.

pub mod adapter;
mod declarative;
mod queued;
mod spec;
mod state;

pub use declarative::{DeclarativeLoadBalancer, Declared};
pub use queued::{Algorithm, LoadBalancerDriver, MonitorSettings, Queued, Server, TimeoutSettings};
pub use spec::{
    AdminState, ApplyRequest, ArchiveRequest, Listener, LoadBalancer, Member, MemberState, Monitor, Persistence, Pool,
    Protocol, Target, Timeouts, algorithm, protocol,
};
pub use state::{
    Applied, Archived, ListenerStatistics, LoadBalancerResult, LoadBalancerState, MemberError, MemberStatus, Observed,
    ObservedLoadBalancer, Statistics, Status, Validation,
};
