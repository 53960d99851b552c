//! What has just happened on this daemon, for whoever waits for it: that a job's handler has returned, or that a step has changed a
//! node. Only a hint to look into the store: what happens on another daemon is seen at the next look.

use std::sync::Arc;

use tokio::sync::{
    Notify,
    broadcast::{self, Receiver, Sender, error::RecvError},
};

/// News that a listener may lag behind; one that lags more looks once too often.
const KEPT: usize = 1024;

/// Tells whoever listens.
pub(super) struct News {
    told: Sender<Arc<str>>,
    /// For the schedules, which hear that there was something and not what.
    any: Notify,
    count: Notify,
}

/// Hears everything that is told from its making on.
pub(super) struct Listener(Receiver<Arc<str>>);

impl Default for News {
    fn default() -> Self {
        Self { told: broadcast::channel(KEPT).0, any: Notify::new(), count: Notify::new() }
    }
}

impl News {
    /// Something has happened to the job or the node of this id.
    pub fn tell(&self, id: &str) {
        let _nobody_listens = self.told.send(id.into());
        self.any.notify_one();
    }

    /// Somebody did what leaves a stock short, or lets it be filled: it is to be counted, once more if it is being counted just now.
    pub fn count(&self) {
        self.count.notify_one();
    }

    /// Waits until something has happened since this was last asked; one at a time may wait.
    pub async fn any(&self) {
        self.any.notified().await;
    }

    /// Waits until the stocks are to be counted; one at a time may wait.
    pub async fn wants_count(&self) {
        self.count.notified().await;
    }

    /// Listens from now on.
    pub fn listen(&self) -> Listener {
        Listener(self.told.subscribe())
    }
}

impl Listener {
    /// Waits until something may have happened to the job or the node of this id.
    pub async fn about(&mut self, id: &str) {
        loop {
            match self.0.recv().await {
                Ok(told) if *told != *id => {}
                Ok(_) | Err(RecvError::Lagged(_)) => return,
                // The pool, which tells, is there for as long as anybody listens.
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}
