//! The log: one line for each event on standard error, as text or JSON.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::{EnvFilter, Registry, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use super::scrub::{Scrubber, Scrubbing};

/// How lines are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// Text on a terminal, else JSON.
    Auto,
    /// One JSON object on each line.
    Json,
    /// For people.
    Text,
}

impl std::str::FromStr for Format {
    type Err = InitError;

    fn from_str(name: &str) -> Result<Self, InitError> {
        match name {
            "auto" => Ok(Self::Auto),
            "json" => Ok(Self::Json),
            "text" => Ok(Self::Text),
            _ => Err(InitError::Format(name.to_owned())),
        }
    }
}

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the messages say it
pub enum InitError {
    #[error("the log is set up already; expected one call in a process")]
    Again,
    #[error("found the log format {0:?}; expected auto, text or json; correct telemetry.format")]
    Format(String),
    #[error("found the log level {0:?}; expected a level or TARGET=LEVEL; correct telemetry.level")]
    Level(String),
}

/// Sets up the log of this process on standard error; to be called once. The scrubber that comes back is to be told the secrets.
///
/// Colours are used only for text on a terminal.
///
/// # Errors
/// A level that cannot be parsed, or a second call.
pub fn init(level: &str, format: Format) -> Result<Scrubber, InitError> {
    let filter = EnvFilter::try_new(level).map_err(|_| InitError::Level(level.to_owned()))?;
    let scrubber = Scrubber::default();
    let writer = Scrubbing::new(scrubber.clone(), io::stderr);
    let is_terminal = io::stderr().is_terminal();
    let registry = Registry::default().with(filter);
    let is_set = match format {
        Format::Text => registry.with(fmt::layer().with_ansi(is_terminal).with_writer(writer)).try_init(),
        Format::Auto if is_terminal => registry.with(fmt::layer().with_ansi(true).with_writer(writer)).try_init(),
        Format::Auto | Format::Json => {
            registry.with(fmt::layer().json().flatten_event(true).with_writer(writer)).try_init()
        }
    };
    is_set.map_err(|_| InitError::Again)?;
    Ok(scrubber)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_secret_in_any_field_is_blotted_out_of_the_json_line() {
        let (kept, scrubber) = (Kept::default(), Scrubber::default());
        scrubber.replace(["tok\"en-1"]);
        let sink = kept.clone();
        let writer = Scrubbing::new(scrubber, move || sink.clone());
        let subscriber = Registry::default().with(fmt::layer().json().flatten_event(true).with_writer(writer));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(answer = ?Some("tok\"en-1"), "asked with tok\"en-1");
        });
        let line = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        let event: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(event["message"], "asked with *****");
        assert!(!line.contains("en-1"), "{line}");
    }

    #[test]
    fn formats_are_known_by_name() {
        assert_eq!("json".parse::<Format>().unwrap(), Format::Json);
        assert!("yaml".parse::<Format>().unwrap_err().to_string().contains("expected auto, text or json"));
    }
}
