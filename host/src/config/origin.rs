//! Where a value comes from.

use std::{
    fmt,
    ops::Deref,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Where a value of the configuration comes from, as the operator would name it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Origin {
    /// An option of the command line, such as `--driver`.
    CommandLine(Arc<str>),
    /// The default of this version.
    Default,
    /// An environment variable, by name.
    Environment(Arc<str>),
    /// A line of a file; lines count from 1.
    File {
        /// The file as it was named or found.
        path: Arc<Path>,
        /// The line of the key.
        line: u32,
    },
}

impl Origin {
    /// A relative path is taken from the folder of the file that states it; from anywhere else, from the working directory.
    pub(super) fn absolute(&self, path: &Path) -> PathBuf {
        let folder = match self {
            Self::File { path: file, .. } => file.parent(),
            _ => None,
        };
        absolute(&folder.map_or_else(|| path.to_owned(), |folder| folder.join(path)))
    }

    /// The order in which faults are listed: by file and line, then what stands in no file.
    pub(super) fn rank(&self) -> (u8, &Path, u32) {
        match self {
            Self::File { path, line } => (0, path, *line),
            Self::Environment(name) => (1, Path::new(&**name), 0),
            Self::CommandLine(flag) => (2, Path::new(&**flag), 0),
            Self::Default => (3, Path::new(""), 0),
        }
    }
}

/// The path from the root, as seen from the working directory. No link is followed, and the file need not exist.
pub(super) fn absolute(path: &Path) -> PathBuf {
    // Only an empty path, or a working directory that has been removed, has none.
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// A value that counts as equal to any other: two configurations that say the same are equal wherever they say it.
#[derive(Clone, Copy, Debug)]
pub struct Uncompared<T>(pub(super) T);

impl<T> PartialEq for Uncompared<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<T> Deref for Uncompared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommandLine(flag) => write!(out, "command line {flag}"),
            Self::Default => out.write_str("default"),
            Self::Environment(name) => write!(out, "environment {name}"),
            Self::File { path, line } => write!(out, "{}:{line}", path.display()),
        }
    }
}
