//! What workers ask and tell.

use std::time::{Duration, Instant};

use super::{Ability, ConnectionId, Core, JobId};
use crate::jobs::packet::{Grab, Packet, leading_number};

impl Core {
    pub(super) fn can_do(&mut self, from: ConnectionId, name: &[u8], time_limit: Option<Duration>) {
        if !self.connections.get(&from).is_some_and(|connection| connection.rights.may_register(name)) {
            return self.refuse(from, "register", name);
        }
        let id = match self.function_for(name) {
            Ok(id) => id,
            Err(text) => return self.send_error(from, "INVALID_FUNCTION_NAME", &text),
        };
        let Some(connection) = self.connections.get_mut(&from) else {
            return;
        };
        if let Some(known) = connection.abilities.iter_mut().find(|known| known.function == id) {
            known.time_limit = time_limit;
            return;
        }
        connection.abilities.push(Ability { function: id, time_limit });
        let is_asleep = connection.is_sleeping;
        if let Some(function) = self.functions.get_mut(id) {
            function.workers.push_back(from);
            if is_asleep && function.has_waiting() {
                self.wake_one(id);
            }
        }
    }

    pub(super) fn cant_do(&mut self, from: ConnectionId, name: &[u8]) {
        let Some(id) = self.functions.find(name) else {
            return;
        };
        if let Some(connection) = self.connections.get_mut(&from) {
            connection.abilities.retain(|known| known.function != id);
        }
        self.functions.remove_worker(id, from);
    }

    pub(super) fn reset_abilities(&mut self, from: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&from) else {
            return;
        };
        for ability in std::mem::take(&mut connection.abilities) {
            self.functions.remove_worker(ability.function, from);
        }
    }

    pub(super) fn pre_sleep(&mut self, from: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&from) else {
            return;
        };
        connection.is_sleeping = true;
        connection.is_woken = false;
        let has_work = connection
            .abilities
            .iter()
            .any(|ability| self.functions.get(ability.function).is_some_and(super::functions::Function::has_waiting));
        if has_work {
            connection.is_woken = true;
            self.send(from, &Packet::Noop);
        }
    }

    pub(super) fn grab(&mut self, from: ConnectionId, grab: Grab) {
        let Some((id, time_limit)) = self.take_job(from) else {
            return self.send(from, &Packet::NoJob);
        };
        let handle = self.handle_of(id);
        let handle = handle.as_bytes();
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        job.worker = Some(from);
        job.attempts += 1;
        job.deadline = time_limit.map(|limit| Instant::now() + limit);
        self.timed_jobs += usize::from(job.deadline.is_some());
        if let Some(function) = self.functions.get_mut(job.function) {
            function.running += 1;
        }
        let function = self.functions.name(job.function);
        let Some(connection) = self.connections.get_mut(&from) else {
            return;
        };
        connection.running.insert(id);
        let payload = &job.payload;
        let packet = match grab {
            Grab::Plain => Packet::JobAssign { handle, function, payload },
            // Reducers are not spoken here, and a job without one is assigned like this to GRAB_JOB_ALL as well.
            Grab::Unique | Grab::All => Packet::JobAssignUnique { handle, function, unique: &job.unique, payload },
        };
        super::deliver(&mut self.dirty, &connection.outbox, &packet);
    }

    /// The next job for a worker, out of its queue, and how long it may take.
    fn take_job(&mut self, from: ConnectionId) -> Option<(JobId, Option<Duration>)> {
        let connection = self.connections.get_mut(&from)?;
        connection.is_sleeping = false;
        connection.is_woken = false;
        let count = connection.abilities.len();
        for step in 0..count {
            let at = (connection.next_ability + step) % count;
            let Some(ability) = connection.abilities.get(at).copied() else {
                continue;
            };
            let Some(function) = self.functions.get_mut(ability.function) else {
                continue;
            };
            let jobs = &self.jobs;
            if function.has_waiting()
                && let Some(job) = function.pop(|job| jobs.contains_key(&job))
            {
                connection.next_ability = (at + 1) % count;
                return Some((job, ability.time_limit));
            }
        }
        None
    }

    /// Passes on what a worker tells of its job, and ends the job where that is what it tells.
    pub(super) fn work(&mut self, from: ConnectionId, packet: &Packet<'_>) {
        let handle = match *packet {
            Packet::WorkComplete { handle, .. }
            | Packet::WorkFail { handle }
            | Packet::WorkException { handle, .. }
            | Packet::WorkData { handle, .. }
            | Packet::WorkWarning { handle, .. }
            | Packet::WorkStatus { handle, .. } => handle,
            _ => return,
        };
        let owned = self
            .job_of(handle)
            .and_then(|id| self.jobs.get_mut(&id).map(|job| (id, job)))
            .filter(|(_, job)| job.worker == Some(from));
        let Some((id, job)) = owned else {
            return self.send_error(from, "JOB_NOT_FOUND", "no job of this handle is with this worker");
        };
        if let Packet::WorkStatus { numerator, denominator, .. } = *packet {
            job.numerator = leading_number(numerator);
            job.denominator = leading_number(denominator);
        }
        for client in &job.clients {
            let Some(client) = self.connections.get(client) else {
                continue;
            };
            let packet = match *packet {
                Packet::WorkException { handle, .. } if !client.wants_exceptions => Packet::WorkFail { handle },
                packet => packet,
            };
            super::deliver(&mut self.dirty, &client.outbox, &packet);
        }
        if matches!(packet, Packet::WorkComplete { .. } | Packet::WorkFail { .. } | Packet::WorkException { .. }) {
            self.remove_job(id);
        }
    }
}
