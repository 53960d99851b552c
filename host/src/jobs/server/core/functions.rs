//! The functions a job server knows: their queues, workers and unique ids.

use std::collections::{HashMap, VecDeque};

use super::{ConnectionId, JobId};
use crate::jobs::packet::Priority;

pub(super) type FunctionId = u64;

/// One function.
#[derive(Default)]
pub(super) struct Function {
    pub name: Vec<u8>,
    /// Waiting jobs by priority, the most urgent first. An entry whose job is gone is passed over.
    queues: [VecDeque<JobId>; 3],
    /// Entries whose job is gone.
    stale: usize,
    /// Jobs that wait or run.
    pub total: usize,
    pub running: usize,
    /// Workers, in the order in which they are woken next.
    pub workers: VecDeque<ConnectionId>,
    /// Jobs by unique id.
    pub uniques: HashMap<Vec<u8>, JobId>,
    /// Limits set by `maxqueue`, by priority; 0 is none.
    pub max_queue: Option<[usize; 3]>,
}

pub(super) fn rank(priority: Priority) -> usize {
    match priority {
        Priority::High => 0,
        Priority::Normal => 1,
        Priority::Low => 2,
    }
}

impl Function {
    /// The name as one word of a listing: what would break the line is replaced.
    pub fn shown(&self) -> String {
        let is_break = |letter: char| letter.is_control() || letter.is_whitespace();
        String::from_utf8_lossy(&self.name).replace(is_break, "_")
    }

    pub fn push(&mut self, job: JobId, priority: Priority) {
        if let Some(queue) = self.queues.get_mut(rank(priority)) {
            queue.push_back(job);
        }
    }

    /// Takes the most urgent job that `is_there`.
    pub fn pop(&mut self, is_there: impl Fn(JobId) -> bool) -> Option<JobId> {
        for queue in &mut self.queues {
            while let Some(job) = queue.pop_front() {
                if is_there(job) {
                    return Some(job);
                }
                self.stale = self.stale.saturating_sub(1);
            }
        }
        None
    }

    /// Whether a job waits.
    pub fn has_waiting(&self) -> bool {
        self.total > self.running
    }

    /// Waiting jobs that `is_there`, the most urgent first.
    pub fn waiting<'a>(&'a self, is_there: impl Fn(JobId) -> bool + Copy + 'a) -> impl Iterator<Item = usize> + 'a {
        self.queues.iter().map(move |queue| queue.iter().filter(|job| is_there(**job)).count())
    }

    /// A waiting job was dropped; once half the entries are stale they are swept.
    pub fn mark_stale(&mut self, is_there: impl Fn(JobId) -> bool) {
        self.stale += 1;
        let entries: usize = self.queues.iter().map(VecDeque::len).sum();
        if self.stale > 32 && self.stale * 2 > entries {
            for queue in &mut self.queues {
                queue.retain(|job| is_there(*job));
            }
            self.stale = 0;
        }
    }

    fn is_idle(&self) -> bool {
        self.total == 0 && self.workers.is_empty() && self.max_queue.is_none()
    }
}

/// All functions, by name and by number.
#[derive(Default)]
pub(super) struct Functions {
    by_name: HashMap<Vec<u8>, FunctionId>,
    all: HashMap<FunctionId, Function>,
    last: FunctionId,
}

impl Functions {
    /// The function of a name, made if need be; `None` when `most` names are known and none can be forgotten.
    pub fn named(&mut self, name: &[u8], most: usize) -> Option<FunctionId> {
        if let Some(id) = self.by_name.get(name) {
            return Some(*id);
        }
        if self.all.len() >= most {
            self.all.retain(|_, function| !function.is_idle());
            let all = &self.all;
            self.by_name.retain(|_, id| all.contains_key(id));
            if self.all.len() >= most {
                return None;
            }
        }
        self.last += 1;
        self.by_name.insert(name.to_vec(), self.last);
        self.all.insert(self.last, Function { name: name.to_vec(), ..Function::default() });
        Some(self.last)
    }

    pub fn find(&self, name: &[u8]) -> Option<FunctionId> {
        self.by_name.get(name).copied()
    }

    pub fn get(&self, id: FunctionId) -> Option<&Function> {
        self.all.get(&id)
    }

    pub fn get_mut(&mut self, id: FunctionId) -> Option<&mut Function> {
        self.all.get_mut(&id)
    }

    pub fn name(&self, id: FunctionId) -> &[u8] {
        self.all.get(&id).map(|function| function.name.as_slice()).unwrap_or_default()
    }

    /// In the order of their names, so that listings can be compared.
    pub fn sorted(&self) -> Vec<(FunctionId, &Function)> {
        let mut all: Vec<_> = self.all.iter().map(|(id, function)| (*id, function)).collect();
        all.sort_by(|one, other| one.1.name.cmp(&other.1.name));
        all
    }

    pub fn values(&self) -> impl Iterator<Item = &Function> {
        self.all.values()
    }

    pub fn remove_worker(&mut self, id: FunctionId, worker: ConnectionId) {
        if let Some(function) = self.all.get_mut(&id) {
            function.workers.retain(|known| *known != worker);
        }
    }

    /// Forgets an idle function; false when it is in use.
    pub fn forget(&mut self, id: FunctionId) -> bool {
        let is_free = self.get(id).is_some_and(|function| function.total == 0 && function.workers.is_empty());
        if is_free && let Some(function) = self.all.remove(&id) {
            self.by_name.remove(&function.name);
        }
        is_free
    }
}
