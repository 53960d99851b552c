//! Takes up the frames of one instance and has their work done, until the socket ends.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc, Mutex,
        mpsc::{SyncSender, sync_channel},
    },
    thread,
};

use capstan_plugin_api::abi::DriverTable;

use super::{
    channel::Channel,
    crew::{self, Service},
    host::RemoteHost,
    work::{Shared, What, Work},
};
use crate::drivers::frames::{FromHost, read_message};

/// Calls that wait for a `cancel` that does not return.
const CANCELS: usize = 1024;

/// Serves one instance; returns when the daemon has closed the socket.
pub(super) fn serve(channel: Channel, table: DriverTable, max_concurrency: usize) -> io::Result<()> {
    let socket = channel.reader()?;
    let host = Arc::new(RemoteHost::new(channel.clone()));
    let shared = Arc::new(Shared { channel, host, table, instance: Mutex::new(None) });
    let cancels = cancels(&shared)?;
    // One more, so that `health` is answered while all places are taken.
    crew::serve(Frames { shared, cancels }, socket, max_concurrency + 1)
}

struct Frames {
    shared: Arc<Shared>,
    cancels: SyncSender<u64>,
}

impl Service for Frames {
    type Job = Work;

    fn take_up(&self, frame: &[u8], jobs: &mut VecDeque<Work>) -> io::Result<()> {
        let Self { shared, cancels } = self;
        let message: FromHost<'_> = read_message(frame).map_err(io::Error::other)?;
        if let Some(call) = message.call {
            shared.host.begin(call.id);
            let request = call.request.get().as_bytes().to_vec();
            jobs.push_back(Work { id: call.id, what: What::Call { method: call.method.into_owned(), request } });
        }
        if let Some(answer) = &message.answer {
            shared.host.answer(answer);
        }
        if let Some(cancel) = message.cancel
            && shared.host.cancel(cancel.id)
        {
            // Full: the driver still sees it when it asks `cancelled`.
            let _best_effort = cancels.try_send(cancel.id);
        }
        if let Some(health) = message.health {
            jobs.push_back(Work { id: health.id, what: What::Health });
        }
        if let Some(open) = message.open {
            let config = open.config.get().as_bytes().to_vec();
            jobs.push_back(Work { id: open.id, what: What::Open { config } });
        }
        if message.ending.is_some() {
            shared.host.ending();
        }
        if let Some(close) = message.close {
            jobs.push_back(Work { id: close.id, what: What::Close });
        }
        Ok(())
    }

    fn run(&self, work: Work) {
        self.shared.run(&work);
    }
}

/// A thread of its own: a `cancel` that does not return, against its contract, holds up only other cancels.
fn cancels(shared: &Arc<Shared>) -> io::Result<SyncSender<u64>> {
    let (sender, receiver) = sync_channel(CANCELS);
    let shared = Arc::clone(shared);
    thread::Builder::new().name("cancel".into()).spawn(move || {
        while let Ok(id) = receiver.recv() {
            if let Some(instance) = shared.instance() {
                instance.cancel(id);
            }
        }
    })?;
    Ok(sender)
}
