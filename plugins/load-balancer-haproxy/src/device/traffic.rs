//! Statistics, and the counters that are kept before a process goes.

use capstan_plugin_api::{
    DriverError, LogLevel,
    load_balancer::{ListenerStatistics, Statistics, Target},
};
use time::OffsetDateTime;

use super::{Device, Fault, record::Record};
use crate::{
    accounting::{Accounts, Bytes, Current},
    runtime::{self, Info, SocketError, look},
    spec,
};

impl Device<'_> {
    /// What passed since the last call.
    pub fn statistics(&self, target: &Target) -> Result<Statistics, Fault> {
        let record = self.serving()?;
        let (current, process) = self.counted()?;
        let mut accounts = self.accounts()?;
        let report = accounts.report(&current, &process, OffsetDateTime::now_utc()).map_err(|error| {
            DriverError::internal("The traffic accounts cannot be read.").for_operator(error.to_string())
        })?;
        let mut listeners = Vec::new();
        for service in spec::check(&record.request, self.settings).wanted.services {
            let Some(bytes) = report.bytes.get(&service.names.backend) else { continue };
            if bytes.out < 0 || bytes.into < 0 {
                self.call.log(LogLevel::Warn, &format!("{}: {bytes:?} is less than nothing", service.names.backend));
            }
            if target.load_balancer.as_ref().is_some_and(|id| *id != service.load_balancer) {
                continue;
            }
            listeners.push(ListenerStatistics {
                load_balancer: service.load_balancer,
                protocol: service.mode.word().to_owned(),
                bytes_out: bytes.out,
                bytes_in: Some(bytes.into),
            });
        }
        self.call.host().state_put(&self.accounts_key(), &accounts, None)?;
        Ok(Statistics { start: report.start, end: report.end, listeners })
    }

    /// Before a reload or stop: what the process that goes has counted. Nothing when nobody answers.
    pub(super) fn keep_counters(&self) -> Result<(), Fault> {
        let (current, process) = match self.counted() {
            Ok(counted) => counted,
            Err(Fault::Socket(SocketError::Absent { .. })) => return Ok(()),
            Err(fault) => return Err(fault),
        };
        let mut accounts = self.accounts()?;
        accounts.keep(&current, &process, OffsetDateTime::now_utc());
        self.call.host().state_put(&self.accounts_key(), &accounts, None)?;
        Ok(())
    }

    fn counted(&self) -> Result<(Current, String), Fault> {
        let answer = look(&self.paths.socket, "show info;show stat -1 2 -1", self.call.deadline())?;
        let info = Info::parse(&answer);
        let backends = runtime::backends(&answer)?;
        let bytes =
            |backend: runtime::Backend| (backend.name, Bytes { out: backend.bytes_out, into: backend.bytes_in });
        Ok((backends.into_iter().map(bytes).collect(), format!("{} {}", info.pid, info.description)))
    }

    fn accounts(&self) -> Result<Accounts, Fault> {
        let kept = self.call.host().state_get::<Accounts>(&self.accounts_key())?;
        kept.map(|kept| kept.value).unwrap_or_default().checked().map_err(|error| {
            DriverError::internal("The traffic accounts cannot be read.").for_operator(error.to_string()).into()
        })
    }

    /// The record of a device that should be serving.
    pub(super) fn serving(&self) -> Result<Record, Fault> {
        let record = Record::read(self.paths)?
            .ok_or_else(|| DriverError::not_found("The load balancers of this device were deleted."))?;
        if record.suspended || !self.control.is_running(self.call.deadline())? {
            return Err(DriverError::unavailable("HAProxy is not running.").into());
        }
        Ok(record)
    }
}
