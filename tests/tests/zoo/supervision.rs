//! What follows the ends of a driver's process, and what deadlines are worth.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use capstan::drivers::{
    CallOptions, DriverEntry, DriverHandle, DriverState, Isolation, Kind, Registry, Settings, Supervision,
};
use capstan_plugin_api::{DriverError, Retry};
use capstan_tests::{daemon::Site, http, message::action, paths, process, random::Random, wait_for};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{host, is_long};

const FAR: Duration = Duration::from_secs(20);

/// A registry with the bad driver in a process of its own.
async fn open(change: impl FnOnce(&mut Settings)) -> (TempDir, Registry, DriverHandle) {
    let folder = tempfile::Builder::new().prefix("zoo-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let entry = DriverEntry {
        isolation: Isolation::Process,
        ..DriverEntry::new(Kind::LoadBalancer, "bad", paths::driver("bad_driver"))
    };
    let mut settings = Settings { drivers: vec![entry], ..host::settings(folder.path()) };
    change(&mut settings);
    let registry = Registry::open(settings).await.unwrap();
    let driver = registry.handle(Kind::LoadBalancer, "bad").unwrap();
    (folder, registry, driver)
}

async fn call(driver: &DriverHandle, word: &str, deadline: Duration) -> Result<Value, DriverError> {
    let options = CallOptions { deadline: Some(deadline), ..CallOptions::default() };
    driver.call("apply", &json!({ "misbehave": word }), options).await
}

async fn until_it_is(registry: &Registry, state: DriverState) {
    let end = Instant::now() + FAR;
    while registry.info(Kind::LoadBalancer, "bad").unwrap().state != state {
        assert!(Instant::now() < end, "{:?}", registry.info(Kind::LoadBalancer, "bad"));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn waits_grow_with_jitter_and_ten_ends_in_a_row_open_the_circuit() {
    let first_wait = Duration::from_millis(4);
    let longest_wait = Duration::from_millis(256);
    let (_folder, registry, driver) = open(|settings| {
        settings.supervision = Supervision { first_wait, longest_wait, ..Supervision::default() };
    })
    .await;
    let (mut span, mut shares) = (first_wait, Vec::new());
    for end in 1..=10 {
        let error = call(&driver, "abort", FAR).await.unwrap_err();
        let Retry::After(wait) = error.retry else { panic!("{error:?}") };
        if end == 10 {
            assert_eq!(wait, Supervision::default().open_for, "{error:?}");
            break;
        }
        assert!(wait >= span / 2 && wait <= span, "end {end}: {wait:?} of {span:?}");
        shares.push(wait.as_secs_f64() / span.as_secs_f64());
        span = (span * 2).min(longest_wait);
        until_it_is(&registry, DriverState::Ready).await;
    }
    println!("zoo: shares of the spans that were waited: {shares:.2?}");
    let spread = shares.iter().fold(0.0_f64, |most, share| most.max((share - shares[0]).abs()));
    assert!(spread > 0.01, "no jitter: {shares:?}");

    let info = registry.info(Kind::LoadBalancer, "bad").unwrap();
    assert_eq!((info.state, info.pid, info.restarts), (DriverState::CircuitOpen, None, 9));
    let why = info.last_error.unwrap();
    for part in
        ["it crashed (SIGABRT)", "10 times in a row", "tried again in ", "`capstan driver restart load_balancer.bad`"]
    {
        assert!(why.contains(part), "{part}: {why}");
    }
    let begun = Instant::now();
    let error = call(&driver, "good", FAR).await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(1), "it is answered at once");
    assert_eq!(error.code.as_str(), "unavailable", "{error:?}");
    assert!(matches!(error.retry, Retry::After(left) if left > Duration::from_secs(200)), "{error:?}");
    registry.close(Duration::from_secs(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_circuit_is_tried_again_and_a_stable_process_closes_it() {
    let (_folder, registry, driver) = open(|settings| {
        settings.supervision = Supervision {
            first_wait: Duration::from_millis(4),
            longest_wait: Duration::from_millis(8),
            stable: Duration::from_millis(500),
            most_ends: 3,
            open_for: Duration::from_millis(400),
        };
    })
    .await;
    for _ in 0..3 {
        until_it_is(&registry, DriverState::Ready).await;
        call(&driver, "abort", FAR).await.unwrap_err();
    }
    until_it_is(&registry, DriverState::CircuitOpen).await;
    until_it_is(&registry, DriverState::Ready).await;
    call(&driver, "good", FAR).await.expect("it is tried once");
    tokio::time::sleep(Duration::from_millis(600)).await;
    // The count began anew: it takes as many ends again.
    call(&driver, "abort", FAR).await.unwrap_err();
    until_it_is(&registry, DriverState::Ready).await;
    registry.close(Duration::from_secs(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_call_is_answered_within_the_grace() {
    let deadline = Duration::from_millis(50);
    let grace = Duration::from_millis(50);
    let (_folder, registry, driver) = open(|settings| settings.cancel_grace = grace).await;
    let mut overruns = Vec::new();
    for word in ["hang", "busy", "sleep:60000", "frames:half", "stop"].into_iter().cycle().take(20) {
        until_it_is(&registry, DriverState::Ready).await;
        let begun = Instant::now();
        let error = call(&driver, word, deadline).await.unwrap_err();
        let took = begun.elapsed();
        assert_eq!(error.code.as_str(), "timeout", "{word}: {error:?}");
        overruns.push(took.checked_sub(deadline).unwrap_or_else(|| panic!("{word} took {took:?}: {error:?}")));
        // The next call comes while the process is being killed, and is not handed to it.
        if let Err(error) = call(&driver, "good", FAR).await {
            assert!(error.message.contains("it has not seen the call"), "after {word}: {error:?}");
            assert!(matches!(error.retry, Retry::After(_)), "after {word}: {error:?}");
        }
    }
    overruns.sort_unstable();
    println!("zoo: grace {grace:?}; answered after the deadline: median {:?}, latest {:?}", overruns[10], overruns[19]);
    // What the machine needs to run whoever waits is no part of the contract.
    assert!(overruns[19] < grace + Duration::from_secs(2), "{overruns:?}");
    registry.close(Duration::from_secs(1)).await;
}

/// Keeper or driver, at random moments, while calls come without end.
#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_is_killed_at_random_moments_keeps_no_caller_waiting() {
    let mut random = Random::seeded(4);
    let deadline = Duration::from_secs(5);
    let (folder, registry, driver) = open(|settings| settings.drivers[0].max_concurrency = 4).await;
    let stop = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..4)
        .map(|caller| {
            let (driver, stop) = (driver.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let (mut good, mut lost, mut latest) = (0_u64, 0_u64, Duration::ZERO);
                while !stop.load(Ordering::Acquire) {
                    let begun = Instant::now();
                    let word = if caller == 0 { "sleep:20" } else { "good" };
                    match call(&driver, word, deadline).await {
                        Ok(_) => good += 1,
                        Err(error) => {
                            assert_eq!(error.code.as_str(), "unavailable", "{error:?}");
                            lost += 1;
                            // As a caller would who is told when to come back.
                            if let Retry::After(wait) = error.retry {
                                tokio::time::sleep(wait).await;
                                continue;
                            }
                        }
                    }
                    latest = latest.max(begun.elapsed());
                }
                (good, lost, latest)
            })
        })
        .collect();
    let (begun, mut kills) = (Instant::now(), 0);
    let time = Duration::from_secs(if is_long() { 60 } else { 6 });
    while begun.elapsed() < time {
        tokio::time::sleep(Duration::from_millis(random.below(60))).await;
        // By their command line, so that those are hit as well which are just being started.
        let pids = process::with_command_line(&folder.path().display().to_string());
        if let Some(pid) = pids.get(random.below(pids.len() as u64) as usize) {
            process::signal_to(*pid, Signal::KILL);
            kills += 1;
        }
    }
    stop.store(true, Ordering::Release);
    let (mut good, mut lost, mut latest) = (0, 0, Duration::ZERO);
    for caller in callers {
        let seen = caller.await.unwrap();
        (good, lost, latest) = (good + seen.0, lost + seen.1, latest.max(seen.2));
    }
    let info = registry.info(Kind::LoadBalancer, "bad").unwrap();
    println!(
        "zoo: {kills} kills in {time:?}: {good} calls answered, {lost} lost, the slowest took {latest:?}; {:?}",
        info.ends
    );
    assert!(good > 0 && info.restarts > 0, "{info:?}");
    assert!(latest < deadline, "{latest:?}");
    until_it_is(&registry, DriverState::Ready).await;
    call(&driver, "good", FAR).await.expect("it serves again");
    registry.close(Duration::from_secs(1)).await;
    wait_for("every process to be gone", FAR, || {
        process::with_command_line(&folder.path().display().to_string()).is_empty().then_some(())
    });
}

/// With the real waits, which take a minute and a half: only in a long run.
#[test]
fn a_daemon_shows_an_open_circuit() {
    if !is_long() {
        return;
    }
    let site = Site::worker("bad", "invoke = { suspend = \"abort\" }");
    let daemon = site.start();
    let begun = Instant::now();
    let listed = wait_for("the open circuit", Duration::from_secs(180), || {
        let listed = http::get(site.http_port, "/drivers/v1/load_balancer/bad", "").unwrap().json();
        if listed["state"] == "ready" {
            assert_eq!(site.ask(&action("SUSPEND"))["hpcs_response"], "FAIL");
        }
        (listed["state"] == "circuit_open").then_some(listed)
    });
    println!("zoo: ten ends in a row took {:?}", begun.elapsed());
    assert_eq!((&listed["restarts"], &listed["ends"]["crashed"]), (&json!(9), &json!(10)), "{listed}");
    let table = site.expect(0, &["driver", "list"]);
    for part in ["circuit_open", "10 times in a row", "capstan driver restart load_balancer.bad"] {
        assert!(format!("{}{}", table.out, table.error).contains(part), "{part}: {table:?}");
    }
    daemon.stop();
}
