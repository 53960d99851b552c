//! Holds what is against what was: tells each difference in words, and whether it is growth or a break.

use std::{fmt::Write, fs, path::Path};

use crate::record::{Change, Record};

/// Set to 1, growth is written into the golden file. A break never is.
pub const UPDATE: &str = "CAPSTAN_UPDATE_GOLDEN";

/// What one difference means to those who rely on the old.
#[derive(Debug, PartialEq)]
pub enum Verdict {
    Growth(String),
    Break(String),
}

pub type Judge = fn(&Change<'_>) -> Verdict;

const POLICY: &str = "\
docs/compatibility.md: what one release of Capstan speaks, every later one of the same interface major speaks too. Fields, \
methods, words and public items are added, never renamed, removed, retyped or newly required. Put it back and add the new \
beside the old, or make the next interface major. A golden line is taken out by hand only for what was never released.";

/// All that differs, in words.
#[derive(Debug)]
pub struct Difference {
    pub words: String,
    pub is_break: bool,
}

/// Compares what was with what is.
pub fn compare(before: &Record, now: &Record, judge: Judge) -> Option<Difference> {
    let (mut breaks, mut growth) = (String::new(), String::new());
    for change in before.changes(now) {
        match judge(&change) {
            Verdict::Break(words) => writeln!(breaks, "  BREAK: {words}").unwrap(),
            Verdict::Growth(words) => writeln!(growth, "  growth: {words}").unwrap(),
        }
    }
    let is_break = !breaks.is_empty();
    Some(Difference { words: breaks + &growth, is_break }).filter(|difference| !difference.words.is_empty())
}

/// The gate itself, for one golden file.
pub fn hold(file: &str, now: &Record, judge: Judge) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file);
    let text = fs::read_to_string(&path).unwrap_or_default();
    if now.to_string() == text {
        return;
    }
    let difference = compare(&Record::parse(&text), now, judge);
    let is_break = difference.as_ref().is_some_and(|difference| difference.is_break);
    let words = difference.map_or_else(|| "  the same, in another order or form\n".to_owned(), |found| found.words);
    assert!(!is_break, "{file} no longer holds:\n{words}{POLICY}");
    if std::env::var_os(UPDATE).is_none_or(|value| value != "1") {
        panic!(
            "{file} has to be told:\n{words}That is allowed. If it is meant, write it down and commit the file:\n  \
             {UPDATE}=1 cargo test -p capstan-plugin-api --test compatibility"
        );
    }
    fs::write(&path, now.to_string()).unwrap();
}
