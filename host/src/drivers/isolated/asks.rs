//! What a driver asks of its host: services block (they write to disk, they start programs), so they run on threads of
//! their own.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicUsize, Ordering},
};

use capstan_plugin_api::DriverError;
use serde_json::value::{RawValue, to_raw_value};

use super::link::Link;
use crate::drivers::{
    boundary::HostSide,
    frames::{Answer, Ask, FromHost, frame},
    host_services::HostServices,
    pool::{self, Pool},
};

/// Questions of one driver that are looked into at the same time.
const THREADS: usize = 4;
/// Questions that may wait; a further one is answered `unavailable` at once.
const MOST: usize = 256;

/// The questions of one process.
pub(super) struct Asks {
    pool: Arc<Pool<Question>>,
    services: Arc<HostServices>,
    out: Arc<AtomicUsize>,
}

pub(super) struct Question {
    id: u64,
    call: u64,
    service: String,
    params: Vec<u8>,
    services: Arc<HostServices>,
    link: Weak<Link>,
    out: Arc<AtomicUsize>,
}

/// The threads; kept from one process of a driver to the next.
pub(super) fn threads(driver: &str) -> Arc<Pool<Question>> {
    Arc::new(Pool::new(driver, THREADS))
}

impl Asks {
    pub fn new(pool: Arc<Pool<Question>>, services: Arc<HostServices>) -> Self {
        Self { pool, services, out: Arc::default() }
    }

    /// Looks into a question and has the answer sent over `link`.
    pub fn put(&self, link: &Arc<Link>, ask: &Ask<'_>) {
        if self.out.fetch_add(1, Ordering::AcqRel) >= MOST {
            self.out.fetch_sub(1, Ordering::AcqRel);
            let busy = DriverError::unavailable(format!("the host has {MOST} questions of this driver to look into"));
            return answer(link, ask.id, Err(busy));
        }
        let question = Question {
            id: ask.id,
            call: ask.call,
            service: ask.service.clone().into_owned(),
            params: ask.params.map_or("null", RawValue::get).as_bytes().to_vec(),
            services: Arc::clone(&self.services),
            link: Arc::downgrade(link),
            out: Arc::clone(&self.out),
        };
        if let Err(error) = self.pool.submit(Arc::new(question)) {
            self.out.fetch_sub(1, Ordering::AcqRel);
            let none = DriverError::unavailable("the host has no thread for it").for_operator(error.to_string());
            answer(link, ask.id, Err(none));
        }
    }
}

impl pool::Job for Question {
    fn run(&self) -> bool {
        let found = self.services.call(self.call, &self.service, &self.params);
        self.out.fetch_sub(1, Ordering::AcqRel);
        // Without a link there is nobody to answer.
        if let Some(link) = self.link.upgrade() {
            answer(&link, self.id, found);
        }
        false
    }
}

fn answer(link: &Link, id: u64, found: Result<Vec<u8>, DriverError>) {
    let outcome = found.and_then(|body| {
        serde_json::from_slice::<Box<RawValue>>(&body)
            .map_err(|error| DriverError::internal("an answer that cannot be sent").for_operator(error.to_string()))
    });
    let (result, error) = match outcome {
        Ok(result) => (Some(result), None),
        Err(error) => (None, to_raw_value(&error).ok()),
    };
    let answer = Answer { id, result: result.as_deref(), error: error.as_deref() };
    let message = FromHost { answer: Some(answer), ..FromHost::default() };
    let sent = frame(&message).map_err(std::io::Error::other).and_then(|bytes| link.send(bytes));
    if let Err(error) = sent {
        tracing::debug!(%error, "an answer did not reach its driver");
    }
}
