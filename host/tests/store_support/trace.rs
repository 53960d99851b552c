//! What a traced process wrote and synced, and what a crash at some point would have left of it.
//!
//! The strictest reading of POSIX: written data is on disk once its file was synced, a name in a folder once the folder was.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// The calls of a process about a database and what lies beside it, in their order.
pub struct Trace(Vec<Call>);

#[derive(Debug)]
enum Call {
    Acknowledge(String),
    Create(String),
    Remove(String),
    /// A sync counts from its end on, and for what was written before its beginning.
    SyncBegins(u32, Synced),
    SyncEnds(u32),
    Truncate(String, usize),
    Write(String, usize, Vec<u8>),
}

#[derive(Clone, Debug)]
enum Synced {
    File(String),
    Folder,
}

impl Trace {
    /// Reads what `strace -f -y -xx` wrote.
    pub fn read(trace: &Path, database: &Path) -> Self {
        let text = fs::read_to_string(trace).unwrap();
        let folder = database.parent().unwrap().to_str().unwrap().to_owned();
        let prefix = database.to_str().unwrap().to_owned();
        // The index of the log is rebuilt from the log.
        let ours = |path: &str| {
            let file = path.strip_prefix(&format!("{folder}/"))?;
            (path.starts_with(&prefix) && !path.ends_with("-shm") && !path.ends_with(".lock")).then(|| file.to_owned())
        };
        let calls = text.lines().filter_map(|line| {
            let (process, call) = line.split_once(' ')?;
            let process: u32 = process.parse().ok()?;
            let call = call.trim_start();
            if call.starts_with("<... fdatasync resumed") || call.starts_with("<... fsync resumed") {
                // The end of the process cuts off what goes on in its threads.
                assert!(call.ends_with("= 0") || call.ends_with("= ?"), "{call}");
                return call.ends_with("= 0").then(|| vec![Call::SyncEnds(process)]);
            }
            let (name, arguments) = call.split_once('(')?;
            let failed = arguments.contains(") = -1");
            let path =
                hex(arguments.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or("", |(path, _)| path));
            let path = String::from_utf8_lossy(&path).into_owned();
            let quoted = arguments.split('"').nth(1).map(hex);
            match name {
                "fdatasync" | "fsync" => {
                    let synced = if path == folder { Synced::Folder } else { Synced::File(ours(&path)?) };
                    let begins = Call::SyncBegins(process, synced);
                    if arguments.contains("<unfinished") || arguments.ends_with("= ?") {
                        return Some(vec![begins]);
                    }
                    assert!(arguments.ends_with("= 0"), "{arguments}");
                    Some(vec![begins, Call::SyncEnds(process)])
                }
                "pwrite64" => {
                    let file = ours(&path)?;
                    let offset = arguments.rsplit_once('"')?.1.split(", ").nth(2)?;
                    let offset = offset.split([')', ' ']).next()?.parse().unwrap();
                    Some(vec![Call::Write(file, offset, quoted?)])
                }
                "ftruncate" => {
                    let length = arguments.split_once(">, ")?.1.split([')', ' ']).next()?.parse().unwrap();
                    Some(vec![Call::Truncate(ours(&path)?, length)])
                }
                "openat" if arguments.contains("O_CREAT") && !failed => {
                    Some(vec![Call::Create(ours(&String::from_utf8(quoted?).ok()?)?)])
                }
                "unlink" if !failed => Some(vec![Call::Remove(ours(&String::from_utf8(quoted?).ok()?)?)]),
                "write" if arguments.starts_with("1<") => {
                    let text = String::from_utf8(quoted?).ok()?;
                    let names = text.lines().filter_map(|line| line.split_once("ack "));
                    Some(names.map(|(_, name)| Call::Acknowledge(name.to_owned())).collect())
                }
                "pwritev" | "rename" => {
                    assert!(ours(&path).is_none(), "a call that this test does not follow: {call}");
                    None
                }
                _ => None,
            }
        });
        Self(calls.flatten().collect())
    }
}

/// `\x61\x62` as bytes.
fn hex(text: &str) -> Vec<u8> {
    text.split("\\x").skip(1).map(|digits| u8::from_str_radix(&digits[..2], 16).unwrap()).collect()
}

/// A run that is stopped at one acknowledgement after the other.
pub struct Crash<'t> {
    calls: std::slice::Iter<'t, Call>,
    files: BTreeMap<&'t str, File<'t>>,
    /// Names whose coming or going is not synced yet, in order.
    names: Vec<(&'t str, bool)>,
    begun: BTreeMap<u32, (Synced, usize)>,
    syncs: usize,
}

#[derive(Default)]
struct File<'t> {
    is_named: bool,
    durable: Vec<u8>,
    pending: Vec<Change<'t>>,
}

#[derive(Clone, Copy)]
enum Change<'t> {
    Truncate(usize),
    Write(usize, &'t [u8]),
}

impl Change<'_> {
    fn apply(self, content: &mut Vec<u8>) {
        match self {
            Self::Truncate(length) => content.resize(length, 0),
            Self::Write(offset, bytes) => {
                content.resize(content.len().max(offset + bytes.len()), 0);
                content[offset..offset + bytes.len()].copy_from_slice(bytes);
            }
        }
    }
}

impl<'t> Crash<'t> {
    pub fn new(trace: &'t Trace) -> Self {
        let (files, names, begun) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
        Self { calls: trace.0.iter(), files, names, begun, syncs: 0 }
    }

    /// Goes on to the next acknowledgement and gives what was acknowledged.
    pub fn next_acknowledgement(&mut self) -> Option<String> {
        loop {
            match self.calls.next()? {
                Call::Acknowledge(name) => return Some(name.clone()),
                Call::Create(file) => {
                    // Opening a file that is there makes no new one.
                    let is_there =
                        self.names.iter().rev().find(|(name, _)| name == file).map(|(_, is_there)| *is_there);
                    if !is_there.unwrap_or_else(|| self.files.get(file.as_str()).is_some_and(|file| file.is_named)) {
                        self.names.push((file, true));
                    }
                }
                Call::Remove(file) => self.names.push((file, false)),
                Call::Truncate(file, length) => self.change(file, Change::Truncate(*length)),
                Call::Write(file, offset, bytes) => self.change(file, Change::Write(*offset, bytes)),
                Call::SyncBegins(process, synced) => {
                    let so_far = match synced {
                        Synced::Folder => self.names.len(),
                        Synced::File(file) => self.files.get(file.as_str()).map_or(0, |file| file.pending.len()),
                    };
                    self.begun.insert(*process, (synced.clone(), so_far));
                }
                Call::SyncEnds(process) => {
                    // Of files that are not ours, only the end is seen.
                    if let Some((synced, so_far)) = self.begun.remove(process) {
                        self.synced(&synced, so_far);
                    }
                }
            }
        }
    }

    /// Syncs of the database's files so far.
    pub fn syncs(&self) -> usize {
        self.syncs
    }

    /// Bytes that were written and not synced yet.
    pub fn unsynced_bytes(&self) -> usize {
        let size = |change: &Change<'_>| if let Change::Write(_, bytes) = change { bytes.len() } else { 0 };
        self.files.values().flat_map(|file| &file.pending).map(size).sum()
    }

    /// Writes what a crash here would leave: what was synced, and of the rest what the seed picks, if there is one.
    pub fn write_to(&self, folder: &Path, survivors: Option<u64>) {
        let mut state = survivors.unwrap_or_default() | 1;
        let mut survives = || {
            // xorshift64
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            survivors.is_some() && state & 1 == 1
        };
        let mut named: BTreeMap<&str, bool> = self.files.iter().map(|(name, file)| (*name, file.is_named)).collect();
        for (name, is_there) in &self.names {
            if survives() {
                named.insert(name, *is_there);
            }
        }
        for (name, _) in named.into_iter().filter(|(_, is_there)| *is_there) {
            let file = self.files.get(name);
            let mut content = file.map(|file| file.durable.clone()).unwrap_or_default();
            for change in file.into_iter().flat_map(|file| &file.pending) {
                if survives() {
                    change.apply(&mut content);
                }
            }
            let path: PathBuf = folder.join(name);
            fs::write(path, content).unwrap();
        }
    }

    fn change(&mut self, file: &'t str, change: Change<'t>) {
        self.files.entry(file).or_default().pending.push(change);
    }

    fn synced(&mut self, synced: &Synced, so_far: usize) {
        match synced {
            Synced::Folder => {
                for (name, is_there) in self.names.drain(..so_far) {
                    self.files.entry(name).or_default().is_named = is_there;
                }
            }
            Synced::File(name) => {
                self.syncs += 1;
                if let Some(file) = self.files.get_mut(name.as_str()) {
                    for change in file.pending.drain(..so_far) {
                        change.apply(&mut file.durable);
                    }
                }
            }
        }
    }
}
