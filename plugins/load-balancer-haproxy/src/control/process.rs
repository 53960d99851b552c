//! `control = "process"`: a master with one worker, started through the daemon and outliving it.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{Read as _, Seek as _, SeekFrom},
    thread,
    time::{Duration, Instant},
};

use capstan_plugin_api::{Host, ProgramSpec};

use crate::{
    device::{Fault, Paths},
    runtime::ask,
    settings::{self, Settings},
};

/// How long a master may take to end after SIGTERM. It ends its workers at once, so this is plenty.
const STOP_GRACE_MS: u64 = 5_000;
/// HAProxy's own messages are cut back beyond this size.
const MOST_OUTPUT: u64 = 1024 * 1024;
/// What is read of them into an error.
const MOST_SAID: u64 = 8 * 1024;

/// The master of one device.
pub struct Process<'a> {
    host: &'a Host,
    settings: &'a Settings,
    paths: &'a Paths,
}

impl<'a> Process<'a> {
    /// The master of the device with these paths.
    pub fn new(host: &'a Host, settings: &'a Settings, paths: &'a Paths) -> Self {
        Self { host, settings, paths }
    }

    pub(super) fn is_running(&self) -> Result<bool, Fault> {
        Ok(self.host.program_find(&self.paths.program)?.is_some())
    }

    pub(super) fn start(&self) -> Result<(), Fault> {
        let path = |path| settings::text(path).map(str::to_owned);
        // `-db` keeps the master in the foreground although the file says `daemon`: the daemon must know its process.
        let command = vec![
            path(&self.settings.haproxy_path)?,
            "-W".to_owned(),
            "-db".to_owned(),
            "-S".to_owned(),
            path(&self.paths.master_socket)?,
            "-f".to_owned(),
            path(&self.paths.config)?,
        ];
        self.host.program_start(&ProgramSpec {
            name: self.paths.program.clone(),
            command,
            environment: BTreeMap::new(),
            directory: None,
            output: Some(self.paths.output.clone()),
        })?;
        Ok(())
    }

    pub(super) fn stop(&self) -> Result<(), Fault> {
        Ok(self.host.program_stop(&self.paths.program, STOP_GRACE_MS)?)
    }

    /// The master refuses connections while it executes itself anew, and closes unread those that came just before; a signal
    /// sent then would be lost. So the master's socket, and again until the word was read.
    pub(super) fn reload(&self, answers: bool, deadline: Instant) -> Result<(), Fault> {
        loop {
            let patience = if answers { deadline } else { deadline.min(Instant::now() + Duration::from_secs(1)) };
            match ask(&self.paths.master_socket, "reload", patience) {
                Ok(answer) if answers && answer.contains("Success=0") => return Err(Fault::NotLoaded { said: answer }),
                Ok(_) => return Ok(()),
                Err(error) if !error.is_absent() && !error.is_unread() => return Ok(()),
                Err(error) if Instant::now() >= deadline => return Err(error.into()),
                Err(_) => thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    pub(super) fn output_length(&self) -> u64 {
        let Ok(file) = OpenOptions::new().write(true).open(&self.paths.output) else { return 0 };
        let length = file.metadata().map(|about| about.len()).unwrap_or_default();
        // HAProxy appends, so it goes on at the new end.
        if length > MOST_OUTPUT && file.set_len(0).is_ok() { 0 } else { length }
    }

    pub(super) fn output_since(&self, mark: u64) -> String {
        let mut text = Vec::new();
        if let Ok(mut file) = File::open(&self.paths.output)
            && file.seek(SeekFrom::Start(mark)).is_ok()
        {
            // What cannot be read is missing from a message, no more.
            let _read: std::io::Result<usize> = file.take(MOST_SAID).read_to_end(&mut text);
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}
