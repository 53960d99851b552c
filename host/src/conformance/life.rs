//! Many instances, beside and after each other.

use std::{fs, time::Duration};

use serde_json::Value;

use super::{Report, Subject, bench::Bench, contract};
use crate::drivers::{Isolation, Registry};

/// Opened and closed so often.
const ROUNDS: usize = 100;
/// By now what is made once has been made.
const SETTLED: usize = 20;
/// Memory that is lost grows between any two looks; memory that a pool keeps, such as that of a library's bytes in an arena of
/// the C library, comes in a few steps.
const LOOKS: usize = 20;
/// What may be added between the two looks: a library may start a thread of its own late, memory is kept in pools.
const MORE_THREADS: usize = 1;
const MORE_FILES: usize = 2;
const MORE_KIB: u64 = 2 << 10;

/// Two instances at once, and a hundred one after the other.
pub(super) async fn check(subject: &Subject, mode: Isolation, config: &Value, report: &mut Report<'_>) {
    if subject.is_live {
        two_instances(subject, mode, config, report).await;
    } else {
        report.skip("instances", "what one instance makes and the other must not see is made with --live only");
    }
    report.judge("open-close", open_and_close(subject, mode, config).await);
}

async fn two_instances(subject: &Subject, mode: Isolation, config: &Value, report: &mut Report<'_>) {
    if subject.is_backend_shared {
        return report.skip("instances", "both would see the same backend (conformance.shared_backend)");
    }
    let mut quiet = |_: &super::Outcome| {};
    let mut aside = Report::new(String::new(), &mut quiet);
    // One file in one process, as two entries of a configuration have it: each keeps its own state with the host, and what the
    // library has in statics is there for both.
    let folder = format!("instances-{}", mode.as_str());
    let first = Bench::open(subject, "first", &folder, mode, config, &mut aside).await;
    let second = Bench::open(subject, "second", &folder, mode, config, &mut aside).await;
    let (Some(first), Some(second)) = (first, second) else {
        return report.fail("instances", "a second instance cannot be opened beside the first");
    };
    match contract::leave_a_trace(&first).await {
        None => report.skip("instances", "this kind has nothing that tells two instances apart"),
        Some(Err(error)) => report.fail(
            "instances",
            format!("one instance alone could be used; with a second one open it answers {}: {error}", error.code),
        ),
        Some(Ok(trace)) => {
            let is_seen = contract::sees(&second, &trace).await;
            let outcome = if is_seen {
                Err(format!(
                    "{trace}, made in one instance, is seen in another: state belongs to the instance, never to statics (a backend that \
                     both share says conformance.shared_backend = true)"
                ))
            } else {
                Ok(format!("{trace}, made in one instance, is not seen in another"))
            };
            contract::remove_the_trace(&first, &trace).await;
            report.judge("instances", outcome);
        }
    }
    first.close(&mut aside).await;
    second.close(&mut aside).await;
}

/// What this process holds.
#[derive(Clone, Copy)]
struct Holdings {
    threads: usize,
    files: usize,
    children: usize,
    kib: u64,
}

impl Holdings {
    fn now() -> Self {
        let entries = |path: &str| fs::read_dir(path).map_or(0, Iterator::count);
        let children = fs::read_dir("/proc/self/task").into_iter().flatten().flatten().map(|task| {
            let text = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            text.split_whitespace().count()
        });
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().split(' ').next()?.parse().ok());
        Self {
            threads: entries("/proc/self/task"),
            files: entries("/proc/self/fd"),
            children: children.sum(),
            kib: kib.unwrap_or_default(),
        }
    }
}

async fn open_and_close(subject: &Subject, mode: Isolation, config: &Value) -> Result<String, String> {
    let mut settled = Holdings::now();
    let mut growths = Vec::new();
    let mut last = settled;
    for round in 1..=ROUNDS {
        let settings = subject.settings("life", vec![subject.entry(mode, config)]);
        let registry = Registry::open(settings).await.map_err(|failed| format!("round {round}: {failed}"))?;
        if let Some(error) = registry.failures().first() {
            return Err(format!("round {round}: {error}"));
        }
        registry.close(Duration::from_secs(10)).await;
        drop(registry);
        if round % LOOKS == 0 {
            let now = quiet().await;
            if round == SETTLED {
                settled = now;
            } else {
                growths.push(now.kib.saturating_sub(last.kib));
            }
            last = now;
        }
    }
    let after = last;
    for (what, before, after, most) in [
        ("threads", settled.threads, after.threads, MORE_THREADS),
        ("descriptors", settled.files, after.files, MORE_FILES),
        ("processes", settled.children, after.children, 0),
    ] {
        if after > before + most {
            return Err(format!(
                "{before} {what} after {SETTLED} times, {after} after {ROUNDS}: `close` leaves some behind"
            ));
        }
    }
    let more = after.kib.saturating_sub(settled.kib);
    if growths.iter().all(|growth| *growth > MORE_KIB) {
        return Err(format!("{more} KiB of memory more after {ROUNDS} times than after {SETTLED}"));
    }
    Ok(format!(
        "opened and closed {ROUNDS} times: {} threads, {} descriptors, {more} KiB more",
        after.threads, after.files
    ))
}

/// What is held once threads that are about to end have ended.
async fn quiet() -> Holdings {
    let mut least = Holdings::now();
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let now = Holdings::now();
        let is_less = now.threads < least.threads || now.files < least.files || now.children < least.children;
        if !is_less && now.threads == least.threads {
            // The same twice in a row.
            return now;
        }
        least = now;
    }
    least
}
