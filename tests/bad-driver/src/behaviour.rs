//! What an entry can do. Each is a word, some with a value after a colon.

use std::{
    fs::File,
    hint::black_box,
    io::{self, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::Ordering,
    thread,
    time::Duration,
};

use capstan_plugin_api::{
    DriverError,
    abi::{self, Buffer, Bytes, Reply},
};
use serde_json::{Value, json};

use super::{Bad, error, process};

/// Does what `word` says; `good` gives the right answer.
///
/// | word | what happens |
/// |---|---|
/// | `good`, `null_instance` | the right answer; the second leaves the instance null in `open` |
/// | `panic`, `panic_uncaught` | status 255 as the attribute's guard makes it; a panic that ends the process |
/// | `hang`, `hang_until_cancelled`, `busy` | waits for ever; waits and asks the host; computes for ever |
/// | `sleep:MS` | waits, whatever the host says, then answers rightly |
/// | `first:N:WORD` | does WORD in the first N calls of the instance, then answers rightly |
/// | `error:CODE`, `status:N` | fails with the code; answers a status that nobody knows |
/// | `wordy:MB` | fails with an error whose texts are so many MiB each |
/// | `garbage`, `not_utf8`, `wrong_type`, `empty`, `null_body` | bodies that are no answer |
/// | `huge:MB` | a text of so many MiB |
/// | `pending:N` | N more times pending, counted in the token |
/// | `host_calls` | calls every service badly and answers what it was told |
/// | `host_call:METHOD:BODY` | calls one service and answers status and body |
/// | `log_flood:N`, `log_badly` | N lines; lines with wrong levels and bytes |
/// | `count_threads`, `spawn_threads:N` | answers the process's number of threads; leaves N behind |
/// | `memory:MB`, `descriptors:N`, `processes:N` | takes and keeps them; fails with `internal` and the reason when one is refused |
/// | `stdout:TEXT`, `stderr:TEXT`, `stdout_flood:KB` | writes there; the last one without a line end |
/// | `grandchild:SECONDS` | leaves a process behind that holds the daemon's pipes |
/// | `fork_tree:N`, `run_away:N`, `orphans:N` | 2^N processes; N that flee from whoever looks for them; N that end at once |
/// | `close_socket`, `shut_socket` | takes its frames' socket away |
/// | `frames:text`, `no_json`, `no_object`, `empty`, `huge`, `half`, `half_closed`, `wrong_id` | writes that into it, then hangs |
/// | `frames:own` | answers this call there, and once more as it should |
/// | `overwrite:PATH`, `truncate:PATH` | spoils a file in place, without a path its own |
/// | `WORD+WORD` | the first, then the second, whose answer counts |
/// | `stop`, `kill_parent` | SIGSTOP to itself; SIGKILL to its parent |
/// | `abort`, `exit:N`, `segfault`, `null_write`, `stack_overflow` | ends the process |
pub(crate) fn run(bad: &Bad, call_id: u64, word: &str, good: impl Fn() -> Value) -> Reply {
    let Some((first, rest)) = word.split_once('+') else { return one(bad, call_id, word, &good) };
    // SAFETY: made just now.
    drop(unsafe { one(bad, call_id, first, &good).body.take() });
    one(bad, call_id, rest, &good)
}

fn one(bad: &Bad, call_id: u64, word: &str, good: &dyn Fn() -> Value) -> Reply {
    let number = bad.calls.fetch_add(1, Ordering::Relaxed);
    let (mut name, mut value) = word.split_once(':').unwrap_or((word, ""));
    if name == "first" {
        let (times, then) = value.split_once(':').unwrap_or((value, "panic"));
        let word = if times.parse().is_ok_and(|times: u64| number < times) { then } else { "good" };
        (name, value) = word.split_once(':').unwrap_or((word, ""));
    }
    let amount: u64 = value.parse().unwrap_or(1);
    let ok = |value: Value| Reply::new(abi::STATUS_OK, value.to_string().into_bytes());
    match name {
        "good" | "null_instance" => ok(good()),
        "panic" => caught(),
        "panic_uncaught" => uncaught(),
        "hang" => loop {
            thread::park();
        },
        "hang_until_cancelled" => {
            while !is_cancelled(bad, call_id) {
                thread::sleep(Duration::from_millis(1));
            }
            error("cancelled", "stopped as it was asked")
        }
        "busy" => loop {
            black_box(0);
        },
        "sleep" => {
            thread::sleep(Duration::from_millis(amount));
            ok(good())
        }
        "error" => error(value, "an error as configured"),
        "wordy" => {
            let text = "many words\n".repeat((amount << 20) as usize / 11);
            Reply::error(&DriverError::internal(text.as_str()).for_operator(text))
        }
        "status" => Reply::new(value.parse().unwrap_or(77), b"{}".to_vec()),
        "garbage" => Reply::new(abi::STATUS_OK, b"<html>not JSON".to_vec()),
        "not_utf8" => Reply::new(abi::STATUS_OK, b"\"\xff\xfe\"".to_vec()),
        "wrong_type" => ok(json!({ "load_balancers": 7, "message": [], "members": "none", "generation": "old" })),
        "empty" => Reply::new(abi::STATUS_OK, Vec::new()),
        "null_body" => {
            Reply { status: 0, reserved: 0, body: Buffer { data: std::ptr::null_mut(), len: 10, free: None } }
        }
        "huge" => {
            let mut body = vec![b'x'; (amount << 20) as usize + 2];
            body[0] = b'"';
            if let Some(last) = body.last_mut() {
                *last = b'"';
            }
            Reply::new(abi::STATUS_OK, body)
        }
        "pending" => {
            let body = json!({ "token": format!("pending:{}", amount.saturating_sub(1)), "poll_after_ms": 1 });
            if amount == 0 { ok(good()) } else { Reply::new(abi::STATUS_PENDING, body.to_string().into_bytes()) }
        }
        "host_calls" => ok(call_host_badly(bad, call_id)),
        "host_call" => {
            let (method, body) = value.split_once(':').unwrap_or((value, "{}"));
            ok(call_host(bad, call_id, method.as_bytes(), body.as_bytes()))
        }
        "log_flood" => {
            (0..amount).for_each(|line| log(bad, call_id, 3, format!("line {line} of a flood").as_bytes()));
            ok(good())
        }
        "log_badly" => {
            for (level, message) in
                [(0, &b"level 0"[..]), (99, b"level 99"), (1, b"\xff\xfe"), (3, b"two\nlines\x1b[31m")]
            {
                log(bad, call_id, level, message);
            }
            log(bad, call_id, 3, &vec![b'x'; 1 << 20]);
            ok(good())
        }
        "count_threads" => ok(json!(threads())),
        "spawn_threads" => {
            process::spawn_threads(amount);
            ok(good())
        }
        "memory" => {
            std::mem::forget(black_box(vec![1_u8; (amount << 20) as usize]));
            ok(good())
        }
        "descriptors" => match (0..amount).try_for_each(|_| File::open("/dev/null").map(std::mem::forget)) {
            Ok(()) => ok(good()),
            Err(error) => refused(&error),
        },
        "processes" => match process::waiting(amount) {
            Ok(()) => ok(good()),
            Err(error) => refused(&error),
        },
        "stdout" => {
            let _written = writeln!(io::stdout(), "{value}");
            ok(good())
        }
        "stderr" => {
            let _written = writeln!(io::stderr(), "{value}");
            ok(good())
        }
        "stdout_flood" => {
            let text = vec![b'x'; 1 << 10];
            (0..amount).for_each(|_| drop(io::stdout().write_all(&text)));
            ok(good())
        }
        "frames" => {
            process::write_frames(value, call_id);
            if value == "own" {
                return ok(good());
            }
            loop {
                thread::park();
            }
        }
        "grandchild" | "fork_tree" | "run_away" | "orphans" | "close_socket" | "shut_socket" | "overwrite"
        | "truncate" | "stop" | "kill_parent" => {
            match name {
                "grandchild" => process::grandchild(if value.is_empty() { "60" } else { value }),
                "fork_tree" => process::fork_tree(amount),
                "run_away" => process::run_away(amount),
                "orphans" => process::orphans(amount),
                "close_socket" => process::close_sockets(),
                "shut_socket" => process::shut_sockets(),
                "overwrite" => process::overwrite(value),
                "truncate" => process::truncate(value),
                "kill_parent" => process::kill_parent(),
                _ => process::stop(),
            }
            ok(good())
        }
        "abort" => std::process::abort(),
        #[allow(clippy::exit, reason = "a driver that ends its host is one of the cases")]
        "exit" => std::process::exit(value.parse().unwrap_or(0)),
        "segfault" => {
            // SAFETY: none; no such memory.
            let found = unsafe { std::ptr::read_volatile(black_box(0x7fff_0000_0001 as *const u8)) };
            ok(json!(found))
        }
        "null_write" => {
            // SAFETY: none; it faults.
            unsafe { std::ptr::write_volatile(black_box(std::ptr::null_mut::<u8>()), 1) };
            ok(good())
        }
        "stack_overflow" => ok(json!(deeper(amount))),
        other => error("invalid_argument", &format!("the bad driver knows no misbehaviour {other:?}")),
    }
}

/// What the system did not give.
fn refused(error: &io::Error) -> Reply {
    Reply::error(&DriverError::internal("the driver has no room").for_operator(error.to_string()))
}

/// As the attribute's guard answers, without its quiet panic hook.
#[allow(clippy::panic, reason = "a panic is one of the cases")]
fn caught() -> Reply {
    let unwound = catch_unwind(AssertUnwindSafe(|| panic!("the bad driver panics")));
    let error = json!({
        "code": "internal",
        "message": "the driver panicked",
        "operator_message": if unwound.is_err() { "panic at bad-driver: the bad driver panics" } else { "" },
    });
    Reply::new(abi::STATUS_PANIC, error.to_string().into_bytes())
}

// Out of an `extern "C"` function no panic unwinds: the process ends.
#[allow(clippy::panic, reason = "a panic is one of the cases")]
fn uncaught() -> Reply {
    panic!("the bad driver panics and nobody catches it")
}

#[allow(unconditional_recursion, reason = "an endless recursion is one of the cases")]
fn deeper(depth: u64) -> u64 {
    let room = black_box([depth; 512]);
    deeper(depth + 1) + room[0]
}

fn is_cancelled(bad: &Bad, call_id: u64) -> bool {
    // SAFETY: the table is valid until `close`.
    unsafe { (bad.host.cancelled)(bad.host.context, call_id) != 0 }
}

fn log(bad: &Bad, call_id: u64, level: u32, message: &[u8]) {
    // SAFETY: as above.
    unsafe {
        (bad.host.log)(bad.host.context, call_id, level, Bytes::of(b""), Bytes::of(message), Bytes::of(b"not JSON"))
    }
}

fn call_host(bad: &Bad, call_id: u64, method: &[u8], body: &[u8]) -> Value {
    // SAFETY: as above.
    let reply = unsafe { (bad.host.call)(bad.host.context, call_id, Bytes::of(method), Bytes::of(body)) };
    let status = reply.status;
    // SAFETY: the host just made it.
    let body = unsafe { reply.body.take() };
    json!({ "status": status, "body": serde_json::from_slice::<Value>(&body).unwrap_or(Value::Null) })
}

/// Each case by its name, with what the host answered.
fn call_host_badly(bad: &Bad, call_id: u64) -> Value {
    let long_key = json!({ "key": "k".repeat(10_000), "value": 1 }).to_string();
    let long_value = json!({ "key": "k", "value": "v".repeat(10 << 20) }).to_string();
    let cases: [(&str, u64, &[u8], &[u8]); 12] = [
        ("unknown service", call_id, b"no.such.service", b"{}"),
        ("empty name", call_id, b"", b"{}"),
        ("name not UTF-8", call_id, b"\xff\xfe", b"{}"),
        ("body no JSON", call_id, b"state.get", b"<html>"),
        ("body empty", call_id, b"state.get", b""),
        ("wrong type", call_id, b"state.get", br#"{"key":7}"#),
        ("key climbs", call_id, b"state.put", br#"{"key":"../../etc/passwd","value":1}"#),
        ("long key", call_id, b"state.put", long_key.as_bytes()),
        ("long value", call_id, b"state.put", long_value.as_bytes()),
        ("program with a relative path", call_id, b"program.start", br#"{"name":"p","command":["sleep","1"]}"#),
        ("secret of another", call_id, b"secret.get", br#"{"name":"not.mine"}"#),
        ("call that is not out", u64::MAX, b"progress", br#"{"done":1,"total":0,"what":""}"#),
    ];
    cases.into_iter().map(|(name, id, method, body)| (name.to_owned(), call_host(bad, id, method, body))).collect()
}

fn threads() -> u64 {
    std::fs::read_dir("/proc/self/task").map_or(0, |tasks| tasks.count() as u64)
}
