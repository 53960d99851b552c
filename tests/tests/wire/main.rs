//! What only a foreign process can do to its wire: for each misbehaviour what the caller gets, what log and `driver list` say,
//! that the next call works, and that no process is left. `drivers/raw.py` misbehaves, through entries with `command`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a suite stops where something is wrong")]

mod hosted;
mod python;

use std::time::{Duration, Instant};

use capstan::drivers::{CallOptions, DriverState, Settings, Stage};
use capstan_plugin_api::{ErrorCode, Retry};
use serde_json::{Value, json};

use hosted::{GRACE, Hosted, LONG};

/// Deadline of a call that will not be answered.
const SOON: Duration = Duration::from_millis(400);

/// `raw.py` with these steps.
async fn misbehave(name: &str, steps: &[&str], change: impl FnOnce(&mut Settings)) -> Hosted {
    Hosted::open(name, &["tests/drivers/raw.py"], steps, change).await
}

/// What `suspend` does, and what comes of it.
struct Case {
    act: &'static str,
    deadline: Duration,
    /// What the caller gets: the code of an error, or none.
    code: Option<ErrorCode>,
    /// Part of what the operator is told with it.
    told: &'static str,
    /// How the process ended, if it did.
    end: Option<&'static str>,
}

/// It breaks the protocol, which costs its process.
fn breach(act: &'static str, told: &'static str) -> Case {
    Case { act, deadline: LONG, code: Some(ErrorCode::UNAVAILABLE), told, end: Some("protocol") }
}

/// Its process ends.
fn ended(act: &'static str, end: &'static str, told: &'static str) -> Case {
    Case { act, deadline: LONG, code: Some(ErrorCode::UNAVAILABLE), told, end: Some(end) }
}

/// It does not answer, which costs its process when the grace is over.
fn hang(act: &'static str) -> Case {
    let told = "suspend: no answer by the deadline nor 300 ms after it was cancelled, so the driver was killed";
    Case { act, deadline: SOON, code: Some(ErrorCode::TIMEOUT), told, end: Some("hung") }
}

/// Its answer is an error, and it goes on.
fn failed(act: &'static str, code: ErrorCode, told: &'static str) -> Case {
    Case { act, deadline: LONG, code: Some(code), told, end: None }
}

/// It answers, and goes on.
fn well(act: &'static str) -> Case {
    Case { act, deadline: LONG, code: None, told: "", end: None }
}

impl Case {
    async fn check(&self) {
        let name = self.act.replace('_', "-");
        let raw = misbehave(&name, &[&format!("suspend={}", self.act)], |_| ()).await;
        let pid = raw.info().pid;
        let begun = Instant::now();
        let outcome = raw.call("suspend", self.deadline).await;
        let waited = begun.elapsed();
        assert!(waited < self.deadline + GRACE + Duration::from_secs(5), "{name}: answered after {waited:?}");
        match (&outcome, &self.code) {
            (Ok(_), None) => {}
            (Err(error), Some(code)) => {
                assert_eq!(error.code, *code, "{name}: {error:?}");
                assert!(error.operator_message.contains(self.told), "{name}: {error:?}");
                match (code == &ErrorCode::UNAVAILABLE, error.retry) {
                    // `suspend` may be repeated, but not before there is somebody to take it.
                    (true, Retry::After(wait)) => {
                        assert!((125..=250).contains(&wait.as_millis()), "{name}: {wait:?}");
                        assert!(error.operator_message.ends_with("; it may be repeated"), "{name}: {error:?}");
                    }
                    (false, Retry::Never) => {}
                    (_, other) => panic!("{name}: {other:?} in {error:?}"),
                }
            }
            _ => panic!("{name}: {outcome:?}"),
        }
        match self.end {
            Some(end) => self.check_restart(&raw, &name, end).await,
            None => {
                let info = raw.info();
                assert_eq!((info.state, info.restarts, info.pid), (DriverState::Ready, 0, pid), "{name}: {info:?}");
                assert!(info.ends.is_empty(), "{name}: {info:?}");
            }
        }
        let next = raw.call("enable", LONG).await;
        assert!(next.is_ok(), "{name}: the next call: {next:?}");
        raw.close().await;
    }

    async fn check_restart(&self, raw: &Hosted, name: &str, end: &str) {
        raw.until("a restart", |info| info.restarts == 1 && info.state == DriverState::Ready).await;
        let info = raw.info();
        assert_eq!(info.ends, [(end.to_owned(), 1)].into(), "{name}");
        let line = raw.log().into_iter().find(|line| line["fields"]["end"] == end);
        let line = line.unwrap_or_else(|| panic!("{name}: no line with end {end}: {:#?}", raw.log()));
        let message = line["fields"]["message"].as_str().unwrap();
        assert_eq!(line["level"], "ERROR");
        // What the caller was told is what the log says.
        let told = self.told.strip_prefix("suspend: no answer").map_or(self.told, |_| "suspend did not come back");
        assert!(message.starts_with("the driver ended: ") && message.contains(told), "{name}: {message}");
        assert!(raw.logged("the driver was started again") == 1, "{name}");
    }
}

async fn check(cases: &[Case]) {
    for case in cases {
        case.check().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_are_none_end_the_process() {
    check(&[
        breach("no_json", "it broke the protocol (a frame that cannot be read"),
        breach("no_object", "it broke the protocol (a frame that cannot be read (it is no JSON object))"),
        breach("no_utf8", "it broke the protocol (a frame that cannot be read"),
        breach("no_number", "it broke the protocol (a frame that cannot be read"),
        breach("text", "it broke the protocol (a frame of 1919246692 bytes, at most 67174400 are taken)"),
        breach("empty", "it broke the protocol (an empty frame)"),
        breach("huge", "it broke the protocol (a frame of 4294967295 bytes"),
        breach("too_long", "it broke the protocol (a frame of 67174401 bytes"),
        breach("wrong_id", "which was never called), so it was killed"),
        breach("silence", "it broke the protocol (it closed its socket)"),
        breach("half_and_silence", "it broke the protocol (its socket closed inside a frame)"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_ends_costs_what_was_out() {
    check(&[
        ended("exit_0", "exited", "it ended by itself with code 0"),
        ended("exit_3", "exited", "it ended by itself with code 3"),
        ended("half_and_end", "exited", "it ended by itself with code 0"),
        ended("crash", "crashed", "it crashed (SIGSEGV)"),
        ended("kept", "exited", "it ended by itself with code 0"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_does_not_come_back_is_ended_with_its_process() {
    check(&[
        hang("never"),
        hang("half"),
        hang("deaf"),
        // Told to stop, it does.
        Case { deadline: SOON, ..failed("until_cancelled", ErrorCode::TIMEOUT, "") },
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_none_cost_their_call() {
    check(&[
        failed("nothing", ErrorCode::INTERNAL, "suspend: a reply with neither result nor error"),
        failed("no_error", ErrorCode::INTERNAL, "suspend: an error that cannot be read"),
        failed("error", ErrorCode::new("tape_full"), ""),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_means_nothing_is_skipped_and_bytes_may_come_as_they_like() {
    check(&[well("unknown"), well("byte_by_byte"), well("large"), well("odd_ask"), well("one_log")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_reply_is_dropped_and_told_once() {
    let raw = misbehave("twice", &["suspend=twice"], |_| ()).await;
    for _ in 0..3 {
        raw.call("suspend", LONG).await.unwrap();
        raw.call("enable", LONG).await.unwrap();
    }
    let told = raw.log().iter().filter(|line| line.to_string().contains("has been answered")).count();
    assert_eq!((told, raw.info().restarts), (1, 0));
    raw.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_within_the_grace_counts_and_one_that_nobody_waits_for_does_not_harm() {
    let raw = misbehave("late", &["suspend=late"], |settings| settings.cancel_grace = LONG).await;
    let begun = Instant::now();
    raw.call("suspend", Duration::from_millis(100)).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(600), "{:?}", begun.elapsed());
    // The caller goes away at once.
    let gone = tokio::time::timeout(Duration::from_millis(50), raw.call("suspend", LONG)).await;
    assert!(gone.is_err());
    raw.until("the late answer", |info| info.in_flight == 0).await;
    raw.call("enable", LONG).await.unwrap();
    let info = raw.info();
    assert_eq!((info.state, info.restarts, info.ends.len()), (DriverState::Ready, 0, 0), "{info:?}");
    raw.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_caller_goes_away_is_cancelled() {
    let raw = misbehave("gone", &["suspend=until_cancelled"], |_| ()).await;
    let gone = tokio::time::timeout(Duration::from_millis(100), raw.call("suspend", LONG)).await;
    assert!(gone.is_err());
    raw.until("the cancelled call", |info| info.in_flight == 0).await;
    assert_eq!(raw.info().restarts, 0);
    raw.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_something_anew_is_not_to_be_repeated() {
    let raw = misbehave("anew", &["create_node=exit_0"], |_| ()).await;
    let error = raw.call("create_node", LONG).await.unwrap_err();
    assert_eq!((error.code.clone(), error.retry), (ErrorCode::UNAVAILABLE, Retry::Never), "{error:?}");
    assert!(error.operator_message.ends_with("what it did is not known, so look before you repeat it"), "{error}");
    raw.until("a restart", |info| info.restarts == 1).await;
    raw.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_are_cut_and_counted() {
    let raw = misbehave("floods", &["suspend=asks", "delete=logs", "apply=prints", "observe=long_line"], |_| ()).await;
    let answers = raw.call("suspend", LONG).await.unwrap();
    let count = |code: &str| answers[code].as_u64().unwrap_or(0);
    assert_eq!(count("ok") + count("unavailable"), 2000, "each question is answered: {answers}");
    assert!(count("ok") >= 256, "{answers}");

    raw.call("delete", LONG).await.unwrap();
    let lines = |start: &str| {
        let log = raw.log();
        log.iter().filter(|line| line["fields"]["message"].as_str().is_some_and(|text| text.starts_with(start))).count()
    };
    let logged = lines("line ");
    assert!((1000..10_000).contains(&logged), "{logged} lines of 20000");
    raw.call("apply", LONG).await.unwrap();
    let printed = lines("printed");
    assert!(printed < 10_000, "{printed} lines of 20000");
    // The next line that passes says how many did not.
    let end = Instant::now() + LONG;
    while lines("the driver logs too fast") == 0 {
        assert!(Instant::now() < end, "nothing says how many lines were dropped");
        raw.call("observe", LONG).await.unwrap();
    }
    let longest = raw.log().iter().filter_map(|line| Some(line["fields"]["message"].as_str()?.len())).max();
    assert!(longest.is_some_and(|longest| longest <= (2 << 10) + "...".len()), "{longest:?}");
    assert_eq!(raw.info().restarts, 0);
    raw.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_not_read_cost_the_driver_alone() {
    let raw = misbehave("unread", &["suspend=unread_asks"], |_| ()).await;
    raw.call("suspend", LONG).await.unwrap();
    let stuck = raw.call("enable", SOON).await.unwrap_err();
    assert_eq!(stuck.code, ErrorCode::TIMEOUT);
    raw.until("a restart", |info| info.restarts == 1 && info.state == DriverState::Ready).await;
    raw.call("enable", LONG).await.unwrap();
    raw.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_that_does_not_return_is_ended() {
    let raw = misbehave("close", &["close=never"], |_| ()).await;
    let begun = Instant::now();
    raw.registry.close(SOON).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(raw.logged("`close` did not return in time, so the process was killed"), 1, "{:#?}", raw.log());
    raw.assert_no_process_is_left();
    let out = misbehave("out", &["suspend=never"], |_| ()).await;
    let handle = out.handle();
    let call = tokio::spawn(async move {
        let options = CallOptions { deadline: Some(LONG), ..CallOptions::default() };
        handle.call::<_, Value>("suspend", &json!({}), options).await
    });
    out.until("a call that is out", |info| info.in_flight == 1).await;
    out.registry.close(SOON).await;
    assert_eq!(out.logged("1 calls were still out, so the process was killed"), 1, "{:#?}", out.log());
    assert_eq!(call.await.unwrap().unwrap_err().code, ErrorCode::UNAVAILABLE);
    out.assert_no_process_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_greet_open_or_live_is_not_loaded() {
    let soon = |settings: &mut Settings| {
        (settings.probe_timeout, settings.open_timeout, settings.health_timeout) = (LONG, SOON, SOON);
    };
    for (step, stage, found) in [
        ("hello=kind", Stage::Compatibility, "a driver of kind \"cloud\""),
        ("hello=interface", Stage::Compatibility, "interface \"load_balancer/9\""),
        ("hello=name", Stage::Manifest, "the name \"Raw Driver\""),
        ("hello=nameless", Stage::Manifest, "a manifest that cannot be read (missing field `name`"),
        ("hello=no_manifest", Stage::Manifest, "a hello without a manifest"),
        ("hello=no_protocol", Stage::Load, "a hello that cannot be read (missing field `protocol`"),
        ("hello=protocol_0", Stage::Load, "a hello of protocol 0"),
        ("hello=reply_first", Stage::Load, "a hello that cannot be read (another message came first)"),
        ("hello=ask_first", Stage::Load, "a hello that cannot be read (another message came first)"),
        ("hello=text", Stage::Load, "a hello that cannot be read (a frame of 1919246692 bytes"),
        ("hello=empty", Stage::Load, "a hello that cannot be read (an empty frame)"),
        ("hello=failed", Stage::Load, "no licence"),
        ("hello=schema", Stage::Configuration, "config.url"),
        ("open=never", Stage::Open, "no answer within 0.4 s"),
        ("open=error", Stage::Open, "tape_full: as told"),
        ("open=exit_3", Stage::Open, "it ended by itself with code 3"),
        ("open=no_json", Stage::Open, "it broke the protocol (a frame that cannot be read"),
        ("health=never", Stage::Health, "no answer within 0.4 s"),
        ("health=error", Stage::Health, "tape_full: as told"),
        ("health=crash", Stage::Health, "it crashed (SIGSEGV)"),
    ] {
        let raw = misbehave(&step.replace(['=', '_'], "-"), &[step], soon).await;
        let [failure] = raw.registry.failures().try_into().unwrap_or_else(|other| panic!("{step}: {other:?}"));
        assert!(failure.stage == stage && failure.found.contains(found), "{step}: {failure}");
        assert!(!failure.to_string().contains('\n') && raw.logged(&failure.to_string()) == 1, "{step}: {failure}");
        assert_eq!(raw.info().state, DriverState::Failed, "{step}");
        raw.assert_no_process_is_left();
        raw.close().await;
    }
    let soon = |settings: &mut Settings| settings.probe_timeout = SOON;
    for step in ["hello=never", "hello=half"] {
        let raw = misbehave(&step.replace('=', "-"), &[step], soon).await;
        assert_eq!(&*raw.registry.failures()[0].found, "no hello within 0.4 s", "{step}");
        raw.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hello_may_say_more_than_is_known() {
    for step in ["hello=unknown", "hello=log_first", "hello=twice"] {
        let raw = misbehave(&step.replace(['=', '_'], "-"), &[step], |_| ()).await;
        raw.call("suspend", LONG).await.unwrap();
        assert_eq!(raw.logged("before the hello") == 1, step == "hello=log_first", "{step}");
        raw.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_health_that_does_not_come_back_costs_the_process_and_an_illness_only_shows() {
    let often = |settings: &mut Settings| {
        (settings.health_interval, settings.health_timeout) = (Duration::from_millis(100), Duration::from_millis(300));
    };
    let raw = misbehave("health-once", &["health=once"], often).await;
    raw.until("an end", |info| info.ends.contains_key("hung")).await;
    let line = "the driver ended: health did not come back after its deadline and the grace, so it was killed";
    assert_eq!(raw.logged(line), 1, "{:#?}", raw.log());
    raw.close().await;

    let raw = misbehave("ill", &["health=ill_later"], often).await;
    raw.until("an illness", |info| info.state == DriverState::Unhealthy).await;
    assert_eq!(raw.info().last_error.as_deref(), Some("unhealthy: tape_full: as told"));
    assert_eq!(raw.logged("unhealthy: tape_full: as told"), 1, "{:#?}", raw.log());
    raw.call("enable", LONG).await.unwrap();
    assert_eq!(raw.info().restarts, 0);
    raw.close().await;

    // It reads nothing for a second and a half: one that says so is not asked meanwhile.
    let raw = misbehave("busy", &["suspend=busy", "serial_by=instance"], often).await;
    raw.call("suspend", LONG).await.unwrap();
    assert_eq!((raw.info().restarts, raw.info().state), (0, DriverState::Ready));
    raw.close().await;
    let raw = misbehave("busy-and-asked", &["suspend=busy"], often).await;
    let error = raw.call("suspend", LONG).await.unwrap_err();
    assert!(error.operator_message.contains("suspend: health did not come back"), "{error:?}");
    raw.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_is_another_one_each_time_stays_down_and_says_so() {
    let raw = misbehave("another", &["hello=another", "suspend=exit_0"], |_| ()).await;
    raw.call("suspend", LONG).await.unwrap_err();
    raw.until("two starts in vain", |info| info.ends.get("not_started").is_some_and(|count| *count >= 2)).await;
    let info = raw.info();
    assert!(matches!(info.state, DriverState::Restarting), "{info:?}");
    let why = info.last_error.unwrap();
    assert!(why.contains("another manifest in its hello") && why.contains("it is started again in "), "{why}");
    let error = raw.call("enable", LONG).await.unwrap_err();
    assert_eq!((error.code.as_str(), info.restarts), ("unavailable", 0), "{error:?}");
    assert!(matches!(error.retry, Retry::After(_)) && error.message.contains("it has not seen the call"), "{error:?}");
    raw.close().await;
}
