//! Stands over one node: starts its program, again when it ends, and in the end leaves nothing of it running.

use std::{
    collections::VecDeque,
    fs::File,
    io,
    net::Ipv4Addr,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::PathBuf,
    process::{Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Resource, Rlimit, Signal};
use tokio::{
    signal::unix::{Signal as Signals, SignalKind, signal},
    time::{MissedTickBehavior, interval, sleep},
};

use super::{
    namespace::Namespace,
    output::{rotate, say},
    processes::{Mark, count_below, reap},
    ready, wait_for,
};
use crate::{
    node_folder::{NodeFolder, number_of},
    record::{Plan, Record},
    status::{Phase, Status, boot_id},
};

/// From one look at the node's output and the number of its processes to the next.
const LOOK: Duration = Duration::from_secs(2);
/// What the processes that a program left have to end by themselves.
const REST_GRACE: Duration = Duration::from_secs(2);
/// How long another supervisor of this node may take to go.
const TURN: Duration = Duration::from_secs(5);
/// What is told of a program's last words.
const LAST_WORDS: u64 = 2048;
const LAST_LINES: usize = 10;

/// `run`.
pub(super) fn run(path: PathBuf) -> io::Result<()> {
    let folder = NodeFolder::new(path);
    let mark = mark_of(&folder)?;
    let _life = take_turn(&folder)?;
    let record = folder.record()?.ok_or_else(|| io::Error::other("the node has no record"))?;
    let plan = record.plan.clone().ok_or_else(|| io::Error::other("the node's record has no plan"))?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    mark.take()?;
    // Of a supervisor that was killed.
    mark.kill_all()?;
    let status = Status {
        run: record.run,
        phase: Phase::Starting,
        was_ready: false,
        starts: 0,
        supervisor: Pid::as_raw(Some(rustix::process::getpid())),
        program: None,
        detail: None,
        boot_id: boot_id(),
    };
    let mut supervisor = Supervisor { folder, record, plan, mark, status, namespace: None, ends: VecDeque::new() };
    supervisor.say()?;
    match supervisor.prepare() {
        Ok(()) => wait_for(supervisor.supervise()),
        Err(error) => supervisor.fail(&error.to_string()),
    }
}

/// `end`: for when there is no supervisor that could be asked, or none that listens.
pub(super) fn end_what_is_left(path: PathBuf) -> io::Result<()> {
    let folder = NodeFolder::new(path);
    mark_of(&folder)?.kill_all()?;
    let _life = take_turn(&folder)?;
    let run = folder.record().ok().flatten().map_or(0, |record| record.run);
    let supervisor = folder.status().map_or(0, |status| status.supervisor);
    folder.say(&Status {
        run,
        phase: Phase::Ended,
        was_ready: false,
        starts: 0,
        supervisor,
        program: None,
        detail: None,
        boot_id: boot_id(),
    })
}

fn mark_of(folder: &NodeFolder) -> io::Result<Mark> {
    let number = number_of(folder.id());
    number.map(Mark::of).ok_or_else(|| io::Error::other(format!("{} is no node's folder", folder.path().display())))
}

/// There is one for each node. The driver looks by taking the lock for a moment.
fn take_turn(folder: &NodeFolder) -> io::Result<File> {
    let file = folder.life()?;
    let until = Instant::now() + TURN;
    while let Err(error) = file.try_lock() {
        if Instant::now() > until {
            return Err(io::Error::other(format!("another supervisor has the node: {error}")));
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(file)
}

/// For this process and all that it starts. Processes are counted instead: `RLIMIT_NPROC` counts all that the user has.
fn limit(plan: &Plan) -> io::Result<()> {
    let limits =
        [(Resource::Data, plan.limits.memory_mib.saturating_mul(1 << 20)), (Resource::Nofile, plan.limits.files)];
    for (resource, most) in limits {
        let now = rustix::process::getrlimit(resource);
        let most = now.maximum.map_or(most, |maximum| maximum.min(most));
        rustix::process::setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })
            .map_err(|error| io::Error::other(format!("its limits cannot be set: {error}")))?;
    }
    Ok(())
}

struct Supervisor {
    folder: NodeFolder,
    record: Record,
    plan: Plan,
    mark: Mark,
    status: Status,
    /// Its own network.
    namespace: Option<Namespace>,
    /// When the program ended, within the window.
    ends: VecDeque<Instant>,
}

/// How a program's time was over.
enum Over {
    Ended(String),
    /// It did not get ready in time.
    NotReady,
    /// We are to end.
    Told,
}

impl Supervisor {
    /// What is there before the program, and stays when it ends.
    fn prepare(&mut self) -> io::Result<()> {
        if let Some(gateway) = self.plan.gateway {
            self.namespace = Some(Namespace::make(self.folder.id(), self.record.address, gateway)?);
        }
        limit(&self.plan)
    }

    async fn supervise(&mut self) -> io::Result<()> {
        let mut told = signal(SignalKind::terminate())?;
        let mut endings = signal(SignalKind::child())?;
        loop {
            let over = match self.start() {
                Ok(program) => self.watch(program, &mut told, &mut endings).await?,
                Err(error) => Over::Ended(format!("it cannot be started: {}: {error}", self.plan.command.join(" "))),
            };
            let why = match over {
                Over::Told => return self.stop(),
                Over::NotReady => return self.fail(&self.not_ready()),
                Over::Ended(why) => why,
            };
            say(&format!("the program: {why}"));
            let now = Instant::now();
            let window = Duration::from_secs(self.plan.restart.window_seconds.into());
            self.ends.push_back(now);
            self.ends.retain(|end| now.duration_since(*end) < window);
            let often = u32::try_from(self.ends.len()).unwrap_or(u32::MAX);
            if often > self.plan.restart.limit {
                let words = self.last_words();
                return self
                    .fail(&format!("its program ended {often} times within {} s; {why}; {words}", window.as_secs()));
            }
            self.status.phase = Phase::Waiting;
            self.status.program = None;
            self.status.detail = Some(why);
            self.say()?;
            if self.pause(often, &mut told, &mut endings).await {
                return self.stop();
            }
        }
    }

    fn start(&mut self) -> io::Result<u32> {
        let enter = self.namespace.as_ref().map(Namespace::enter).unwrap_or_default();
        let words = [enter, self.plan.command.clone()].concat();
        let (program, arguments) = words.split_first().ok_or_else(|| io::Error::other("the command is empty"))?;
        let child = Command::new(program)
            .args(arguments)
            .env_clear()
            .envs(&self.plan.environment)
            .current_dir(self.folder.disk())
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()?;
        self.status.phase = Phase::Starting;
        self.status.starts += 1;
        self.status.program = Some(child.id());
        self.status.detail = None;
        self.say()?;
        Ok(child.id())
    }

    async fn watch(&mut self, program: u32, told: &mut Signals, endings: &mut Signals) -> io::Result<Over> {
        let (wanted, address) = (self.plan.ready.clone(), self.record.address);
        let mut is_ready = false;
        let ready = ready::wait(wanted.as_ref(), address);
        tokio::pin!(ready);
        let limit = sleep(Duration::from_secs(self.plan.ready_timeout_seconds.into()));
        tokio::pin!(limit);
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = told.recv() => return Ok(Over::Told),
                _ = endings.recv() => {
                    let ended = reap().into_iter().find(|(pid, _)| u32::try_from(pid.as_raw_nonzero().get()) == Ok(program));
                    if let Some((_, status)) = ended {
                        return Ok(Over::Ended(format!("it ended: {}", ExitStatus::from_raw(status.as_raw()))));
                    }
                }
                () = &mut ready, if !is_ready => {
                    is_ready = true;
                    self.status.phase = Phase::Ready;
                    self.status.was_ready = true;
                    self.say()?;
                }
                () = &mut limit, if !is_ready => return Ok(Over::NotReady),
                _ = look.tick() => if let Some(over) = self.look()? {
                    return Ok(over);
                },
            }
        }
    }

    /// Too many processes end the node's program, as too much memory would.
    fn look(&self) -> io::Result<Option<Over>> {
        if let Err(error) = rotate(&self.folder) {
            say(&format!("the output cannot be moved aside: {error}"));
        }
        // Who holds the network is none of the node's.
        let own = u64::from(self.namespace.is_some());
        let (count, most) = (count_below(self.status.supervisor).saturating_sub(own), self.plan.limits.processes);
        if count <= most {
            return Ok(None);
        }
        self.mark.kill_all()?;
        Ok(Some(Over::Ended(format!("it was ended: there were {count} processes, of which the size allows {most}"))))
    }

    /// Before the next start; true when we are told to end.
    async fn pause(&self, often: u32, told: &mut Signals, endings: &mut Signals) -> bool {
        let restart = &self.plan.restart;
        let delay = u64::from(restart.delay_ms) << often.saturating_sub(1).min(20);
        let pause = sleep(Duration::from_millis(delay.min(restart.longest_delay_ms.into())));
        tokio::pin!(pause);
        loop {
            tokio::select! {
                _ = told.recv() => return true,
                _ = endings.recv() => drop(reap()),
                () = &mut pause => return false,
            }
        }
    }

    /// First the program alone, so that it can end what it started in its own way; then what it left.
    fn stop(&mut self) -> io::Result<()> {
        if let Some(program) = self.status.program.and_then(|program| Pid::from_raw(program.cast_signed())) {
            let until = Instant::now() + Duration::from_secs(self.plan.stop_seconds.into());
            let _gone_is_fine = rustix::process::kill_process(program, Signal::TERM);
            while !reap().iter().any(|(pid, _)| *pid == program) && Instant::now() < until {
                thread::sleep(Duration::from_millis(2));
            }
        }
        self.mark.end_all(REST_GRACE)?;
        self.status.phase = Phase::Ended;
        self.status.program = None;
        self.status.detail = None;
        self.say()
    }

    fn fail(&mut self, why: &str) -> io::Result<()> {
        say(&format!("the node is given up: {}", why.lines().next().unwrap_or_default()));
        self.mark.end_all(REST_GRACE)?;
        self.status.phase = Phase::Failed;
        self.status.program = None;
        self.status.detail = Some(why.to_owned());
        self.say()
    }

    fn say(&self) -> io::Result<()> {
        self.folder.say(&self.status)
    }

    fn not_ready(&self) -> String {
        let address: Ipv4Addr = self.record.address;
        let what = self.plan.ready.as_ref().map(|ready| ready::describe(ready, address)).unwrap_or_default();
        format!("it was not ready within {} s: {what}; {}", self.plan.ready_timeout_seconds, self.last_words())
    }

    fn last_words(&self) -> String {
        let text = self.folder.tail(LAST_WORDS);
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("capstan-local-node: ")).collect();
        let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
        if last.is_empty() { "it wrote nothing".to_owned() } else { format!("its last lines: {}", last.join("\n")) }
    }
}
