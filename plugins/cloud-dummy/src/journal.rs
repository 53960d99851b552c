//! The cloud in a file: a first line that says what it is, then one line of JSON for each set of changes. Instances that have it open
//! take turns by a lock on `FILE.lock`, and each reads on from where it was before it does anything, so they share one cloud.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, BufWriter, Seek, SeekFrom, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{
    catalog::Contents,
    world::{Change, World},
};

const FORMAT: &str = "capstan-cloud-dummy/1";
/// A file is written anew when it has this many times more lines than the cloud has things, and more than a few.
const MOST_LINES_PER_THING: u64 = 4;
const FEW_LINES: u64 = 1_000;

#[derive(Serialize, Deserialize)]
struct Header {
    format: String,
    contents: Contents,
}

/// Keeps the changes.
pub(crate) struct Journal {
    path: PathBuf,
    lock: Arc<File>,
    file: File,
    is_synced: bool,
    inode: u64,
    /// Bytes and lines that the world has seen.
    position: u64,
    lines: u64,
    next_rewrite: u64,
}

/// This instance's turn; ends when it is dropped.
pub(crate) struct Held(Arc<File>);

impl Drop for Held {
    fn drop(&mut self) {
        // It fails only for a descriptor that is none; closing the file ends the turn too.
        let _best_effort = self.0.unlock();
    }
}

impl Journal {
    /// Opens the file, or begins one; `Err` names the file and says what to do.
    pub(crate) fn open(path: &Path, contents: Contents, is_synced: bool, now: i64) -> Result<(Self, World), String> {
        let named = |error: io::Error| format!("{}: {error}", path.display());
        let lock_path = with_suffix(path, ".lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path);
        let lock = Arc::new(lock.map_err(|error| format!("{}: {error}", lock_path.display()))?);
        let _held = hold(&lock).map_err(named)?;
        let is_new = match fs::metadata(path) {
            Ok(found) => found.len() == 0,
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => return Err(named(error)),
        };
        if is_new {
            write_whole(path, &World::begun(contents, now)).map_err(named)?;
        }
        let (journal, world) = Self::read_whole(path, lock, is_synced)?;
        if world.contents() != contents {
            return Err(format!(
                "{} holds a cloud that began with other contents; set `contents` as it was, or name another file",
                path.display()
            ));
        }
        Ok((journal, world))
    }

    /// Waits for this instance's turn, and brings the world up to what the others have done.
    pub(crate) fn take_turn(&mut self, world: &mut World) -> Result<Held, String> {
        let named = |error: io::Error| format!("{}: {error}", self.path.display());
        let held = hold(&self.lock).map_err(named)?;
        let found = fs::metadata(&self.path).map_err(named)?;
        if found.ino() != self.inode {
            // Another instance has written it anew.
            let (journal, all) = Self::read_whole(&self.path, Arc::clone(&self.lock), self.is_synced)?;
            (*self, *world) = (journal, all);
        } else if found.len() < self.position {
            return Err(format!("{} was cut while it was open; reload the driver", self.path.display()));
        } else if found.len() > self.position {
            self.read_on(world)?;
        }
        Ok(held)
    }

    /// Writes changes down; after an error nothing of them is there.
    pub(crate) fn append(&mut self, changes: &[Change]) -> Result<(), String> {
        let result = serde_json::to_vec(changes).map_err(io::Error::from).and_then(|mut line| {
            line.push(b'\n');
            self.file.write_all(&line)?;
            if self.is_synced {
                self.file.sync_data()?;
            }
            Ok(line.len() as u64)
        });
        match result {
            Ok(length) => {
                self.position += length;
                self.lines += 1;
                Ok(())
            }
            Err(error) => {
                // Half a line without its end is cut off by whoever has the next turn, so a failure here does no harm.
                let _best_effort = self.file.set_len(self.position);
                Err(format!("{}: {error}", self.path.display()))
            }
        }
    }

    /// Writes the file anew once most of it is history. A failure leaves the file as it was.
    pub(crate) fn rewrite_when_due(&mut self, world: &World) -> Result<(), String> {
        if self.lines < self.next_rewrite.max(FEW_LINES).max(world.size() * MOST_LINES_PER_THING) {
            return Ok(());
        }
        self.next_rewrite = self.lines * 2;
        let named = |error: io::Error| format!("{}: {error}", self.path.display());
        write_whole(&self.path, world).map_err(named)?;
        let mut file = open(&self.path).map_err(named)?;
        let found = file.metadata().map_err(named)?;
        file.seek(SeekFrom::End(0)).map_err(named)?;
        (self.file, self.inode, self.position) = (file, found.ino(), found.len());
        (self.lines, self.next_rewrite) = (world.size() + 2, 0);
        Ok(())
    }

    fn read_whole(path: &Path, lock: Arc<File>, is_synced: bool) -> Result<(Self, World), String> {
        let named = |error: io::Error| format!("{}: {error}", path.display());
        let file = open(path).map_err(named)?;
        let inode = file.metadata().map_err(named)?.ino();
        let path = path.to_owned();
        let mut journal = Self { path, lock, file, is_synced, inode, position: 0, lines: 0, next_rewrite: 0 };
        // Replaced by the first line.
        let mut world = World::empty(Contents::Default);
        journal.read_on(&mut world)?;
        Ok((journal, world))
    }

    /// Applies what has been written since. A last line without its end is of an instance that was killed while it wrote, before it
    /// answered; it is cut off.
    fn read_on(&mut self, world: &mut World) -> Result<(), String> {
        let shown = self.path.display();
        let named = |error: io::Error| format!("{shown}: {error}");
        self.file.seek(SeekFrom::Start(self.position)).map_err(named)?;
        let mut new = BufReader::new(&self.file);
        let mut line = Vec::new();
        loop {
            line.clear();
            if new.read_until(b'\n', &mut line).map_err(named)? == 0 {
                return Ok(());
            }
            let Some(text) = line.strip_suffix(b"\n") else {
                // The first line comes with the file, in one.
                if self.lines == 0 {
                    return Err(format!(
                        "{shown}:1: found no end of the line; this is no file of a dummy cloud: name another"
                    ));
                }
                return self.file.set_len(self.position).map_err(named);
            };
            let number = self.lines + 1;
            let unreadable = |error: serde_json::Error| {
                format!(
                    "{shown}:{number}: {error}; this is no file of a dummy cloud, or it was damaged: name another, or remove it"
                )
            };
            if self.lines == 0 {
                let header: Header = serde_json::from_slice(text).map_err(unreadable)?;
                if header.format != FORMAT {
                    return Err(format!(
                        "{shown}:1: found format {:?}, expected {FORMAT:?}; name another file",
                        header.format
                    ));
                }
                *world = World::empty(header.contents);
            } else {
                let changes: Vec<Change> = serde_json::from_slice(text).map_err(unreadable)?;
                changes.into_iter().for_each(|change| world.apply(change));
            }
            self.lines = number;
            self.position += line.len() as u64;
        }
    }
}

fn hold(lock: &Arc<File>) -> io::Result<Held> {
    loop {
        match lock.lock() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other.map(|()| Held(Arc::clone(lock))),
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).open(path)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Beside the file, on disk, and only then in its place.
fn write_whole(path: &Path, world: &World) -> io::Result<()> {
    let new = with_suffix(path, ".new");
    let mut out = BufWriter::new(File::create(&new)?);
    serde_json::to_writer(&mut out, &Header { format: FORMAT.to_owned(), contents: world.contents() })?;
    out.write_all(b"\n")?;
    for change in world.all() {
        serde_json::to_writer(&mut out, &[change])?;
        out.write_all(b"\n")?;
    }
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(&new, path)?;
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use capstan_plugin_api::cloud::KeyPair;

    use super::*;

    fn pair(number: u64) -> Vec<Change> {
        vec![Change::KeyPair(number, Some(KeyPair { name: format!("key {number}"), ..KeyPair::default() }))]
    }

    fn size(path: &Path) -> Result<u64, String> {
        Journal::open(path, Contents::Default, true, 0).map(|(_, world)| world.size())
    }

    #[test]
    fn half_a_line_is_cut_off_and_a_damaged_one_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cloud");
        let (mut journal, _) = Journal::open(&path, Contents::Default, true, 0).unwrap();
        for number in 1..=3 {
            journal.append(&pair(number)).unwrap();
        }
        drop(journal);
        let whole = fs::read(&path).unwrap();
        // Cut at every byte of the last line: what was whole is there, and a line can be appended again.
        let last = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
        for cut in last..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let (mut journal, world) = Journal::open(&path, Contents::Default, true, 0).unwrap();
            assert_eq!(world.size(), 3, "a group and two pairs, cut at {cut}");
            journal.append(&pair(9)).unwrap();
            assert_eq!(size(&path).unwrap(), 4);
        }
        let mut damaged = whole.clone();
        damaged[last - 2] = b'{';
        fs::write(&path, &damaged).unwrap();
        let said = size(&path).unwrap_err();
        assert!(said.contains("cloud:5: ") && said.contains("damaged"), "{said}");
        // Somebody else's file stays as it is.
        for other in ["hello\n", "hello", "{\"format\":\"x/1\",\"contents\":\"default\"}\n"] {
            fs::write(&path, other).unwrap();
            assert!(size(&path).unwrap_err().contains("name another"), "{other:?}");
            assert_eq!(fs::read_to_string(&path).unwrap(), other);
        }
    }

    #[test]
    fn other_contents_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cloud");
        Journal::open(&path, Contents::Libcloud, true, 0).unwrap();
        assert!(size(&path).unwrap_err().contains("other contents"));
    }

    #[test]
    fn instances_share_and_history_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cloud");
        let (mut first, mut one) = Journal::open(&path, Contents::Default, false, 0).unwrap();
        let (mut second, mut other) = Journal::open(&path, Contents::Default, false, 0).unwrap();
        for number in 1..=2 * FEW_LINES {
            let _held = first.take_turn(&mut one).unwrap();
            let mut changes = pair(number);
            changes.push(Change::KeyPair(number - 1, None));
            first.append(&changes).unwrap();
            changes.into_iter().for_each(|change| one.apply(change));
            first.rewrite_when_due(&one).unwrap();
        }
        assert!(first.lines < FEW_LINES + 10, "{}", first.lines);
        let held = second.take_turn(&mut other).unwrap();
        assert_eq!((other.size(), second.position), (2, first.position));
        second.append(&pair(5_000)).unwrap();
        drop(held);
        first.take_turn(&mut one).unwrap();
        assert_eq!(one.size(), 3, "what the other wrote after the file was written anew");
        fs::remove_file(&path).unwrap();
        assert!(first.take_turn(&mut one).is_err());
    }
}
