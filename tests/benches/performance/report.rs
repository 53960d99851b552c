//! What is printed: one table for each subject, and the summary in Markdown at the end.
#![allow(clippy::print_stdout, reason = "a benchmark's output is its report")]

use crate::measure::Series;

/// One row of the summary.
#[derive(Clone, Debug)]
pub struct Row {
    /// What is measured.
    pub what: String,
    /// Our figure.
    pub ours: String,
    /// What stands beside it, with its figure.
    pub beside: String,
    /// How they relate.
    pub relation: String,
    /// What we want; empty for a row that only informs.
    pub aim: String,
    /// Whether it was reached; none where there is no aim.
    pub kept: Option<bool>,
}

/// The rows so far.
#[derive(Debug, Default)]
pub struct Report {
    rows: Vec<Row>,
}

impl Report {
    /// Begins a subject.
    pub fn subject(&self, title: &str, remark: &str) {
        println!("\n## {title}\n{remark}\n");
    }

    /// Prints the series of a subject, beside each other.
    pub fn series(&self, series: &[&Series]) {
        let mut table =
            vec![["", "N", "rounds", "min", "p50", "mean", "p99", "max", "p50 of the rounds"].map(String::from)];
        table.extend(series.iter().map(|series| {
            let (low, high) = series.spread();
            [
                series.name.clone(),
                series.count().to_string(),
                series.rounds().to_string(),
                time(series.min()),
                time(series.p50()),
                time(series.mean()),
                time(series.p99()),
                time(series.max()),
                format!("{} to {}", time(low), time(high)),
            ]
        }));
        print(&table);
    }

    /// Prints any other table of a subject; the first row is its head.
    pub fn table<const N: usize>(&self, rows: &[[String; N]]) {
        print(rows);
    }

    /// Takes a row for the summary.
    pub fn row(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Prints the summary; says whether every aim was reached.
    pub fn summary(&self) -> bool {
        println!("\n## Summary\n");
        let mut table = vec![["measured", "ours", "beside it", "relation", "aim", "reached"].map(String::from)];
        table.extend(self.rows.iter().map(|row| {
            let kept = row.kept.map_or("", |kept| if kept { "yes" } else { "**no**" });
            [&row.what, &row.ours, &row.beside, &row.relation, &row.aim, kept].map(|cell| (*cell).to_owned())
        }));
        print(&table);
        self.rows.iter().all(|row| row.kept != Some(false))
    }
}

fn print<const N: usize>(rows: &[[String; N]]) {
    let widths: [usize; N] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    for (number, row) in rows.iter().enumerate() {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        println!("| {} |", cells.join(" | "));
        if number == 0 {
            let lines: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
            println!("| {} |", lines.join(" | "));
        }
    }
}

/// Nanoseconds for people.
pub fn time(nanoseconds: f64) -> String {
    match nanoseconds {
        ns if ns < 1e3 => format!("{ns:.0} ns"),
        ns if ns < 1e5 => format!("{:.1} us", ns / 1e3),
        ns if ns < 1e6 => format!("{:.0} us", ns / 1e3),
        ns if ns < 1e8 => format!("{:.2} ms", ns / 1e6),
        ns => format!("{:.0} ms", ns / 1e6),
    }
}

/// p50 and p99 for a cell of the summary.
pub fn quantiles(series: &Series) -> String {
    format!("p50 {}, p99 {}", time(series.p50()), time(series.p99()))
}

/// p50 and the slowest, where there are too few measurements for a p99.
pub fn median_and_longest(series: &Series) -> String {
    format!("p50 {}, max {}", time(series.p50()), time(series.max()))
}
