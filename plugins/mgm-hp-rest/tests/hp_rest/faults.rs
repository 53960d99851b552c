//! One server that fails.

use std::thread;

use serde_json::{Value, json};

use super::{
    admin_api::{AdminApi, Fault},
    failed, node, of,
};

/// A fault, what becomes of a read and of `add_node`, and what the operator is told.
struct Case {
    fault: Fault,
    read: &'static str,
    add: &'static str,
    retry: Value,
    says: &'static [&'static str],
}

fn cases() -> Vec<Case> {
    let html = "<html><head><title>502 Bad Gateway</title></head></html>";
    let kind = "Content-Type: text/html\r\n";
    let case = |fault, read, add, retry, says| Case { fault, read, add, retry, says };
    let (now, never) = (json!("now"), json!("never"));
    let status = |status| Fault::status(status, &json!({ "faultstring": "the reason\r\nof it" }));
    vec![
        case(status(500), "unavailable", "unavailable", now.clone(), &["500", "the reason"]),
        case(status(403), "auth_failed", "auth_failed", never.clone(), &["403", "set `token`"]),
        case(status(404), "unavailable", "unavailable", never.clone(), &["404", "`base_path`"]),
        case(status(409), "conflict", "already_exists", never.clone(), &["409"]),
        case(status(413), "invalid_argument", "invalid_argument", never.clone(), &["413"]),
        case(status(429), "rate_limited", "rate_limited", json!({ "after_ms": 30_000 }), &["429"]),
        case(
            Fault::with(429, "Retry-After: 7\r\n", "{}"),
            "rate_limited",
            "rate_limited",
            json!({ "after_ms": 7000 }),
            &["429"],
        ),
        case(
            Fault::with(429, "Retry-After: 99999999999999999999\r\n", "{}"),
            "rate_limited",
            "rate_limited",
            json!({ "after_ms": 30_000 }),
            &["429"],
        ),
        case(
            Fault::with(503, "Retry-After: 86400\r\n", "{}"),
            "unavailable",
            "unavailable",
            json!({ "after_ms": 3_600_000 }),
            &["503"],
        ),
        case(Fault::with(502, kind, html), "unavailable", "unavailable", now.clone(), &["502", "<html><head>"]),
        case(
            Fault::with(302, "Location: http://127.0.0.1:1/\r\n", ""),
            "unavailable",
            "unavailable",
            never.clone(),
            &["302", "`servers`"],
        ),
        // The end of the connection before, within and after the head, and within the body.
        case(Fault::Raw(Vec::new()), "unavailable", "unavailable", now.clone(), &[]),
        case(Fault::Raw(b"HTTP/1.1 200 OK\r\nContent-Le".to_vec()), "unavailable", "unavailable", now.clone(), &[]),
        case(
            Fault::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"free\": 5".to_vec()),
            "unavailable",
            "unavailable",
            now.clone(),
            &[],
        ),
        case(Fault::Raw(b"SSH-2.0-OpenSSH_9.2p1\r\n".to_vec()), "unavailable", "unavailable", now.clone(), &[]),
        case(
            Fault::Raw([b"HTTP/1.1 200 OK\r\nx: ", vec![b'x'; 1 << 20].as_slice()].concat()),
            "unavailable",
            "unavailable",
            now,
            &[],
        ),
        case(
            Fault::Raw([b"HTTP/1.1 200 OK\r\n\r\n", vec![b' '; 9 << 20].as_slice()].concat()),
            "unavailable",
            "unavailable",
            never,
            &["more than 8388608 bytes"],
        ),
    ]
}

#[test]
fn every_failure_has_its_code_and_names_the_server() {
    let server = AdminApi::plain();
    let driven = of(&[&server], &json!({}));
    for Case { fault, read, add, retry, says } in cases() {
        let shown = format!("{fault:?}").chars().take(120).collect::<String>();
        for (method, params, code) in [("get_free_count", json!({}), read), ("add_node", node("n"), add)] {
            server.fail_next(fault.clone());
            let error = failed(&driven, method, &params, 20_000);
            let operator = error["operator_message"].as_str().unwrap();
            assert_eq!((error["code"].as_str(), &error["retry"]), (Some(code), &retry), "{method} {shown}: {error}");
            let place = format!("http://{}/v1/devices", server.server());
            for text in says.iter().copied().chain([place.as_str()]) {
                assert!(operator.contains(text), "{method} {shown}: {error}");
            }
            assert!(!operator.contains(['\r', '\n']), "{operator:?}");
        }
    }
    assert_eq!(driven.ok("get_free_count", &json!({})), 0, "nothing of it lasts");
}

#[test]
fn an_answer_to_a_read_is_json_of_its_shape_and_200() {
    let server = AdminApi::plain();
    let driven = of(&[&server], &json!({}));
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for (fault, says) in [
        (Fault::with(200, "Content-Type: text/html\r\n", "<!DOCTYPE html>\n<p>Log in"), "\"text/html\""),
        (Fault::with(200, "", "<p>Log in"), "no stated type"),
        (Fault::with(200, "", ""), "an empty body"),
        (Fault::with(200, "", "{\"free\": 5"), "EOF while parsing"),
        (Fault::with(200, "", "{\"free\": -5}"), "\"free\""),
        (Fault::with(200, "", "{\"free\": \"5\"}"), "\"free\""),
        (Fault::with(200, "", "[]"), "\"free\""),
        (Fault::with(200, "", &deep), "recursion"),
        (Fault::with(204, "", ""), "204"),
        (Fault::status(201, &json!({ "free": 5 })), "201"),
    ] {
        let shown = format!("{fault:?}").chars().take(120).collect::<String>();
        server.fail_next(fault);
        let error = failed(&driven, "get_free_count", &json!({}), 20_000);
        assert_eq!(error["code"], "unavailable", "{shown}: {error}");
        let operator = error["operator_message"].as_str().unwrap();
        assert!(operator.contains(says) && operator.contains(&server.server()), "{shown}: {error}");
        server.fail_next(Fault::with(200, "Content-Type: text/html\r\n", "<p>"));
        assert_eq!(driven.ok("is_online", &json!({})), false);
    }
    for lie in [json!({}), json!({ "devices": [{ "name": "n" }] }), json!({ "devices": [7] })] {
        server.fail_next(Fault::status(200, &lie));
        assert_eq!(failed(&driven, "list_nodes", &json!({}), 20_000)["code"], "unavailable", "{lie}");
    }
}

#[test]
fn a_change_that_was_made_counts_whatever_json_says_so() {
    let server = AdminApi::plain();
    let driven = of(&[&server], &json!({}));
    for fault in [Fault::with(200, "", ""), Fault::with(200, "", "[]"), Fault::status(201, &json!({ "id": 1 }))] {
        server.fail_next(fault);
        assert_eq!(driven.ok("add_node", &node("n"))["accepted"], true);
    }
    let one = json!({ "id": "1", "status": "ONLINE", "description": "" });
    for method in ["delete_node", "update_node"] {
        server.fail_next(Fault::Raw(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()));
        driven.ok(method, &one);
    }
    // The log-in page of a proxy is no success, nor is a change that is still to come.
    for fault in [Fault::with(200, "Content-Type: text/html\r\n", "<p>Log in"), Fault::status(202, &json!({}))] {
        for (method, params) in [("add_node", &node("n")), ("delete_node", &one), ("update_node", &one)] {
            server.fail_next(fault.clone());
            assert_eq!(driven.code(method, params), "unavailable", "{method} {fault:?}");
        }
    }
}

#[test]
fn a_server_that_hangs_or_drips_is_left_at_the_deadline() {
    for fault in [Fault::Hang, Fault::Drip] {
        let server = AdminApi::plain();
        server.fail(fault);
        let driven = of(&[&server], &json!({}));
        let error = failed(&driven, "get_free_count", &json!({}), 500);
        assert_eq!(error["code"], "timeout");
        assert!(error["operator_message"].as_str().unwrap().contains(&server.server()), "{error}");
        server.await_hang_up();
        let error = failed(&driven, "add_node", &node("n"), 500);
        assert_eq!(error["code"], "timeout");
        assert!(error["operator_message"].as_str().unwrap().contains("is not known"), "{error}");
    }
}

#[test]
fn a_request_has_a_time_of_its_own_within_the_deadline() {
    let server = AdminApi::plain();
    server.fail(Fault::Hang);
    let driven = of(&[&server], &json!({ "timeout_seconds": 1 }));
    // The deadline is a minute away: only the request's own second ends this.
    assert_eq!(driven.code("get_free_count", &json!({})), "timeout");
    assert_eq!(driven.ok("is_online", &json!({})), false);
}

#[test]
fn a_cancelled_call_lets_go_of_its_server() {
    for fault in [Fault::Hang, Fault::Drip] {
        let server = AdminApi::plain();
        server.fail(fault);
        let driven = of(&[&server], &json!({}));
        let request = json!({ "deadline_ms": 600_000, "params": {} }).to_string();
        thread::scope(|scope| {
            let call = scope.spawn(|| driven.invoke_as(4711, b"get_free_count", request.as_bytes()));
            server.await_requests(1);
            driven.cancel(4711);
            assert_eq!(call.join().unwrap().1["code"], "cancelled");
            server.await_hang_up();
        });
    }
}
