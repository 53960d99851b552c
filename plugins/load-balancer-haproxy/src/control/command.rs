//! Runs a program to its end: no shell, no environment, a deadline, bounded output.

use std::{
    io::Read,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

/// What is kept of each stream.
const MOST_OUTPUT: u64 = 64 * 1024;

/// Why a program gave no result.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It did not start.
    #[error("{program} cannot be run: {source}")]
    Start {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It was ended at the deadline.
    #[error("{program} did not end in time")]
    TimedOut {
        /// The program.
        program: PathBuf,
    },
}

/// What a program left.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output, then standard error.
    pub text: String,
}

/// Runs `program` (an absolute path) and waits for it.
pub fn run(program: &Path, arguments: &[&str], deadline: Instant) -> Result<Finished, CommandError> {
    let start = |source| CommandError::Start { program: program.to_owned(), source };
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(start)?;
    let readers = [child.stdout.take().map(collect), child.stderr.take().map(collect)];
    let status = loop {
        if let Some(status) = child.try_wait().map_err(start)? {
            break status;
        }
        if Instant::now() >= deadline {
            // It may have ended by itself just now.
            let _gone: Result<(), std::io::Error> = child.kill();
            child.wait().map_err(start)?;
            return Err(CommandError::TimedOut { program: program.to_owned() });
        }
        thread::sleep(Duration::from_millis(1));
    };
    let text = readers.into_iter().flatten().filter_map(|reader| reader.join().ok()).collect::<Vec<_>>().concat();
    Ok(Finished { status, text })
}

fn collect(stream: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut kept = Vec::new();
        let mut stream = stream;
        // What cannot be read is missing from a message, no more.
        let _read: std::io::Result<usize> = stream.by_ref().take(MOST_OUTPUT).read_to_end(&mut kept);
        let _rest: std::io::Result<u64> = std::io::copy(&mut stream, &mut std::io::sink());
        String::from_utf8_lossy(&kept).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collects_what_a_program_says_and_gives_it_no_environment() {
        let finished = run(Path::new("/usr/bin/env"), &[], Instant::now() + Duration::from_secs(10)).unwrap();
        assert!(finished.status.success());
        assert_eq!(finished.text, "");
    }

    #[test]
    fn ends_a_program_at_the_deadline() {
        let begun = Instant::now();
        let error = run(Path::new("/bin/sleep"), &["60"], begun + Duration::from_millis(50)).unwrap_err();
        assert!(matches!(error, CommandError::TimedOut { .. }), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn names_a_program_that_is_not_there() {
        let error = run(Path::new("/nonexistent/haproxy"), &[], Instant::now()).unwrap_err();
        assert!(error.to_string().starts_with("/nonexistent/haproxy cannot be run"), "{error}");
    }
}
