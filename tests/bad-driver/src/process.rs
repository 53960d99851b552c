//! What a driver can do to the process in which it runs: its descriptors, its children, its file.

use std::{
    ffi::c_int,
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write},
    os::{
        fd::{FromRawFd, RawFd},
        unix::fs::{FileExt, PermissionsExt},
    },
    path::PathBuf,
    process::Command,
    thread,
};

unsafe extern "C" {
    fn _exit(code: c_int) -> !;
    fn close(descriptor: c_int) -> c_int;
    fn fork() -> c_int;
    fn getpid() -> c_int;
    fn kill(process: c_int, signal: c_int) -> c_int;
    fn pause() -> c_int;
    fn setsid() -> c_int;
    fn shutdown(socket: c_int, how: c_int) -> c_int;
    fn getppid() -> c_int;
    fn usleep(microseconds: u32) -> c_int;
    fn waitpid(process: c_int, status: *mut c_int, options: c_int) -> c_int;
}

const SIGKILL: c_int = 9;
const SIGSTOP: c_int = 19;
const BOTH_WAYS: c_int = 2;

/// The sockets of this process, on which an isolated driver is spoken to.
fn sockets() -> Vec<RawFd> {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else { return Vec::new() };
    let is_socket =
        |path: &PathBuf| fs::read_link(path).is_ok_and(|link| link.to_string_lossy().starts_with("socket:"));
    let paths = entries.flatten().map(|entry| entry.path()).filter(is_socket);
    paths.filter_map(|path| path.file_name()?.to_str()?.parse().ok()).collect()
}

/// Closes all of them behind the back of whoever uses them.
pub(crate) fn close_sockets() {
    for socket in sockets() {
        // SAFETY: none; the owner of the descriptor is not asked.
        unsafe { close(socket) };
    }
}

/// Ends what is said on them, both ways.
pub(crate) fn shut_sockets() {
    for socket in sockets() {
        // SAFETY: a call with numbers.
        unsafe { shutdown(socket, BOTH_WAYS) };
    }
}

/// Writes bytes of its own between the frames; see the table in `behaviour.rs` for the words.
pub(crate) fn write_frames(word: &str, call_id: u64) {
    let frame = |body: &str| [&(body.len() as u32).to_be_bytes()[..], body.as_bytes()].concat();
    let reply = |id: u64| frame(&format!(r#"{{"reply":{{"id":{id},"result":{{"load_balancers":[]}}}}}}"#));
    let bytes = match word {
        "text" => b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        "no_json" => frame("<html>"),
        "no_object" => frame("[1,2]"),
        "empty" => vec![0; 4],
        "huge" => vec![0xff; 4],
        "half" | "half_closed" => frame(&"x".repeat(1000))[..100].to_vec(),
        "wrong_id" => reply(u64::MAX >> 2),
        "own" => reply(call_id),
        _ => Vec::new(),
    };
    if let Some(socket) = sockets().into_iter().max() {
        // SAFETY: the descriptor is open and not given up: the file is forgotten.
        let mut file = std::mem::ManuallyDrop::new(unsafe { File::from_raw_fd(socket) });
        let _written = file.write_all(&bytes);
    }
    if word == "half_closed" {
        shut_sockets();
    }
}

/// Stops this process as a debugger does.
pub(crate) fn stop() {
    // SAFETY: calls with numbers.
    unsafe { kill(getpid(), SIGSTOP) };
    // Another thread may be the first to notice.
    loop {
        thread::park();
    }
}

/// Kills whoever watches over this process, and waits for what comes of it.
pub(crate) fn kill_parent() {
    // SAFETY: calls with numbers.
    unsafe { kill(getppid(), SIGKILL) };
    loop {
        thread::park();
    }
}

/// A program that keeps standard output and error open.
pub(crate) fn grandchild(seconds: &str) {
    let _left_behind = Command::new("/bin/sleep").arg(seconds).spawn();
}

/// `count` processes that wait for ever, as far as they are not refused.
pub(crate) fn waiting(count: u64) -> io::Result<()> {
    for _ in 0..count {
        // SAFETY: the copy has one thread and calls nothing but the kernel.
        match unsafe { fork() } {
            -1 => return Err(io::Error::last_os_error()),
            0 => wait_for_ever(),
            _ => {}
        }
    }
    Ok(())
}

fn wait_for_ever() -> ! {
    loop {
        // SAFETY: a call without arguments.
        unsafe { pause() };
    }
}

/// A tree of 2^`depth` processes; every other level makes sessions of its own.
pub(crate) fn fork_tree(depth: u64) {
    in_a_child(|| {
        for level in 0..depth {
            // SAFETY: the copy has one thread and calls nothing but the kernel.
            if unsafe { fork() } == 0 && level % 2 == 0 {
                // SAFETY: a call without arguments.
                unsafe { setsid() };
            }
        }
        wait_for_ever()
    });
}

/// `count` processes that run away from whoever looks for them: each forks itself every 2 ms and ends, for at most a minute.
pub(crate) fn run_away(count: u64) {
    for _ in 0..count {
        in_a_child(|| {
            // SAFETY: the copy has one thread and calls nothing but the kernel.
            unsafe {
                setsid();
                for _ in 0..30_000 {
                    usleep(2000);
                    if fork() != 0 {
                        _exit(0);
                    }
                }
            }
        });
    }
}

/// `count` processes of nobody's that end at once.
pub(crate) fn orphans(count: u64) {
    for _ in 0..count {
        in_a_child(|| ());
    }
}

/// Runs `then` in a grandchild whose parent has ended.
fn in_a_child(then: impl Fn()) {
    // SAFETY: the copies have one thread; `then` calls nothing but the kernel, so no lock of another thread is missed.
    unsafe {
        let between = fork();
        if between == 0 {
            if fork() == 0 {
                then();
            }
            _exit(0);
        }
        waitpid(between, std::ptr::null_mut(), 0);
    }
}

/// The file that this library was loaded from.
fn own_file() -> PathBuf {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let own = own_file as *const () as usize;
    let holds = |line: &&str| {
        let range = line.split_once(' ').and_then(|(range, _)| range.split_once('-'));
        let [begin, end] = range.map_or([0; 2], |(begin, end)| {
            [begin, end].map(|number| usize::from_str_radix(number, 16).unwrap_or_default())
        });
        (begin..end).contains(&own)
    };
    maps.lines().find(holds).and_then(|line| line.find('/').map(|at| line[at..].into())).unwrap_or_default()
}

/// Overwrites its own file, or the one at `path`, in place.
pub(crate) fn overwrite(path: &str) {
    if let Some(file) = opened(path) {
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        let _written = file.write_all_at(&vec![0xcc; length as usize], 0);
    }
}

/// Cuts it off after the first page.
pub(crate) fn truncate(path: &str) {
    let _cut = opened(path).map(|file| file.set_len(4096));
}

fn opened(path: &str) -> Option<File> {
    let path = if path.is_empty() { own_file() } else { path.into() };
    let _only_its_owner_can = fs::set_permissions(&path, Permissions::from_mode(0o600));
    OpenOptions::new().write(true).open(path).ok()
}

/// Threads that never end.
pub(crate) fn spawn_threads(count: u64) {
    for _ in 0..count {
        thread::spawn(|| {
            loop {
                thread::park();
            }
        });
    }
}
