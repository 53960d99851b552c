//! The executor in the daemon's own address space: calls run on threads of the driver's own pool.

use std::{
    borrow::Cow,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use capstan_plugin_api::{DriverError, Health, Retry, call::Request, error::ErrorCode};

use super::{
    boundary::{Answered, Instance},
    executor::{Answer, BoxFuture, Call, Condition, Executor, interpret},
    figures::Figures,
    gate::Pass,
    host_services::CallState,
    pool::{self, Pool},
};

/// A caller looks for the answer itself for this long before it lets its thread do something else.
const LOOK_OUT: Duration = Duration::from_micros(20);
/// Calls that wait for `cancel` to be told to a driver whose `cancel` does not return.
const CANCELS: usize = 1024;

/// What is known of an executor before it runs.
pub(super) struct Limits {
    pub max_concurrency: usize,
    pub max_lost: usize,
    pub cancel_grace: Duration,
}

pub(super) struct InProcess {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    limits: Limits,
    // Taken by `close`.
    instance: Mutex<Option<Arc<Instance>>>,
    pool: Pool<Task>,
    quarantined: AtomicBool,
    figures: Arc<Figures>,
    cancels: OnceLock<SyncSender<u64>>,
    /// What a call takes lately, in nanoseconds; says whether looking out for the answer is worth it.
    usual: AtomicU64,
}

enum Work {
    Health,
    Invoke(Call),
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Queued,
    Running,
    Finished,
    Lost,
}

struct Task {
    inner: Arc<Inner>,
    instance: Arc<Instance>,
    work: Work,
    finished: AtomicBool,
    progress: Mutex<Progress>,
}

struct Progress {
    phase: Phase,
    answered: Option<Answered>,
    waker: Option<Waker>,
    pass: Option<Pass>,
}

impl InProcess {
    pub fn new(name: &str, instance: Instance, limits: Limits, figures: Arc<Figures>) -> Self {
        // One more, so that `health` is answered while all places are taken.
        let pool = Pool::new(name, limits.max_concurrency + 1);
        let inner = Inner {
            name: name.to_owned(),
            limits,
            instance: Mutex::new(Some(Arc::new(instance))),
            pool,
            quarantined: AtomicBool::new(false),
            figures,
            cancels: OnceLock::new(),
            usual: AtomicU64::new(0),
        };
        Self { inner: Arc::new(inner) }
    }
}

impl Inner {
    fn instance(&self) -> Result<Arc<Instance>, DriverError> {
        let instance = self.instance.lock().unwrap_or_else(PoisonError::into_inner);
        instance.clone().ok_or_else(|| DriverError::unavailable("the driver has been closed"))
    }

    fn quarantine(&self) -> Option<String> {
        if !self.quarantined.load(Ordering::Acquire) {
            return None;
        }
        let lost = self.pool.lost();
        if lost == 0 {
            if self.quarantined.swap(false, Ordering::AcqRel) {
                tracing::warn!(driver = %self.name, "all lost threads are back; the quarantine ends");
            }
            return None;
        }
        Some(format!(
            "quarantined: {lost} of its threads did not come back (max_lost {}); it serves again once all are back",
            self.limits.max_lost
        ))
    }

    fn start(self: &Arc<Self>, mut work: Work) -> Result<Arc<Task>, DriverError> {
        if let Some(reason) = self.quarantine() {
            return Err(DriverError::unavailable("the driver is out of order").for_operator(reason));
        }
        let instance = self.instance()?;
        let pass = match &mut work {
            Work::Health => None,
            Work::Invoke(call) => Some(std::mem::take(&mut call.pass)),
        };
        let task = Arc::new(Task {
            inner: Arc::clone(self),
            instance,
            work,
            finished: AtomicBool::new(false),
            progress: Mutex::new(Progress { phase: Phase::Queued, answered: None, waker: None, pass }),
        });
        if let Err(error) = self.pool.submit(Arc::clone(&task)) {
            return Err(DriverError::unavailable("the daemon has no thread for the call")
                .for_operator(format!("no thread for {}: {error}", self.name)));
        }
        Ok(task)
    }

    fn cancel(self: &Arc<Self>, state: &CallState) {
        state.cancel();
        let sender = self.cancels.get_or_init(|| {
            let (sender, receiver) = sync_channel(CANCELS);
            let inner = Arc::downgrade(self);
            // A thread of its own: a `cancel` that does not return, against its contract, holds up only other cancels.
            let started = thread::Builder::new().name(self.name.clone()).spawn(move || {
                while let Ok(id) = receiver.recv() {
                    let Some(instance) = inner.upgrade().and_then(|inner| inner.instance().ok()) else { return };
                    instance.cancel(id);
                }
            });
            if let Err(error) = started {
                tracing::warn!(driver = %self.name, %error, "no thread to tell the driver of cancelled calls");
            }
            sender
        });
        // Full or gone: the driver still sees it when it asks `cancelled`.
        let _best_effort = sender.try_send(state.id);
    }

    /// Waits for the answer until `deadline` and the grace after it.
    async fn wait(self: &Arc<Self>, task: Arc<Task>, deadline: Instant) -> Option<Answered> {
        let mut abandoned = Abandoned(Some(Arc::clone(&task)));
        let answered = match tokio::time::timeout_at(deadline.into(), Waiting(&task)).await {
            Ok(answered) => Some(answered),
            Err(_elapsed) => self.wind_down(&task).await,
        };
        abandoned.0 = None;
        answered
    }

    /// Cancels, waits for the grace and writes the thread off.
    async fn wind_down(self: &Arc<Self>, task: &Arc<Task>) -> Option<Answered> {
        if let Work::Invoke(call) = &task.work {
            self.cancel(&call.state);
        }
        match tokio::time::timeout(self.limits.cancel_grace, Waiting(task)).await {
            Ok(answered) => Some(answered),
            Err(_elapsed) => task.give_up(),
        }
    }
}

impl Task {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn method(&self) -> &str {
        match &self.work {
            Work::Health => "health",
            Work::Invoke(call) => &call.method,
        }
    }

    fn work(&self) -> Answered {
        match &self.work {
            Work::Health => self.instance.health(),
            Work::Invoke(call) => {
                let left = call.state.deadline.saturating_duration_since(Instant::now());
                let request = Request {
                    deadline_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
                    request_id: Cow::Borrowed(&call.state.request_id),
                    params: Some(&call.params),
                };
                match serde_json::to_vec(&request) {
                    Ok(body) => self.instance.invoke(call.state.id, &call.method, &body),
                    Err(error) => Answered { status: u32::MAX, body: Err(format!("no request: {error}")) },
                }
            }
        }
    }

    /// The answer, once. Place and turn are given back with it: whoever has it may call again at once.
    fn take(&self) -> Option<Answered> {
        let mut progress = self.progress();
        let answered = progress.answered.take()?;
        progress.pass = None;
        Some(answered)
    }

    /// Writes the task's thread off, unless it has just finished.
    fn give_up(&self) -> Option<Answered> {
        let mut progress = self.progress();
        match progress.phase {
            Phase::Finished => {
                progress.pass = None;
                return progress.answered.take();
            }
            Phase::Lost => return None,
            // Nobody took it up: whoever does will see that it is over.
            Phase::Queued => progress.phase = Phase::Lost,
            Phase::Running => {
                progress.phase = Phase::Lost;
                let lost = self.inner.pool.lose();
                tracing::error!(
                    driver = %self.inner.name, method = self.method(), lost,
                    "a call did not come back after its deadline; its thread is lost until it does"
                );
                if lost > self.inner.limits.max_lost && !self.inner.quarantined.swap(true, Ordering::AcqRel) {
                    tracing::error!(driver = %self.inner.name, lost, "the driver is quarantined");
                }
                if let Some(turn) = progress.pass.as_ref().and_then(|pass| pass.turn.as_ref()) {
                    turn.overrun();
                }
            }
        }
        // The place goes to the next call; the turn stays taken until the driver lets go.
        if let Some(pass) = &mut progress.pass {
            pass.place = None;
        }
        None
    }

    fn finish(&self, answered: Answered, took: Duration) -> bool {
        let mut progress = self.progress();
        let was_lost = progress.phase == Phase::Lost;
        progress.phase = Phase::Finished;
        let waker = progress.waker.take();
        if was_lost {
            progress.pass = None;
        } else {
            progress.answered = Some(answered);
        }
        drop(progress);
        self.finished.store(true, Ordering::Release);
        if let Some(waker) = waker {
            waker.wake();
        }
        if was_lost {
            tracing::warn!(
                driver = %self.inner.name, method = self.method(), seconds = took.as_secs_f64(),
                "a lost call came back; its answer is dropped"
            );
        }
        was_lost
    }
}

impl pool::Job for Task {
    fn run(&self) -> bool {
        {
            let mut progress = self.progress();
            if progress.phase != Phase::Queued {
                progress.pass = None;
                return false;
            }
            progress.phase = Phase::Running;
        }
        let start = Instant::now();
        let answered = self.work();
        let took = start.elapsed();
        self.finish(answered, took)
    }
}

impl Inner {
    fn note(&self, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX) >> 3;
        let usual = self.usual.load(Ordering::Relaxed);
        self.usual.store((usual - (usual >> 3)).saturating_add(took), Ordering::Relaxed);
    }

    fn is_quick(&self) -> bool {
        u128::from(self.usual.load(Ordering::Relaxed)) <= LOOK_OUT.as_nanos()
    }
}

/// Resolves when the task has finished.
struct Waiting<'a>(&'a Task);

impl Future for Waiting<'_> {
    type Output = Answered;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answered> {
        if let Some(answered) = self.0.take() {
            return Poll::Ready(answered);
        }
        let mut progress = self.0.progress();
        if progress.phase == Phase::Finished {
            // Between the two looks; the next poll takes it.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        progress.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

/// Winds a call down when its caller goes away.
struct Abandoned(Option<Arc<Task>>);

impl Drop for Abandoned {
    fn drop(&mut self) {
        let Some(task) = self.0.take() else { return };
        if task.finished.load(Ordering::Acquire) {
            return;
        }
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(async move {
                let inner = Arc::clone(&task.inner);
                inner.wind_down(&task).await;
            })),
            // The runtime is gone, and with it the clock for the grace.
            Err(_) => {
                if let Work::Invoke(call) = &task.work {
                    task.inner.cancel(&call.state);
                }
            }
        }
    }
}

impl Executor for InProcess {
    fn invoke(&self, call: Call) -> BoxFuture<'_, Result<Answer, DriverError>> {
        Box::pin(async move {
            let inner = &self.inner;
            let (method, deadline) = (Arc::clone(&call.method), call.state.deadline);
            let start = Instant::now();
            let task = inner.start(Work::Invoke(call))?;
            let is_quick = inner.is_quick();
            let seen = is_quick && pool::look_out(LOOK_OUT, || task.finished.load(Ordering::Acquire));
            let answered = match seen.then(|| task.take()).flatten() {
                Some(answered) => Some(answered),
                None => inner.wait(task, deadline).await,
            };
            inner.note(start.elapsed());
            let Some(answered) = answered else {
                return Err(DriverError::timeout("the driver did not answer in time").for_operator(format!(
                    "{method}: no answer by the deadline nor {} ms after it was cancelled; what it did is not known",
                    inner.limits.cancel_grace.as_millis()
                )));
            };
            let mut panicked = false;
            let answer = interpret(&method, answered, &mut panicked);
            if panicked {
                inner.figures.note_panic();
            }
            answer.map_err(|error| {
                // The caller is here, so it was the deadline that cancelled. A driver may see it before our own timer does.
                let by_deadline = error.code == ErrorCode::CANCELLED && Instant::now() >= deadline;
                if by_deadline { DriverError { code: ErrorCode::TIMEOUT, ..error } } else { error }
            })
        })
    }

    fn cancel(&self, state: &Arc<CallState>) {
        self.inner.cancel(state);
    }

    fn health(&self, timeout: Duration) -> BoxFuture<'_, Result<Health, DriverError>> {
        Box::pin(async move {
            let task = self.inner.start(Work::Health)?;
            let answered = self.inner.wait(task, Instant::now() + timeout).await;
            let answered =
                answered.ok_or_else(|| DriverError::timeout("the driver's health did not answer in time"))?;
            read_health(answered)
        })
    }

    fn close(&self, grace: Duration) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            let inner = &self.inner;
            let deadline = Instant::now() + grace;
            // Each call that a thread has in hand holds the instance.
            let out = || {
                let instance = inner.instance.lock().unwrap_or_else(PoisonError::into_inner);
                instance.as_ref().map_or(0, |instance| Arc::strong_count(instance) - 1)
            };
            while out() > 0 {
                if Instant::now() >= deadline {
                    inner.pool.close();
                    return Err(format!("{} calls are still out, so the instance stays open", out()));
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            inner.pool.close();
            let Some(instance) = inner.instance.lock().unwrap_or_else(PoisonError::into_inner).take() else {
                return Ok(());
            };
            let left = deadline.saturating_duration_since(Instant::now()).max(inner.limits.cancel_grace);
            close_instance(&inner.name, instance, left).await
        })
    }

    fn condition(&self) -> Condition {
        Condition { lost_threads: self.inner.pool.lost(), quarantine: self.inner.quarantine() }
    }
}

/// Closes on a thread of its own, since the driver may never come back.
async fn close_instance(name: &str, instance: Arc<Instance>, grace: Duration) -> Result<(), String> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let closing = move || {
        let Some(instance) = sole(instance) else { return };
        instance.close();
        let _nobody_waits = sender.send(());
    };
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(closing)
        .map_err(|error| format!("no thread to close the instance: {error}"))?;
    match tokio::time::timeout(grace, receiver).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err("the instance is still in use, so it stays open".to_owned()),
        Err(_elapsed) => Err(format!("`close` did not return within {} ms", grace.as_millis())),
    }
}

/// The instance, once the last thread that ran a call has dropped its hold; a few instructions lie between.
fn sole(mut instance: Arc<Instance>) -> Option<Instance> {
    let deadline = Instant::now() + Duration::from_secs(1);
    loop {
        match Arc::try_unwrap(instance) {
            Ok(instance) => return Some(instance),
            Err(shared) if Instant::now() < deadline => instance = shared,
            Err(_) => return None,
        }
        thread::yield_now();
    }
}

/// Reads an answer to `health`.
pub(super) fn read_health(answered: Answered) -> Result<Health, DriverError> {
    let mut panicked = false;
    match interpret("health", answered, &mut panicked)? {
        Answer::Done(body) => serde_json::from_slice(&body).map_err(|error| {
            DriverError::internal("the driver's health cannot be read").for_operator(error.to_string())
        }),
        Answer::Pending(_) => {
            Err(DriverError::internal("the driver's health is pending, which health cannot be").retry(Retry::Never))
        }
    }
}
