//! `[telemetry]`: the log.

use crate::config::read::{TableReader, choices};

choices! {
    /// How log lines are written.
    LogFormat {
        /// Text when the log goes to a terminal, else JSON.
        Auto = "auto",
        /// One line of text for people.
        Text = "text",
        /// One JSON object on each line.
        Json = "json",
    }
}

/// `[telemetry]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Telemetry {
    /// A level, or levels by target: `info,capstan::jobs=debug`.
    pub level: String,
    /// How lines are written.
    pub format: LogFormat,
}

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

impl Telemetry {
    pub(super) fn read(table: &mut TableReader<'_, '_>) -> Self {
        let level = table.checked("level", "info".to_owned(), |level: &String| {
            let is_level = |part: &str| {
                let (target, level) = part.rsplit_once('=').unwrap_or(("capstan", part));
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_:".contains(&byte);
                LEVELS.contains(&level) && !target.is_empty() && target.bytes().all(plain)
            };
            if level.split(',').all(|part| is_level(part.trim())) {
                return Ok(());
            }
            let expected = format!("{}, or TARGET=LEVEL, separated by commas", LEVELS.join(", "));
            Err((expected, "correct it, as in \"info,capstan::jobs=debug\"".to_owned()))
        });
        Self { level, format: table.get("format", LogFormat::Auto) }
    }
}
