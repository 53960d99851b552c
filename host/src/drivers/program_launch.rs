//! Starts a process that belongs to nobody, so that no moment at which the daemon may be killed leaves one unrecorded.
//!
//! The child is forked, makes a session of its own, tells its number and waits. The number is written down durably; then
//! the child may become the program. A child whose daemon dies before that sees the end of a pipe and ends. It holds the lock
//! of its record until then: whoever gets the lock finds a program that runs or none, never one on the way.
#![allow(unsafe_code)]

use std::{
    fs::File,
    io::{self, Read, Write},
    mem::MaybeUninit,
    os::{
        fd::{AsRawFd, BorrowedFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::{Child, Command},
    thread,
};

use rustix::{
    fs::{Mode, OFlags, RawDir},
    io::FdFlags,
    pipe::{PipeFlags, pipe_with},
    process::Pid,
};

/// Launches `command`; `record` is given the number before the program begins, and its failure means that it never does.
/// `lock` is closed by `exec`, as all of the daemon's files; until then the forked child holds its file description, and the
/// lock with it.
pub(super) fn launch(
    mut command: Command,
    _lock: &File,
    record: impl FnOnce(i32) -> io::Result<()>,
) -> io::Result<Child> {
    let (number_reader, number_writer) = pipe_with(PipeFlags::CLOEXEC)?;
    let (go_reader, go_writer) = pipe_with(PipeFlags::CLOEXEC)?;
    let parents_end = go_writer.as_raw_fd();
    let prepare = move || wait_for_go(&number_writer, &go_reader, parents_end);
    // SAFETY: runs in the forked child before `exec`, where only system calls are allowed: `wait_for_go` makes nothing but
    // those, on descriptors that it owns, and allocates nothing.
    unsafe { command.pre_exec(prepare) };
    // `spawn` returns once the program runs, and that waits for us.
    let spawning = thread::Builder::new().name("program".into()).spawn(move || command.spawn())?;
    let mut number = [0; 4];
    let told = File::from(number_reader).read_exact(&mut number);
    let recorded = match told {
        Ok(()) => record(i32::from_ne_bytes(number)),
        // The fork failed: `spawn` says why.
        Err(_) => Ok(()),
    };
    let mut go = File::from(go_writer);
    if recorded.is_ok() && told.is_ok() {
        // A child that was killed meanwhile is seen by `spawn`.
        let _gone_is_seen_below = go.write_all(&[1]);
    }
    drop(go);
    let spawned = spawning.join().map_err(|_| io::Error::other("the thread that starts programs panicked"))?;
    recorded?;
    spawned
}

fn wait_for_go(number: &OwnedFd, go: &OwnedFd, parents_end: i32) -> io::Result<()> {
    rustix::process::setsid()?;
    // SAFETY: the descriptor is the parent's writing end, of which this process has a copy that nothing here uses. Without
    // closing it the end of the pipe would never be seen.
    unsafe { rustix::io::close(parents_end) };
    keep_only_standard_streams()?;
    let own = Pid::as_raw(Some(rustix::process::getpid()));
    rustix::io::write(number, &own.to_ne_bytes())?;
    let mut byte = [0];
    loop {
        match rustix::io::read(go, &mut byte) {
            Ok(1) => return Ok(()),
            Ok(_) => return Err(io::ErrorKind::BrokenPipe.into()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Marks every descriptor but the standard streams to be closed by `exec`: what a driver, or whoever started the daemon, left
/// open is not for a program that outlives them both. System calls only, with a buffer on the stack.
fn keep_only_standard_streams() -> io::Result<()> {
    let folder =
        rustix::fs::open("/proc/self/fd", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut buffer = [MaybeUninit::uninit(); 2048];
    let mut entries = RawDir::new(folder, &mut buffer);
    while let Some(entry) = entries.next() {
        let number = entry?.file_name().to_str().ok().and_then(|name| name.parse::<i32>().ok());
        if let Some(number) = number.filter(|number| *number > 2) {
            // SAFETY: listed a moment ago, and this process has one thread; the flag changes nothing before `exec`.
            let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
            rustix::io::fcntl_setfd(descriptor, FdFlags::CLOEXEC)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{
        path::{Path, PathBuf},
        process::Stdio,
        time::{Duration, Instant},
    };

    use rustix::{
        fs::FlockOperation,
        process::{PidfdFlags, Signal},
    };

    use super::*;

    /// The daemon of the test below: is killed between the record and the program.
    #[test]
    #[ignore = "run by a_child_whose_daemon_died_holds_the_lock_until_it_has_gone"]
    fn daemon_that_dies_while_it_records() {
        let folder = PathBuf::from(std::env::var("CAPSTAN_TEST_FOLDER").unwrap());
        let lock = File::options().write(true).open(folder.join("lock")).unwrap();
        rustix::fs::flock(&lock, FlockOperation::LockExclusive).unwrap();
        let mut program = Command::new("/bin/sh");
        program.args(["-c", "echo > ran"]).current_dir(&folder).stdin(Stdio::null());
        let record = |pid: i32| {
            // Stopped, the child cannot see that we are gone.
            rustix::process::kill_process(Pid::from_raw(pid).unwrap(), Signal::STOP).unwrap();
            std::fs::write(folder.join("pid"), pid.to_string()).unwrap();
            rustix::process::kill_process(rustix::process::getpid(), Signal::KILL).unwrap();
            Ok(())
        };
        launch(program, &lock, record).unwrap().wait().unwrap();
    }

    /// A stopped child does not outlive the test, however that ends.
    struct Stopped(OwnedFd);

    impl Drop for Stopped {
        fn drop(&mut self) {
            let _gone_is_fine = rustix::process::pidfd_send_signal(&self.0, Signal::KILL);
        }
    }

    fn is_free(lock: &Path) -> bool {
        let lock = File::options().write(true).open(lock).unwrap();
        rustix::fs::flock(lock, FlockOperation::NonBlockingLockExclusive).is_ok()
    }

    #[test]
    fn a_child_whose_daemon_died_holds_the_lock_until_it_has_gone() {
        let folder = tempfile::tempdir().unwrap();
        let lock = folder.path().join("lock");
        File::create(&lock).unwrap();
        let test = "drivers::program_launch::tests::daemon_that_dies_while_it_records";
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", test])
            .env("CAPSTAN_TEST_FOLDER", folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(!status.success());
        let pid: i32 = std::fs::read_to_string(folder.path().join("pid")).unwrap().parse().unwrap();
        let child = Stopped(rustix::process::pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()).unwrap());
        assert!(!is_free(&lock), "a stopped child is on its way: nobody may take it for running or for gone");
        rustix::process::pidfd_send_signal(&child.0, Signal::CONT).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while !is_free(&lock) {
            assert!(Instant::now() < deadline, "the child does not let go");
            thread::yield_now();
        }
        assert!(!folder.path().join("ran").exists(), "it never became the program");
    }
}
