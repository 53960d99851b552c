//! From nothing to an open, healthy instance in a process of its own.

use std::{
    io,
    os::{fd::OwnedFd, unix::process::ExitStatusExt},
    process::ExitStatus,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use capstan_plugin_api::Manifest;
use rustix::process::Signal;
use serde_json::value::RawValue;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    net::{UnixStream, unix::pipe},
    process::Child,
};

use super::{
    asks::{Asks, Question},
    end::End,
    launch::{Launch, Started},
    link::{Link, write_log},
};
use crate::drivers::{
    Supervision,
    boundary::Answered,
    confinement::Cgroup,
    error::spoken,
    error::{Failure, Stage, one_line},
    executor::{Answer, interpret},
    frames::{
        CallId, Failed, FrameReader, FromDriver, FromHost, Hello, HelloFault, Open, PROTOCOL, frame, read_message,
    },
    gate::Pass,
    host_services::HostServices,
    in_process::read_health,
    pool::Pool,
};

/// No line that a driver prints is longer; the rest is cut.
const LONGEST_LINE: u64 = 16 << 10;
/// After the process has ended, what it printed is read for so long.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// How long each step may take.
#[derive(Clone, Copy)]
pub(in crate::drivers) struct Patience {
    /// From the start to the driver's hello.
    pub hello: Duration,
    pub open: Duration,
    pub health: Duration,
}

/// What a driver must say of itself in its hello.
#[derive(Clone)]
pub(in crate::drivers) enum Expected {
    /// This, to the word.
    Same(Arc<Manifest>),
    /// What passes.
    Judged(Judge),
}

pub(in crate::drivers) type Judge = Arc<dyn Fn(&Manifest) -> Result<(), Failure> + Send + Sync>;

/// What a bring-up needs, the same each time.
#[derive(Clone)]
pub(super) struct Plan {
    pub launch: Launch,
    pub services: Arc<HostServices>,
    pub config: Arc<RawValue>,
    pub expected: Expected,
    pub patience: Patience,
    pub supervision: Supervision,
    pub threads: Arc<Pool<Question>>,
}

/// A driver that serves.
pub(super) struct Up {
    pub link: Arc<Link>,
    pub process: Process,
    pub manifest: Arc<Manifest>,
}

/// The process of a driver with what it prints.
pub(super) struct Process {
    child: Child,
    output: Option<tokio::task::JoinHandle<()>>,
    last_line: Arc<Mutex<String>>,
    cgroup: Option<Cgroup>,
    driver: String,
}

impl Process {
    /// Waits for the end; `verdict` says why the daemon ended it, if it did.
    pub async fn ended(&mut self, verdict: impl Fn() -> Option<End>) -> End {
        let status = self.child.wait().await;
        if let Some(mut output) = self.output.take() {
            // What is below it has been ended too, so the pipe ends by itself unless the kernel could not kill.
            let _cut_off = tokio::time::timeout(LAST_WORDS, &mut output).await;
            output.abort();
        }
        let refused = self.cgroup.as_ref().map_or(0, Cgroup::refused_processes);
        if refused > 0 {
            tracing::warn!(driver = self.driver, refused, "processes were refused to the driver (limits.processes)");
        }
        let is_out_of_memory = self.cgroup.as_ref().is_some_and(|cgroup| cgroup.oom_kills() > 0);
        let named = |status: ExitStatus| End::of(status, &self.last_line(), is_out_of_memory);
        match (verdict(), status) {
            // It was ending, which a busy machine shows late; only one that went on was ended by us.
            (Some(End::SocketClosed { .. }), Ok(status)) if status.signal() != Some(Signal::KILL.as_raw()) => {
                named(status)
            }
            (Some(verdict), _) => verdict,
            (None, Ok(status)) => named(status),
            (None, Err(error)) => End::NotStarted { why: format!("its end was not seen ({error})") },
        }
    }

    /// The last line that it printed.
    pub fn last_line(&self) -> String {
        self.last_line.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Each line that a driver prints becomes a line of the log.
async fn follow(output: pipe::Receiver, services: Arc<HostServices>, last: Arc<Mutex<String>>) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut output).take(LONGEST_LINE).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = one_line(&String::from_utf8_lossy(&line));
        if text.is_empty() {
            continue;
        }
        services.printed(&text);
        *last.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }
}

/// Why there is no driver; `launched` is what was started.
fn refuse(stage: Stage, found: impl Into<String>) -> Failure {
    let expected = match stage {
        Stage::Open => "an open instance",
        Stage::Health => "a healthy instance",
        _ => "a driver that starts and greets",
    };
    Failure::new(stage, one_line(&found.into()), expected, "correct its configuration or ask the driver's vendor")
}

/// Starts the process and takes it to a healthy instance. What it printed on the way is in the log, the last line in the error.
pub(super) async fn bring_up(plan: &Plan) -> Result<Up, Failure> {
    let started = plan.launch.start().map_err(|error| {
        refuse(Stage::Load, format!("that {} cannot be started ({error})", plan.launch.executable.display()))
    })?;
    let Started { child, socket, output, lifeline, cgroup } = started;
    let pid = child.id().unwrap_or_default();
    let last_line = Arc::<Mutex<String>>::default();
    let output = tokio::spawn(follow(output, Arc::clone(&plan.services), Arc::clone(&last_line)));
    let mut process = Process { child, output: Some(output), last_line, cgroup, driver: plan.launch.driver.clone() };
    let mut reader = FrameReader::default();
    let greeted = tokio::time::timeout(plan.patience.hello, greet(plan, &socket, &mut reader)).await;
    let greeted = match greeted {
        Ok(Ok(manifest)) => Ok(manifest),
        Ok(Err(Greeting::Refused(failure))) => Err(Some(failure)),
        Ok(Err(Greeting::Ended)) => Err(None),
        Err(_elapsed) => {
            Err(Some(refuse(Stage::Load, format!("no hello within {} s", plan.patience.hello.as_secs_f32()))))
        }
    };
    let manifest = match greeted {
        Ok(manifest) => manifest,
        Err(failure) => {
            let_go(lifeline, failure.is_some());
            let end = process.ended(|| None).await;
            return Err(failure.unwrap_or_else(|| refuse(Stage::Load, said(&end, "while it was loaded", &process))));
        }
    };
    let link = attach(plan, socket, lifeline, pid, reader);
    match open(plan, &link, &mut process).await {
        Ok(()) => Ok(Up { link, process, manifest }),
        Err(failure) => {
            link.kill(End::Closed);
            let _named_in_the_failure = process.ended(|| link.verdict()).await;
            link.close_books(&End::NotStarted { why: failure.found.clone() }, None);
            Err(failure)
        }
    }
}

/// Ends the process at once, or leaves it the moment in which it ends by itself and shows how.
fn let_go(lifeline: OwnedFd, at_once: bool) {
    if !at_once {
        tokio::spawn(async move {
            tokio::time::sleep(LAST_WORDS).await;
            drop(lifeline);
        });
    }
}

fn said(end: &End, when: &str, process: &Process) -> String {
    match process.last_line() {
        line if line.is_empty() => format!("that {end} {when}"),
        line => format!("that {end} {when}; it printed last: {line}"),
    }
}

fn attach(plan: &Plan, socket: UnixStream, lifeline: OwnedFd, pid: u32, reader: FrameReader) -> Arc<Link> {
    let asks = Asks::new(Arc::clone(&plan.threads), Arc::clone(&plan.services));
    let link = Link::new(socket, lifeline, pid, Arc::clone(&plan.services), asks);
    tokio::spawn(Arc::clone(&link).read(reader));
    tokio::spawn(Arc::clone(&link).write());
    link
}

enum Greeting {
    Refused(Failure),
    /// The socket closed.
    Ended,
}

impl From<io::Error> for Greeting {
    fn from(_: io::Error) -> Self {
        Self::Ended
    }
}

/// Exchanges hellos.
async fn greet(plan: &Plan, socket: &UnixStream, reader: &mut FrameReader) -> Result<Arc<Manifest>, Greeting> {
    let hello = Hello {
        protocol: PROTOCOL,
        features: Vec::new(),
        name: concat!("capstan/", env!("CARGO_PKG_VERSION")).into(),
        manifest: None,
    };
    let bytes = frame(&FromHost { hello: Some(hello), ..FromHost::default() }).map_err(io::Error::other)?;
    let mut left = bytes.as_slice();
    while !left.is_empty() {
        socket.writable().await?;
        match socket.try_write(left) {
            Ok(count) => left = left.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
    loop {
        let fault =
            |fault: String| Greeting::Refused(refuse(Stage::Load, format!("a hello that cannot be read ({fault})")));
        if let Some(bytes) = reader.next_frame().map_err(|error| fault(error.to_string()))? {
            let message: FromDriver<'_> = read_message(bytes).map_err(|error| fault(error.to_string()))?;
            match message {
                FromDriver { hello: Some(hello), .. } => return check(plan, &hello).map_err(Greeting::Refused),
                FromDriver { failed: Some(failed), .. } => return Err(Greeting::Refused(told(&failed))),
                FromDriver { reply: None, ask: None, log, .. } => {
                    // A kind that we do not know, or a line for the log.
                    if let Some(log) = &log {
                        write_log(&plan.services, log);
                    }
                    continue;
                }
                _ => return Err(fault("another message came first".to_owned())),
            }
        }
        socket.readable().await?;
        match reader.fill(|room| socket.try_read(room)) {
            Ok(0) => return Err(Greeting::Ended),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn told(failed: &Failed<'_>) -> Failure {
    Failure::new(Stage::Load, one_line(&failed.found), one_line(&failed.expected), one_line(&failed.remedy))
}

fn check(plan: &Plan, hello: &Hello<'_>) -> Result<Arc<Manifest>, Failure> {
    let read = hello.manifest().map_err(|fault| match fault {
        HelloFault::Protocol => refuse(Stage::Load, fault.to_string()),
        _ => Failure::new(
            Stage::Manifest,
            fault.to_string(),
            "a manifest as docs/driver-protocol.md describes it",
            "ask the driver's vendor",
        ),
    });
    let manifest = match (&plan.expected, read) {
        (Expected::Same(expected), read) => read.ok().filter(|manifest| manifest == &**expected).ok_or_else(|| {
            Failure::new(
                Stage::Load,
                "another manifest in its hello than the one that was looked at before",
                "the same manifest each time",
                "ask the driver's vendor: the manifest lies",
            )
        })?,
        (Expected::Judged(judge), read) => {
            let manifest = read?;
            judge(&manifest)?;
            manifest
        }
    };
    Ok(Arc::new(manifest))
}

/// Opens the instance and asks for its health.
async fn open(plan: &Plan, link: &Arc<Link>, process: &mut Process) -> Result<(), Failure> {
    let Patience { open, health, .. } = plan.patience;
    let id = plan.services.calls.begin("open".into(), "", Instant::now() + open);
    let message = FromHost { open: Some(Open { id: id.id, config: &plan.config }), ..FromHost::default() };
    let answered = step(Stage::Open, link, process, id.id, open, &message).await?;
    match interpret("open", answered, &mut false) {
        Ok(Answer::Done(_)) => {}
        Ok(Answer::Pending(_)) => {
            return Err(refuse(Stage::Open, "a pending answer, which `open` cannot give"));
        }
        Err(error) => return Err(refuse(Stage::Open, spoken(&error))),
    }
    let id = plan.services.calls.begin("health".into(), "", Instant::now() + health);
    let message = FromHost { health: Some(CallId { id: id.id }), ..FromHost::default() };
    let answered = step(Stage::Health, link, process, id.id, health, &message).await?;
    read_health(answered).map(drop).map_err(|error| refuse(Stage::Health, spoken(&error)))
}

async fn step(
    stage: Stage,
    link: &Arc<Link>,
    process: &mut Process,
    id: u64,
    time: Duration,
    message: &FromHost<'_>,
) -> Result<Answered, Failure> {
    let bytes = frame(message).map_err(|error| refuse(stage, error.to_string()))?;
    let receiver = link
        .request(id, stage.as_str().into(), Pass::default(), bytes)
        .map_err(|unseen| refuse(stage, spoken(&unseen.into())))?;
    let late = || refuse(stage, format!("no answer within {} s", time.as_secs_f32()));
    tokio::select! {
        biased;
        answered = receiver => match answered {
            Ok(Ok(answered)) => Ok(answered),
            Ok(Err(error)) => Err(refuse(stage, spoken(&error))),
            Err(_) => Err(late()),
        },
        end = process.ended(|| link.verdict()) => Err(refuse(stage, said(&end, "meanwhile", process))),
        () = tokio::time::sleep(time) => Err(late()),
    }
}
