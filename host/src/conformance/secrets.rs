//! Nothing that a driver says holds a secret.

use serde_json::Value;

use super::{Report, bench::Bench};

/// Stands in the place of each secret when no configuration is given.
pub(super) const MARK: &str = "capstan-conformance-secret-8d1f2c";
/// A shorter secret is found in innocent words.
const SHORTEST: usize = 8;

/// Looks through all that the driver has logged, printed and answered on this bench.
pub(super) fn check(bench: &Bench, config: &Value, report: &mut Report<'_>) {
    let secrets: Vec<&str> = bench
        .manifest()
        .secrets
        .iter()
        .filter_map(|name| config.pointer(&format!("/{}", name.replace('.', "/")))?.as_str())
        .filter(|secret| secret.len() >= SHORTEST)
        .collect();
    if secrets.is_empty() {
        return report.skip("secrets", "its configuration holds no secret of 8 bytes or more");
    }
    let said = bench.said();
    match said.iter().find(|line| secrets.iter().any(|secret| line.contains(secret))) {
        Some(line) => {
            let cleaned = secrets.iter().fold(line.clone(), |line, secret| line.replace(secret, "[the secret]"));
            report.fail("secrets", format!("it gave a secret away: {cleaned}"));
        }
        None => report.pass("secrets", format!("none in {} lines and answers", said.len())),
    }
}
