//! Times in bodies: RFC 3339, UTC, with milliseconds.

use serde::{Serialize, Serializer};
use time::{OffsetDateTime, format_description::FormatItem, macros::format_description};

const FORM: &[FormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// Milliseconds since 1970, written as `2026-11-26T16:03:15.042Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub i64);

impl Time {
    /// As it is written; out of the calendar's range, the number itself.
    pub fn text(self) -> String {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000)
            .ok()
            .and_then(|time| time.format(FORM).ok())
            .unwrap_or_else(|| self.0.to_string())
    }
}

impl Time {
    /// The time of the day, for people who read it on that day: `16:03:15 UTC`.
    pub fn of_day(self) -> String {
        self.text().get(11..19).map_or_else(|| self.text(), |time| format!("{time} UTC"))
    }
}

/// Milliseconds since 1970 as a [`Time`], for `#[serde(serialize_with)]`; 0, which stands for never, as null.
///
/// # Errors
/// Those of the serializer.
pub fn millis<S: Serializer>(at: &i64, out: S) -> Result<S::Ok, S::Error> {
    if *at == 0 { out.serialize_none() } else { Time(*at).serialize(out) }
}

/// The same where there may be none.
///
/// # Errors
/// Those of the serializer.
pub fn optional_millis<S: Serializer>(at: &Option<i64>, out: S) -> Result<S::Ok, S::Error> {
    at.map(Time).serialize(out)
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::Time;

    #[test]
    fn times_are_read_by_people_and_programs() {
        assert_eq!(Time(0).text(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Time(1_795_709_795_042).text(), "2026-11-26T16:16:35.042Z");
        assert_eq!(Time(i64::MAX).text(), i64::MAX.to_string());
        assert_eq!(Time(1_795_709_795_042).of_day(), "16:16:35 UTC");
    }
}
