//! The text commands, in the forms that gearadmin reads.

use std::fmt::Write as _;
use std::sync::Arc;

use tracing::warn;

use super::{ConnectionId, Core, functions::rank};
use crate::jobs::packet::{Priority, leading_number};

/// What `version` answers after `OK`.
pub(in crate::jobs::server) const VERSION: &str = concat!("capstan-", env!("CARGO_PKG_VERSION"));

impl Core {
    /// Answers one line of the text protocol.
    pub fn handle_line(&mut self, from: ConnectionId, line: &[u8]) {
        let line = String::from_utf8_lossy(line).into_owned();
        let is_administrator =
            self.connections.get(&from).is_some_and(|connection| connection.rights.is_administrator());
        let answer = if is_administrator {
            self.answer(&line)
        } else {
            warn!(connection = from, "job server refused a text command: the certificate is no administrator's");
            "ERR NOT_PERMITTED only+administrators+may+use+text+commands\r\n".to_owned()
        };
        if let Some(connection) = self.connections.get(&from) {
            connection.outbox.append(|bytes| bytes.extend_from_slice(answer.as_bytes()));
            self.dirty.push(Arc::clone(&connection.outbox));
        }
    }

    fn answer(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        let lower: Vec<String> = words.iter().map(|word| word.to_ascii_lowercase()).collect();
        let lower: Vec<&str> = lower.iter().map(String::as_str).collect();
        match (lower.as_slice(), words.as_slice()) {
            (["version"], _) => format!("OK {VERSION}\n"),
            (["getpid"], _) => format!("OK {}\n", std::process::id()),
            (["verbose"], _) => "OK NOTICE\n".to_owned(),
            (["status"], _) => self.list_functions(),
            (["prioritystatus"], _) => self.list_priorities(),
            (["workers"], _) => self.list_workers(),
            (["show", "jobs"], _) => self.list_jobs(),
            (["show", "unique", "jobs"], _) => self.list_uniques(),
            (["show", ..], _) => "ERR UNKNOWN_SHOW_ARGUMENTS\r\n".to_owned(),
            (["cancel", "job", _], [_, _, handle]) => self.cancel(handle),
            (["create", "function", _], [_, _, name]) => match self.function_for(name.as_bytes()) {
                Ok(_) => "OK\r\n".to_owned(),
                Err(text) => format!("ERR CREATE_FUNCTION {}\r\n", text.replace(' ', "+")),
            },
            (["drop", "function", _], [_, _, name]) => match self.functions.find(name.as_bytes()) {
                None => "ERR function not found\r\n".to_owned(),
                Some(id) if self.functions.forget(id) => "OK\r\n".to_owned(),
                Some(_) => "ERR there are still connected workers or executing clients\r\n".to_owned(),
            },
            (["maxqueue", ..], [_, name, limits @ ..]) => self.set_max_queue(name, limits),
            (["shutdown", ..], _) => "ERR NOT_PERMITTED stop+the+daemon+that+embeds+this+server\r\n".to_owned(),
            (["cancel" | "create" | "drop" | "maxqueue", ..], [command, ..]) => {
                format!("ERR INVALID_ARGUMENTS An+incomplete+set+of+arguments+was+sent+to+this+command+{command}\r\n")
            }
            (_, [command, ..]) => {
                format!("ERR UNKNOWN_COMMAND Unknown+server+command{command}\r\n")
            }
            (_, []) => "ERR UNKNOWN_COMMAND Unknown+server+commandNULL\r\n".to_owned(),
        }
    }

    /// Name, jobs, running jobs and workers of each function.
    fn list_functions(&self) -> String {
        let mut text = String::new();
        for (_, function) in self.functions.sorted() {
            let name = function.shown();
            let _ = writeln!(text, "{name}\t{}\t{}\t{}", function.total, function.running, function.workers.len());
        }
        text + ".\n"
    }

    /// Name, waiting jobs by priority and workers of each function.
    fn list_priorities(&self) -> String {
        let mut text = String::new();
        for (_, function) in self.functions.sorted() {
            text.push_str(&function.shown());
            for count in function.waiting(|job| self.jobs.contains_key(&job)) {
                let _ = write!(text, "\t{count}");
            }
            let _ = writeln!(text, "\t{}", function.workers.len());
        }
        text + ".\n"
    }

    /// Number, address, client id and functions of each connection.
    fn list_workers(&self) -> String {
        let mut text = String::new();
        for (id, connection) in &self.connections {
            let _ = write!(text, "{id} {} {} :", connection.address, connection.client_id);
            for function in connection.abilities.iter().filter_map(|ability| self.functions.get(ability.function)) {
                let _ = write!(text, " {}", function.shown());
            }
            text.push('\n');
        }
        text + ".\n"
    }

    /// Handle, lost workers, whether it will be ignored (never) and whether it is kept without clients, of each job.
    fn list_jobs(&self) -> String {
        let mut ids: Vec<_> = self.jobs.keys().copied().collect();
        ids.sort_unstable();
        let mut text = String::new();
        for (id, job) in ids.into_iter().filter_map(|id| Some((id, self.jobs.get(&id)?))) {
            let lost = job.attempts.saturating_sub(u32::from(job.worker.is_some()));
            let _ = writeln!(text, "{}\t{lost}\t0\t{}", self.handle_of(id), u32::from(job.is_background));
        }
        text + ".\n"
    }

    fn list_uniques(&self) -> String {
        let mut ids: Vec<_> = self.jobs.keys().copied().collect();
        ids.sort_unstable();
        let mut text = String::new();
        for job in ids.iter().filter_map(|id| self.jobs.get(id)) {
            let _ = writeln!(text, "{}", String::from_utf8_lossy(&job.unique));
        }
        text + ".\n"
    }

    /// Drops a waiting job; its clients are told that it failed.
    fn cancel(&mut self, handle: &str) -> String {
        let waiting =
            self.job_of(handle.as_bytes()).filter(|id| self.jobs.get(id).is_some_and(|job| job.worker.is_none()));
        match waiting {
            Some(id) => {
                self.fail_job(id);
                "OK\r\n".to_owned()
            }
            None => "ERR UNKNOWN_JOB\r\n".to_owned(),
        }
    }

    /// One limit is for all priorities, three are for high, normal and low; none restores the default, 0 lifts it.
    fn set_max_queue(&mut self, name: &str, limits: &[&str]) -> String {
        let id = match self.function_for(name.as_bytes()) {
            Ok(id) => id,
            Err(text) => return format!("ERR CREATE_FUNCTION {}\r\n", text.replace(' ', "+")),
        };
        let number = |text: &&str| usize::try_from(leading_number(text.as_bytes())).unwrap_or(usize::MAX);
        let default = self.limits.queue;
        let limits = match limits {
            [] => None,
            [one] => Some([number(one); 3]),
            several => Some(Priority::ALL.map(|priority| several.get(rank(priority)).map_or(default, number))),
        };
        if let Some(function) = self.functions.get_mut(id) {
            function.max_queue = limits;
        }
        "OK\r\n".to_owned()
    }
}
