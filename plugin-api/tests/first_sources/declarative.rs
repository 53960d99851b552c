//! A declarative load balancer of the first release.

use std::sync::Mutex;

use capstan_plugin_api::{
    CallContext, DeclarativeLoadBalancer, Driver, DriverError, Host, Outcome,
    load_balancer::{
        AdminState, Applied, ApplyRequest, LoadBalancerResult, LoadBalancerState, MemberError, MemberState, Observed,
        ObservedLoadBalancer, Persistence, Target, Validation, algorithm, protocol,
    },
};

pub struct Acme(Mutex<u64>);

impl Driver for Acme {
    type Config = ();

    fn open(_config: (), _host: Host) -> Result<Self, DriverError> {
        Ok(Self(Mutex::default()))
    }
}

fn refused(request: &ApplyRequest) -> Vec<LoadBalancerResult> {
    let mut results = Vec::new();
    for load_balancer in &request.load_balancers {
        let mut result = LoadBalancerResult { id: load_balancer.id.clone(), ..Default::default() };
        if load_balancer.admin_state != AdminState::Up
            || load_balancer.listeners.iter().any(|one| one.protocol != protocol::HTTP || one.port.is_none())
        {
            result.error = Some(DriverError::invalid_argument("only HTTP"));
        }
        for pool in load_balancer.pools.iter().filter(|pool| pool.algorithm == algorithm::ROUND_ROBIN) {
            match &pool.persistence {
                None | Some(Persistence::None) => {}
                Some(Persistence::HttpCookie { cookie, .. }) if !cookie.is_empty() => {}
                Some(Persistence::SourceIp { expire_s, .. }) if *expire_s > 0 => {}
                Some(_) => result.error = Some(DriverError::not_supported("this persistence")),
            }
            for member in &pool.members {
                let is_taken = match member.state {
                    MemberState::Enabled | MemberState::Disabled => true,
                    MemberState::Drain => member.weight > 0 && !member.backup,
                    _ => false,
                };
                if !is_taken {
                    let error = DriverError::not_supported("this state");
                    result.members.push(MemberError { id: member.id.clone(), error, ..Default::default() });
                }
            }
        }
        results.push(result);
    }
    results
}

impl DeclarativeLoadBalancer for Acme {
    fn apply(&self, _call: &CallContext, request: &ApplyRequest) -> Result<Outcome<Applied>, DriverError> {
        *self.0.lock().unwrap() = request.generation;
        let applied = Applied { load_balancers: refused(request), method: "reload".into(), ..Default::default() };
        Ok(if applied.all_ok() { applied.into() } else { Outcome::Done(applied) })
    }

    fn observe(&self, _call: &CallContext, target: &Target) -> Result<Observed, DriverError> {
        let state = if target.generation > 0 { LoadBalancerState::Running } else { LoadBalancerState::Failed };
        let one = ObservedLoadBalancer { id: target.device.clone(), state, ..Default::default() };
        Ok(Observed { generation: *self.0.lock().unwrap(), load_balancers: vec![one], ..Default::default() })
    }

    fn suspend(&self, _call: &CallContext, _target: &Target) -> Result<Outcome<Applied>, DriverError> {
        Ok(Applied::default().into())
    }

    fn enable(&self, _call: &CallContext, _target: &Target) -> Result<Outcome<Applied>, DriverError> {
        Ok(Applied::default().into())
    }

    fn delete(&self, _call: &CallContext, _target: &Target) -> Result<Outcome<Applied>, DriverError> {
        Ok(Applied::default().into())
    }

    fn validate(&self, _call: &CallContext, request: &ApplyRequest) -> Result<Validation, DriverError> {
        Ok(Validation { load_balancers: refused(request), ..Default::default() })
    }
}
