//! Traffic that is reported once and survives every reload: libra's arithmetic, with the process that was counted named,
//! so that a change which was cut off counts nothing twice.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::{
    Duration, OffsetDateTime, PrimitiveDateTime, format_description::BorrowedFormatItem, macros::format_description,
};

const STAMP: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day] [hour]:[minute]:[second].[subsecond digits:6]");
/// libra left the fraction out when it was zero and could not read that again.
const WHOLE_SECONDS: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");

/// Accounts that cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccountsError {
    /// One of the two timestamps is missing.
    #[error("the accounts have only one of start and end")]
    HalfPeriod,
    /// A timestamp that is none.
    #[error("{0:?} is no timestamp like 2013-01-31 12:10:30.123456")]
    Stamp(String),
}

/// Bytes each way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bytes {
    /// Sent to clients.
    #[serde(default)]
    pub out: i64,
    /// Received from clients.
    #[serde(default, rename = "in")]
    pub into: i64,
}

impl Bytes {
    fn plus(self, other: Self) -> Self {
        Self { out: self.out.saturating_add(other.out), into: self.into.saturating_add(other.into) }
    }

    fn minus(self, other: Self) -> Self {
        Self { out: self.out.saturating_sub(other.out), into: self.into.saturating_sub(other.into) }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Counter {
    /// What the process showed at the last report.
    #[serde(default)]
    last: Bytes,
    /// Totals of processes that went since.
    #[serde(default)]
    unreported: Bytes,
}

/// What each backend's process shows now, by backend.
pub type Current = BTreeMap<String, Bytes>;

/// The accounts of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accounts {
    /// Begin of the last period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    start: Option<String>,
    /// End of the last period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end: Option<String>,
    #[serde(default)]
    counters: BTreeMap<String, Counter>,
    /// The process that `last` was read from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reported: Option<String>,
    /// The process whose totals went into `unreported` last, and the totals: taken back when it lives on after all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kept: Option<(String, Current)>,
}

/// A period that was reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Begin.
    pub start: String,
    /// End.
    pub end: String,
    /// By backend; negative only when the accounts and HAProxy disagree.
    pub bytes: Current,
}

impl Accounts {
    /// Accounts as they were kept.
    pub fn checked(self) -> Result<Self, AccountsError> {
        if self.start.is_some() != self.end.is_some() {
            return Err(AccountsError::HalfPeriod);
        }
        for stamp in [&self.start, &self.end].into_iter().flatten() {
            read_stamp(stamp)?;
        }
        Ok(self)
    }

    /// What passed since the last report, which begins one microsecond after the previous one ended.
    pub fn report(&mut self, current: &Current, process: &str, now: OffsetDateTime) -> Result<Report, AccountsError> {
        self.take_back(process);
        self.forget_past(current, process);
        let end = write_stamp(now);
        let start = match &self.end {
            Some(end) => write_stamp(read_stamp(end)?.assume_utc() + Duration::MICROSECOND),
            None => end.clone(),
        };
        let mut bytes = Current::new();
        for (backend, now) in current {
            let counter = self.counters.entry(backend.clone()).or_default();
            bytes.insert(backend.clone(), counter.unreported.plus(*now).minus(counter.last));
            *counter = Counter { last: *now, unreported: Bytes::default() };
        }
        // A backend that is gone is not reported; what it still owes is, should it come back.
        self.counters
            .retain(|backend, counter| current.contains_key(backend) || counter.unreported != Bytes::default());
        self.start = Some(start.clone());
        self.end = Some(end.clone());
        self.reported = Some(process.to_owned());
        Ok(Report { start, end, bytes })
    }

    /// Keeps the totals of a process that is about to go.
    pub fn keep(&mut self, current: &Current, process: &str, now: OffsetDateTime) {
        self.take_back(process);
        self.forget_past(current, process);
        for (backend, now) in current {
            let counter = self.counters.entry(backend.clone()).or_default();
            counter.unreported = counter.unreported.plus(*now);
        }
        if self.end.is_none() {
            self.start = Some(write_stamp(now));
            self.end.clone_from(&self.start);
        }
        self.kept = Some((process.to_owned(), current.clone()));
    }

    fn take_back(&mut self, process: &str) {
        if let Some((of, amounts)) = self.kept.take_if(|(of, _)| of == process) {
            for (backend, amount) in amounts {
                if let Some(counter) = self.counters.get_mut(&backend) {
                    counter.unreported = counter.unreported.minus(amount);
                }
            }
            // `last` is of this process or of one before; either way it stays what it was.
            let _same: String = of;
        }
    }

    /// HAProxy was restarted behind our back: what it showed before counts for nothing now (in the customer's favour).
    fn forget_past(&mut self, current: &Current, process: &str) {
        let owes = self.counters.values().any(|counter| counter.unreported != Bytes::default());
        if owes {
            return;
        }
        let another = self.reported.as_ref().is_some_and(|reported| reported != process);
        let shrank = current
            .iter()
            .any(|(backend, now)| self.counters.get(backend).is_some_and(|counter| counter.last.out > now.out));
        if another || shrank {
            self.counters.values_mut().for_each(|counter| counter.last = Bytes::default());
        }
    }
}

/// Always with six digits of the second's fraction.
fn write_stamp(at: OffsetDateTime) -> String {
    // The format has no part that a date can lack.
    at.format(STAMP).unwrap_or_default()
}

fn read_stamp(text: &str) -> Result<PrimitiveDateTime, AccountsError> {
    PrimitiveDateTime::parse(text, STAMP)
        .or_else(|_| PrimitiveDateTime::parse(text, WHOLE_SECONDS))
        .map_err(|_| AccountsError::Stamp(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const NOON: OffsetDateTime = datetime!(2013-01-31 12:10:30.123456 UTC);

    fn current(http: i64, tcp: i64) -> Current {
        let bytes = |out| Bytes { out, into: out / 2 };
        Current::from([("http-servers".into(), bytes(http)), ("tcp-servers".into(), bytes(tcp))])
    }

    fn http(accounts: &mut Accounts, now: i64, process: &str) -> i64 {
        let current = Current::from([("http-servers".into(), Bytes { out: now, into: 0 })]);
        accounts.report(&current, process, NOON).unwrap().bytes["http-servers"].out
    }

    #[test]
    fn m01_without_a_file_there_is_no_period_and_nothing_counted() {
        let accounts: Accounts = serde_json::from_str("{}").unwrap();
        assert_eq!(accounts, Accounts::default());
        assert_eq!((accounts.start, accounts.end, accounts.counters.len()), (None, None, 0));
    }

    /// Five minutes, as kept and read again; each counter is (last, unreported).
    fn kept_and_read(http: (i64, i64), tcp: (i64, i64)) -> Accounts {
        let counter = |(last, unreported)| Counter {
            last: Bytes { out: last, into: 0 },
            unreported: Bytes { out: unreported, into: 0 },
        };
        let accounts = Accounts {
            start: Some(write_stamp(NOON)),
            end: Some(write_stamp(NOON + Duration::minutes(5))),
            counters: [("http-servers".into(), counter(http)), ("tcp-servers".into(), counter(tcp))].into(),
            ..Accounts::default()
        };
        let again: Accounts = serde_json::from_str(&serde_json::to_string(&accounts).unwrap()).unwrap();
        assert_eq!(again, accounts);
        again.checked().unwrap()
    }

    #[test]
    fn m02_a_period_and_its_counters_are_read_again() {
        let again = kept_and_read((2048, 0), (1024, 0));
        assert_eq!(again.start.as_deref(), Some("2013-01-31 12:10:30.123456"));
        assert_eq!(again.end.as_deref(), Some("2013-01-31 12:15:30.123456"));
        let of = |name: &str| (again.counters[name].last.out, again.counters[name].unreported.out);
        assert_eq!((of("http-servers"), of("tcp-servers")), ((2048, 0), (1024, 0)));
    }

    #[test]
    fn m04_all_four_counters_are_read_again() {
        let again = kept_and_read((2048, 20), (1024, 10));
        let of = |name: &str| (again.counters[name].last.out, again.counters[name].unreported.out);
        assert_eq!((of("http-servers"), of("tcp-servers")), ((2048, 20), (1024, 10)));
    }

    #[test]
    fn m05_reported_is_unreported_plus_current_minus_last() {
        for (unreported, last, now, expected) in [(0, 0, 200, 200), (0, 200, 1500, 1300), (2000, 1500, 100, 600)] {
            let counter =
                Counter { last: Bytes { out: last, into: 0 }, unreported: Bytes { out: unreported, into: 0 } };
            let mut accounts =
                Accounts { counters: BTreeMap::from([("http-servers".into(), counter)]), ..Default::default() };
            assert_eq!(http(&mut accounts, now, "p"), expected);
        }
    }

    #[test]
    fn m07_two_restarts_without_a_report_add_up() {
        let mut accounts = Accounts::default();
        http(&mut accounts, 1500, "1");
        accounts.keep(&current(1600, 0), "1", NOON);
        accounts.keep(&current(400, 0), "2", NOON);
        assert_eq!(http(&mut accounts, 100, "3"), 1600 + 400 + 100 - 1500);
    }

    #[test]
    fn m08_a_missing_timestamp_is_an_error() {
        let half: Accounts = serde_json::from_str(r#"{"start":"2013-01-31 12:10:30.123456"}"#).unwrap();
        assert_eq!(half.checked().unwrap_err(), AccountsError::HalfPeriod);
        let none: Accounts = serde_json::from_str(r#"{"start":"yesterday","end":"today"}"#).unwrap();
        assert_eq!(none.checked().unwrap_err(), AccountsError::Stamp("yesterday".into()));
    }

    #[test]
    fn m10_the_next_period_begins_a_microsecond_after_the_last() {
        let mut accounts = Accounts::default();
        let first = accounts.report(&current(1, 1), "1", NOON).unwrap();
        assert_eq!(first.start, first.end);
        let second = accounts.report(&current(1, 1), "1", NOON + Duration::minutes(5)).unwrap();
        assert_eq!(second.start, "2013-01-31 12:10:30.123457");
        assert_eq!(second.end, "2013-01-31 12:15:30.123456");
    }

    #[test]
    fn bug16_whole_seconds_are_written_in_full_and_libras_are_read() {
        assert_eq!(write_stamp(datetime!(2013-01-31 12:10:30 UTC)), "2013-01-31 12:10:30.000000");
        assert!(read_stamp("2013-01-31 12:10:30").is_ok());
    }

    #[test]
    fn a_reload_that_was_cut_off_counts_nothing_twice() {
        let mut accounts = Accounts::default();
        http(&mut accounts, 1000, "1");
        accounts.keep(&current(1500, 0), "1", NOON);
        // The reload never came: process 1 goes on, and is kept again before the next try.
        accounts.keep(&current(1700, 0), "1", NOON);
        assert_eq!(http(&mut accounts, 50, "2"), 1700 + 50 - 1000);
        accounts.keep(&current(60, 0), "2", NOON);
        assert_eq!(http(&mut accounts, 70, "2"), 20);
    }

    #[test]
    fn a_restart_behind_our_back_starts_from_nothing() {
        let mut accounts = Accounts::default();
        http(&mut accounts, 1000, "1");
        assert_eq!(http(&mut accounts, 200, "1"), 200, "libra's rule: less than before");
        assert_eq!(http(&mut accounts, 900, "2"), 900, "another process, although it shows more");
    }

    #[test]
    fn a_backend_that_is_gone_is_not_reported() {
        let mut accounts = Accounts::default();
        accounts.report(&current(10, 10), "1", NOON).unwrap();
        let report = accounts.report(&Current::from([("tcp-servers".into(), Bytes::default())]), "2", NOON).unwrap();
        assert_eq!(report.bytes.keys().collect::<Vec<_>>(), ["tcp-servers"]);
    }
}
