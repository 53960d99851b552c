//! Reloads drivers by themselves when their files change.
//!
//! The kernel tells that something has changed in a folder on the way to a file; what has become of the file is then looked at.
//! So a file that is replaced, written in place, or reached over a symbolic link that is turned is seen in the same way.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, PipeReader},
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    fs::inotify::{self, CreateFlags, WatchFlags},
};

use super::{files, on_thread};
use crate::drivers::{Kind, Registry, registry::Key};

/// A file is whole when size and time have stayed the same for so long.
const SETTLED: Duration = Duration::from_millis(500);
/// After the kernel has told, so much is waited for what comes with it.
const PAUSE: Duration = Duration::from_millis(50);

/// What tells one content of a file from another without reading it: device, number, size, times of change.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Look(u64, u64, u64, (i64, i64), (i64, i64));

#[derive(Default)]
struct Files(BTreeMap<(Key, PathBuf), Watched>);

/// A driver's file.
struct Watched {
    /// As it was when it was last loaded, or tried.
    loaded: Option<Look>,
    /// As it is since, when that is something else.
    changed: Option<(Look, Instant)>,
}

impl Registry {
    /// Reloads each driver whose file changes, once the file is whole, until the registry is closed; entries that come and go are
    /// followed.
    ///
    /// # Errors
    /// The kernel does not watch, or there is no thread.
    pub fn watch(&self) -> io::Result<()> {
        let kernel = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let (told, tell) = io::pipe()?;
        let (inner, runtime) = (Arc::downgrade(&self.inner), self.inner.runtime.clone());
        let watching = move || {
            let mut files = Files::default();
            let mut again = Some(Duration::ZERO);
            while wait(&kernel, &told, again) {
                let Some(inner) = inner.upgrade() else { return };
                let registry = Self { inner };
                let due;
                (due, again) = files.look(&registry, &kernel);
                for (kind, name) in due {
                    let registry = registry.clone();
                    runtime.spawn(async move { registry.reload_changed(kind, &name).await });
                }
            }
        };
        thread::Builder::new().name("driver-files".into()).spawn(watching)?;
        *self.inner.watcher() = Some(tell);
        Ok(())
    }

    async fn reload_changed(&self, kind: Kind, name: &str) {
        let registry = self.clone();
        let Ok(driver) = self.driver(kind, name) else { return };
        let full_name = driver.full_name();
        let is_new = move || {
            // One that cannot be read is for the reload to refuse, in its words.
            let files = files::hash(&registry.inner.settings.load(), &driver.entry.load());
            files.is_none() || files != driver.record().files
        };
        if on_thread(is_new).await.unwrap_or(false) {
            tracing::info!(driver = %full_name, "its file has changed; it is reloaded");
            let _logged = self.reload(kind, name).await;
        }
    }
}

impl Files {
    /// Looks at all files: which drivers are to be reloaded, and when to look again although nothing is told.
    fn look(&mut self, registry: &Registry, kernel: &OwnedFd) -> (Vec<Key>, Option<Duration>) {
        let settings = registry.inner.settings.load_full();
        let mut watched_files = BTreeMap::new();
        for driver in registry.drivers() {
            for path in files::of(&settings, &driver.entry.load()) {
                let key = ((driver.kind, driver.name.clone()), path);
                // Before the file is looked at, so that nothing happens in between unseen.
                watch(kernel, &key.1);
                let watched = self.0.remove(&key).unwrap_or_else(|| Watched { loaded: look(&key.1), changed: None });
                watched_files.insert(key, watched);
            }
        }
        self.0 = watched_files;
        let now = Instant::now();
        let (mut due, mut again) = (Vec::new(), None::<Duration>);
        for ((key, path), watched) in &mut self.0 {
            let left = watched.settles(look(path), now);
            match left {
                Some(Duration::ZERO) => due.push(key.clone()),
                Some(left) => again = Some(again.map_or(left, |again| again.min(left))),
                None => {}
            }
        }
        (due, again)
    }
}

impl Watched {
    /// How long until the file counts as whole; none when it is the one that was loaded, or is not there.
    fn settles(&mut self, look: Option<Look>, now: Instant) -> Option<Duration> {
        let Some(look) = look.filter(|look| Some(*look) != self.loaded) else {
            self.changed = None;
            return None;
        };
        let since = match self.changed {
            Some((before, since)) if before == look => since,
            _ => now,
        };
        self.changed = Some((look, since));
        let left = SETTLED.saturating_sub(now.saturating_duration_since(since));
        if left.is_zero() {
            *self = Self { loaded: Some(look), changed: None };
        }
        Some(left)
    }
}

/// Waits until the kernel tells of a change, the table has changed or the time is over; false when the registry is closed.
fn wait(kernel: &OwnedFd, table: &PipeReader, time: Option<Duration>) -> bool {
    let time = time.and_then(|time| Timespec::try_from(time).ok());
    let mut both = [PollFd::new(kernel, PollFlags::IN), PollFd::new(table, PollFlags::IN)];
    // An interrupted wait is a look too many.
    let _told_or_not = rustix::event::poll(&mut both, time.as_ref());
    let [kernel_told, table_told] = both.map(|one| one.revents());
    if kernel_told.contains(PollFlags::IN) {
        thread::sleep(PAUSE);
        // What it tells does not matter, only that it does.
        while rustix::io::read(kernel, &mut [0; 4096]).is_ok_and(|length| length > 0) {}
    }
    let asked =
        !table_told.contains(PollFlags::IN) || rustix::io::read(table, &mut [0; 64]).is_ok_and(|length| length > 0);
    asked && !table_told.contains(PollFlags::HUP)
}

fn look(path: &Path) -> Option<Look> {
    let file = fs::metadata(path).ok()?;
    let (written, changed) = ((file.mtime(), file.mtime_nsec()), (file.ctime(), file.ctime_nsec()));
    Some(Look(file.dev(), file.ino(), file.size(), written, changed))
}

/// Has the kernel tell of changes in the folders on the way to a file. Asking again for the same folder changes nothing.
fn watch(kernel: &OwnedFd, path: &Path) {
    let whole = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::CLOSE_WRITE | WatchFlags::ATTRIB;
    for (depth, folder) in path.ancestors().skip(1).enumerate() {
        let flags = if depth == 0 { whole } else { WatchFlags::CREATE | WatchFlags::MOVED_TO };
        // Flags of a folder that is also on the way to another file add up.
        match inotify::add_watch(kernel, folder, flags | WatchFlags::MASK_ADD | WatchFlags::ONLYDIR) {
            // One that is not there yet is told of by the one above.
            Ok(_) | Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => {}
            Err(error) => tracing::warn!(folder = %folder.display(), %error, "changes in it are not seen"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_counts_when_it_has_stayed_the_same() {
        let look = |size| Some(Look(1, 2, size, (3, 0), (3, 0)));
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut file = Watched { loaded: look(10), changed: None };
        assert_eq!(file.settles(look(10), at(0)), None, "nothing has changed");
        assert_eq!(file.settles(look(4), at(100)), Some(SETTLED), "it is being written");
        assert_eq!(file.settles(look(8), at(400)), Some(SETTLED), "it still is");
        assert_eq!(file.settles(None, at(500)), None, "it is gone");
        assert_eq!(file.settles(look(8), at(600)), Some(SETTLED), "it is back");
        assert_eq!(file.settles(look(8), at(1000)), Some(Duration::from_millis(100)));
        assert_eq!(file.settles(look(8), at(1100)), Some(Duration::ZERO));
        assert_eq!(file.settles(look(8), at(1200)), None, "once");
        assert_eq!(file.settles(look(10), at(1300)), Some(SETTLED), "what was there before is a change again");
    }
}
