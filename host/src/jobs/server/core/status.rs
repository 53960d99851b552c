//! What clients ask about jobs.

use super::{ConnectionId, Core, Job};
use crate::jobs::packet::Packet;

impl Core {
    /// Whether a connection may know of a job: it may submit or do that function.
    fn may_see(&self, connection: ConnectionId, job: &Job) -> bool {
        let function = self.functions.name(job.function);
        self.connections
            .get(&connection)
            .is_some_and(|known| known.rights.may_submit(function) || known.rights.may_register(function))
    }

    fn flag(is_so: bool) -> &'static [u8] {
        if is_so { b"1" } else { b"0" }
    }

    pub(super) fn status_by_handle(&mut self, from: ConnectionId, handle: &[u8]) {
        let job = self.job_of(handle).and_then(|id| self.jobs.get(&id)).filter(|job| self.may_see(from, job));
        let (numerator, denominator) = job.map_or((0, 0), |job| (job.numerator, job.denominator));
        let packet = Packet::StatusRes {
            handle,
            known: Core::flag(job.is_some()),
            running: Core::flag(job.is_some_and(|job| job.worker.is_some())),
            numerator: &numerator.to_string().into_bytes(),
            denominator: &denominator.to_string().into_bytes(),
        };
        self.send(from, &packet);
    }

    pub(super) fn status_by_unique(&mut self, from: ConnectionId, unique: &[u8]) {
        let job = self
            .functions
            .values()
            .filter_map(|function| function.uniques.get(unique))
            .filter_map(|id| self.jobs.get(id))
            .find(|job| self.may_see(from, job));
        let (numerator, denominator) = job.map_or((0, 0), |job| (job.numerator, job.denominator));
        let packet = Packet::StatusResUnique {
            unique,
            known: Core::flag(job.is_some()),
            running: Core::flag(job.is_some_and(|job| job.worker.is_some())),
            numerator: &numerator.to_string().into_bytes(),
            denominator: &denominator.to_string().into_bytes(),
            clients: &job.map_or(0, |job| job.clients.len()).to_string().into_bytes(),
        };
        self.send(from, &packet);
    }
}
