//! Clients that ask without end and tell which of their requests failed.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use capstan_tests::web;

/// Between two requests of one client: a few hundred a second in all, so that loopback's ports last.
const PAUSE: Duration = Duration::from_millis(5);

/// Clients of one port, some of them with the cookie that they got.
pub struct Clients {
    port: u16,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<u64>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// Odd while requests may fail; a request counts when it is even and the same before and after.
    phase: AtomicU64,
    failures: Mutex<Vec<String>>,
}

impl Clients {
    /// Clients that do not ask yet.
    pub fn idle(port: u16) -> Self {
        Self { port, shared: Arc::default(), threads: Vec::new() }
    }

    /// Starts so many; every second one keeps its cookie.
    pub fn start(&mut self, count: usize) {
        for index in 0..count {
            let (port, shared) = (self.port, Arc::clone(&self.shared));
            self.threads.push(thread::spawn(move || ask(port, &shared, index % 2 == 1)));
        }
    }

    /// Says whether requests may fail from now on.
    pub fn expect_failures(&self, may_fail: bool) {
        let phase = self.shared.phase.fetch_add(1, SeqCst) + 1;
        assert_eq!(phase % 2 == 1, may_fail, "said twice");
    }

    /// Requests that failed though none may.
    pub fn failures(&self) -> Vec<String> {
        self.shared.failures.lock().unwrap().clone()
    }

    /// Stops them and counts the requests of all.
    pub fn stop(&mut self) -> u64 {
        self.shared.stop.store(true, SeqCst);
        self.threads.drain(..).map(|thread| thread.join().unwrap()).sum()
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
    }
}

fn ask(port: u16, shared: &Shared, keeps_cookie: bool) -> u64 {
    let (mut requests, mut cookie) = (0, None);
    while !shared.stop.load(SeqCst) {
        let (before, begun) = (shared.phase.load(SeqCst), Instant::now());
        let answer = web::get(port, cookie.as_deref());
        requests += 1;
        if shared.phase.load(SeqCst) == before && before % 2 == 0 && !answer.as_ref().is_ok_and(|a| a.status == 200) {
            let took = begun.elapsed();
            shared.failures.lock().unwrap().push(format!("{answer:?} after {took:?}, cookie {cookie:?}"));
        }
        if let Ok(web::Answer { cookie: Some(new), .. }) = answer
            && keeps_cookie
        {
            cookie = Some(new);
        }
        thread::sleep(PAUSE);
    }
    requests
}
