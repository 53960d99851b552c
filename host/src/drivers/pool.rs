//! The threads of one instance. Grown as calls come, up to a limit; a thread that a driver does not give back is written off
//! as lost and another may take its place.
//!
//! Waking a parked thread costs 30 us and more, a call to a driver a few. So a thread that has just finished looks for
//! the next job for a moment before it parks, at a place of its own: each line of memory that two cores pass to and fro costs
//! more than half a microsecond, and the queue has several.

use std::{
    collections::VecDeque,
    hint, io,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// How long a thread looks for the next job before it parks.
const LOOK_OUT: Duration = Duration::from_micros(50);
/// How long a parked thread stays.
const IDLE: Duration = Duration::from_secs(30);

/// Something to run.
pub(super) trait Job: Send + Sync {
    /// Runs it; true when its thread had been written off meanwhile.
    fn run(&self) -> bool;
}

pub(super) struct Pool<J> {
    shared: Arc<Shared<J>>,
}

struct Shared<J> {
    name: String,
    most: usize,
    queue: Mutex<Queue<J>>,
    available: Condvar,
    hand: Hand<J>,
    /// Length of the queue, for a look without the lock.
    length: AtomicUsize,
}

/// Where one thread at a time looks for a job. A line of memory of its own.
#[repr(align(64))]
struct Hand<J> {
    state: AtomicU8,
    job: Mutex<Option<Arc<J>>>,
}

/// Nobody looks.
const CLOSED: u8 = 0;
/// A thread looks.
const OPEN: u8 = 1;
/// A job is being put in.
const TAKEN: u8 = 2;
/// A job is in.
const FULL: u8 = 3;

impl<J> Hand<J> {
    fn new() -> Self {
        Self { state: AtomicU8::new(CLOSED), job: Mutex::new(None) }
    }

    fn change(&self, from: u8, to: u8) -> bool {
        self.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Gives a job to the thread that looks; the job comes back when none does.
    fn give(&self, job: Arc<J>) -> Option<Arc<J>> {
        if !self.change(OPEN, TAKEN) {
            return Some(job);
        }
        *self.job.lock().unwrap_or_else(PoisonError::into_inner) = Some(job);
        self.state.store(FULL, Ordering::Release);
        None
    }

    /// Looks for a job, for as long as it is worth it or until `stop`; none at once when another thread looks already.
    fn look(&self, stop: impl Fn() -> bool) -> Option<Arc<J>> {
        if !self.change(CLOSED, OPEN) {
            return None;
        }
        let is_full = || self.state.load(Ordering::Acquire) == FULL;
        look_out(LOOK_OUT, || is_full() || stop());
        if !is_full() && self.change(OPEN, CLOSED) {
            return None;
        }
        // It has been promised by now.
        while !is_full() {
            hint::spin_loop();
        }
        let job = self.job.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.state.store(CLOSED, Ordering::Release);
        job
    }
}

struct Queue<J> {
    jobs: VecDeque<Arc<J>>,
    /// Threads that are not lost.
    threads: usize,
    parked: usize,
    lost: usize,
    closed: bool,
}

/// More than one thread can run at the same time.
pub(super) fn several_cpus() -> bool {
    static SEVERAL: OnceLock<bool> = OnceLock::new();
    *SEVERAL.get_or_init(|| thread::available_parallelism().is_ok_and(|count| count.get() > 1))
}

/// Looks for at most `time`; true when `found` was.
pub(super) fn look_out(time: Duration, found: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    loop {
        for _ in 0..64 {
            if found() {
                return true;
            }
            hint::spin_loop();
        }
        if !several_cpus() {
            thread::yield_now();
        }
        if start.elapsed() > time {
            return found();
        }
    }
}

impl<J: Job + 'static> Pool<J> {
    /// A pool without threads yet; `name` is seen in `ps` and `top`.
    pub fn new(name: &str, most: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                name: name.to_owned(),
                most,
                queue: Mutex::new(Queue { jobs: VecDeque::new(), threads: 0, parked: 0, lost: 0, closed: false }),
                available: Condvar::new(),
                hand: Hand::new(),
                length: AtomicUsize::new(0),
            }),
        }
    }

    /// Hands a job to a thread; fails when there is none and none can be started.
    pub fn submit(&self, job: Arc<J>) -> io::Result<()> {
        let Some(job) = self.shared.hand.give(job) else { return Ok(()) };
        let mut queue = self.shared.lock();
        queue.jobs.push_back(job);
        self.shared.length.store(queue.jobs.len(), Ordering::Release);
        if queue.jobs.len() > queue.parked && queue.threads < self.shared.most {
            match self.start() {
                Ok(()) => queue.threads += 1,
                Err(error) if queue.threads == 0 => {
                    queue.jobs.pop_back();
                    self.shared.length.store(queue.jobs.len(), Ordering::Release);
                    return Err(error);
                }
                // Another thread will come to it.
                Err(_) => {}
            }
        } else {
            drop(queue);
            self.shared.available.notify_one();
        }
        Ok(())
    }

    fn start(&self) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        thread::Builder::new().name(shared.name.clone()).spawn(move || shared.work()).map(drop)
    }

    /// Writes off the thread of a job, and starts another when jobs wait.
    pub fn lose(&self) -> usize {
        let mut queue = self.shared.lock();
        queue.lost += 1;
        queue.threads = queue.threads.saturating_sub(1);
        if !queue.jobs.is_empty() && queue.threads < self.shared.most && self.start().is_ok() {
            queue.threads += 1;
        }
        queue.lost
    }

    /// Threads that have not come back.
    pub fn lost(&self) -> usize {
        self.shared.lock().lost
    }

    /// Lets all idle threads go, and every other one once its job is done.
    pub fn close(&self) {
        self.shared.lock().closed = true;
        self.shared.available.notify_all();
    }
}

impl<J: Job> Shared<J> {
    fn lock(&self) -> MutexGuard<'_, Queue<J>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        while let Some(job) = self.next() {
            let was_lost = job.run();
            drop(job);
            if was_lost && !self.come_back() {
                return;
            }
        }
    }

    /// Counts a lost thread back; false when its place has been taken.
    fn come_back(&self) -> bool {
        let mut queue = self.lock();
        queue.lost = queue.lost.saturating_sub(1);
        if queue.threads >= self.most {
            return false;
        }
        queue.threads += 1;
        true
    }

    fn next(&self) -> Option<Arc<J>> {
        let mut queue = self.lock();
        if queue.jobs.is_empty() && !queue.closed {
            drop(queue);
            if let Some(job) = self.hand.look(|| self.length.load(Ordering::Acquire) > 0) {
                return Some(job);
            }
            queue = self.lock();
        }
        let parked_at = Instant::now();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                self.length.store(queue.jobs.len(), Ordering::Release);
                return Some(job);
            }
            let left = IDLE.saturating_sub(parked_at.elapsed());
            if queue.closed || left.is_zero() {
                queue.threads = queue.threads.saturating_sub(1);
                return None;
            }
            queue.parked += 1;
            queue = self.available.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
            queue.parked -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    struct Send1(Sender<thread::ThreadId>, Mutex<Option<std::sync::mpsc::Receiver<()>>>);

    impl Job for Send1 {
        fn run(&self) -> bool {
            let _nobody_listens = self.0.send(thread::current().id());
            let held = self.1.lock().unwrap().take();
            held.is_some_and(|held| held.recv().is_ok())
        }
    }

    #[test]
    fn a_thousand_jobs_run_on_few_threads_and_a_lost_one_is_replaced() {
        let pool = Pool::new("test", 2);
        let (sender, receiver) = channel();
        for _ in 0..1000 {
            pool.submit(Arc::new(Send1(sender.clone(), Mutex::new(None)))).unwrap();
        }
        let threads: std::collections::HashSet<_> = (0..1000).map(|_| receiver.recv().unwrap()).collect();
        assert!(threads.len() <= 2, "{threads:?}");

        let mut holders = Vec::new();
        for _ in 0..2 {
            let (hold, held) = channel();
            holders.push(hold);
            pool.submit(Arc::new(Send1(sender.clone(), Mutex::new(Some(held))))).unwrap();
            receiver.recv().unwrap();
        }
        pool.submit(Arc::new(Send1(sender, Mutex::new(None)))).unwrap();
        assert!(receiver.recv_timeout(Duration::from_millis(50)).is_err(), "both threads are held");
        assert_eq!(pool.lose(), 1);
        receiver.recv_timeout(Duration::from_secs(5)).expect("a replacement runs it");
        holders[0].send(()).unwrap();
        let until = Instant::now() + Duration::from_secs(5);
        while pool.lost() > 0 && Instant::now() < until {
            thread::yield_now();
        }
        assert_eq!(pool.lost(), 0, "a late one is counted back");
        pool.close();
    }
}
