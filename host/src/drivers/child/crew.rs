//! The threads of a child, each of which reads the socket and runs what it has read ("leader/followers").
//!
//! On one core a call costs what its changes of thread cost, so a call is not handed on: whoever reads it runs it, and a call of
//! a caller who calls one after the other costs two changes in all, into this process and back. All threads wait for the socket
//! in one epoll, edge-triggered: new bytes wake exactly one of them, the one that began to wait last (epoll(7)). While that one
//! runs its call the others still wait, so the kernel wakes the next of them when more comes; nobody appoints a reader, and a
//! call that is slow or never returns delays nothing. For that to hold one thread is always left to read: the first calls that
//! overlap have another thread started, up to the limit, and what goes beyond it is queued.
//!
//! Frames are read and taken up under one lock, in their order, so a cancel never overtakes its call. Several frames that come
//! at once are several jobs: whoever takes one off the queue and leaves another wakes one more thread for it (`more`).
//!
//! Where there are several cores, waking a thread on one that sleeps costs more than all of that, so a thread that has just run a
//! call looks at the socket for a moment before it waits. What wakes another one meanwhile is left to it (`is_looking`).

use std::{
    collections::VecDeque,
    io,
    os::{fd::OwnedFd, unix::net::UnixStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use rustix::{
    event::{EventfdFlags, Timespec, epoll, eventfd},
    io::Errno,
    net::RecvFlags,
};

use crate::drivers::{
    frames::FrameReader,
    pool::{look_out, several_cpus},
};

/// How long a thread that has run a call looks for the next one before it waits, where there is another core to do the rest.
const LOOK_OUT: Duration = Duration::from_micros(50);
/// Threads that stay when nothing is to be done: one runs the next call, the other reads on meanwhile.
const LEAST: usize = 2;
/// How long a further one stays.
const IDLE: Timespec = Timespec { tv_sec: 30, tv_nsec: 0 };

/// What a crew serves.
pub(super) trait Service: Send + Sync + 'static {
    /// Something to run, which may take as long as it likes.
    type Job: Send;

    /// Takes up one frame, which must not block; appends what is to be run.
    fn take_up(&self, frame: &[u8], jobs: &mut VecDeque<Self::Job>) -> io::Result<()>;

    fn run(&self, job: Self::Job);
}

struct Crew<S: Service> {
    service: S,
    /// Jobs at the same time.
    most: usize,
    socket: UnixStream,
    /// Readable while `queue` may hold a job for one more thread.
    more: OwnedFd,
    /// Where all threads wait, for `socket` and for `more`.
    epoll: OwnedFd,
    state: Mutex<State<S::Job>>,
    /// One of them looks for bytes without waiting for the epoll, and takes what comes.
    is_looking: AtomicBool,
    ended: SyncSender<io::Result<()>>,
}

struct State<J> {
    reader: FrameReader,
    queue: VecDeque<J>,
    running: usize,
    /// All of them, the running ones included.
    threads: usize,
}

impl<J> State<J> {
    fn waiting(&self) -> usize {
        self.threads - self.running
    }
}

/// What a thread that waited was woken by.
enum Heard {
    Something,
    /// Its patience is over.
    Nothing,
    /// Of the stream.
    End,
}

const SOCKET: u64 = 0;
const MORE: u64 = 1;

/// Serves what comes over `socket`; returns when it has ended, whatever still runs.
pub(super) fn serve<S: Service>(service: S, socket: UnixStream, most: usize) -> io::Result<()> {
    let more = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let edge = epoll::EventFlags::IN | epoll::EventFlags::ET;
    epoll::add(&epoll, &socket, epoll::EventData::new_u64(SOCKET), edge | epoll::EventFlags::RDHUP)?;
    epoll::add(&epoll, &more, epoll::EventData::new_u64(MORE), edge)?;
    let (ended, end) = sync_channel(1);
    let state = State { reader: FrameReader::default(), queue: VecDeque::new(), running: 0, threads: 0 };
    let is_looking = AtomicBool::new(false);
    let crew = Arc::new(Crew { service, most, socket, more, epoll, state: Mutex::new(state), is_looking, ended });
    for _ in 0..LEAST {
        crew.enlist(&mut crew.state())?;
    }
    // The crew holds a sender for as long as it is there.
    end.recv().unwrap_or(Ok(()))
}

impl<S: Service> Crew<S> {
    fn state(&self) -> MutexGuard<'_, State<S::Job>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts one more thread.
    fn enlist(self: &Arc<Self>, state: &mut State<S::Job>) -> io::Result<()> {
        let crew = Arc::clone(self);
        thread::Builder::new().name("calls".into()).spawn(move || crew.work())?;
        state.threads += 1;
        Ok(())
    }

    /// One thread's whole life.
    fn work(self: Arc<Self>) {
        let mut patience = None;
        let mut has_run = false;
        loop {
            let is_looking = has_run && several_cpus() && !self.is_looking.swap(true, Ordering::SeqCst);
            match if is_looking { self.look_out() } else { self.listen(patience) } {
                Ok(Heard::Something) => {}
                Ok(Heard::Nothing) => {
                    let mut state = self.state();
                    if state.waiting() > LEAST {
                        state.threads -= 1;
                        return;
                    }
                }
                Ok(Heard::End) => return self.end(Ok(())),
                Err(error) => return self.end(Err(error)),
            }
            let mut state = self.state();
            has_run = false;
            while let Some(job) = self.next(&mut state) {
                drop(state);
                self.service.run(job);
                has_run = true;
                state = self.state();
                state.running -= 1;
            }
            patience = (state.waiting() > LEAST).then_some(&IDLE);
        }
    }

    fn end(&self, outcome: io::Result<()>) {
        // The first one counts.
        let _told_already = self.ended.try_send(outcome);
    }

    /// Waits until there is something to do, at most for `patience`.
    fn listen(&self, patience: Option<&Timespec>) -> io::Result<Heard> {
        let mut events = [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(MORE) }];
        let count = loop {
            match epoll::wait(&self.epoll, &mut events, patience) {
                Ok(count) => break count,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        };
        // By value: the kernel's form of it is packed.
        let [epoll::Event { flags, data }] = events;
        if count == 0 {
            return Ok(Heard::Nothing);
        }
        if data.u64() == MORE || self.is_looking.load(Ordering::SeqCst) {
            return Ok(Heard::Something);
        }
        // Bytes that come after the event make another one. Only an end that came with the bytes does not.
        let is_ending = epoll::EventFlags::RDHUP | epoll::EventFlags::HUP | epoll::EventFlags::ERR;
        self.read(flags.intersects(is_ending))
    }

    /// Looks for bytes for a moment, as the one that `is_looking`; then reads.
    fn look_out(&self) -> io::Result<Heard> {
        let peek = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        look_out(LOOK_OUT, || rustix::net::recv(&self.socket, &mut [0_u8], peek) != Err(Errno::AGAIN));
        // In this order, and all there is: whoever was woken meanwhile has left it to us.
        self.is_looking.store(false, Ordering::SeqCst);
        self.read(true)
    }

    /// Takes up what has come; what comes meanwhile too, if `to_the_end`.
    fn read(&self, to_the_end: bool) -> io::Result<Heard> {
        let mut state = self.state();
        let State { reader, queue, .. } = &mut *state;
        loop {
            let mut room = 0;
            let read = reader.fill(|bytes| {
                room = bytes.len();
                // The socket itself blocks, for those who write.
                Ok(rustix::net::recv(&self.socket, bytes, RecvFlags::DONTWAIT)?.1)
            });
            let count = match read {
                Ok(0) => return Ok(Heard::End),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Heard::Something),
                Err(error) => return Err(error),
            };
            while let Some(frame) = reader.next_frame().map_err(io::Error::other)? {
                self.service.take_up(frame, queue)?;
            }
            if count < room && !to_the_end {
                return Ok(Heard::Something);
            }
        }
    }

    /// A job for this thread, if there is one and another thread stays to read meanwhile.
    fn next(self: &Arc<Self>, state: &mut State<S::Job>) -> Option<S::Job> {
        if state.queue.is_empty() || state.running >= self.most {
            return None;
        }
        if state.waiting() == 1 && self.enlist(state).is_err() {
            // One that runs will come to it.
            return None;
        }
        let job = state.queue.pop_front()?;
        state.running += 1;
        if !state.queue.is_empty() && state.running < self.most {
            // Never full: it would take 2^64 of these.
            let _is_set = rustix::io::write(&self.more, &1_u64.to_ne_bytes());
        }
        Some(job)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        sync::mpsc::{Receiver, Sender, channel},
    };

    use super::*;
    use crate::drivers::frames::frame;

    const SOON: Duration = Duration::from_secs(10);

    /// Tells which frames were taken up and which are run; what begins with "hold" runs until it is let go.
    struct Told {
        taken: Sender<String>,
        ran: Sender<String>,
        held: Mutex<Receiver<()>>,
    }

    impl Service for Told {
        type Job = String;

        fn take_up(&self, frame: &[u8], jobs: &mut VecDeque<String>) -> io::Result<()> {
            let text: String = serde_json::from_slice(frame)?;
            let _nobody_listens = self.taken.send(text.clone());
            if text != "note" {
                jobs.push_back(text);
            }
            Ok(())
        }

        fn run(&self, job: String) {
            let hold = job.starts_with("hold");
            let _nobody_listens = self.ran.send(job);
            if hold {
                let _let_go = self.held.lock().unwrap().recv();
            }
        }
    }

    struct Watched {
        socket: UnixStream,
        taken: Receiver<String>,
        ran: Receiver<String>,
        hold: Sender<()>,
        end: thread::JoinHandle<io::Result<()>>,
    }

    fn start(most: usize) -> Watched {
        let (socket, theirs) = UnixStream::pair().unwrap();
        let ((taken_by, taken), (ran_by, ran), (hold, held)) = (channel(), channel(), channel());
        let told = Told { taken: taken_by, ran: ran_by, held: Mutex::new(held) };
        let end = thread::spawn(move || serve(told, theirs, most));
        Watched { socket, taken, ran, hold, end }
    }

    impl Watched {
        fn send(&mut self, texts: &[&str]) {
            let bytes: Vec<u8> = texts.iter().flat_map(|text| frame(text).unwrap()).collect();
            self.socket.write_all(&bytes).unwrap();
        }

        fn some(of: &Receiver<String>, count: usize) -> Vec<String> {
            let mut some: Vec<_> = (0..count).map(|_| of.recv_timeout(SOON).expect("it comes")).collect();
            some.sort();
            some
        }
    }

    #[test]
    fn frames_are_read_while_every_place_is_held_and_what_waits_is_run_afterwards() {
        let mut watched = start(3);
        // At once and one by one: both have to find a thread each.
        watched.send(&["hold-1", "hold-2"]);
        watched.send(&["hold-3"]);
        assert_eq!(Watched::some(&watched.ran, 3), ["hold-1", "hold-2", "hold-3"]);
        watched.send(&["a", "b"]);
        watched.send(&["note"]);
        assert_eq!(Watched::some(&watched.taken, 6), ["a", "b", "hold-1", "hold-2", "hold-3", "note"]);
        assert!(watched.ran.try_recv().is_err(), "all places are held");
        watched.hold.send(()).unwrap();
        assert_eq!(Watched::some(&watched.ran, 2), ["a", "b"]);
        drop(watched.socket);
        watched.end.join().unwrap().unwrap();
    }

    #[test]
    fn an_end_that_comes_with_the_last_frame_is_seen_each_time() {
        for _ in 0..500 {
            let mut watched = start(2);
            watched.send(&["note"]);
            drop(watched.socket);
            watched.end.join().unwrap().unwrap();
            assert_eq!(Watched::some(&watched.taken, 1), ["note"]);
        }
    }

    #[test]
    fn thousands_in_bursts_are_all_run() {
        let mut watched = start(4);
        for burst in 0..2000 {
            let texts: Vec<String> = (0..burst % 7 + 1).map(|number| format!("{burst}-{number}")).collect();
            watched.send(&texts.iter().map(String::as_str).collect::<Vec<_>>());
            assert_eq!(Watched::some(&watched.ran, texts.len()), texts);
        }
    }
}
