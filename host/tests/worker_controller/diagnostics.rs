//! DIAGNOSTICS against listeners and closed ports on loopback.

use std::time::Duration;

use capstan::config::Endpoint;
use serde_json::json;
use tokio::net::TcpListener;

use super::bench::*;

async fn open() -> (TcpListener, Endpoint) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint::from(listener.local_addr().unwrap());
    (listener, endpoint)
}

/// A port that was free a moment ago and is bound but does not listen, so that nobody answers there.
fn closed() -> (tokio::net::TcpSocket, Endpoint) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, Endpoint::new("127.0.0.1", port))
}

#[tokio::test]
async fn w32_diagnostics_tells_each_job_server() {
    let (_listener, good) = open().await;
    let (_socket, bad) = closed();
    let bench = Bench::with(|settings| settings.job_servers = vec![good, bad]);
    let reply = bench.ask(&json!({ "hpcs_action": "DIAGNOSTICS" })).await;
    assert_eq!(
        reply,
        json!({ "hpcs_action": "DIAGNOSTICS", "hpcs_response": "PASS", "network": "PASS",
            "gearman": [{ "host": "127.0.0.1", "status": "PASS" }, { "host": "127.0.0.1", "status": "FAIL" }] })
    );
    assert!(bench.fake.names().is_empty());
}

#[tokio::test]
async fn the_network_passes_when_any_target_answers() {
    let (_listener, good) = open().await;
    let (_socket, bad) = closed();
    for (targets, word) in [(vec![bad.clone(), good.clone()], "PASS"), (vec![bad.clone()], "FAIL"), (vec![], "FAIL")] {
        let bench = Bench::with(|settings| {
            settings.job_servers = vec![bad.clone()];
            settings.diagnostics_targets = targets.clone();
        });
        let reply = bench.ask(&json!({ "hpcs_action": "DIAGNOSTICS" })).await;
        passes(&reply);
        assert_eq!((&reply["network"], &reply["gearman"][0]["status"]), (&json!(word), &json!("FAIL")), "{targets:?}");
    }
}

#[tokio::test]
async fn without_job_servers_there_is_no_network() {
    let reply = Bench::new().ask(&json!({ "hpcs_action": "DIAGNOSTICS" })).await;
    passes(&reply);
    assert_eq!((&reply["network"], &reply["gearman"]), (&json!("FAIL"), &json!([])));
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up() {
    // A listener whose queue is full neither accepts nor refuses: connections beyond the backlog hang.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut fillers = Vec::new();
    while let Ok(Ok(filler)) =
        tokio::time::timeout(Duration::from_millis(300), tokio::net::TcpStream::connect(address)).await
    {
        fillers.push(filler);
        assert!(fillers.len() < 64, "the queue never fills");
    }
    let silent = Endpoint::from(address);
    let bench = Bench::with(|settings| {
        settings.job_servers = vec![silent];
        settings.diagnostics_timeout = Duration::from_millis(300);
    });
    let reply = bench.ask(&json!({ "hpcs_action": "DIAGNOSTICS" })).await;
    passes(&reply);
    assert_eq!(reply["gearman"][0]["status"], "FAIL");
}
