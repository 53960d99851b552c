//! A change that is cut off after any of its steps: HAProxy serves the old or the new configuration, also when it is killed
//! right then and started from the file by hand, and the next call succeeds. Nothing runs after the step, so what is left
//! is what a SIGKILL leaves; the host's state is on disk before a call returns, and survives here as it does there.

#[path = "../../tests/haproxy/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the integration tests use the rest")]
mod support;

use rustix::process::Signal;
use serde_json::{Value, json};
use support::{Web, World, free_port, get, http, member, tcp, until};

use super::Step;
use crate::failpoint::stop_at;

fn world(name: &str) -> World {
    let mut world = World::new();
    world.device = name.to_owned();
    world
}

/// Runs `new` over `old` and stops after `step`; `old` none means a first change.
fn cut_off(name: &str, step: Step, old: Option<&Value>, new: &Value, port: u16, answers: [Option<&str>; 2]) {
    for kill_haproxy in [false, true] {
        let mut world = world(&format!("{name}-{kill_haproxy}"));
        if let Some(old) = old {
            world.apply(old);
        }
        let request = world.request(new);
        stop_at(&world.device, Some(step));
        let error = world.driver.call("apply", &request).unwrap_err();
        assert_eq!(error.message, "stopped by a test", "{step:?} was not passed");
        stop_at(&world.device, None);
        if kill_haproxy {
            world.host.stop(&world.program(), Signal::KILL);
        } else if old.is_some() {
            // Old or new, at every moment; a first change may not be up yet.
            for _ in 0..3 {
                let body = get(port).unwrap().body;
                assert!(answers.contains(&Some(body.as_str())), "{step:?}: {body}");
            }
        }
        world.reopen();
        if kill_haproxy && world.file("haproxy.cfg").exists() {
            // Whoever starts it now gets the old or the new one, whole.
            let _by_hand = world.start_by_hand();
            until("the file serves", || get(port).is_ok_and(|answer| answers.contains(&Some(answer.body.as_str()))));
        }
        let applied = world.driver.call("apply", &request).unwrap();
        assert!(applied["load_balancers"][0].get("error").is_none(), "{applied}");
        until("the new configuration serves", || get(port).ok().map(|answer| answer.body).as_deref() == answers[1]);
        assert!(world.call("observe").unwrap().get("drift").is_none(), "{step:?}: {}", world.call("observe").unwrap());
        assert_eq!(world.driver.call("apply", &request).unwrap()["method"], "unchanged", "{step:?}");
        // And what is on the disk is what runs.
        world.host.stop(&world.program(), Signal::KILL);
        {
            let _by_hand = world.start_by_hand();
            until("the file serves", || get(port).ok().map(|answer| answer.body).as_deref() == answers[1]);
        }
        world.reopen();
        assert_eq!(world.driver.call("apply", &request).unwrap()["method"], "start");
        until("it comes up the same", || get(port).ok().map(|answer| answer.body).as_deref() == answers[1]);
    }
}

const LOADING: [Step; 6] = [Step::Checked, Step::Counted, Step::Placed, Step::Asked, Step::Confirmed, Step::Recorded];

#[test]
fn a_first_change_may_be_cut_off_anywhere() {
    let web = Web::start("new");
    for step in LOADING {
        let port = free_port();
        cut_off(
            &format!("first-{step:?}").to_lowercase(),
            step,
            None,
            &http(port, &[member("n", &web)]),
            port,
            [None, Some("new")],
        );
    }
}

#[test]
fn a_reload_may_be_cut_off_anywhere() {
    let [old, new] = ["old", "new"].map(Web::start);
    for step in LOADING {
        let port = free_port();
        let mut after = http(port, &[member("n", &new)]);
        after[0]["pools"][0]["algorithm"] = json!("LEAST_CONNECTIONS");
        let before = http(port, &[member("o", &old)]);
        let name = format!("reload-{step:?}").to_lowercase();
        cut_off(&name, step, Some(&before), &after, port, [Some("old"), Some("new")]);
    }
}

#[test]
fn a_runtime_change_may_be_cut_off_anywhere() {
    let [old, new] = ["old", "new"].map(Web::start);
    for step in [Step::Commanded, Step::Recorded] {
        for (kind, spec) in [("http", http as fn(u16, &[Value]) -> Value), ("tcp", tcp)] {
            let port = free_port();
            let [before, after] = [spec(port, &[member("o", &old)]), spec(port, &[member("n", &new)])];
            let name = format!("runtime-{kind}-{step:?}").to_lowercase();
            cut_off(&name, step, Some(&before), &after, port, [Some("old"), Some("new")]);
        }
    }
}

#[test]
fn after_a_cut_off_change_another_one_may_come_and_nothing_is_left_of_the_first() {
    let [old, first, second] = ["old", "first", "second"].map(Web::start);
    for step in [Step::Commanded, Step::Recorded] {
        let (mut world, port) = (world(&format!("other-{step:?}").to_lowercase()), free_port());
        world.apply(&http(port, &[member("o", &old)]));
        let lost = world.request(&http(port, &[member("f", &first)]));
        stop_at(&world.device, Some(step));
        world.driver.call("apply", &lost).unwrap_err();
        stop_at(&world.device, None);
        world.reopen();
        world.apply(&http(port, &[member("s", &second)]));
        for _ in 0..6 {
            assert_eq!(get(port).unwrap().body, "second");
        }
        assert!(!world.config_text().contains(&first.port().to_string()));
    }
}
