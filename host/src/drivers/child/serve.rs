//! Reads frames and hands their work out, until the socket ends.

use std::{
    io::{self, Read},
    sync::{
        Arc, Mutex,
        mpsc::{SyncSender, sync_channel},
    },
    thread,
};

use capstan_plugin_api::abi::DriverTable;

use super::{
    channel::Channel,
    host::RemoteHost,
    work::{Shared, What, Work},
};
use crate::drivers::{
    frames::{FrameReader, FromHost, read_message},
    pool::Pool,
};

/// Calls that wait for a `cancel` that does not return.
const CANCELS: usize = 1024;

/// Serves one instance; returns when the daemon has closed the socket.
pub(super) fn serve(channel: Channel, table: DriverTable, max_concurrency: usize) -> io::Result<()> {
    let mut socket = channel.reader()?;
    let host = Arc::new(RemoteHost::new(channel.clone()));
    let shared = Arc::new(Shared { channel, host, table, instance: Mutex::new(None) });
    // One more, so that `health` is answered while all places are taken.
    let pool = Pool::new("calls", max_concurrency + 1);
    let cancels = cancels(&shared)?;
    let mut reader = FrameReader::default();
    loop {
        if reader.fill(|room| socket.read(room))? == 0 {
            return Ok(());
        }
        while let Some(frame) = reader.next_frame().map_err(io::Error::other)? {
            let message = read_message(frame).map_err(io::Error::other)?;
            take_up(message, &shared, &pool, &cancels)?;
        }
    }
}

fn take_up(
    message: FromHost<'_>,
    shared: &Arc<Shared>,
    pool: &Pool<Work>,
    cancels: &SyncSender<u64>,
) -> io::Result<()> {
    let start = |id, what| pool.submit(Arc::new(Work { shared: Arc::clone(shared), id, what }));
    if let Some(call) = message.call {
        shared.host.begin(call.id);
        let request = call.request.get().as_bytes().to_vec();
        start(call.id, What::Call { method: call.method.into_owned(), request })?;
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
        start(health.id, What::Health)?;
    }
    if let Some(open) = message.open {
        start(open.id, What::Open { config: open.config.get().as_bytes().to_vec() })?;
    }
    if message.ending.is_some() {
        shared.host.ending();
    }
    if let Some(close) = message.close {
        start(close.id, What::Close)?;
    }
    Ok(())
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
