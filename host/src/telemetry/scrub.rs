//! Known secrets are blotted out of the log, whoever wrote the line.

use std::{
    collections::BTreeSet,
    io::{self, Write},
    sync::Arc,
};

use arc_swap::ArcSwap;
use tracing_subscriber::fmt::MakeWriter;

const REDACTED: &[u8] = b"*****";

/// Shorter texts would be found all over every line; they are left alone.
const SHORTEST: usize = 4;

/// The secrets to blot out. Clones share them, so that a reload reaches every writer.
#[derive(Clone, Default)]
pub struct Scrubber(Arc<ArcSwap<Vec<Vec<u8>>>>);

impl Scrubber {
    /// Replaces the known secrets. Values of fewer than 4 bytes are not blotted out.
    pub fn replace<'s>(&self, secrets: impl IntoIterator<Item = &'s str>) {
        let mut needles: Vec<Vec<u8>> =
            secrets.into_iter().filter(|secret| secret.len() >= SHORTEST).flat_map(spellings).collect();
        // Longest first: a secret that contains another is blotted out as a whole.
        needles.sort_by(|a, b| b.len().cmp(&a.len()).then(a.cmp(b)));
        needles.dedup();
        self.0.store(Arc::new(needles));
    }

    /// The text without secrets; `None` when there was none in it.
    #[must_use]
    pub fn scrub(&self, text: &[u8]) -> Option<Vec<u8>> {
        let needles = self.0.load();
        let mut clean: Option<Vec<u8>> = None;
        for needle in needles.iter() {
            let current = clean.as_deref().unwrap_or(text);
            if let Some(replaced) = without(current, needle) {
                clean = Some(replaced);
            }
        }
        clean
    }

    /// The text without secrets.
    #[must_use]
    pub fn scrub_text(&self, text: &str) -> String {
        self.scrub(text.as_bytes())
            .map_or_else(|| text.to_owned(), |clean| String::from_utf8_lossy(&clean).into_owned())
    }
}

impl std::fmt::Debug for Scrubber {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Scrubber({} spellings)", self.0.load().len())
    }
}

/// A secret as it is and as JSON and `Debug` escape it, which treat control characters differently. A value printed by
/// `Debug` inside a JSON line, or by a driver inside a JSON text inside one, is escaped again, hence three rounds; a secret
/// without characters to escape has one spelling in all of them.
fn spellings(secret: &str) -> Vec<Vec<u8>> {
    let mut known = BTreeSet::from([secret.to_owned()]);
    for _round in 0..3 {
        let quoted =
            known.iter().flat_map(|text| [serde_json::Value::from(text.as_str()).to_string(), format!("{text:?}")]);
        let escaped: Vec<String> = quoted
            .map(|text| text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(&text).to_owned())
            .collect();
        known.extend(escaped);
    }
    known.into_iter().map(String::into_bytes).collect()
}

fn without(text: &[u8], needle: &[u8]) -> Option<Vec<u8>> {
    let find = |from: usize| text[from..].windows(needle.len()).position(|window| window == needle).map(|at| from + at);
    let mut at = find(0)?;
    let (mut clean, mut from) = (Vec::with_capacity(text.len()), 0);
    loop {
        clean.extend_from_slice(&text[from..at]);
        clean.extend_from_slice(REDACTED);
        from = at + needle.len();
        match find(from) {
            Some(next) => at = next,
            None => break,
        }
    }
    clean.extend_from_slice(&text[from..]);
    Some(clean)
}

/// A writer that scrubs what passes through it. Each `write` must bring whole lines, as the log's formatter does.
#[derive(Clone, Debug)]
pub struct Scrubbing<W> {
    scrubber: Scrubber,
    inner: W,
}

impl<W> Scrubbing<W> {
    /// Puts the scrubber before `inner`.
    pub const fn new(scrubber: Scrubber, inner: W) -> Self {
        Self { scrubber, inner }
    }
}

impl<W: Write> Write for Scrubbing<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self.scrubber.scrub(line) {
            Some(clean) => self.inner.write_all(&clean)?,
            None => self.inner.write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<'w, M: MakeWriter<'w>> MakeWriter<'w> for Scrubbing<M> {
    type Writer = Scrubbing<M::Writer>;

    fn make_writer(&'w self) -> Self::Writer {
        Scrubbing::new(self.scrubber.clone(), self.inner.make_writer())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::{Scrubber, Scrubbing};

    #[test]
    fn every_occurrence_goes_and_the_rest_stays() {
        let scrubber = Scrubber::default();
        assert_eq!(scrubber.scrub(b"swordfish"), None);
        scrubber.replace(["sword", "swordfish", "abc"]);
        assert_eq!(scrubber.scrub_text("a swordfish, abc, swordsword"), "a *****, abc, **********");
        scrubber.replace([]);
        assert_eq!(scrubber.scrub_text("a swordfish"), "a swordfish");
    }

    #[test]
    fn escaped_spellings_are_recognised() {
        let scrubber = Scrubber::default();
        let secret = "qu\"ote\\back\u{1}\nline";
        scrubber.replace([secret]);
        let json = serde_json::json!({ "message": secret }).to_string();
        assert_eq!(scrubber.scrub_text(&json), r#"{"message":"*****"}"#);
        assert_eq!(scrubber.scrub_text(&format!("{:?}", Some(secret))), r#"Some("*****")"#);
    }

    #[test]
    fn the_writer_reports_the_bytes_it_was_given() {
        let scrubber = Scrubber::default();
        scrubber.replace(["swordfish"]);
        let mut out = Vec::new();
        Scrubbing::new(scrubber, &mut out).write_all(b"key=swordfish\n").unwrap();
        assert_eq!(out, b"key=*****\n");
    }
}
