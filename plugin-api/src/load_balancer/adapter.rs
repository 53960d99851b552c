//! Runs a queued driver's calls inside one declarative `apply`, and refuses by name what they cannot express.

use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::{
    AdminState, Algorithm, Applied, ApplyRequest, ArchiveRequest, Archived, DeclarativeLoadBalancer, LoadBalancer,
    LoadBalancerDriver, LoadBalancerResult, LoadBalancerState, Member, MemberError, MemberState, MonitorSettings,
    Observed, ObservedLoadBalancer, Pool, Server, Statistics, Status, Target, TimeoutSettings, Validation, algorithm,
};
use crate::{CallContext, Driver, DriverError, Host, Outcome, error::ErrorCode};

/// A queued driver in declarative clothes.
pub struct Adapter<D> {
    driver: D,
    host: Host,
    // The driver holds one queue, so one change runs at a time.
    queue: Mutex<()>,
}

/// What the adapter keeps in the host's state under [`STATE_KEY`]: the last change that went through.
#[derive(Clone, Default, Serialize, Deserialize)]
struct LastChange {
    generation: u64,
    load_balancers: Vec<String>,
    suspended: bool,
}

const STATE_KEY: &str = "queued/last-change";

impl<D: LoadBalancerDriver> Adapter<D> {
    pub(crate) fn new(driver: D, host: Host) -> Self {
        Self { driver, host, queue: Mutex::new(()) }
    }

    pub(crate) fn driver(&self) -> &D {
        &self.driver
    }

    pub(crate) fn into_driver(self) -> D {
        self.driver
    }

    fn last_change(&self) -> Result<LastChange, DriverError> {
        Ok(self.host.state_get(STATE_KEY)?.map(|kept| kept.value).unwrap_or_default())
    }

    fn remember(&self, change: &LastChange) -> Result<(), DriverError> {
        self.host.state_put(STATE_KEY, change, None).map(|_version| ())
    }

    fn queue(&self, call: &CallContext, request: &ApplyRequest) -> Result<Vec<LoadBalancerResult>, DriverError> {
        // What the calls cannot say is known before the driver hears of anything.
        let foreseen = foresee(request);
        if is_refused(&foreseen, request.skip_refused_members) {
            return Ok(foreseen);
        }
        optional(self.driver.init(call))?;
        let mut results = Vec::with_capacity(request.load_balancers.len());
        for (index, load_balancer) in request.load_balancers.iter().enumerate() {
            call.check()?;
            let mut result = LoadBalancerResult { id: load_balancer.id.clone(), ..Default::default() };
            if let Err(error) =
                self.queue_one(call, index == 0, load_balancer, request.skip_refused_members, &mut result.members)
            {
                result.error = Some(error);
            }
            results.push(result);
            if is_refused(&results, request.skip_refused_members) {
                results.extend(request.load_balancers[index + 1..].iter().map(|rest| LoadBalancerResult {
                    id: rest.id.clone(),
                    error: Some(DriverError::new(
                        ErrorCode::CANCELLED,
                        format!(
                            "not tried, because load balancer {} was refused; nothing was changed",
                            load_balancer.id
                        ),
                    )),
                    ..Default::default()
                }));
                break;
            }
        }
        Ok(results)
    }

    fn queue_one(
        &self,
        call: &CallContext,
        first: bool,
        load_balancer: &LoadBalancer,
        skip_refused: bool,
        refused: &mut Vec<MemberError>,
    ) -> Result<(), DriverError> {
        let Shape { protocol, port, client_ms, pool, algorithm } = Shape::of(load_balancer)?;
        if first {
            self.driver.set_protocol(call, &protocol, port)?;
        } else {
            self.driver.add_protocol(call, &protocol, port)?;
        }
        self.driver.set_algorithm(call, &protocol, algorithm)?;
        if let Some(monitor) = &pool.monitor {
            let settings = MonitorSettings {
                kind: monitor.kind.to_lowercase(),
                delay_s: monitor.delay_s,
                timeout_s: monitor.timeout_s,
                attempts: monitor.rise,
                path: monitor.path.clone().unwrap_or_else(|| "/".to_owned()),
            };
            self.driver.add_monitor(call, &protocol, &settings)?;
        }
        let timeouts = TimeoutSettings {
            client_ms: client_ms.unwrap_or(30_000),
            server_ms: pool.timeouts.server_ms.unwrap_or(30_000),
            connect_ms: pool.timeouts.connect_ms.unwrap_or(30_000),
            retries: pool.timeouts.retries.unwrap_or(3),
        };
        // libra lets a driver ignore time limits; one that was asked for by name may not be dropped in silence.
        let asked = client_ms.is_some() || pool.timeouts != super::Timeouts::default();
        match self.driver.set_timeouts(call, &protocol, &timeouts) {
            Err(error) if error.code == ErrorCode::NOT_SUPPORTED && !asked => {}
            other => other?,
        }
        for member in &pool.members {
            if let Err(error) = self.queue_member(call, &protocol, member) {
                refused.push(MemberError { id: member.id.clone(), error });
                if !skip_refused {
                    break;
                }
            }
        }
        Ok(())
    }

    fn queue_member(&self, call: &CallContext, protocol: &str, member: &Member) -> Result<(), DriverError> {
        expressible(member)?;
        if member.state == MemberState::Disabled {
            return Ok(());
        }
        self.driver.add_server(
            call,
            &Server {
                protocol: protocol.to_owned(),
                id: member.id.clone(),
                host: member.address.clone(),
                port: member.port,
                weight: member.weight,
                backup: member.backup,
            },
        )
    }

    fn at_once(
        &self,
        call: &CallContext,
        target: &Target,
        act: impl FnOnce(&D, &CallContext) -> Result<(), DriverError>,
        after: impl FnOnce(&mut LastChange),
    ) -> Result<Outcome<Applied>, DriverError> {
        let _one_at_a_time = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let mut last = self.last_change()?;
        refuse_older(last.generation, target.generation)?;
        if let Some(id) = &target.load_balancer {
            if !last.load_balancers.contains(id) {
                return Err(DriverError::not_found(format!("the device has no load balancer {id:?}")));
            }
            if last.load_balancers.len() > 1 {
                return Err(DriverError::not_supported("one load balancer of a device that carries several"));
            }
        }
        act(&self.driver, call)?;
        let load_balancers =
            last.load_balancers.iter().map(|id| LoadBalancerResult { id: id.clone(), ..Default::default() }).collect();
        after(&mut last);
        last.generation = last.generation.max(target.generation);
        self.remember(&last)?;
        Ok(Outcome::Done(Applied { load_balancers, method: "calls".into() }))
    }
}

/// The part of a load balancer that queued calls can say.
struct Shape<'a> {
    protocol: String,
    port: Option<u16>,
    client_ms: Option<u32>,
    pool: &'a Pool,
    algorithm: Algorithm,
}

impl<'a> Shape<'a> {
    fn of(load_balancer: &'a LoadBalancer) -> Result<Self, DriverError> {
        let refuse = |what: &str| Err(DriverError::not_supported(what));
        let [listener] = load_balancer.listeners.as_slice() else {
            return refuse("any but one listener for each load balancer");
        };
        let [pool] = load_balancer.pools.as_slice() else {
            return refuse("any but one pool for each load balancer");
        };
        if load_balancer.admin_state != AdminState::Up {
            return refuse("a suspended load balancer in apply; call suspend");
        }
        if listener.default_pool.as_ref().is_some_and(|id| *id != pool.id) {
            return refuse("a listener whose default pool is not the load balancer's pool");
        }
        if listener.address.is_some() {
            return refuse("an address for a listener");
        }
        if listener.connection_limit.is_some() {
            return refuse("a connection limit");
        }
        if pool.persistence.is_some() {
            return refuse("persistence other than the protocol's default");
        }
        if pool.monitor.as_ref().is_some_and(|monitor| monitor.rise != monitor.fall) {
            return refuse("a monitor whose rise and fall differ");
        }
        let algorithm = match pool.algorithm.as_str() {
            algorithm::ROUND_ROBIN => Algorithm::RoundRobin,
            algorithm::LEAST_CONNECTIONS => Algorithm::LeastConnections,
            other => return Err(DriverError::not_supported(format_args!("algorithm {other:?}"))),
        };
        Ok(Self {
            protocol: listener.protocol.to_lowercase(),
            port: listener.port,
            client_ms: listener.client_timeout_ms,
            pool,
            algorithm,
        })
    }
}

/// What queued calls cannot say of a request, without asking the driver. The calls name a load balancer by its protocol alone,
/// so a device carries one of each.
fn foresee(request: &ApplyRequest) -> Vec<LoadBalancerResult> {
    let mut protocols = Vec::with_capacity(request.load_balancers.len());
    let result = |one: &LoadBalancer| {
        let error = match Shape::of(one) {
            Ok(shape) if protocols.contains(&shape.protocol) => {
                Some(DriverError::not_supported(format_args!("two load balancers of protocol {}", shape.protocol)))
            }
            Ok(shape) => {
                protocols.push(shape.protocol);
                None
            }
            Err(error) => Some(error),
        };
        let members =
            one.pools.iter().flat_map(|pool| &pool.members).filter_map(|member| {
                expressible(member).err().map(|error| MemberError { id: member.id.clone(), error })
            });
        LoadBalancerResult { id: one.id.clone(), error, members: members.collect() }
    };
    request.load_balancers.iter().map(result).collect()
}

fn is_refused(results: &[LoadBalancerResult], skip_refused_members: bool) -> bool {
    results.iter().any(|result| result.error.is_some() || (!result.members.is_empty() && !skip_refused_members))
}

fn expressible(member: &Member) -> Result<(), DriverError> {
    match member.state {
        MemberState::Enabled | MemberState::Disabled => Ok(()),
        MemberState::Drain => Err(DriverError::not_supported("draining a member")),
    }
}

fn optional(result: Result<(), DriverError>) -> Result<(), DriverError> {
    match result {
        Err(error) if error.code == ErrorCode::NOT_SUPPORTED => Ok(()),
        other => other,
    }
}

/// Deleting what is not there is no error.
fn gone(result: Result<(), DriverError>) -> Result<(), DriverError> {
    match result {
        Err(error) if error.code == ErrorCode::NOT_FOUND => Ok(()),
        other => other,
    }
}

fn refuse_older(running: u64, asked: u64) -> Result<(), DriverError> {
    if asked < running {
        return Err(DriverError::conflict(format!(
            "generation {asked} is older than generation {running}, which runs; nothing was changed"
        )));
    }
    Ok(())
}

impl<D: LoadBalancerDriver> Driver for Adapter<D> {
    type Config = D::Config;

    fn open(config: Self::Config, host: Host) -> Result<Self, DriverError> {
        Ok(Self::new(D::open(config, host.clone())?, host))
    }
}

impl<D: LoadBalancerDriver> DeclarativeLoadBalancer for Adapter<D> {
    fn apply(&self, call: &CallContext, request: &ApplyRequest) -> Result<Outcome<Applied>, DriverError> {
        let _one_at_a_time = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        refuse_older(self.last_change()?.generation, request.generation)?;
        let load_balancers = self.queue(call, request)?;
        if is_refused(&load_balancers, request.skip_refused_members) {
            return Ok(Outcome::Done(Applied { load_balancers, method: "refused".into() }));
        }
        call.check()?;
        if load_balancers.is_empty() {
            // `create` with an empty queue has no meaning in the seed; a device without load balancers is a deleted one.
            gone(self.driver.delete(call))?;
        } else {
            self.driver.create(call)?;
        }
        self.remember(&LastChange {
            generation: request.generation,
            load_balancers: request.load_balancers.iter().map(|one| one.id.clone()).collect(),
            suspended: false,
        })?;
        Ok(Outcome::Done(Applied { load_balancers, method: "calls".into() }))
    }

    /// The queued calls have no way to look, so this is what the last change left.
    fn observe(&self, _call: &CallContext, _target: &Target) -> Result<Observed, DriverError> {
        let last = self.last_change()?;
        let state = if last.suspended { LoadBalancerState::Suspended } else { LoadBalancerState::Running };
        let load_balancers =
            last.load_balancers.into_iter().map(|id| ObservedLoadBalancer { id, state, members: Vec::new() }).collect();
        Ok(Observed { generation: last.generation, load_balancers, drift: Vec::new() })
    }

    fn suspend(&self, call: &CallContext, target: &Target) -> Result<Outcome<Applied>, DriverError> {
        self.at_once(call, target, D::suspend, |last| last.suspended = true)
    }

    fn enable(&self, call: &CallContext, target: &Target) -> Result<Outcome<Applied>, DriverError> {
        self.at_once(call, target, D::enable, |last| last.suspended = false)
    }

    fn delete(&self, call: &CallContext, target: &Target) -> Result<Outcome<Applied>, DriverError> {
        let known = self.last_change()?;
        if target.load_balancer.as_ref().is_some_and(|id| !known.load_balancers.contains(id)) {
            refuse_older(known.generation, target.generation)?;
            return Ok(Outcome::Done(Applied { load_balancers: Vec::new(), method: "unchanged".into() }));
        }
        self.at_once(call, target, |driver, call| gone(driver.delete(call)), |last| last.load_balancers.clear())
    }

    fn validate(&self, _call: &CallContext, request: &ApplyRequest) -> Result<Validation, DriverError> {
        Ok(Validation { load_balancers: foresee(request) })
    }

    fn status(&self, call: &CallContext, _target: &Target) -> Result<Status, DriverError> {
        self.driver.status(call)
    }

    fn statistics(&self, call: &CallContext, _target: &Target) -> Result<Statistics, DriverError> {
        self.driver.statistics(call)
    }

    fn archive(&self, call: &CallContext, request: &ArchiveRequest) -> Result<Outcome<Archived>, DriverError> {
        self.driver.archive(call, request).map(Outcome::Done)
    }
}
