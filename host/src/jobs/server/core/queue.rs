//! Jobs on their way in and out of the queues: submission, coalescing, waking of workers, requeueing, dropping.

use std::collections::HashSet;
use std::time::Instant;

use tracing::{debug, warn};

use super::functions::rank;
use super::{ConnectionId, Core, FunctionId, Job, JobId};
use crate::jobs::packet::{MAX_FUNCTION, MAX_UNIQUE, Packet, Priority};

/// What a job is coalesced by. An empty unique id never is; `-` means the payload itself.
fn coalescing_key(unique: &[u8], payload: &[u8]) -> Vec<u8> {
    if unique == b"-" {
        if payload.is_empty() {
            return Vec::new();
        }
        return [b"-\0", payload].concat();
    }
    unique.to_vec()
}

impl Core {
    pub(super) fn submit(
        &mut self,
        from: ConnectionId,
        priority: Priority,
        is_background: bool,
        function: &[u8],
        unique: &[u8],
        payload: &[u8],
    ) {
        if !self.connections.get(&from).is_some_and(|connection| connection.rights.may_submit(function)) {
            return self.refuse(from, "submit jobs to", function);
        }
        if unique.len() > MAX_UNIQUE {
            let text = format!("a unique id of {} bytes is longer than the limit of {MAX_UNIQUE}", unique.len());
            return self.send_error(from, "ARGUMENT_TOO_LARGE", &text);
        }
        let id = match self.function_for(function) {
            Ok(id) => id,
            Err(text) => return self.send_error(from, "INVALID_FUNCTION_NAME", &text),
        };
        let key = coalescing_key(unique, payload);
        let known = self.functions.get(id).and_then(|known| known.uniques.get(&key)).copied();
        let job = match known {
            Some(job) => job,
            None => {
                if let Some(text) = self.why_full(id, priority, payload.len()) {
                    warn!(function = %function.escape_ascii(), "job server: {text}");
                    return self.send_error(from, "QUEUE_ERROR", &text);
                }
                self.add_job(id, key, priority, unique, payload)
            }
        };
        if let Some(job) = self.jobs.get_mut(&job) {
            job.is_background |= is_background;
            if !is_background {
                job.clients.push(from);
            }
        }
        if !is_background && let Some(connection) = self.connections.get_mut(&from) {
            connection.waiting.insert(job);
        }
        let handle = self.handle_of(job);
        self.send(from, &Packet::JobCreated { handle: handle.as_bytes() });
        if known.is_none() {
            self.wake_one(id);
        }
    }

    /// The function of a name, made if need be; the reason when there can be none.
    pub(super) fn function_for(&mut self, name: &[u8]) -> Result<FunctionId, String> {
        if name.is_empty() || name.len() > MAX_FUNCTION {
            return Err(format!("a function's name has 1 to {MAX_FUNCTION} bytes, this one has {}", name.len()));
        }
        let most = self.limits.functions;
        self.functions
            .named(name, most)
            .ok_or_else(|| format!("this server knows {most} functions already, which is its limit"))
    }

    fn why_full(&self, id: FunctionId, priority: Priority, size: usize) -> Option<String> {
        let function = self.functions.get(id)?;
        let limit = match function.max_queue.and_then(|limits| limits.get(rank(priority)).copied()) {
            Some(0) => usize::MAX,
            Some(limit) => limit,
            None => self.limits.queue,
        };
        if function.total >= limit {
            return Some(format!("Job queue is full: {} jobs, the limit is {limit}", function.total));
        }
        if self.bytes.saturating_add(size) > self.limits.bytes {
            let (held, limit) = (self.bytes, self.limits.bytes);
            return Some(format!("Job queue is full: it holds {held} bytes, {size} more exceed the limit of {limit}"));
        }
        None
    }

    fn add_job(
        &mut self,
        function: FunctionId,
        key: Vec<u8>,
        priority: Priority,
        unique: &[u8],
        payload: &[u8],
    ) -> JobId {
        self.last_job += 1;
        let id = self.last_job;
        if let Some(known) = self.functions.get_mut(function) {
            known.total += 1;
            known.push(id, priority);
            if !key.is_empty() {
                known.uniques.insert(key.clone(), id);
            }
        }
        self.bytes += payload.len();
        let job = Job {
            function,
            unique: unique.to_vec(),
            key,
            payload: payload.to_vec(),
            priority,
            clients: Vec::new(),
            is_background: false,
            worker: None,
            attempts: 0,
            numerator: 0,
            denominator: 0,
            deadline: None,
        };
        self.jobs.insert(id, job);
        id
    }

    /// Takes a job out of all books and returns it; its clients have been told, or are gone.
    pub(super) fn remove_job(&mut self, id: JobId) -> Option<Job> {
        let job = self.jobs.remove(&id)?;
        self.bytes -= job.payload.len();
        self.timed_jobs -= usize::from(job.deadline.is_some());
        let jobs = &self.jobs;
        if let Some(function) = self.functions.get_mut(job.function) {
            function.total -= 1;
            if job.worker.is_some() {
                function.running -= 1;
            } else {
                function.mark_stale(|job| jobs.contains_key(&job));
            }
            if function.uniques.get(&job.key) == Some(&id) {
                function.uniques.remove(&job.key);
            }
        }
        if let Some(worker) = job.worker.and_then(|worker| self.connections.get_mut(&worker)) {
            worker.running.remove(&id);
        }
        for client in &job.clients {
            if let Some(client) = self.connections.get_mut(client) {
                client.waiting.remove(&id);
            }
        }
        Some(job)
    }

    /// Removes a job and tells its clients that it failed.
    pub(super) fn fail_job(&mut self, id: JobId) {
        let handle = self.handle_of(id);
        if let Some(job) = self.remove_job(id) {
            for client in job.clients {
                self.send(client, &Packet::WorkFail { handle: handle.as_bytes() });
            }
        }
    }

    /// The worker of a job is gone: the job waits again, unless that happened too often.
    pub(super) fn requeue(&mut self, id: JobId) {
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        let (function, attempts) = (job.function, job.attempts);
        if job.clients.is_empty() && !job.is_background {
            debug!(job = id, "job server drops a job whose client and worker are gone");
            self.remove_job(id);
            return;
        }
        if attempts >= self.limits.attempts {
            let function = String::from_utf8_lossy(self.functions.name(function)).into_owned();
            warn!(job = id, function, attempts, "job server fails a job: each worker that took it vanished");
            return self.fail_job(id);
        }
        job.worker = None;
        (job.numerator, job.denominator) = (0, 0);
        self.timed_jobs -= usize::from(job.deadline.take().is_some());
        let priority = job.priority;
        if let Some(function) = self.functions.get_mut(function) {
            function.running -= 1;
            function.push(id, priority);
        }
        self.wake_one(function);
    }

    /// A client is gone: waiting jobs that nobody else wants are dropped, running ones end unheard.
    pub(super) fn abandon(&mut self, client: ConnectionId, jobs: &HashSet<JobId>) {
        for id in jobs {
            let Some(job) = self.jobs.get_mut(id) else {
                continue;
            };
            job.clients.retain(|known| *known != client);
            if job.clients.is_empty() && !job.is_background && job.worker.is_none() {
                self.remove_job(*id);
            }
        }
    }

    /// Wakes the sleeping worker whose turn it is. One is enough as a rule; should it be busy with another server's job,
    /// [`Core::wake_rest`] wakes the others a moment later.
    pub(super) fn wake_one(&mut self, function: FunctionId) {
        if self.wake(function, 1) {
            self.left_asleep.insert(function);
        }
    }

    /// Whether workers were left asleep beside waiting jobs since the last [`Core::wake_rest`].
    pub fn has_left_asleep(&self) -> bool {
        !self.left_asleep.is_empty()
    }

    /// Wakes all workers of functions that still have waiting jobs.
    pub fn wake_rest(&mut self) {
        for function in std::mem::take(&mut self.left_asleep) {
            if self.functions.get(function).is_some_and(super::functions::Function::has_waiting) {
                self.wake(function, usize::MAX);
            }
        }
    }

    /// Wakes up to `most` sleeping workers; true when sleepers are left.
    fn wake(&mut self, function: FunctionId, most: usize) -> bool {
        let Some(function) = self.functions.get_mut(function) else {
            return false;
        };
        let mut woken = 0;
        for _ in 0..function.workers.len() {
            let Some(id) = function.workers.front().copied() else {
                break;
            };
            let Some(worker) = self.connections.get_mut(&id) else {
                break;
            };
            if worker.is_sleeping && !worker.is_woken {
                if woken == most {
                    return true;
                }
                worker.is_woken = true;
                woken += 1;
                super::deliver(&mut self.dirty, &worker.outbox, &Packet::Noop);
            }
            function.workers.rotate_left(1);
        }
        false
    }

    /// Fails the jobs whose worker took longer than it said it may.
    pub fn expire(&mut self, now: Instant) {
        if self.timed_jobs == 0 {
            return;
        }
        let late: Vec<JobId> = self
            .jobs
            .iter()
            .filter(|(_, job)| job.deadline.is_some_and(|deadline| deadline <= now))
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            warn!(job = id, "job server fails a job: its worker took longer than its CAN_DO_TIMEOUT allows");
            self.fail_job(id);
        }
    }
}
