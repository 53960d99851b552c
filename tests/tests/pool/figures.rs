//! The pool in figures, and the alerts that stand on them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

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

/// An alert of the rules that are shipped.
#[derive(Default)]
struct Alert {
    name: String,
    /// The figures of its expression, each with the labels that are asked of it.
    figures: BTreeMap<String, BTreeSet<String>>,
    runbook: String,
}

impl Alert {
    /// Reads `expr` of a rule: its figures, and the labels by which they are chosen and matched.
    fn read(&mut self, expression: &str) {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        for (at, _) in expression.match_indices("capstan_") {
            let rest = &expression[at..];
            let (figure, rest) = rest.split_at(rest.find(|c| !is_word(c)).unwrap_or(rest.len()));
            let chosen = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(inner, _)| inner);
            let labels = chosen.split(',').filter_map(|one| one.split(['=', '!']).next()).filter(|one| !one.is_empty());
            self.figures.entry(figure.to_owned()).or_default().extend(labels.map(str::to_owned));
        }
        for matched in expression.split("on (").skip(1).filter_map(|rest| rest.split(')').next()) {
            self.show(matched.split(", "));
        }
    }

    /// All its figures must have these labels; two are Prometheus's own.
    fn show<'a>(&mut self, labels: impl Iterator<Item = &'a str>) {
        let labels: Vec<_> = labels.filter(|label| !["job", "instance"].contains(label)).map(str::to_owned).collect();
        self.figures.values_mut().for_each(|figure| figure.extend(labels.iter().cloned()));
    }
}

fn alerts() -> Vec<Alert> {
    let mut alerts: Vec<Alert> = Vec::new();
    for entry in fs::read_dir(repository().join("config/alerts")).unwrap() {
        for line in fs::read_to_string(entry.unwrap().path()).unwrap().lines().map(str::trim_start) {
            if let Some(name) = line.strip_prefix("- alert: ") {
                alerts.push(Alert { name: name.to_owned(), ..Alert::default() });
            }
            let Some(alert) = alerts.last_mut() else { continue };
            if let Some(expression) = line.strip_prefix("expr: ") {
                alert.read(expression);
            } else if let Some(text) = line.strip_prefix("summary: ") {
                alert.show(text.split("$labels.").skip(1).filter_map(|rest| rest.split([' ', '}']).next()));
            } else if let Some(place) = line.strip_prefix("runbook: ") {
                place.clone_into(&mut alert.runbook);
            }
        }
    }
    alerts
}

#[test]
fn each_alert_stands_on_figures_and_labels_that_there_are_and_has_a_paragraph_in_the_runbook() {
    let runbook = fs::read_to_string(repository().join("docs/runbook.md")).unwrap();
    let headings: BTreeSet<_> = runbook.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let alerts = alerts();
    assert!(alerts.len() >= 10, "{} alerts", alerts.len());
    for Alert { name, figures, runbook } in &alerts {
        assert!(headings.contains(name.as_str()), "docs/runbook.md says nothing of {name}");
        assert_eq!(*runbook, format!("docs/runbook.md#{}", name.to_lowercase()), "{name} names another paragraph");
        assert!(!figures.is_empty(), "{name} stands on nothing");
    }
    let names: BTreeSet<_> = alerts.iter().map(|alert| alert.name.as_str()).collect();
    for heading in headings {
        assert!(names.contains(heading), "the runbook has {heading}, which no rule fires");
    }
    let world = World::new(Parts { pool: "nodes = 1", cloud: "" });
    let daemon = world.start();
    world.stocked(1);
    for Alert { name, figures, .. } in &alerts {
        for (figure, labels) in figures {
            let series = wait_for(&format!("{figure} of {name} to be shown"), FAR, || {
                let text = metrics(&world);
                text.lines().find(|line| is_of(line, figure)).map(str::to_owned)
            });
            for label in labels {
                let is_there = [format!("{{{label}=\""), format!(",{label}=\"")].iter().any(|it| series.contains(it));
                assert!(is_there, "{name} asks {figure} for {label}, and there is {series}");
            }
        }
    }
    daemon.stop();
}

/// Whether a line of the figures is a value of this one.
fn is_of(line: &str, figure: &str) -> bool {
    line.strip_prefix(figure).is_some_and(|rest| rest.starts_with(['{', ' ']))
}
