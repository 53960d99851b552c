//! Clients that ask one after the other until they are stopped.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::web;

/// What the clients of a load saw.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Good answers by body.
    pub answers: BTreeMap<String, u64>,
    /// Everything else, and when it happened after the start.
    pub failures: Vec<(Duration, String)>,
}

/// A running load; stopped when dropped.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// `clients` clients of the load balancer on `port`, each request on a connection of its own and without a cookie.
    pub fn start(port: u16, clients: usize) -> Self {
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Seen::default())));
        let begun = Instant::now();
        let threads = (0..clients)
            .map(|_| {
                let (stop, seen) = (Arc::clone(&stop), Arc::clone(&seen));
                thread::spawn(move || {
                    while !stop.load(Ordering::Acquire) {
                        let answer = web::get(port, None);
                        let mut seen = seen.lock().expect("no client panics");
                        match answer {
                            Ok(answer) if answer.status == 200 => *seen.answers.entry(answer.body).or_default() += 1,
                            other => seen.failures.push((begun.elapsed(), format!("{other:?}"))),
                        }
                        drop(seen);
                        // Leaves the machine to what is tested.
                        thread::sleep(Duration::from_millis(1));
                    }
                })
            })
            .collect();
        Self { stop, seen, threads }
    }

    /// What was seen so far.
    pub fn seen(&self) -> Seen {
        self.seen.lock().expect("no client panics").clone()
    }

    /// Ends the load and tells what it saw.
    pub fn stop(mut self) -> Seen {
        self.end();
        self.seen()
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            let _ended = thread.join();
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.end();
    }
}
