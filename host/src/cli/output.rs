//! What a command prints: a table for people, JSON for programs. All of it goes through [`line()`], which remembers what could not be
//! written, so that a command whose result nobody has does not end as if all were well.

use std::{
    io::{self, Write},
    sync::OnceLock,
};

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

use super::exit::{Failure, Outcome};

/// Form of the result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// A table for people.
    #[default]
    Table,
    /// JSON for programs.
    Json,
}

/// Why standard output takes nothing any more.
static LOST: OnceLock<io::Error> = OnceLock::new();

/// Prints text as it is, with a line end. Nothing follows what could not be written.
pub fn line(text: &str) {
    if lost().is_some() {
        return;
    }
    let mut out = io::stdout().lock();
    keep(writeln!(out, "{text}").and_then(|()| out.flush()));
}

/// Remembers what became of writing to standard output.
pub fn keep(written: io::Result<()>) {
    if let Err(error) = written {
        let _only_the_first_counts = LOST.set(error);
    }
}

/// Why some of what was printed went nowhere; none when all of it was written.
pub fn lost() -> Option<&'static io::Error> {
    LOST.get()
}

/// A failure when the result could not be written. A reader that has seen enough (`| head`) is none.
pub fn check() -> Outcome {
    match lost() {
        Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Failed(format!("the result cannot be written to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Says something beside the result, on standard error.
pub fn note(text: &str) {
    let _stream_may_be_closed = writeln!(io::stderr(), "{text}");
}

/// Prints JSON over several lines.
pub fn json(value: &Value) {
    line(&format!("{value:#}"));
}

/// Prints rows under headings; the columns are as wide as they need to be, so that `awk` can read them as well.
pub fn table(headings: &[&str], rows: impl IntoIterator<Item = Vec<String>>) {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(headings);
    for row in rows {
        table.add_row(row);
    }
    for row in table.lines() {
        line(row.trim());
    }
}

/// A value in a cell: `-` for nothing.
pub fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

/// A text on one line, cut to what can be read at a glance.
pub fn brief(text: &str) -> String {
    const LONGEST: usize = 100;
    let line = text.split(|character: char| character.is_whitespace() || character.is_control());
    let line = line.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    if line.chars().count() <= LONGEST {
        return line;
    }
    format!("{}…", line.chars().take(LONGEST - 1).collect::<String>())
}

/// A text as one segment of a path or as a value of a query.
pub fn segment(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// Seconds as people read them.
pub fn seconds(value: f64) -> String {
    if value <= 0.0 {
        "-".to_owned()
    } else if value < 1e-3 {
        format!("{:.0} us", value * 1e6)
    } else if value < 1.0 {
        format!("{:.1} ms", value * 1e3)
    } else {
        format!("{value:.1} s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_on_several_lines_or_at_length_is_cut_to_one() {
        assert_eq!(brief("no host\n  tried a,\tb\u{1b}[31m"), "no host tried a, b [31m");
        let cut = brief(&"word ".repeat(50));
        assert!(cut.chars().count() == 100 && cut.ends_with('…'), "{cut}");
    }

    #[test]
    fn seconds_are_readable_at_every_size() {
        for (value, text) in [(0.0, "-"), (4.7e-6, "5 us"), (0.0123, "12.3 ms"), (2.5, "2.5 s")] {
            assert_eq!(seconds(value), text);
        }
    }
}
