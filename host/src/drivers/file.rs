//! From a name to bytes that nobody but root (or us) could have written.
//!
//! Every folder on the way is opened by descriptor below the one before, and the file below the last: what was checked is
//! what is read, whatever is renamed meanwhile.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read},
    os::{fd::OwnedFd, unix::ffi::OsStringExt},
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{FileType, Mode, OFlags, Stat},
    io::Errno,
};

use super::{
    error::{Failure, Stage},
    manifest::parent,
};

/// No driver is larger.
const LARGEST_FILE: u64 = 512 << 20;
/// Symbolic links on the way to a file; as many as the kernel follows.
const MOST_LINKS: usize = 40;

/// A file that passed. Its folder stays open, so that what lies beside it is found without its name.
pub(super) struct Checked {
    pub path: PathBuf,
    pub bytes: Vec<u8>,
    /// Kind and rights, as `stat` tells them.
    pub mode: u32,
    folder: OwnedFd,
    owners: Owners,
}

impl Checked {
    /// The content of the file of the same name with `suffix`, held to the same rules; none when there is no such file.
    pub fn beside(&self, suffix: &str, limit: u64) -> Result<Option<Vec<u8>>, Failure> {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(suffix);
        let path = self.path.with_file_name(&name);
        let remedy = "put there what was delivered with the driver's file";
        let file = open_file(&self.folder, &path, &name, &self.owners, remedy)?;
        file.map(|file| read_all(file, limit, remedy)).transpose()
    }
}

/// The path that an entry means.
pub(super) fn resolve(directory: &Path, library: &Path) -> PathBuf {
    directory.join(library)
}

fn refuse<T>(found: impl Into<String>, expected: impl Into<String>, remedy: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::new(Stage::File, found, expected, remedy))
}

/// Stages resolve and file: finds, checks and reads a library.
pub(super) fn open(path: &Path, trust_own_files: bool) -> Result<Checked, Failure> {
    let owners = Owners::new(trust_own_files);
    let (folder, place) = walk(parent(path), &owners)?;
    at(folder, &place, path, owners)
}

/// As [`open`], for a program, which is often named by a link (`/usr/bin/python3`): what that leads to is checked and read.
pub(super) fn open_program(path: &Path, trust_own_files: bool) -> Result<Checked, Failure> {
    let owners = Owners::new(trust_own_files);
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        let (folder, place) = walk(parent(&path), &owners)?;
        match rustix::fs::readlinkat(&folder, path.file_name().unwrap_or_default(), Vec::new()) {
            Ok(target) => path = place.join(OsString::from_vec(target.into_bytes())),
            Err(_) => return at(folder, &place, &path, owners),
        }
    }
    Err(missing(&path, Errno::LOOP.into()))
}

/// The file of a folder that was walked to.
fn at(folder: OwnedFd, place: &Path, path: &Path, owners: Owners) -> Result<Checked, Failure> {
    let Some(name) = path.file_name() else {
        return Err(Failure::new(
            Stage::Resolve,
            "a path without a file name",
            "a driver's file",
            "name a file in `library` or `command`",
        ));
    };
    let path = place.join(name);
    let Some(file) = open_file(&folder, &path, name, &owners, "name the driver's file itself")? else {
        return Err(Failure::new(
            Stage::Resolve,
            "no such file",
            "a driver's .so file",
            format!("correct `library`{}", neighbours(place)),
        ));
    };
    let mode = stat(&file)?.st_mode;
    let bytes = read_all(file, LARGEST_FILE, "strip the driver's file")?;
    Ok(Checked { path, bytes, mode, folder, owners })
}

/// Whether nobody but root and us can replace what lies in a folder of ours, at any level of its path.
pub(super) fn only_we_replace(folder: &Path) -> Result<(), Failure> {
    walk(folder, &Owners::new(true)).map(drop)
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

fn missing(folder: &Path, error: io::Error) -> Failure {
    Failure::new(
        Stage::Resolve,
        format!("no folder {} ({error})", folder.display()),
        "the folder of the driver's file",
        "correct `library` or drivers.directory",
    )
}

/// Opens a folder from the root on, each part below the one before; answers it with the path that leads there without links.
/// A link is followed where only those could have made it whose files are trusted.
fn walk(folder: &Path, owners: &Owners) -> Result<(OwnedFd, PathBuf), Failure> {
    let missing = |error| missing(folder, error);
    let absolute = std::path::absolute(folder).map_err(missing)?;
    let parts = |path: &Path| -> Vec<OsString> {
        let steps = path.components().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
        steps.map(|part| part.as_os_str().to_owned()).collect()
    };
    let mut left = parts(&absolute);
    left.reverse();
    let mut links = 0;
    let mut at = At::root(owners)?;
    while let Some(name) = left.pop() {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let found = match rustix::fs::openat(&at.folder, name.as_os_str(), flags, Mode::empty()) {
            Ok(found) => found,
            Err(Errno::ACCESS) => return refuse_closed_folder(&at.path),
            Err(error) => return Err(missing(error.into())),
        };
        let stat = stat(&found)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => at.enter(found, &name, &stat, owners)?,
            FileType::Symlink => {
                if let Some(sticky) = at.sticky.as_deref().filter(|_| !owners.include(stat.st_uid)) {
                    return refuse_writable_folder(sticky, true);
                }
                links += 1;
                if links > MOST_LINKS {
                    return Err(missing(Errno::LOOP.into()));
                }
                let target = rustix::fs::readlinkat(&found, "", Vec::new()).map_err(|error| missing(error.into()))?;
                let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
                if target.is_absolute() {
                    at = At::root(owners)?;
                }
                left.extend(parts(&target).into_iter().rev());
            }
            _ => return Err(missing(Errno::NOTDIR.into())),
        }
    }
    match at.sticky {
        // The file itself lies in it; whoever owns the file has been checked, but anyone can put another beside it.
        Some(path) => refuse_writable_folder(&path, true),
        None => Ok((at.folder, at.path)),
    }
}

/// Where a walk is.
struct At {
    folder: OwnedFd,
    path: PathBuf,
    /// The path again when all may write here and only the owner may rename: what lies below must be ours.
    sticky: Option<PathBuf>,
}

impl At {
    fn root(owners: &Owners) -> Result<Self, Failure> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open("/", flags, Mode::empty())
            .or_else(|error| refuse(format!("no / ({error})"), "a file system", "check the daemon's root folder"))?;
        let path = PathBuf::from("/");
        let sticky = check_folder(&stat(&folder)?, &path, owners, None)?;
        Ok(Self { folder, path, sticky })
    }

    fn enter(&mut self, folder: OwnedFd, name: &OsStr, stat: &Stat, owners: &Owners) -> Result<(), Failure> {
        if name == ".." {
            self.path.pop();
        } else {
            self.path.push(name);
        }
        self.sticky = check_folder(stat, &self.path, owners, self.sticky.as_deref())?;
        self.folder = folder;
        Ok(())
    }
}

/// Checks one folder; answers its path when it is writable by all but sticky, so that what lies below must be ours.
fn check_folder(
    stat: &Stat,
    path: &Path,
    owners: &Owners,
    below_sticky: Option<&Path>,
) -> Result<Option<PathBuf>, Failure> {
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

fn refuse_closed_folder<T>(path: &Path) -> Result<T, Failure> {
    refuse(
        format!("the parent folder {}, which the daemon's user may not enter", path.display()),
        "folders that it may enter",
        format!("chmod a+x {}, or move the driver elsewhere", path.display()),
    )
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

/// Opens and checks a file of a folder; none when there is none of that name. `remedy` is for what is no file at all.
fn open_file(
    directory: &OwnedFd,
    path: &Path,
    name: &OsStr,
    owners: &Owners,
    remedy: &str,
) -> Result<Option<OwnedFd>, Failure> {
    // Without NONBLOCK the open of a FIFO waits for a writer; NOCTTY keeps a terminal from becoming ours.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = match rustix::fs::openat(directory, name, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::LOOP) => return refuse("a symbolic link", "a regular file", remedy),
        Err(error) => {
            return refuse(
                format!("a file that cannot be opened ({error})"),
                "a readable file",
                "correct the mode of the file and of its folder",
            );
        }
    };
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
        return refuse(kind, "a regular file", remedy);
    }
    if !owners.include(stat.st_uid) {
        return refuse(format!("a file owned by uid {}", stat.st_uid), owners.text(), owners.remedy(path));
    }
    if stat.st_mode & 0o022 != 0 {
        return refuse(
            format!("mode {:04o}, so that others may write it", stat.st_mode & 0o7777),
            "a file writable by its owner only",
            format!("chmod go-w {}", path.display()),
        );
    }
    Ok(Some(file))
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

fn read_all(file: OwnedFd, limit: u64, remedy: &str) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let mut file = File::from(file);
    let size = file.metadata().map_or(0, |metadata| metadata.len());
    bytes.reserve_exact(usize::try_from(size.min(limit)).unwrap_or(0) + 1);
    file.by_ref().take(limit + 1).read_to_end(&mut bytes).or_else(|error: io::Error| {
        refuse(format!("a file that cannot be read ({error})"), "a readable file", "check the file system")
    })?;
    if bytes.len() as u64 > limit {
        return refuse(format!("more than {limit} bytes"), "a smaller file", remedy);
    }
    Ok(bytes)
}
