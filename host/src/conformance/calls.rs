//! What holds for the calls of every kind.

use std::time::{Duration, Instant};

use capstan_plugin_api::{DriverError, ErrorCode};
use serde_json::{Value, json};

use super::{
    Report,
    bench::Bench,
    methods::{optional, reading},
};
use crate::drivers::CallOptions;

/// Calls at once.
const AT_ONCE: usize = 64;
/// A text that is larger than anything a driver expects.
const HUGE: usize = 8 << 20;
/// The deadline that no driver can keep.
const SHORT: Duration = Duration::from_millis(1);
/// What the host gives a driver after its deadline.
const GRACE: Duration = Duration::from_secs(1);

/// One call at a time, good and bad.
pub(super) async fn check(bench: &Bench, report: &mut Report<'_>) {
    report.judge("health", health(bench).await);
    report.judge("unknown-method", unknown_method(bench).await);
    report.judge("optional-methods", optional_methods(bench).await);
    report.judge("unknown-field", unknown_field(bench).await);
    report.judge("malformed", malformed(bench).await);
    report.judge("huge", huge(bench).await);
}

/// Many calls at once, and calls that are not waited for.
pub(super) async fn check_under_load(bench: &Bench, report: &mut Report<'_>) {
    report.judge("parallel", parallel(bench).await);
    report.judge("deadline", deadline(bench).await);
    report.judge("cancel", cancel(bench).await);
}

async fn health(bench: &Bench) -> Result<String, String> {
    match bench.handle().health(Duration::from_secs(5)).await {
        Ok(health) if health.message.is_empty() => Ok("healthy".to_owned()),
        Ok(health) => Ok(format!("healthy: {}", health.message)),
        Err(error) => Err(said(&error)),
    }
}

fn said(error: &DriverError) -> String {
    let operator =
        if error.operator_message.is_empty() { String::new() } else { format!(" ({})", error.operator_message) };
    format!("{}: {}{operator}", error.code, error.message)
}

async fn unknown_method(bench: &Bench) -> Result<String, String> {
    match bench.call("no_method_has_this_name", &json!({})).await {
        Err(error) if error.code == ErrorCode::NOT_SUPPORTED => Ok("answered not_supported".to_owned()),
        Err(error) => Err(format!("a method that nobody has must be not_supported, not {}", said(&error))),
        Ok(_) => Err("a method that nobody has was answered with success".to_owned()),
    }
}

async fn optional_methods(bench: &Bench) -> Result<String, String> {
    let manifest = bench.manifest();
    let unlisted: Vec<&str> = optional(bench.kind()).iter().copied().filter(|method| !manifest.has(method)).collect();
    for method in &unlisted {
        match bench.call(method, &json!({})).await {
            // One that reads its parameters first finds them wanting; either way nothing was done.
            Err(error) if [ErrorCode::NOT_SUPPORTED, ErrorCode::INVALID_ARGUMENT].contains(&error.code) => {}
            Err(error) => {
                return Err(format!("{method} is not listed and must be not_supported, not {}", said(&error)));
            }
            Ok(_) => {
                return Err(format!("{method} is answered but not listed in the manifest, so the host never calls it"));
            }
        }
    }
    Ok(format!("the {} that it does not list are not supported", unlisted.len()))
}

/// The same in essence: a success, or the same code.
fn alike(a: &Result<Value, DriverError>, b: &Result<Value, DriverError>) -> bool {
    match (a, b) {
        (Ok(_), Ok(_)) => true,
        (Err(a), Err(b)) => a.code == b.code,
        _ => false,
    }
}

async fn unknown_field(bench: &Bench) -> Result<String, String> {
    let (method, params) = reading(bench.kind());
    let plain = bench.call(method, &params).await;
    let mut more = params;
    if let Some(table) = more.as_object_mut() {
        table.insert("field_of_a_later_host".to_owned(), json!({ "a": [1, null] }));
    }
    let extended = bench.call(method, &more).await;
    if alike(&plain, &extended) {
        return Ok(format!("{method} ignores a field that it does not know"));
    }
    let text = |answer: &Result<Value, DriverError>| answer.as_ref().map_or_else(said, |_| "a success".to_owned());
    Err(format!("{method} gave {} and, with an unknown field, {}", text(&plain), text(&extended)))
}

async fn malformed(bench: &Bench) -> Result<String, String> {
    let manifest = bench.manifest();
    let deep = (0..64).fold(json!(1), |inner, _| json!([inner]));
    let bodies = [
        json!(null),
        json!([]),
        json!("text"),
        json!(-1),
        json!({ "id": 7, "device": ["x"], "server": {}, "name": null, "load_balancers": 1, "token": [] }),
        json!({ "id": "\u{0}\n../../etc", "device": "\u{0}", "server": "\u{0}" }),
        deep,
    ];
    let mut asked = 0;
    for method in &manifest.methods {
        for body in &bodies {
            asked += 1;
            if let Err(error) = bench.call(method, body).await
                && error.code == ErrorCode::INTERNAL
            {
                return Err(format!("{method} with {} must be refused, not fail with {}", short(body), said(&error)));
            }
            bench.is_whole().map_err(|end| format!("{method} with {}: {end}", short(body)))?;
        }
    }
    Ok(format!("{asked} calls with parameters of the wrong shape, each refused or answered"))
}

fn short(body: &Value) -> String {
    let text = body.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

async fn huge(bench: &Bench) -> Result<String, String> {
    let (method, mut params) = reading(bench.kind());
    if let Some(table) = params.as_object_mut() {
        table.insert("field_of_a_later_host".to_owned(), json!("x".repeat(HUGE)));
    }
    let answer = bench.call(method, &params).await;
    bench.is_whole().map_err(|end| format!("{method} with {} MiB: {end}", HUGE >> 20))?;
    match answer {
        Err(error) if error.code == ErrorCode::INTERNAL => {
            Err(format!("{method} with {} MiB: {}", HUGE >> 20, said(&error)))
        }
        _ => Ok(format!("{method} takes {} MiB and ignores or refuses them", HUGE >> 20)),
    }
}

async fn parallel(bench: &Bench) -> Result<String, String> {
    let (method, params) = reading(bench.kind());
    let alone = bench.call(method, &params).await;
    let start = Instant::now();
    let calls: Vec<_> = (0..AT_ONCE)
        .map(|_| {
            let (handle, params) = (bench.handle().clone(), params.clone());
            let options = CallOptions { deadline: Some(Duration::from_secs(60)), ..CallOptions::default() };
            tokio::spawn(async move { handle.call::<_, Value>(method, &params, options).await })
        })
        .collect();
    for call in calls {
        let answer = call.await.map_err(|error| error.to_string())?;
        if !alike(&alone, &answer) {
            let text = answer.as_ref().map_or_else(said, |_| "a success".to_owned());
            return Err(format!("of {AT_ONCE} calls of {method} at once one gave {text}, which it does not alone"));
        }
    }
    bench.is_whole()?;
    Ok(format!("{AT_ONCE} calls of {method} at once in {:.1} ms", start.elapsed().as_secs_f64() * 1e3))
}

async fn deadline(bench: &Bench) -> Result<String, String> {
    let (method, params) = reading(bench.kind());
    let mut longest = Duration::ZERO;
    for _ in 0..20 {
        let start = Instant::now();
        let answer = bench.call_within(method, &params, SHORT).await;
        longest = longest.max(start.elapsed());
        if let Err(error) = answer
            && error.code == ErrorCode::INTERNAL
        {
            return Err(format!("{method} past its deadline must be timeout or cancelled, not {}", said(&error)));
        }
    }
    bench.is_whole().map_err(|end| {
        format!("{method} with a deadline of 1 ms: {end}. A call asks `cancelled` between its steps and stops")
    })?;
    if longest > SHORT + GRACE {
        return Err(format!("{method} with a deadline of 1 ms came back after {} ms", longest.as_millis()));
    }
    Ok(format!(
        "20 calls of {method} with a deadline of 1 ms, the last back after {:.1} ms",
        longest.as_secs_f64() * 1e3
    ))
}

async fn cancel(bench: &Bench) -> Result<String, String> {
    let (method, params) = reading(bench.kind());
    for _ in 0..20 {
        let options = CallOptions { deadline: Some(GRACE), ..CallOptions::default() };
        let call = bench.handle().call::<_, Value>(method, &params, options);
        // Whoever waited goes away.
        let _dropped = tokio::time::timeout(Duration::from_micros(200), call).await;
    }
    let until = Instant::now() + 3 * GRACE;
    while bench.info().is_some_and(|info| info.in_flight > 0) {
        if Instant::now() > until {
            return Err(format!("a cancelled call of {method} is still out after {} s", (2 * GRACE).as_secs()));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    bench.is_whole()?;
    Ok(format!("20 calls of {method} whose callers went away, all let go of"))
}
