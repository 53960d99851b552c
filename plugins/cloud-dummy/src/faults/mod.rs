//! What goes wrong, and when.

mod control;
mod rule;

pub(crate) use control::Control;
pub(crate) use rule::{Fault, Rule};

use crate::random::Random;

/// Rules with what they have met so far.
pub(crate) struct Armed {
    seed: u64,
    /// Where the rules stand: two lists with one seed draw apart.
    place: &'static str,
    rules: Vec<Counted>,
}

struct Counted {
    rule: Rule,
    met: u64,
    fired: u64,
}

/// The faults of one call.
#[derive(Debug, Default)]
pub(crate) struct Fired(Vec<Rule>);

impl Armed {
    pub(crate) fn new(seed: u64, place: &'static str, rules: &[Rule]) -> Self {
        let rules = rules.iter().map(|rule| Counted { rule: rule.clone(), met: 0, fired: 0 }).collect();
        Self { seed, place, rules }
    }

    /// Counts a call, and adds the faults that befall it to `fired`. `subject` is the name of the node to create or the id of the object.
    pub(crate) fn meet(&mut self, method: &str, subject: &str, fired: &mut Fired) {
        for (number, counted) in self.rules.iter_mut().enumerate() {
            let rule = &counted.rule;
            if !rule.is_about(method, subject) {
                continue;
            }
            counted.met += 1;
            let is_spent = rule.times.is_some_and(|times| counted.fired >= times);
            let chance = || Random::of(self.seed, &format!("{} {number}", self.place), counted.met).unit();
            if !is_spent && rule.fires(counted.met, chance) {
                counted.fired += 1;
                fired.0.push(rule.clone());
            }
        }
    }
}

impl Fired {
    /// The first of a kind.
    pub(crate) fn find(&self, fault: Fault) -> Option<&Rule> {
        self.0.iter().find(|rule| rule.fault == fault)
    }

    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.find(fault).is_some()
    }

    /// Milliseconds of a fault that has a time.
    pub(crate) fn delay(&self, fault: Fault) -> Option<i64> {
        self.find(fault).map(|rule| i64::try_from(rule.delay()).unwrap_or(i64::MAX / 4))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn armed(rules: Value) -> Armed {
        Armed::new(42, "faults", &serde_json::from_value::<Vec<Rule>>(rules).unwrap())
    }

    /// The numbers of the calls that a rule befalls, of the first `count`.
    fn befallen(armed: &mut Armed, method: &str, subject: &str, count: u64) -> Vec<u64> {
        (1..=count)
            .filter(|_| {
                let mut fired = Fired::default();
                armed.meet(method, subject, &mut fired);
                fired.iter().next().is_some()
            })
            .collect()
    }

    #[test]
    fn a_rule_fires_when_it_says() {
        for (when, calls) in [
            (json!({}), vec![1, 2, 3, 4, 5, 6]),
            (json!({ "times": 2 }), vec![1, 2]),
            (json!({ "calls": [2, 5] }), vec![2, 5]),
            (json!({ "every": 3 }), vec![3, 6]),
            (json!({ "every": 2, "calls": [1], "times": 3 }), vec![1, 2, 4]),
            (json!({ "probability": 1 }), vec![1, 2, 3, 4, 5, 6]),
            (json!({ "probability": 0 }), vec![]),
            (json!({ "node": "web-" }), vec![]),
            (json!({ "node": "pool-" }), vec![1, 2, 3, 4, 5, 6]),
        ] {
            let mut rule = when.clone();
            rule["fault"] = json!("reply_lost");
            let mut armed = armed(json!([rule]));
            assert_eq!(befallen(&mut armed, "list_nodes", "pool-1", 3), Vec::<u64>::new());
            assert_eq!(befallen(&mut armed, "create_node", "pool-1", 6), calls, "{when}");
        }
    }

    #[test]
    fn chance_repeats_itself_and_each_rule_has_its_own() {
        let rules = json!([
            { "fault": "slow", "methods": ["list_nodes"], "probability": 0.3 },
            { "fault": "slow", "methods": ["get_node"], "probability": 0.3 },
        ]);
        let first = befallen(&mut armed(rules.clone()), "list_nodes", "", 1_000);
        assert!((250..350).contains(&first.len()), "{}", first.len());
        let mut second = armed(rules);
        let other = befallen(&mut second, "get_node", "", 1_000);
        assert_ne!(first, other);
        assert_eq!(first, befallen(&mut second, "list_nodes", "", 1_000), "calls of other methods change nothing");
    }
}
