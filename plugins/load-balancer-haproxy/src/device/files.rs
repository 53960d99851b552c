//! Files of one device: private directories, replacement by rename, and a lock.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{ErrorKind, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use md5::{Digest, Md5};
use rustix::fs::FlockOperation;

use super::Fault;
use crate::settings::{ControlMode, Settings};

/// Longest path of a socket: HAProxy binds it under a longer name first.
const LONGEST_SOCKET: usize = 90;

/// Where everything of a device is.
#[derive(Clone, Debug)]
pub struct Paths {
    /// The device's name in file names, program names and state keys.
    pub slug: String,
    /// Name of the program.
    pub program: String,
    /// Private directory of the files.
    pub state: PathBuf,
    /// Private directory of the sockets.
    pub runtime: PathBuf,
    /// What HAProxy loads.
    pub config: PathBuf,
    /// What it shall load next, while that is checked.
    pub candidate: PathBuf,
    /// What it loaded last without fault.
    pub good: PathBuf,
    /// What was applied.
    pub record: PathBuf,
    /// HAProxy's own messages.
    pub output: PathBuf,
    /// The runtime API.
    pub socket: PathBuf,
    /// The master's.
    pub master_socket: PathBuf,
}

impl Paths {
    /// Where things of a device are, whether they exist or not.
    pub fn of(settings: &Settings, device: &str) -> Self {
        let slug = slug(device);
        let state = settings.state_directory.join(&slug);
        let runtime = settings.runtime_directory.join(&slug);
        let config = match settings.control {
            ControlMode::Process => state.join("haproxy.cfg"),
            ControlMode::Systemd => settings.config_path.clone(),
        };
        let beside = |suffix: &str| {
            let mut name = config.clone().into_os_string();
            name.push(suffix);
            PathBuf::from(name)
        };
        Self {
            program: format!("haproxy-{slug}"),
            candidate: beside(".new"),
            good: beside(".good"),
            record: state.join("device.json"),
            output: state.join("haproxy.out"),
            socket: runtime.join("admin.sock"),
            master_socket: runtime.join("master.sock"),
            slug,
            state,
            runtime,
            config,
        }
    }

    /// Makes both directories, private, and refuses what is there and is not.
    pub fn prepare(&self) -> Result<(), Fault> {
        for socket in [&self.socket, &self.master_socket] {
            let length = socket.as_os_str().len();
            if length > LONGEST_SOCKET {
                return Err(Fault::TooLong { path: socket.clone(), length });
            }
        }
        private_directory(&self.state)?;
        private_directory(&self.runtime)
    }
}

/// Names that are good as they stand are kept; any other gets a digest, so that no name reaches a path.
fn slug(device: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
    if (1..=32).contains(&device.len()) && device.bytes().all(plain) && !device.starts_with("x-") {
        return device.to_owned();
    }
    let digest = Md5::digest(device.as_bytes());
    digest.iter().fold(String::from("x-"), |name, byte| format!("{name}{byte:02x}"))
}

fn private_directory(path: &Path) -> Result<(), Fault> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(Fault::file("make the directory", path))?;
    let about = fs::symlink_metadata(path).map_err(Fault::file("look at", path))?;
    let refuse = |found: String| Err(Fault::NotPrivate { path: path.to_owned(), found });
    if !about.is_dir() {
        return refuse("it is no directory".to_owned());
    }
    if about.uid() != rustix::process::geteuid().as_raw() {
        return refuse(format!("it belongs to user {}", about.uid()));
    }
    if about.mode() & 0o077 != 0 {
        return refuse(format!("its mode is {:o}", about.mode() & 0o7777));
    }
    Ok(())
}

/// A file written in full and on the disk, not yet under its name.
#[derive(Debug)]
pub struct Staged {
    from: PathBuf,
    to: PathBuf,
}

impl Staged {
    /// Writes `bytes` beside `to`.
    pub fn write(to: &Path, bytes: &[u8]) -> Result<Self, Fault> {
        let mut name = to.to_owned().into_os_string();
        name.push(".part");
        let from = PathBuf::from(name);
        write_new(&from, bytes)?;
        Ok(Self { from, to: to.to_owned() })
    }

    /// A file that is already written and on the disk.
    pub fn existing(from: &Path, to: &Path) -> Self {
        Self { from: from.to_owned(), to: to.to_owned() }
    }

    /// Puts files under their names, in this order, and their directories on the disk.
    pub fn commit(files: &[Self]) -> Result<(), Fault> {
        for file in files {
            fs::rename(&file.from, &file.to).map_err(Fault::file("put in place", &file.to))?;
        }
        let mut directories: Vec<&Path> = files.iter().filter_map(|file| file.to.parent()).collect();
        directories.dedup();
        directories.into_iter().try_for_each(sync_directory)
    }
}

/// Writes a new file, readable by its owner only, and brings it to the disk. A leftover of that name is removed first; a
/// link planted there is not followed.
pub fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Fault> {
    remove(path)?;
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(Fault::file("write", path))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(Fault::file("write", path))
}

/// Removes a file; a missing one is no error.
pub fn remove(path: &Path) -> Result<(), Fault> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Fault::file("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Reads a file; none when it does not exist.
pub fn read(path: &Path) -> Result<Option<String>, Fault> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Fault::file("read", path)(error)),
    }
}

/// Brings a directory's names to the disk.
pub fn sync_directory(path: &Path) -> Result<(), Fault> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(Fault::file("sync", path))
}

/// Keeps other calls about the device out, also those of another process: while a driver is replaced, two generations of it
/// are loaded. Ends with the value.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Waits for the lock until the deadline.
    pub fn take(paths: &Paths, deadline: Instant) -> Result<Self, Fault> {
        let path = paths.state.join("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(Fault::file("open", &path))?;
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { _file: file }),
                Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => {
                    thread::sleep(Duration::from_millis(2))
                }
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(Fault::Busy { path }),
                Err(error) => return Err(Fault::file("lock", path)(error.into())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn no_device_name_reaches_a_path() {
        assert_eq!(slug("lb-1"), "lb-1");
        for name in ["", "..", "a/b", "Lb", "x-lb", "a\nb", &"a".repeat(33)] {
            let slug = slug(name);
            assert!(slug.starts_with("x-") && slug.len() == 34, "{name:?} became {slug}");
        }
        assert_ne!(slug("A"), slug("B"));
    }

    #[test]
    fn a_directory_that_others_can_enter_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let open = place.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(private_directory(&open), Err(Fault::NotPrivate { .. })));
        let link = place.path().join("link");
        fs::set_permissions(&open, fs::Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::symlink(&open, &link).unwrap();
        assert!(matches!(private_directory(&link), Err(Fault::NotPrivate { .. })));
        assert!(private_directory(&place.path().join("a/b")).is_ok());
    }

    #[test]
    fn a_planted_link_is_not_followed() {
        let place = tempfile::tempdir().unwrap();
        let victim = place.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        let target = place.path().join("haproxy.cfg");
        std::os::unix::fs::symlink(&victim, place.path().join("haproxy.cfg.part")).unwrap();
        Staged::commit(&[Staged::write(&target, b"global\n").unwrap()]).unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        assert_eq!(fs::read_to_string(&target).unwrap(), "global\n");
        assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
