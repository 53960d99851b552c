//! What came of the checks, for people, for programs and for CI servers.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use serde::Serialize;

use crate::drivers::Isolation;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it must be.
    Passed,
    /// Not as it must be.
    Failed,
    /// Not judged, for the reason given.
    Skipped,
}

impl Verdict {
    /// In a line for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "ok",
            Self::Failed => "FAILED",
            Self::Skipped => "skipped",
        }
    }
}

/// One check's outcome.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Name of the check.
    pub check: &'static str,
    /// Where the driver ran; none for a check of its file.
    pub isolation: Option<Isolation>,
    /// How it ended.
    pub verdict: Verdict,
    /// What was seen, or what is wrong and what the contract says.
    pub detail: String,
    /// Seconds since the check before.
    pub seconds: f64,
}

/// All outcomes of one run.
pub struct Report<'a> {
    driver: String,
    outcomes: Vec<Outcome>,
    mode: Option<Isolation>,
    since: Instant,
    begun: Instant,
    took: Duration,
    tell: &'a mut dyn FnMut(&Outcome),
}

impl<'a> Report<'a> {
    pub(super) fn new(driver: String, tell: &'a mut dyn FnMut(&Outcome)) -> Self {
        let now = Instant::now();
        Self { driver, outcomes: Vec::new(), mode: None, since: now, begun: now, took: Duration::ZERO, tell }
    }

    pub(super) fn enter(&mut self, mode: Isolation) {
        self.mode = Some(mode);
    }

    pub(super) fn pass(&mut self, check: &'static str, detail: impl Into<String>) {
        self.add(check, Verdict::Passed, detail.into());
    }

    pub(super) fn fail(&mut self, check: &'static str, detail: impl Into<String>) {
        self.add(check, Verdict::Failed, detail.into());
    }

    pub(super) fn skip(&mut self, check: &'static str, why: impl Into<String>) {
        self.add(check, Verdict::Skipped, why.into());
    }

    /// A check that says itself how it went: what was seen, or what is wrong.
    pub(super) fn judge(&mut self, check: &'static str, outcome: Result<String, String>) {
        match outcome {
            Ok(seen) => self.pass(check, seen),
            Err(wrong) => self.fail(check, wrong),
        }
    }

    fn add(&mut self, check: &'static str, verdict: Verdict, detail: String) {
        let seconds = self.since.elapsed().as_secs_f64();
        self.since = Instant::now();
        let outcome = Outcome { check, isolation: self.mode, verdict, detail, seconds };
        (self.tell)(&outcome);
        self.outcomes.push(outcome);
    }

    /// A check has failed.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.count(Verdict::Failed) > 0
    }

    pub(super) fn finish(mut self) -> Self {
        self.took = self.begun.elapsed();
        self
    }

    /// How many checks ended so.
    #[must_use]
    pub fn count(&self, verdict: Verdict) -> usize {
        self.outcomes.iter().filter(|outcome| outcome.verdict == verdict).count()
    }

    /// The outcomes, in their order.
    #[must_use]
    pub fn outcomes(&self) -> &[Outcome] {
        &self.outcomes
    }

    /// One line.
    #[must_use]
    pub fn summary(&self) -> String {
        format!(
            "{}: {} passed, {} failed, {} skipped in {:.1} s",
            self.driver,
            self.count(Verdict::Passed),
            self.count(Verdict::Failed),
            self.count(Verdict::Skipped),
            self.took.as_secs_f64()
        )
    }

    /// The whole run as one `testsuite` of JUnit's XML, as CI servers read it.
    #[must_use]
    pub fn junit(&self) -> String {
        let mut xml = String::new();
        let driver = escaped(&self.driver);
        let _always_fits = writeln!(
            xml,
            "<testsuite name=\"{driver}\" tests=\"{}\" failures=\"{}\" skipped=\"{}\" time=\"{:.3}\">",
            self.outcomes.len(),
            self.count(Verdict::Failed),
            self.count(Verdict::Skipped),
            self.took.as_secs_f64()
        );
        for Outcome { check, isolation, verdict, detail, seconds } in &self.outcomes {
            let class = isolation.map_or("file", |isolation| isolation.as_str());
            let detail = escaped(detail);
            let inner = match verdict {
                Verdict::Passed => format!("<system-out>{detail}</system-out>"),
                Verdict::Failed => format!("<failure message=\"{detail}\"/>"),
                Verdict::Skipped => format!("<skipped message=\"{detail}\"/>"),
            };
            let _always_fits = writeln!(
                xml,
                "  <testcase classname=\"{driver}.{class}\" name=\"{check}\" time=\"{seconds:.3}\">{inner}</testcase>"
            );
        }
        xml.push_str("</testsuite>\n");
        xml
    }
}

/// Text for XML; control characters, which XML 1.0 cannot hold, are left out.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(' '),
            character if character.is_control() => {}
            character => out.push(character),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn junit_holds_any_text() {
        let mut tell = |_: &Outcome| {};
        let mut report = Report::new("cloud.acme".into(), &mut tell);
        report.pass("manifest", "fine");
        report.enter(Isolation::Process);
        report.fail("cancel", "a <b> & \"c\"\n\u{1b}[31m");
        report.skip("contract", "no backend");
        let report = report.finish();
        let xml = report.junit();
        assert!(xml.contains("tests=\"3\" failures=\"1\" skipped=\"1\""), "{xml}");
        assert!(xml.contains("<failure message=\"a &lt;b&gt; &amp; &quot;c&quot; [31m\"/>"), "{xml}");
        assert!(xml.contains("classname=\"cloud.acme.file\" name=\"manifest\""), "{xml}");
        assert!(report.summary().starts_with("cloud.acme: 1 passed, 1 failed, 1 skipped in "));
    }
}
