//! The pool in figures, and the alerts that stand on them.

use std::{collections::BTreeSet, fs, path::Path};

use capstan_tests::{http, wait_for};
use serde_json::json;

use crate::world::{FAR, Parts, World};

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn metrics(world: &World) -> String {
    let answer = http::get(world.site.http_port, "/metrics", "").unwrap();
    assert_eq!(answer.status, 200);
    answer.body
}

/// The value of a figure, its labels written as they are shown.
fn value(world: &World, figure: &str) -> Option<f64> {
    let text = metrics(world);
    text.lines().find_map(|line| line.strip_prefix(figure)?.trim().parse().ok())
}

#[test]
fn stock_builds_and_holds_are_counted() {
    let world = World::new(Parts { pool: "nodes = 2", cloud: r#"faults = [{ fault = "node_error", calls = [1] }]"# });
    let daemon = world.start();
    // Each way to fail is there before anything fails, so that a rise can be seen.
    assert_eq!(value(&world, "capstan_pool_builds_total{stock=\"default\",result=\"quota_exceeded\"}"), Some(0.0));
    world.stocked(2);
    for (figure, expected) in [
        ("capstan_pool_wanted_nodes{stock=\"default\"}", 2.0),
        ("capstan_pool_nodes{stock=\"default\",state=\"ready\"}", 2.0),
        ("capstan_pool_builds_total{stock=\"default\",result=\"done\"}", 2.0),
        ("capstan_pool_builds_total{stock=\"default\",result=\"node_error\"}", 1.0),
        ("capstan_pool_held{stock=\"default\"}", 0.0),
        ("capstan_pool_paused{stock=\"default\"}", 0.0),
        ("capstan_pool_cloud_rests_total{cloud=\"default\"}", 0.0),
    ] {
        wait_for(&format!("{figure} to be {expected}"), FAR, || {
            (value(&world, figure) == Some(expected)).then_some(())
        });
    }
    assert!(value(&world, "capstan_pool_cloud_calls_total{cloud=\"default\"}").unwrap() >= 3.0);
    world.site.expect(0, &["hold", "--reason", "to be seen"]);
    world.site.expect(0, &["pool", "pause", "--reason", "to be seen"]);
    for figure in
        ["capstan_pool_held{stock=\"default\"}", "capstan_pool_paused{stock=\"default\"}", "capstan_pool_holds"]
    {
        wait_for(&format!("{figure} to be 1"), FAR, || (value(&world, figure) == Some(1.0)).then_some(()));
    }
    let taken = world.post("/pool/v1/stocks/default/take", &json!({ "owner": "a" }));
    assert_eq!(taken.status, 200, "{taken:?}");
    let figure = "capstan_pool_nodes{stock=\"default\",state=\"taken\"}";
    wait_for("the taken node to be counted", FAR, || (value(&world, figure) == Some(1.0)).then_some(()));
    daemon.stop();
}

#[test]
fn each_alert_stands_on_a_figure_that_there_is_and_has_a_paragraph_in_the_runbook() {
    let runbook = fs::read_to_string(repository().join("docs/runbook.md")).unwrap();
    let headings: BTreeSet<_> = runbook.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let mut figures = BTreeSet::new();
    let mut alerts = BTreeSet::new();
    let rules: Vec<_> =
        fs::read_dir(repository().join("config/alerts")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!rules.is_empty());
    for path in rules {
        let text = fs::read_to_string(&path).unwrap();
        for line in text.lines().map(str::trim_start) {
            if let Some(alert) = line.strip_prefix("- alert: ") {
                assert!(headings.contains(alert), "docs/runbook.md says nothing of {alert}");
                assert!(
                    text.contains(&format!("runbook: docs/runbook.md#{}", alert.to_lowercase())),
                    "{alert} names another paragraph"
                );
                alerts.insert(alert.to_owned());
            }
            if let Some(expression) = line.strip_prefix("expr: ") {
                let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                figures.extend(words.filter(|word| word.starts_with("capstan_")).map(str::to_owned));
            }
        }
    }
    assert!(alerts.len() >= 10 && figures.len() >= 10, "{alerts:?} {figures:?}");
    for heading in headings {
        assert!(alerts.contains(heading), "the runbook has {heading}, which no rule fires");
    }
    let world = World::new(Parts { pool: "nodes = 1", cloud: "" });
    let daemon = world.start();
    world.stocked(1);
    for figure in figures {
        wait_for(&format!("{figure} to be shown"), FAR, || {
            metrics(&world).contains(&format!("# TYPE {figure} ")).then_some(())
        });
    }
    daemon.stop();
}
