//! One line for each message, never with a token.

use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use capstan_plugin_api::DriverError;
use serde_json::json;

use super::bench::*;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn take(&self) -> Vec<String> {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap());
        String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
    }
}

#[tokio::test(flavor = "current_thread")]
async fn each_message_is_one_line_without_the_token() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let bench = Bench::new();
    let archive = json!({ "hpcs_action": "ARCHIVE", "hpcs_object_store_type": "swift", "hpcs_object_store_basepath": "b",
        "hpcs_object_store_endpoint": "https://e", "hpcs_object_store_token": "s3cr3t-token",
        "loadBalancers": [{ "id": "15", "protocol": "http" }] });

    bench.ask_as("job-9", &update()).await;
    let seen = lines.take();
    assert_eq!(seen.len(), 1, "{seen:?}");
    for part in ["INFO", "UPDATE", "PASS", "node-7", "job-9", "duration_ms="] {
        assert!(seen[0].contains(part), "{part}: {seen:?}");
    }

    *bench.fake.archived.lock().unwrap() =
        Some(Err(DriverError::unavailable("no store").for_operator("401 for s3cr3t-token\nsecond line")));
    bench.ask_as("job\n10", &archive).await;
    let seen = lines.take();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert!(seen[0].contains("WARN") && seen[0].contains("401 for *****") && seen[0].contains("FAIL"), "{seen:?}");

    bench.ask(&json!({ "hpcs_action": "A\nB", "hpcs_object_store_token": "s3cr3t-token" })).await;
    bench.ask(&json!({ "hpcs_action": "UPDATE", "hpcs_object_store_token": ["s3cr3t-token"] })).await;
    bench.raw(b"{\"hpcs_object_store_token\": \"s3cr3t-token\"").await;
    bench.raw(b"s3cr3t-token").await;
    let seen = lines.take();
    assert_eq!(seen.len(), 4, "{seen:?}");
    assert!(seen[1].contains("badRequest") && seen[1].contains("Missing 'loadBalancers' element"), "{seen:?}");
    assert!(!seen.concat().contains("s3cr3t"), "{seen:?}");
}

#[tokio::test(flavor = "current_thread")]
async fn a_node_that_was_left_out_is_in_the_line() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let message = json!({ "hpcs_action": "CREATE", "nodes": [{ "address": "a b", "port": 80 }] });
    passes(&Bench::new().ask(&message).await);
    let seen = lines.take();
    assert!(
        seen.len() == 1 && seen[0].contains("nodes left out: 1, the first because: Invalid address 'a b'"),
        "{seen:?}"
    );
}
