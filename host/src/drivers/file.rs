//! From a name to bytes that nobody but root (or us) could have written.
//!
//! Every folder on the way is opened by descriptor below the one before, and the file below the last: what was checked is
//! what is read, whatever is renamed meanwhile.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Read},
    os::fd::OwnedFd,
    path::{Component, Path, PathBuf},
};

use rustix::fs::{FileType, Mode, OFlags, Stat};

use super::{
    error::{Failure, Stage},
    manifest::parent,
};

/// No driver is larger.
const LARGEST_FILE: u64 = 512 << 20;

/// A file that passed.
pub(super) struct Checked {
    pub path: PathBuf,
    pub bytes: Vec<u8>,
}

/// The path that an entry means.
pub(super) fn resolve(directory: &Path, library: &Path) -> PathBuf {
    directory.join(library)
}

fn refuse<T>(found: impl Into<String>, expected: impl Into<String>, remedy: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::new(Stage::File, found, expected, remedy))
}

/// Stages resolve and file: finds, checks and reads.
pub(super) fn open(path: &Path, trust_own_files: bool) -> Result<Checked, Failure> {
    let Some(name) = path.file_name() else {
        return Err(Failure::new(
            Stage::Resolve,
            "a path without a file name",
            "a .so file",
            "name a file in `library`",
        ));
    };
    let folder = parent(path).canonicalize().map_err(|error| {
        Failure::new(
            Stage::Resolve,
            format!("no folder {} ({error})", parent(path).display()),
            "the folder of the driver's file",
            "correct `library` or drivers.directory",
        )
    })?;
    let owners = Owners::new(trust_own_files);
    let directory = walk(&folder, &owners)?;
    let file = open_file(&directory, &folder, name, &owners)?;
    Ok(Checked { path: folder.join(name), bytes: read_all(file)? })
}

/// Whose files are trusted.
struct Owners {
    own: Option<u32>,
}

impl Owners {
    fn new(trust_own_files: bool) -> Self {
        Self { own: trust_own_files.then(|| rustix::process::geteuid().as_raw()) }
    }

    fn include(&self, uid: u32) -> bool {
        uid == 0 || self.own == Some(uid)
    }

    fn text(&self) -> &'static str {
        if self.own.is_some() { "root or the daemon's user as owner" } else { "root as owner" }
    }

    fn remedy(&self, path: &Path) -> String {
        let own = if self.own.is_some() { "" } else { " (or set drivers.trust_own_files = true for development)" };
        format!("chown root {}{own}", path.display())
    }
}

fn walk(folder: &Path, owners: &Owners) -> Result<OwnedFd, Failure> {
    let unreadable = |path: &Path, error: rustix::io::Errno| {
        Failure::new(
            Stage::File,
            format!("the folder {} that cannot be opened ({error})", path.display()),
            "a folder",
            "correct `library` or the folder's mode",
        )
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut path = PathBuf::from("/");
    let mut directory = rustix::fs::open("/", flags, Mode::empty()).map_err(|error| unreadable(&path, error))?;
    let mut sticky = check_folder(&directory, &path, owners, None)?;
    for component in folder.components() {
        let Component::Normal(name) = component else { continue };
        path.push(name);
        directory =
            rustix::fs::openat(&directory, name, flags, Mode::empty()).map_err(|error| unreadable(&path, error))?;
        sticky = check_folder(&directory, &path, owners, sticky.as_deref())?;
    }
    match sticky {
        // The file itself lies in it; whoever owns the file has been checked, but anyone can put another beside it.
        Some(path) => refuse_writable_folder(&path, true),
        None => Ok(directory),
    }
}

/// Checks one folder; answers its path when it is writable by all but sticky, so that what lies below must be ours.
fn check_folder(
    directory: &OwnedFd,
    path: &Path,
    owners: &Owners,
    below_sticky: Option<&Path>,
) -> Result<Option<PathBuf>, Failure> {
    let stat = stat(directory)?;
    if !owners.include(stat.st_uid) {
        if let Some(sticky) = below_sticky {
            return refuse_writable_folder(sticky, true);
        }
        return refuse(
            format!("the parent folder {} owned by uid {}", path.display(), stat.st_uid),
            owners.text(),
            owners.remedy(path),
        );
    }
    if stat.st_mode & 0o022 == 0 {
        return Ok(None);
    }
    // A sticky folder lets nobody rename what others own. That is good enough for development (a clone below /tmp), not
    // for a machine that serves.
    let is_sticky = stat.st_mode & 0o1000 != 0;
    if is_sticky && owners.own.is_some() {
        return Ok(Some(path.to_owned()));
    }
    refuse_writable_folder(path, is_sticky)
}

fn refuse_writable_folder<T>(path: &Path, is_sticky: bool) -> Result<T, Failure> {
    // A sticky folder is everybody's on purpose, as /tmp is.
    let or_close = if is_sticky { String::new() } else { format!(", or chmod go-w {}", path.display()) };
    refuse(
        format!("the parent folder {}, in which others may write", path.display()),
        "folders writable by their owner only",
        format!("move the driver elsewhere{or_close}"),
    )
}

fn stat(file: &OwnedFd) -> Result<Stat, Failure> {
    rustix::fs::fstat(file).or_else(|error| {
        refuse(format!("a file that cannot be looked at ({error})"), "a readable file", "check the file system")
    })
}

fn open_file(directory: &OwnedFd, folder: &Path, name: &OsStr, owners: &Owners) -> Result<OwnedFd, Failure> {
    let path = folder.join(name);
    // Without NONBLOCK the open of a FIFO waits for a writer; NOCTTY keeps a terminal from becoming ours.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = rustix::fs::openat(directory, name, flags, Mode::empty()).or_else(|error| match error {
        rustix::io::Errno::NOENT => Err(Failure::new(
            Stage::Resolve,
            "no such file",
            "a driver's .so file",
            format!("correct `library`{}", neighbours(folder)),
        )),
        rustix::io::Errno::LOOP => refuse("a symbolic link", "a regular file", "name the file that the link points to"),
        error => refuse(format!("a file that cannot be opened ({error})"), "a readable file", "correct its mode"),
    })?;
    let stat = stat(&file)?;
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => None,
        FileType::Directory => Some("a folder"),
        FileType::Fifo => Some("a FIFO"),
        FileType::Socket => Some("a socket"),
        FileType::CharacterDevice | FileType::BlockDevice => Some("a device"),
        _ => Some("something that is no file"),
    };
    if let Some(kind) = kind {
        return refuse(kind, "a regular file", "name the driver's .so file");
    }
    if !owners.include(stat.st_uid) {
        return refuse(format!("a file owned by uid {}", stat.st_uid), owners.text(), owners.remedy(&path));
    }
    if stat.st_mode & 0o022 != 0 {
        return refuse(
            format!("mode {:04o}, so that others may write it", stat.st_mode & 0o7777),
            "a file writable by its owner only",
            format!("chmod go-w {}", path.display()),
        );
    }
    Ok(file)
}

/// The libraries beside a missing one, for the remedy.
fn neighbours(folder: &Path) -> String {
    let Ok(entries) = std::fs::read_dir(folder) else { return String::new() };
    let mut names: Vec<String> = entries
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .filter(|name| name.ends_with(".so"))
        .take(100)
        .collect();
    names.sort();
    names.truncate(8);
    if names.is_empty() { String::new() } else { format!("; the folder holds {}", names.join(", ")) }
}

fn read_all(file: OwnedFd) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let mut file = File::from(file);
    let size = file.metadata().map_or(0, |metadata| metadata.len());
    bytes.reserve_exact(usize::try_from(size.min(LARGEST_FILE)).unwrap_or(0) + 1);
    file.by_ref().take(LARGEST_FILE + 1).read_to_end(&mut bytes).or_else(|error: io::Error| {
        refuse(format!("a file that cannot be read ({error})"), "a readable file", "check the file system")
    })?;
    if bytes.len() as u64 > LARGEST_FILE {
        return refuse(format!("more than {} MiB", LARGEST_FILE >> 20), "a smaller file", "strip the driver's file");
    }
    Ok(bytes)
}
