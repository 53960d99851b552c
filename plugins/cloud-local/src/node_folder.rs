//! The folder of one node, as the driver and the node's own processes see it.

use std::{
    ffi::OsStr,
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use crate::{durable, record::Record, status::Status};

/// Letters of an id: base 32 without those that are taken for one another.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const ID_LENGTH: usize = 8;

/// Until this size the output is one file; then it is moved aside.
pub(crate) const MOST_OUTPUT: u64 = 1 << 20;

/// `directory/nodes/ID`.
#[derive(Clone, Debug)]
pub(crate) struct NodeFolder(PathBuf);

impl NodeFolder {
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn id(&self) -> &str {
        self.0.file_name().and_then(OsStr::to_str).unwrap_or_default()
    }

    /// What the node's program sees as its own: `@DIR@`.
    pub fn disk(&self) -> PathBuf {
        self.0.join("disk")
    }

    pub fn output(&self) -> PathBuf {
        self.0.join("output")
    }

    pub fn older_output(&self) -> PathBuf {
        self.0.join("output.1")
    }

    pub fn record(&self) -> io::Result<Option<Record>> {
        durable::read(&self.0.join("record.json"))
    }

    pub fn save(&self, record: &Record) -> io::Result<()> {
        durable::replace(&self.0.join("record.json"), record)
    }

    /// What the supervisor said last. One that cannot be read says nothing.
    pub fn status(&self) -> Option<Status> {
        durable::read(&self.0.join("status.json")).ok().flatten()
    }

    pub fn say(&self, status: &Status) -> io::Result<()> {
        durable::replace_volatile(&self.0.join("status.json"), status)
    }

    /// Held by whoever changes the node.
    pub fn changes(&self) -> io::Result<File> {
        lock_file(&self.0.join("changes.lock"))
    }

    /// Held by the supervisor as long as it lives.
    pub fn life(&self) -> io::Result<File> {
        lock_file(&self.0.join("life.lock"))
    }

    /// Whether a supervisor lives, whoever started it.
    pub fn is_supervised(&self) -> bool {
        self.life().is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    /// The last `most` bytes of what the node wrote.
    pub fn tail(&self, most: u64) -> String {
        let last = end_of(&self.output(), most);
        let more = most.saturating_sub(last.len() as u64);
        let mut text = if more > 0 { end_of(&self.older_output(), more) } else { Vec::new() };
        text.extend(last);
        String::from_utf8_lossy(&text).into_owned()
    }
}

fn end_of(path: &Path, most: u64) -> Vec<u8> {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(most)))?;
        let mut bytes = Vec::new();
        file.take(most).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().unwrap_or_default()
}

/// A file to lock; its content means nothing.
pub(crate) fn lock_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// An id that no node has had, in all likelihood.
pub(crate) fn new_id() -> io::Result<String> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let mut number = u64::from_ne_bytes(bytes);
    let letter = |_| {
        let letter = ALPHABET[(number % 32) as usize];
        number /= 32;
        char::from(letter)
    };
    Ok((0..ID_LENGTH).map(letter).collect())
}

/// The number that an id stands for; none when it is none of ours, and so names no file that could be ours.
pub(crate) fn number_of(id: &str) -> Option<u64> {
    let digit = |byte: u8| ALPHABET.iter().position(|letter| *letter == byte).map(|digit| digit as u64);
    if id.len() != ID_LENGTH {
        return None;
    }
    id.bytes().try_fold(0, |number, byte| Some(number * 32 + digit(byte)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_numbers_and_no_paths() {
        for _ in 0..100 {
            let id = new_id().unwrap();
            assert!(number_of(&id).unwrap() < 1 << 40, "{id}");
        }
        assert_eq!(number_of("00000010"), Some(32));
        for wrong in ["", "../../..", "0000000", "000000000", "0000000L", "0000000i", "é000000"] {
            assert_eq!(number_of(wrong), None, "{wrong}");
        }
    }
}
