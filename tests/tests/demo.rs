//! What the demo says to a command line that it does not understand. That it works, `make demo` shows.
#![allow(clippy::unwrap_used, reason = "a suite stops where something is wrong")]

use std::{path::Path, process::Command};

#[test]
fn a_job_server_that_there_is_not_is_usage() {
    for (arguments, says) in [
        (&["--job-server", "foo"][..], "demo: found the job server \"foo\"; "),
        (&["--job-server"], "demo: found the arguments [\"--job-server\"]; "),
        (&["gearmand"], "demo: found the arguments [\"gearmand\"]; "),
    ] {
        let ended = Command::new(env!("CARGO_BIN_EXE_demo")).args(arguments).output().unwrap();
        let error = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(64), "{arguments:?}: {error}");
        let expected = "expected --job-server embedded or --job-server gearmand\n";
        assert_eq!(error, format!("{says}{expected}"), "{arguments:?}");
    }
}

#[test]
fn make_says_so_before_it_builds_anything() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    // A dry run, so that nothing is built where the word is taken.
    let make = |job_server: &str| {
        let mut command = Command::new("make");
        command.current_dir(repository).args(["--dry-run", "demo", &format!("JOB_SERVER={job_server}")]);
        // It is nobody's sub-make, though this suite may be run by one.
        for variable in ["MAKEFLAGS", "MAKELEVEL", "MFLAGS"] {
            command.env_remove(variable);
        }
        command.output().unwrap()
    };
    let ended = make("foo");
    let error = String::from_utf8(ended.stderr).unwrap();
    assert!(!ended.status.success() && ended.stdout.is_empty(), "{error}");
    assert!(error.contains("found JOB_SERVER=foo; expected embedded or gearmand"), "{error}");
    for known in ["embedded", "gearmand"] {
        assert!(make(known).status.success(), "{known}");
    }
}
