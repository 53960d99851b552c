//! Figures for Prometheus: counters, gauges and distributions, each of a family that fixes its name and labels.
//!
//! Families are constants of `names`, so a figure with a wrong number of labels does not compile. The crate
//! `prometheus-client` was looked at: its histograms cannot be read back, which `driver list` needs for its quantiles.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use super::histogram::{BOUNDS, Histogram};

/// Counts up.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds several.
    pub fn add(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    /// Sets the count to what somebody else has counted; less than it has is left alone.
    pub fn raise_to(&self, value: u64) {
        self.0.fetch_max(value, Ordering::Relaxed);
    }

    /// The count.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Sets the value.
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Adds; less than 0 subtracts.
    pub fn add(&self, by: i64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    /// The value.
    #[must_use]
    pub fn value(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// An amount that somebody else accounts for: not always whole, and it may go down.
#[derive(Debug, Default)]
pub struct Amount(AtomicU64);

impl Amount {
    /// Sets the value.
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }

    /// The value.
    #[must_use]
    pub fn value(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}

/// Name, meaning and labels of a family of counters. The name ends in `_total`.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct CounterFamily<const L: usize> {
    pub name: &'static str,
    pub help: &'static str,
    pub labels: [&'static str; L],
}

/// Name, meaning and labels of a family of gauges.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct GaugeFamily<const L: usize> {
    pub name: &'static str,
    pub help: &'static str,
    pub labels: [&'static str; L],
}

/// Name, meaning and labels of a family of amounts.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct AmountFamily<const L: usize> {
    pub name: &'static str,
    pub help: &'static str,
    pub labels: [&'static str; L],
}

/// Name, meaning and labels of a family of distributions of durations. The name ends in `_seconds`.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct HistogramFamily<const L: usize> {
    pub name: &'static str,
    pub help: &'static str,
    pub labels: [&'static str; L],
}

/// All figures of a daemon. Clones share them. Asking for a figure takes a lock: a caller in a hot path keeps the `Arc`.
#[derive(Clone, Debug, Default)]
pub struct Figures(Arc<Mutex<BTreeMap<&'static str, Family>>>);

#[derive(Debug)]
struct Family {
    help: &'static str,
    labels: Vec<&'static str>,
    /// By label values.
    figures: BTreeMap<Vec<String>, Figure>,
}

#[derive(Debug)]
enum Figure {
    Counter(Arc<Counter>),
    Gauge(Arc<Gauge>),
    Amount(Arc<Amount>),
    Histogram(Arc<Histogram>),
}

macro_rules! access {
    ($(#[$meta:meta])* $access:ident $family:ident $figure:ident) => {
        $(#[$meta])*
        pub fn $access<const L: usize>(&self, family: &$family<L>, labels: [&str; L]) -> Arc<$figure> {
            let mut families = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let kept = families.entry(family.name).or_insert_with(|| Family {
                help: family.help,
                labels: family.labels.to_vec(),
                figures: BTreeMap::new(),
            });
            let labels = labels.iter().map(ToString::to_string).collect();
            match kept.figures.entry(labels).or_insert_with(|| Figure::$figure(Arc::default())) {
                Figure::$figure(figure) => figure.clone(),
                // Two families of different form under one name; a test over `names` excludes it. The figure still
                // counts for its caller, it only isn't shown.
                _ => Arc::default(),
            }
        }
    };
}

impl Figures {
    access! {
        /// The counter of a family with these label values; made when it is first asked for.
        counter CounterFamily Counter
    }
    access! {
        /// The gauge of a family with these label values; made when it is first asked for.
        gauge GaugeFamily Gauge
    }
    access! {
        /// The amount of a family with these label values; made when it is first asked for.
        amount AmountFamily Amount
    }
    access! {
        /// The distribution of a family with these label values; made when it is first asked for.
        histogram HistogramFamily Histogram
    }

    /// Removes the figures that carry all of these labels, so that what is gone stops being shown.
    pub fn forget(&self, labels: &[(&str, &str)]) {
        let mut families = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for family in families.values_mut() {
            let names = &family.labels;
            family.figures.retain(|values, _| {
                let carries =
                    |(label, value): &(&str, &str)| names.iter().zip(values).any(|(n, v)| n == label && v == value);
                !labels.iter().all(carries)
            });
        }
    }

    /// The exposition format of Prometheus, version 0.0.4.
    #[must_use]
    pub fn render(&self) -> String {
        let families = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        for (name, family) in families.iter() {
            let Some(first) = family.figures.values().next() else { continue };
            let kind = match first {
                Figure::Counter(_) => "counter",
                Figure::Gauge(_) | Figure::Amount(_) => "gauge",
                Figure::Histogram(_) => "histogram",
            };
            let _ = writeln!(text, "# HELP {name} {}\n# TYPE {name} {kind}", family.help);
            for (values, figure) in &family.figures {
                let labels: Vec<_> = family
                    .labels
                    .iter()
                    .zip(values)
                    .map(|(label, value)| format!("{label}=\"{}\"", escaped(value)))
                    .collect();
                one(&mut text, name, &labels, figure);
            }
        }
        text
    }
}

fn one(text: &mut String, name: &str, labels: &[String], figure: &Figure) {
    let plain = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
    // Writing to a String cannot fail.
    let _ = match figure {
        Figure::Counter(counter) => writeln!(text, "{name}{plain} {}", counter.value()),
        Figure::Gauge(gauge) => writeln!(text, "{name}{plain} {}", gauge.value()),
        Figure::Amount(amount) => writeln!(text, "{name}{plain} {}", amount.value()),
        Figure::Histogram(histogram) => {
            let bucket = |bound: &str| {
                let labels: Vec<_> = labels.iter().cloned().chain([format!("le=\"{bound}\"")]).collect();
                format!("{name}_bucket{{{}}}", labels.join(","))
            };
            for (bound, count) in BOUNDS.iter().zip(histogram.cumulative()) {
                let seconds = std::time::Duration::from_nanos(*bound).as_secs_f64();
                let _ = writeln!(text, "{} {count}", bucket(&seconds.to_string()));
            }
            let count = histogram.count();
            let sum = histogram.sum().as_secs_f64();
            writeln!(text, "{} {count}\n{name}_sum{plain} {sum}\n{name}_count{plain} {count}", bucket("+Inf"))
        }
    };
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const CALLS: CounterFamily<2> = CounterFamily { name: "calls_total", help: "Calls.", labels: ["driver", "code"] };
    const BUSY: GaugeFamily<0> = GaugeFamily { name: "busy", help: "Busy.", labels: [] };
    const LEVEL: AmountFamily<0> = AmountFamily { name: "level", help: "Level.", labels: [] };
    const TIMES: HistogramFamily<1> = HistogramFamily { name: "call_seconds", help: "Times.", labels: ["driver"] };

    #[test]
    fn the_text_is_what_prometheus_reads() {
        let figures = Figures::default();
        figures.counter(&CALLS, ["haproxy", "ok"]).add(2);
        figures.clone().counter(&CALLS, ["haproxy", "ok"]).increment();
        figures.counter(&CALLS, ["a\"b\\\n", "ok"]).increment();
        figures.gauge(&BUSY, []).set(-4);
        figures.amount(&LEVEL, []).set(-2.5);
        figures.histogram(&TIMES, ["haproxy"]).record(Duration::from_micros(1500));
        let text = figures.render();
        for line in [
            "# TYPE calls_total counter",
            "calls_total{driver=\"haproxy\",code=\"ok\"} 3",
            "calls_total{driver=\"a\\\"b\\\\\\n\",code=\"ok\"} 1",
            "# TYPE busy gauge",
            "busy -4",
            "# TYPE level gauge",
            "level -2.5",
            "# TYPE call_seconds histogram",
            "call_seconds_bucket{driver=\"haproxy\",le=\"0.000001\"} 0",
            "call_seconds_bucket{driver=\"haproxy\",le=\"0.001\"} 0",
            "call_seconds_bucket{driver=\"haproxy\",le=\"0.002\"} 1",
            "call_seconds_bucket{driver=\"haproxy\",le=\"+Inf\"} 1",
            "call_seconds_sum{driver=\"haproxy\"} 0.0015",
            "call_seconds_count{driver=\"haproxy\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\nin\n{text}");
        }
    }

    #[test]
    fn what_is_gone_is_no_longer_shown() {
        let figures = Figures::default();
        figures.counter(&CALLS, ["old", "ok"]).increment();
        figures.counter(&CALLS, ["new", "ok"]).increment();
        figures.counter(&CALLS, ["old", "timeout"]).increment();
        figures.gauge(&BUSY, []).set(1);
        figures.forget(&[("driver", "old"), ("code", "ok")]);
        let text = figures.render();
        assert!(!text.contains("\"old\",code=\"ok\"") && text.contains("new") && text.contains("timeout"), "{text}");
        assert!(text.contains("busy 1"), "{text}");
    }
}
