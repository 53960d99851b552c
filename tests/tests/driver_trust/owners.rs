//! Owner, mode and kind of a driver's file and of the folders above it: as root for a daemon of root and one of a plain user;
//! as a plain user for what that user can make.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown, symlink},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::Command,
};

use capstan_tests::{daemon::Ended, paths};
use tempfile::TempDir;

use super::{assert_says, copy};

/// Users that own nothing else on this machine.
const DAEMON: u32 = 61_234;
const STRANGER: u32 = 61_235;

/// A folder that every user can read, with the binary in it.
struct Yard(TempDir);

impl Yard {
    fn below(base: &Path) -> Self {
        let yard = Self(tempfile::Builder::new().prefix("capstan-owners-").tempdir_in(base).unwrap());
        mode(yard.0.path(), 0o755);
        // The build's own folder may lie where a plain user may not enter.
        fs::copy(paths::capstan(), yard.0.path().join("capstan")).unwrap();
        yard
    }

    /// Makes a folder of its own for one case, with a good driver `d.so` in it.
    fn case(&self, name: &str) -> PathBuf {
        let folder = self.0.path().join(name);
        fs::create_dir(&folder).unwrap();
        mode(&folder, 0o755);
        copy(&paths::driver("load_balancer_noop"), &folder.join("d.so"));
        folder
    }

    /// Takes a file through the load pipeline, as a daemon of this user would.
    fn check(&self, library: &Path, user: Option<u32>, trust_own_files: bool) -> Ended {
        let config = self.0.path().join("capstan.toml");
        let text = format!(
            "[drivers]\ntrust_own_files = {trust_own_files}\n\
             [known_drivers.load_balancer.d]\nisolation = \"in-process\"\nlibrary = \"{}\"\n",
            library.display()
        );
        fs::write(&config, text).unwrap();
        let mut command = Command::new(self.0.path().join("capstan"));
        command.arg("--config").arg(config).args(["driver", "check", "d"]).current_dir("/");
        if let Some(user) = user {
            command.uid(user).gid(user);
        }
        Ended::of(command.output().unwrap())
    }

    fn loads(&self, library: &Path, user: Option<u32>, trust_own_files: bool) {
        let ended = self.check(library, user, trust_own_files);
        assert_eq!(ended.code, Some(0), "{} as {user:?}, {trust_own_files}: {ended:?}", library.display());
    }

    fn refuses(&self, library: &Path, user: Option<u32>, trust_own_files: bool, parts: &[&str]) {
        let ended = self.check(library, user, trust_own_files);
        assert_eq!(ended.code, Some(1), "{} as {user:?}, {trust_own_files}: {ended:?}", library.display());
        assert_says(&ended.error, &[&["stage file: "], parts].concat());
    }
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn give(path: &Path, owner: u32) {
    chown(path, Some(owner), Some(owner)).unwrap();
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A folder that only root can write, at every level, and that every user may enter.
fn of_root_alone() -> PathBuf {
    let build = paths::build();
    let candidates = [build.as_path(), Path::new("/var/lib"), Path::new("/opt"), Path::new("/usr/local/lib")];
    let is_such = |folder: &&Path| {
        folder.ancestors().all(|part| {
            fs::symlink_metadata(part).is_ok_and(|part| part.uid() == 0 && part.is_dir() && part.mode() & 0o023 == 1)
        })
    };
    candidates.into_iter().find(is_such).expect("one of the usual folders belongs to root alone").to_owned()
}

#[test]
fn what_others_could_have_written_or_will_write_is_refused() {
    // A plain user's own files are trusted here, and root's whatever this user is.
    let yard = Yard::below(&std::env::temp_dir());
    let refused = |name: &str, change: &dyn Fn(&Path), library: &str, parts: &[&str]| {
        let folder = yard.case(name);
        change(&folder);
        yard.refuses(&folder.join(library), None, true, parts);
    };
    yard.loads(&yard.case("good").join("d.so"), None, true);
    for (bits, shown) in [(0o664, "0664"), (0o646, "0646"), (0o620, "0620"), (0o602, "0602"), (0o4775, "4775")] {
        let change = |folder: &Path| mode(&folder.join("d.so"), bits);
        refused(shown, &change, "d.so", &[&format!("found mode {shown}, so that others may write it"), "chmod go-w"]);
    }
    let parts = &["the parent folder ", ", in which others may write", "expected folders writable by their owner only"];
    refused("parent-group", &|folder| mode(folder, 0o775), "d.so", parts);
    refused("parent-all", &|folder| mode(folder, 0o757), "d.so", parts);
    refused("sticky-itself", &|folder| mode(folder, 0o1777), "d.so", parts);
    let above = |bits| {
        move |folder: &Path| {
            fs::create_dir(folder.join("below")).unwrap();
            fs::rename(folder.join("d.so"), folder.join("below/d.so")).unwrap();
            mode(folder, bits);
        }
    };
    refused("above", &above(0o777), "below/d.so", &["above, in which others may write"]);
    let folder = yard.case("sticky");
    above(0o1777)(&folder);
    yard.loads(&folder.join("below/d.so"), None, true);
    yard.refuses(&folder.join("below/d.so"), None, false, &[]);

    refused("link", &|folder| symlink("d.so", folder.join("l.so")).unwrap(), "l.so", &["found a symbolic link"]);
    refused("folder", &|folder| fs::create_dir(folder.join("f.so")).unwrap(), "f.so", &["found a folder"]);
    let fifo = |folder: &Path| {
        assert!(Command::new("mkfifo").arg(folder.join("p.so")).status().unwrap().success());
    };
    refused("fifo", &fifo, "p.so", &["found a FIFO", "expected a regular file", "name the driver's file itself"]);
    let socket = |folder: &Path| drop(std::os::unix::net::UnixListener::bind(folder.join("s.so")).unwrap());
    refused("socket", &socket, "s.so", &["a file that cannot be opened", "expected a readable file"]);
    yard.refuses(Path::new("/dev/null"), None, true, &["found a device", "expected a regular file"]);
    yard.refuses(Path::new("/dev/tty"), None, true, &[]);
}

#[test]
fn a_file_is_trusted_by_its_owner_and_by_the_owners_of_the_folders_above_it() {
    if !is_root() {
        // Only root can make another user's file. What this user has is its own, and root's.
        let yard = Yard::below(&std::env::temp_dir());
        let own = yard.case("own").join("d.so");
        yard.loads(&own, None, true);
        yard.refuses(&own, None, false, &["expected "]);
        let libc = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib/aarch64-linux-gnu/libc.so.6", "/lib64/libc.so.6"];
        let libc = libc.iter().find_map(|path| fs::canonicalize(path).ok()).expect("a C library");
        let ended = yard.check(&libc, None, false);
        assert_says(&ended.error, &["stage manifest: ", "found a library without a section"]);
        return;
    }
    let yard = Yard::below(&of_root_alone());
    let (root, daemon) = (None, Some(DAEMON));

    let file = yard.case("root").join("d.so");
    for user in [root, daemon] {
        yard.loads(&file, user, false);
        yard.loads(&file, user, true);
    }

    let file = yard.case("own").join("d.so");
    give(&file, DAEMON);
    let by_daemon = format!("found a file owned by uid {DAEMON}");
    yard.loads(&file, daemon, true);
    yard.refuses(&file, daemon, false, &[&by_daemon, "expected root as owner", "chown root", "trust_own_files = true"]);
    // Root's own files are root's: another user's are a stranger's.
    for trust_own_files in [false, true] {
        yard.refuses(&file, root, trust_own_files, &[&by_daemon, "expected root"]);
    }

    let file = yard.case("stranger").join("d.so");
    give(&file, STRANGER);
    let by_stranger = format!("found a file owned by uid {STRANGER}");
    yard.refuses(&file, daemon, true, &[&by_stranger, "expected root or the daemon's user as owner", "chown root"]);
    yard.refuses(&file, daemon, false, &[&by_stranger, "expected root as owner"]);

    let folder = yard.case("own-folder");
    give(&folder, DAEMON);
    yard.loads(&folder.join("d.so"), daemon, true);
    let parts = [&*format!("the parent folder {} owned by uid {DAEMON}", folder.display()), "expected root as owner"];
    yard.refuses(&folder.join("d.so"), daemon, false, &parts);
    yard.refuses(&folder.join("d.so"), root, true, &parts[..1]);

    // Whoever owns a folder higher up can put another in its place.
    let folder = yard.case("strangers-folder");
    fs::create_dir(folder.join("below")).unwrap();
    fs::rename(folder.join("d.so"), folder.join("below/d.so")).unwrap();
    give(&folder, STRANGER);
    let parts = [&*format!("the parent folder {} owned by uid {STRANGER}", folder.display()), "chown root"];
    yard.refuses(&folder.join("below/d.so"), daemon, true, &parts);
    yard.refuses(&folder.join("below/d.so"), root, true, &parts);

    // As in /tmp: what is ours below a sticky folder stays ours, for those who trust their own; nothing else does.
    let sticky = yard.case("sticky");
    mode(&sticky, 0o1777);
    for (name, owner, trusted) in [("ours", DAEMON, true), ("roots", 0, true), ("theirs", STRANGER, false)] {
        let folder = yard.case(&format!("sticky/{name}"));
        give(&folder, owner);
        if trusted {
            yard.loads(&folder.join("d.so"), daemon, true);
        } else {
            yard.refuses(&folder.join("d.so"), daemon, true, &["sticky, in which others may write"]);
        }
        yard.refuses(&folder.join("d.so"), daemon, false, &["sticky, in which others may write"]);
    }

    let file = yard.case("unreadable").join("d.so");
    mode(&file, 0o600);
    yard.refuses(&file, daemon, true, &["a file that cannot be opened (Permission denied", "expected a readable file"]);
    yard.loads(&file, root, false);
    let folder = yard.case("closed");
    fs::create_dir(folder.join("below")).unwrap();
    mode(&folder, 0o700);
    let parts = ["a file that cannot be opened (Permission denied", "correct the mode of the file and of its folder"];
    yard.refuses(&folder.join("d.so"), daemon, true, &parts);
    let parts = ["closed, which the daemon's user may not enter", "chmod a+x"];
    yard.refuses(&folder.join("below/d.so"), daemon, true, &parts);
}
