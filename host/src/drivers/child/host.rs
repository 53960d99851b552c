//! The host as an instance in a child sees it: services are asked for over the socket, cancelled calls are known here.

use std::{
    borrow::Cow,
    collections::HashMap,
    process::exit,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use capstan_plugin_api::DriverError;
use serde_json::value::RawValue;

use super::channel::Channel;
use crate::drivers::{
    boundary::HostSide,
    frames::{Answer, Ask, FromDriver, Level, Log},
};

pub(super) struct RemoteHost {
    channel: Channel,
    /// Calls that are out, and whether they were cancelled.
    calls: Mutex<HashMap<u64, Arc<AtomicBool>>>,
    ending: AtomicBool,
    asks: Mutex<HashMap<u64, Option<Answered>>>,
    answered: Condvar,
    next: AtomicU64,
}

type Answered = Result<Vec<u8>, DriverError>;

impl RemoteHost {
    pub fn new(channel: Channel) -> Self {
        Self {
            channel,
            calls: Mutex::default(),
            ending: AtomicBool::new(false),
            asks: Mutex::default(),
            answered: Condvar::new(),
            next: AtomicU64::new(1),
        }
    }

    fn calls(&self) -> MutexGuard<'_, HashMap<u64, Arc<AtomicBool>>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn asks(&self) -> MutexGuard<'_, HashMap<u64, Option<Answered>>> {
        self.asks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn begin(&self, call: u64) {
        self.calls().insert(call, Arc::default());
    }

    pub fn end(&self, call: u64) {
        self.calls().remove(&call);
    }

    /// Marks a call as cancelled; false when it is not out.
    pub fn cancel(&self, call: u64) -> bool {
        self.calls().get(&call).is_some_and(|flag| {
            flag.store(true, Ordering::Release);
            true
        })
    }

    /// The instance is to end.
    pub fn ending(&self) {
        self.ending.store(true, Ordering::Release);
    }

    pub fn answer(&self, answer: &Answer<'_>) {
        let found = match (answer.result, answer.error) {
            (Some(result), _) => Ok(result.get().as_bytes().to_vec()),
            (None, Some(error)) => Err(serde_json::from_str(error.get())
                .unwrap_or_else(|_| DriverError::internal("the host's error cannot be read"))),
            (None, None) => Err(DriverError::internal("the host answered with neither result nor error")),
        };
        if let Some(slot) = self.asks().get_mut(&answer.id) {
            *slot = Some(found);
            self.answered.notify_all();
        }
    }

    fn ask(&self, call: u64, service: &str, params: &RawValue) -> Answered {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.asks().insert(id, None);
        let ask = Ask { id, call, service: Cow::Borrowed(service), params: Some(params) };
        if let Err(error) = self.channel.send(&FromDriver { ask: Some(ask), ..FromDriver::default() }) {
            self.asks().remove(&id);
            return Err(DriverError::invalid_argument(format!("{service} cannot be asked for: {error}")));
        }
        // The daemon answers every question; when it is gone, so are we.
        let mut asks = self.asks();
        loop {
            if asks.get(&id).is_none_or(Option::is_some) {
                let gone = || Err(DriverError::internal("the host's answer was lost"));
                return asks.remove(&id).flatten().unwrap_or_else(gone);
            }
            asks = self.answered.wait(asks).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl HostSide for RemoteHost {
    fn call(&self, call_id: u64, service: &str, body: &[u8]) -> Answered {
        let text = if body.is_empty() { b"null" } else { body };
        let params: &RawValue = serde_json::from_slice(text).map_err(|error| {
            DriverError::invalid_argument(format!("the parameters of {service} cannot be read: {error}"))
        })?;
        self.ask(call_id, service, params)
    }

    fn log(&self, call_id: u64, level: u32, target: &str, message: &str, fields: &str) {
        let log = Log {
            call: call_id,
            level: Level::from_number(level),
            target: target.into(),
            message: message.into(),
            // What is no JSON cannot travel as it is.
            fields: serde_json::from_str(fields).ok(),
        };
        if self.channel.send(&FromDriver { log: Some(log), ..FromDriver::default() }).is_err() {
            // Nobody listens any more.
            exit(0);
        }
    }

    fn cancelled(&self, call_id: u64) -> bool {
        if call_id == 0 {
            return self.ending.load(Ordering::Acquire);
        }
        self.calls().get(&call_id).is_none_or(|flag| flag.load(Ordering::Acquire))
    }
}
