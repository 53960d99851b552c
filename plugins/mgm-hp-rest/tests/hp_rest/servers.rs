//! Several servers: the probe, the run, and what happens when one fails in the middle of it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    admin_api::{AdminApi, Fault},
    failed, node, of,
};

fn url(server: &AdminApi) -> String {
    format!("http://{}/v1", server.server())
}

/// Makes a server the one in use, by a probe that no other one passes.
fn pick(driven: &super::Driven, wanted: &AdminApi, others: &[&AdminApi]) {
    for other in others {
        other.fail(Fault::status(500, &json!({})));
    }
    assert_eq!(driven.ok("is_online", &json!({})), true);
    assert_eq!(driven.ok("get_url", &json!({})), url(wanted));
    for other in others {
        other.heal();
    }
}

#[test]
fn the_first_server_that_tells_its_usage_is_used_for_the_run() {
    let servers = [AdminApi::plain(), AdminApi::plain(), AdminApi::plain()];
    servers[0].fail(Fault::with(200, "Content-Type: text/html\r\n", "<p>"));
    servers[1].fail(Fault::status(500, &json!({})));
    let driven = of(&servers.each_ref(), &json!({}));
    assert_eq!(driven.ok("is_online", &json!({})), true);
    assert_eq!(driven.ok("get_url", &json!({})), url(&servers[2]));
    let before = [0, 1].map(|i| servers[i].asked().len());
    for _ in 0..5 {
        driven.ok("get_free_count", &json!({}));
        driven.ok("add_node", &node("n"));
    }
    assert_eq!([0, 1].map(|i| servers[i].asked().len()), before, "the others are left alone");
    assert_eq!(servers[2].devices().len(), 5);
}

#[test]
fn without_any_server_it_is_offline_and_has_a_url() {
    let mut server = AdminApi::plain();
    let driven = of(&[&server], &json!({}));
    server.stop();
    assert_eq!(driven.ok("is_online", &json!({})), false);
    assert_eq!(driven.ok("get_url", &json!({})), url(&server));
    let error = failed(&driven, "get_free_count", &json!({}), 10_000);
    assert_eq!((&error["code"], &error["retry"]), (&json!("unavailable"), &json!("now")), "{error}");
    assert!(error["operator_message"].as_str().unwrap().contains("onnection refused"), "{error}");
}

#[test]
fn the_load_is_spread_over_the_servers() {
    let servers = [AdminApi::plain(), AdminApi::plain(), AdminApi::plain()];
    // 60 runs miss one of three servers once in ten thousand million times.
    let driven = of(&servers.each_ref(), &json!({}));
    let mut urls = BTreeSet::new();
    for _ in 0..60 {
        assert_eq!(driven.ok("is_online", &json!({})), true);
        urls.insert(driven.ok("get_url", &json!({})).to_string());
    }
    assert_eq!(urls.len(), 3, "{urls:?}");
}

#[test]
fn a_run_goes_on_with_the_next_server() {
    let (mut first, second) = (AdminApi::plain(), AdminApi::plain());
    second.put_device(json!({ "id": 1, "name": "n", "status": "OFFLINE" }));
    let driven = of(&[&first, &second], &json!({}));
    pick(&driven, &first, &[&second]);
    first.stop();
    assert_eq!(driven.ok("get_free_count", &json!({})), 1);
    assert_eq!(driven.ok("get_url", &json!({})), url(&second), "the URL tells which one it is now");
    assert_eq!(driven.ok("get_node", &json!({ "id": "1" }))["name"], "n");
    let logged = format!("{:?}", driven.services.logged.lock().unwrap());
    assert!(logged.contains(&url(&first)), "{logged}");
}

#[test]
fn a_server_that_hangs_leaves_time_for_the_next() {
    let (first, second) = (AdminApi::plain(), AdminApi::plain());
    let driven = of(&[&first, &second], &json!({}));
    pick(&driven, &first, &[&second]);
    first.fail(Fault::Hang);
    let request = json!({ "deadline_ms": 2000, "params": {} }).to_string();
    assert_eq!(driven.invoke_raw(b"get_free_count", request.as_bytes()).1, json!(0));
    assert_eq!(driven.ok("get_url", &json!({})), url(&second));
}

#[test]
fn a_refusal_is_the_answer_and_no_reason_to_ask_the_next() {
    let (first, second) = (AdminApi::plain(), AdminApi::plain());
    let driven = of(&[&first, &second], &json!({}));
    pick(&driven, &first, &[&second]);
    first.demand("a-token");
    let before = second.asked().len();
    assert_eq!(driven.code("get_free_count", &json!({})), "auth_failed");
    assert_eq!(driven.ok("get_url", &json!({})), url(&first));
    assert_eq!(second.asked().len(), before);
}

#[test]
fn a_node_is_added_through_the_next_server_when_the_first_cannot_be_reached() {
    let (mut first, second) = (AdminApi::plain(), AdminApi::plain());
    let driven = of(&[&first, &second], &json!({}));
    pick(&driven, &first, &[&second]);
    first.stop();
    assert_eq!(driven.ok("add_node", &node("n"))["accepted"], true);
    assert_eq!((second.devices().len(), driven.ok("get_url", &json!({}))), (1, Value::from(url(&second))));
    assert!(!second.asked().iter().any(|asked| asked == "GET /v1/devices?marker=0&limit=100"), "nothing was in doubt");
}

/// libra takes the same device twice: what broke off is looked for before it is sent again.
#[test]
fn a_node_whose_answer_was_lost_is_not_added_twice() {
    let lost = [
        Fault::Raw(Vec::new()),
        Fault::status(500, &json!({})),
        Fault::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{".to_vec()),
    ];
    for (lost, is_done) in lost.iter().flat_map(|lost| [(lost, true), (lost, false)]) {
        let first = AdminApi::plain();
        let second = first.peer();
        for number in 0..250 {
            first.put_device(json!({ "id": number, "name": format!("old-{number}"), "status": "ONLINE" }));
        }
        let driven = of(&[&first, &second], &json!({}));
        pick(&driven, &first, &[&second]);
        first.fail(if is_done { Fault::Done(Box::new(lost.clone())) } else { lost.clone() });
        let added = driven.ok("add_node", &node("n"));
        assert_eq!((&added["accepted"], first.devices().len()), (&json!(true), 251), "{lost:?} {is_done}");
        let posts = second.asked().iter().filter(|asked| asked.starts_with("POST")).count();
        assert_eq!(posts, usize::from(!is_done), "{:?}", second.asked());
    }
}

/// After a timeout the first server may still be at it, so that the second would not know of the node yet.
#[test]
fn a_node_is_not_added_elsewhere_after_a_timeout() {
    let first = AdminApi::plain();
    let second = first.peer();
    let driven = of(&[&first, &second], &json!({ "timeout_seconds": 1 }));
    pick(&driven, &first, &[&second]);
    first.fail(Fault::Hang);
    let before = second.asked().len();
    let error = failed(&driven, "add_node", &node("n"), 60_000);
    assert_eq!((error["code"].as_str(), second.asked().len()), (Some("timeout"), before), "{error}");
}
