//! The process of an isolated driver: `capstan __driver SPECIFICATION`, started by [`super::isolated`].
//!
//! It is two processes. The one that the daemon started becomes the keeper: it ends everything that the driver leaves behind
//! and ends as the driver did. The other one confines itself, then either loads the library and serves frames, or
//! becomes the command of the entry.

mod channel;
mod command;
mod crew;
mod host;
mod keeper;
mod serve;
mod work;

use std::{
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{fs::OpenOptionsExt, net::UnixStream},
    },
    path::{Path, PathBuf},
    process::ExitCode,
};

use serde::{Deserialize, Serialize};

use super::{
    confinement::{Prepared, close_inherited},
    error::{Failure, Stage},
    loader, manifest,
};
use channel::Channel;

/// What the child is to be. On its command line, so `ps` shows it; it holds no secret.
#[derive(Serialize, Deserialize)]
pub(super) struct Specification {
    /// `kind.name`, for people.
    pub driver: String,
    pub program: Program,
    /// Calls at the same time.
    pub max_concurrency: usize,
    /// What it may use and reach.
    pub prepared: Prepared,
}

/// What runs in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Program {
    /// A library, served by this binary.
    Library { path: PathBuf, sha256: String },
    /// Another program, which speaks the frames itself.
    Command {
        path: PathBuf,
        sha256: String,
        arguments: Vec<String>,
        /// The frames are on descriptor 3 instead of standard input and output.
        on_descriptor: bool,
    },
}

impl Program {
    fn path(&self) -> &Path {
        match self {
            Self::Library { path, .. } | Self::Command { path, .. } => path,
        }
    }
}

/// The binary's whole work when it is started as `capstan __driver SPECIFICATION`: the frames on standard input, the
/// lifeline on standard output, the log on standard error.
pub fn driver_main(specification: &str) -> ExitCode {
    match run(specification) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error is the daemon's log.
            let _nobody_may_read = io::Write::write_all(&mut io::stderr(), format!("{error}\n").as_bytes());
            ExitCode::from(70)
        }
    }
}

fn run(specification: &str) -> io::Result<()> {
    let specification: Specification = serde_json::from_str(specification)
        .map_err(|_| io::Error::other("this is no command for people: the daemon starts it for an isolated driver"))?;
    close_inherited(3)?;
    let Streams { frames, lifeline } = Streams::take()?;
    // From here on there are two of us; the keeper does not come back.
    let frames = keeper::split(lifeline, frames)?;
    // Opened while it may still be: afterwards its user may not be able to come by.
    let file = open(specification.program.path())?;
    specification.prepared.apply().map_err(|why| io::Error::other(format!("it cannot be confined: {why}")))?;
    match specification.program {
        Program::Library { path, sha256 } => {
            library(UnixStream::from(frames), &path, file, &sha256, specification.max_concurrency)
        }
        Program::Command { path, sha256, arguments, on_descriptor } => {
            command::become_it(frames, &path, file, &sha256, &arguments, on_descriptor)
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    File::options()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
        .map_err(|error| io::Error::other(format!("{} cannot be opened: {error}", path.display())))
}

/// What the daemon handed over in place of the standard streams.
struct Streams {
    frames: OwnedFd,
    lifeline: OwnedFd,
}

impl Streams {
    /// Moves them out of the reach of code that reads and prints: standard input is empty afterwards, and standard output is
    /// the log, as standard error is.
    fn take() -> io::Result<Self> {
        let frames = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 64)?;
        let lifeline = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 64)?;
        rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
        rustix::stdio::dup2_stdout(rustix::stdio::stderr())?;
        Ok(Self { frames, lifeline })
    }
}

fn library(frames: UnixStream, path: &Path, file: File, sha256: &str, max_concurrency: usize) -> io::Result<()> {
    let channel = Channel::new(frames)?;
    match load(path, file, sha256) {
        Ok(loaded) => {
            channel.greet(&loaded.manifest)?;
            serve::serve(channel, loaded.table, max_concurrency)
        }
        Err(failure) => channel.fail(&failure),
    }
}

/// Loads the very file whose content is checked, by its descriptor.
fn load(path: &Path, mut file: File, sha256: &str) -> Result<loader::Loaded, Failure> {
    let refuse = |found: String| {
        Failure::new(Stage::Load, found, "the private copy as it was made", "see who writes to daemon.state_dir")
    };
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(|error| refuse(format!("no {} ({error})", path.display())))?;
    let found = manifest::sha256(&bytes);
    if found != sha256 {
        return Err(refuse(format!("{} with sha256 {found}", path.display())));
    }
    drop(bytes);
    loader::load(Path::new(&format!("/proc/self/fd/{}", file.as_raw_fd())))
}
