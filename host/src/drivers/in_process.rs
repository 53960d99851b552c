//! The executor in the daemon's own address space: calls run on threads of the driver's own pool.

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use capstan_plugin_api::{DriverError, ErrorCode, Health, Retry};

use super::{
    boundary::{Answered, Instance},
    executor::{Answer, BoxFuture, Call, Condition, Executor, Standing, interpret},
    figures::Figures,
    host_services::CallState,
    pool::{self, Pool},
    task::{Task, Work},
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
    name: Arc<str>,
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

impl InProcess {
    pub fn new(name: &str, instance: Instance, limits: Limits, figures: Arc<Figures>) -> Self {
        // One more, so that `health` is answered while all places are taken.
        let pool = Pool::new(name, limits.max_concurrency + 1);
        let inner = Inner {
            name: name.into(),
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

    fn start(&self, work: Work) -> Result<Arc<Task>, DriverError> {
        if let Some(reason) = self.quarantine() {
            return Err(DriverError::unavailable("the driver is out of order").for_operator(reason));
        }
        let instance = self.instance()?;
        let task = Arc::new(Task::new(&self.name, instance, work));
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
            let started = thread::Builder::new().name(self.name.to_string()).spawn(move || {
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
    async fn wait(self: &Arc<Self>, task: &Arc<Task>, deadline: Instant) -> Option<Answered> {
        let mut abandoned = Abandoned(Some((Arc::clone(self), Arc::clone(task))));
        let answered = match tokio::time::timeout_at(deadline.into(), task.wait()).await {
            Ok(answered) => Some(answered),
            Err(_elapsed) => self.wind_down(task).await,
        };
        abandoned.0 = None;
        self.note(answered)
    }

    /// Cancels, waits for the grace and writes the thread off.
    async fn wind_down(self: &Arc<Self>, task: &Task) -> Option<(Answered, Duration)> {
        if let Work::Invoke(call) = &task.work {
            self.cancel(&call.state);
        }
        match tokio::time::timeout(self.limits.cancel_grace, task.wait()).await {
            Ok(answered) => Some(answered),
            Err(_elapsed) => task.give_up(|| self.lose(task.method())),
        }
    }

    fn lose(&self, method: &str) {
        let lost = self.pool.lose();
        tracing::error!(
            driver = %self.name, method, lost,
            "a call did not come back after its deadline; its thread is lost until it does"
        );
        if lost > self.limits.max_lost && !self.quarantined.swap(true, Ordering::AcqRel) {
            tracing::error!(driver = %self.name, lost, "the driver is quarantined");
        }
    }

    /// Takes note of what the driver needed.
    fn note(&self, answered: Option<(Answered, Duration)>) -> Option<Answered> {
        let (answered, took) = answered?;
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX) >> 3;
        let usual = self.usual.load(Ordering::Relaxed);
        self.usual.store((usual - (usual >> 3)).saturating_add(took), Ordering::Relaxed);
        Some(answered)
    }

    fn is_quick(&self) -> bool {
        u128::from(self.usual.load(Ordering::Relaxed)) <= LOOK_OUT.as_nanos()
    }
}

/// Winds a call down when its caller goes away.
struct Abandoned(Option<(Arc<Inner>, Arc<Task>)>);

impl Drop for Abandoned {
    fn drop(&mut self) {
        let Some((inner, task)) = self.0.take() else { return };
        if task.is_finished() {
            return;
        }
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(async move {
                inner.wind_down(&task).await;
            })),
            // The runtime is gone, and with it the clock for the grace.
            Err(_) => {
                if let Work::Invoke(call) = &task.work {
                    inner.cancel(&call.state);
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
            let task = inner.start(Work::Invoke(call))?;
            let seen = inner.is_quick() && pool::look_out(LOOK_OUT, || task.is_finished());
            let answered = match seen.then(|| task.take()).flatten() {
                Some(answered) => inner.note(Some(answered)),
                None => inner.wait(&task, deadline).await,
            };
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
            let answered = self.inner.wait(&task, Instant::now() + timeout).await;
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
        let standing = self.inner.quarantine().map_or(Standing::Serving, Standing::Quarantined);
        Condition { lost_threads: self.inner.pool.lost(), standing, ..Condition::default() }
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
