//! What was asked of the cloud, for a test to read.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    path::Path,
    time::Instant,
};

use capstan_plugin_api::DriverError;
use serde::Serialize;

use crate::faults::Fired;

/// A file that gets a line for each call, when it ends; instances may share it.
pub(crate) struct CallLog(File);

#[derive(Serialize)]
struct Line<'a> {
    /// Milliseconds since 1970 when the call ended.
    at: i64,
    took_ms: f64,
    method: &'a str,
    /// Name of the node to create, or id of the object; a list has none.
    #[serde(skip_serializing_if = "str::is_empty")]
    subject: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    request_id: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    faults: Vec<String>,
    /// `ok`, or the code of the error.
    answer: &'a str,
}

/// One call as it ended.
pub(crate) struct Ended<'a> {
    pub at: i64,
    pub began: Instant,
    pub method: &'a str,
    pub subject: &'a str,
    pub request_id: &'a str,
    pub fired: &'a Fired,
    pub error: Option<&'a DriverError>,
}

impl CallLog {
    pub(crate) fn open(path: &Path) -> Result<Self, String> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        file.map(Self).map_err(|error| format!("{}: {error}", path.display()))
    }

    pub(crate) fn write(&self, ended: &Ended<'_>) {
        let line = Line {
            at: ended.at,
            took_ms: ended.began.elapsed().as_secs_f64() * 1e3,
            method: ended.method,
            subject: ended.subject,
            request_id: ended.request_id,
            faults: ended.fired.iter().map(|rule| rule.fault.name()).collect(),
            answer: ended.error.map_or("ok", |error| error.code.as_str()),
        };
        if let Ok(mut line) = serde_json::to_vec(&line) {
            line.push(b'\n');
            // The cloud goes on without its log; a test that reads it misses the line.
            let _best_effort = (&self.0).write_all(&line);
        }
    }
}
