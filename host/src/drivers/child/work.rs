//! What the threads of a child run.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use capstan_plugin_api::abi::{self, DriverTable};
use serde_json::value::RawValue;

use super::{channel::Channel, host::RemoteHost};
use crate::drivers::{
    boundary::{Answered, HostSide, Instance},
    frames::{FromDriver, Reply},
};

/// How long `close` waits for a thread that has just answered the last call.
const LAST_HOLD: Duration = Duration::from_secs(1);

/// What the child's threads share.
pub(super) struct Shared {
    pub channel: Channel,
    pub host: Arc<RemoteHost>,
    pub table: DriverTable,
    pub instance: Mutex<Option<Arc<Instance>>>,
}

/// One message that needs the driver.
pub(super) struct Work {
    pub id: u64,
    pub what: What,
}

pub(super) enum What {
    Open { config: Vec<u8> },
    Call { method: String, request: Vec<u8> },
    Health,
    Close,
}

impl Shared {
    pub fn instance(&self) -> Option<Arc<Instance>> {
        self.instance.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn open(&self, config: &[u8]) -> Answered {
        let host: Arc<dyn HostSide> = Arc::clone(&self.host) as _;
        match Instance::open(self.table, host, config) {
            Ok(instance) => {
                *self.instance.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(instance));
                Answered { status: abi::STATUS_OK, body: Ok(b"null".to_vec()) }
            }
            Err(answered) => answered,
        }
    }

    /// Ends the instance when nobody holds it any more.
    fn close(&self) -> Answered {
        let taken = self.instance.lock().unwrap_or_else(PoisonError::into_inner).take();
        let done = Answered { status: abi::STATUS_OK, body: Ok(b"null".to_vec()) };
        let Some(mut instance) = taken else { return done };
        let deadline = Instant::now() + LAST_HOLD;
        loop {
            match Arc::try_unwrap(instance) {
                Ok(instance) => {
                    instance.close();
                    return done;
                }
                Err(held) if Instant::now() < deadline => instance = held,
                Err(_) => return Answered { status: u32::MAX, body: Err("the instance is still in use".to_owned()) },
            }
            std::thread::yield_now();
        }
    }

    fn answer(&self, work: &Work) -> Answered {
        let closed = || Answered { status: u32::MAX, body: Err("the instance is not open".to_owned()) };
        match &work.what {
            What::Open { config } => self.open(config),
            What::Call { method, request } => {
                self.instance().map_or_else(closed, |instance| instance.invoke(work.id, method, request))
            }
            What::Health => self.instance().map_or_else(closed, |instance| instance.health()),
            What::Close => self.close(),
        }
    }

    /// Does what a message asks for and sends what comes of it.
    pub fn run(&self, work: &Work) {
        let answered = self.answer(work);
        self.host.end(work.id);
        reply(&self.channel, work.id, &answered);
        if matches!(work.what, What::Close) {
            std::process::exit(0);
        }
    }
}

/// Sends what the driver answered, as far as a frame can hold it.
fn reply(channel: &Channel, id: u64, answered: &Answered) {
    let body = match &answered.body {
        // A success without a body is `null`, as it is in the daemon's own process.
        Ok(body) if body.is_empty() => Ok(RawValue::NULL),
        Ok(body) => {
            serde_json::from_slice::<&RawValue>(body).map_err(|error| format!("a body that is no JSON ({error})"))
        }
        Err(fault) => Err(fault.clone()),
    };
    let mut reply = Reply { id, ..Reply::default() };
    match (answered.status, body) {
        (abi::STATUS_OK, Ok(body)) => reply.result = Some(body),
        (abi::STATUS_ERROR, Ok(body)) => reply.error = Some(body),
        (abi::STATUS_PENDING, Ok(body)) => reply.pending = Some(body),
        (abi::STATUS_PANIC, Ok(body)) => reply.panic = Some(body),
        (_, Err(fault)) => reply.fault = Some(fault.into()),
        (other, Ok(_)) => reply.fault = Some(format!("status {other}, which epoch 1 does not have").into()),
    }
    let sent = channel.send(&FromDriver { reply: Some(reply), ..FromDriver::default() });
    if let Err(error) = sent {
        // Too large for a frame, or the daemon is gone; the latter ends us by itself.
        let reply = Reply { id, fault: Some(error.to_string().into()), ..Reply::default() };
        let _gone = channel.send(&FromDriver { reply: Some(reply), ..FromDriver::default() });
    }
}
