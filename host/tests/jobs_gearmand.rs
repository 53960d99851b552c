//! Our client and worker against the real gearmand and the real `gearman` tool.
#![allow(clippy::panic, clippy::unwrap_used, reason = "all of this file is tests")]

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use capstan::jobs::{Client, ClientError, Job, JobResult, Priority, Progress, SubmitOptions, Submitted, Transport};
use support::worker::{Crowd, Running, echo, quick};
use support::{Gearmand, counts, eventually, free_port, local, succeed, tool_worker, within};
use tokio::sync::{Notify, mpsc};

async fn client(endpoints: &[capstan::jobs::Endpoint]) -> Client {
    within("the client connects", Client::connect(endpoints, &Transport::plain())).await.unwrap()
}

/// Does as the payload says.
async fn obey(job: Job, progress: Progress) -> JobResult {
    match job.payload.as_slice() {
        b"fail" => JobResult::Fail,
        b"exception" => JobResult::Exception(b"the reason".to_vec()),
        b"panic" => panic!("asked for"),
        b"progress" => {
            progress.status(1, 2);
            progress.data(b"first,");
            progress.warning(b"mind the gap");
            progress.status(2, 2);
            JobResult::Complete(b"last".to_vec())
        }
        b"who" => JobResult::Complete(format!("{} {} {}", job.function, job.unique, job.handle).into_bytes()),
        _ => JobResult::Complete(job.payload),
    }
}

// G60
#[tokio::test]
async fn our_client_and_worker_meet_on_gearmand() {
    let server = Gearmand::start().await;
    let worker = Running::ready(&[server.endpoint()], "obey", obey).await;
    let client = client(&[server.endpoint()]).await;
    let call = |payload: &'static [u8]| client.call("obey", payload, support::DEADLINE);

    assert_eq!(call(b"hello").await.unwrap(), b"hello");
    let large: Vec<u8> = (0..=255_u8).cycle().take(10_000_000).collect();
    assert_eq!(client.call("obey", &large, support::DEADLINE).await.unwrap(), large);
    assert_eq!(client.echo(b"any\0bytes").await.unwrap(), b"any\0bytes");
    assert!(matches!(call(b"fail").await, Err(ClientError::Failed { .. })));
    match call(b"exception").await {
        Err(ClientError::Exception { data, .. }) => assert_eq!(data, b"the reason"),
        other => panic!("{other:?}"),
    }
    // A panic costs its own job and nothing else.
    assert!(matches!(call(b"panic").await, Err(ClientError::Failed { .. })));
    assert_eq!(call(b"after").await.unwrap(), b"after");

    let seen = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&seen);
    let options = SubmitOptions {
        on_status: Some(Box::new(move |one, of| note.lock().unwrap().push((one, of)))),
        timeout: Some(support::DEADLINE),
        ..SubmitOptions::default()
    };
    match client.submit("obey", b"progress", options).await.unwrap() {
        Submitted::Completed(done) => {
            assert_eq!((done.data.concat(), done.warnings.concat()), (b"first,".to_vec(), b"mind the gap".to_vec()));
            assert_eq!(done.whole(), b"first,last");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(*seen.lock().unwrap(), [(1, 2), (2, 2)]);

    let options = SubmitOptions { unique: Some("my-id".to_owned()), ..SubmitOptions::default() };
    match client.submit("obey", b"who", options).await.unwrap() {
        Submitted::Completed(done) => {
            let said = format!("obey my-id {}", done.job.handle);
            assert_eq!(String::from_utf8(done.result).unwrap(), said);
        }
        other => panic!("{other:?}"),
    }
    let said = String::from_utf8(call(b"who").await.unwrap()).unwrap();
    let unique = said.split(' ').nth(1).unwrap();
    assert_eq!(uuid::Uuid::parse_str(unique).unwrap().get_version_num(), 4, "{said}");
    assert_eq!(worker.state.borrow().done, 9);
    worker.stop().await;
}

// G61
#[tokio::test]
async fn many_jobs_share_one_connection() {
    let server = Gearmand::start().await;
    let crowd = Crowd::default();
    let gate = Arc::new(Notify::new());
    let (inner, open) = (crowd.clone(), Arc::clone(&gate));
    let mut options = quick("crowd");
    options.concurrency = 8;
    let mut worker =
        Running::start(&[server.endpoint()], &Transport::plain(), options, move |job: Job, _: Progress| {
            let (crowd, gate) = (inner.clone(), Arc::clone(&open));
            async move {
                crowd.count(gate.notified()).await;
                JobResult::Complete(job.payload)
            }
        });
    worker.connected(1).await;
    let client = client(&[server.endpoint()]).await;
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..20_u32 {
        let client = client.clone();
        calls.spawn(async move {
            let payload = number.to_string().into_bytes();
            assert_eq!(client.call("crowd", &payload, support::DEADLINE).await.unwrap(), payload);
        });
    }
    let mut state = worker.state.clone();
    within("eight run at once", state.wait_for(|state| state.running == 8)).await.unwrap();
    while !calls.is_empty() {
        gate.notify_one();
        let _ =
            tokio::time::timeout(Duration::from_millis(5), calls.join_next()).await.ok().flatten().map(Result::unwrap);
    }
    assert_eq!(crowd.most(), 8);
    worker.stop().await;
}

// G62
#[tokio::test]
async fn our_client_and_the_tools_worker() {
    let server = Gearmand::start().await;
    let _cat = tool_worker(server.port, "cat", &["cat"]).await;
    // The tool writes all of a payload before it reads the command's output, so `cat` is no use for a large one.
    let _count = tool_worker(server.port, "count", &["wc", "-c"]).await;
    let client = client(&[server.endpoint()]).await;
    assert_eq!(client.call("cat", b"any\0bytes\n", support::DEADLINE).await.unwrap(), b"any\0bytes\n");
    let large: Vec<u8> = (0..=255_u8).cycle().take(10_000_000).collect();
    assert_eq!(client.call("count", &large, support::DEADLINE).await.unwrap(), b"10000000\n");
}

// G63
#[tokio::test]
async fn the_tools_client_and_our_worker() {
    let server = Gearmand::start().await;
    let (sender, mut seen) = mpsc::unbounded_channel();
    let worker = Running::ready(&[server.endpoint()], "echo", move |job: Job, progress: Progress| {
        let _ = sender.send(job.clone());
        async move { echo(job, progress).await }
    })
    .await;
    assert_eq!(succeed("gearman", server.port, &["-f", "echo", "-u", "mine"], b"hi there").await, b"hi there");
    assert_eq!(seen.recv().await.unwrap().unique, "mine");
    // The tool reads its input in quadratic time: ten times this would take it a minute.
    let large = vec![b'x'; 1_000_000];
    assert_eq!(succeed("gearman", server.port, &["-f", "echo"], &large).await, large);
    seen.recv().await.unwrap();
    succeed("gearman", server.port, &["-f", "echo", "-b", "data"], b"").await;
    assert_eq!(within("the background job", seen.recv()).await.unwrap().payload, b"data");
    assert!(
        String::from_utf8(succeed("gearadmin", server.port, &["--workers"], b"").await)
            .unwrap()
            .contains(" test-echo : echo")
    );
    worker.stop().await;
}

// G64
#[tokio::test]
async fn a_worker_comes_back_to_a_restarted_gearmand() {
    let mut server = Gearmand::start().await;
    let mut worker = Running::ready(&[server.endpoint()], "echo", echo).await;
    let client = client(&[server.endpoint()]).await;
    client.call("echo", b"before", support::DEADLINE).await.unwrap();
    server.kill();
    worker.connected(0).await;
    let error = client.call("echo", b"during", support::DEADLINE).await.unwrap_err();
    assert!(error.to_string().contains(&server.endpoint().to_string()), "{error}");
    let server = Gearmand::start_on(server.port).await;
    worker.connected(1).await;
    assert_eq!(client.call("echo", b"after", support::DEADLINE).await.unwrap(), b"after");
    assert_eq!(counts(server.port, "echo").await, Some((0, 0, 1)));
    worker.stop().await;
}

// G65
#[tokio::test]
async fn a_dead_server_among_several_hurts_nobody() {
    let dead = local(free_port());
    let (one, two) = (Gearmand::start().await, Gearmand::start().await);
    let endpoints = [dead.clone(), one.endpoint(), two.endpoint()];
    let crowd = Crowd::default();
    let inner = crowd.clone();
    let mut worker = Running::start(&endpoints, &Transport::plain(), quick("serial"), move |job: Job, progress| {
        let crowd = inner.clone();
        async move {
            crowd.count(tokio::task::yield_now()).await;
            echo(job, progress).await
        }
    });
    worker.connected(2).await;
    let client = client(&endpoints).await;
    let mut calls = tokio::task::JoinSet::new();
    let mut servers = std::collections::BTreeSet::new();
    for number in 0..60_u32 {
        let client = client.clone();
        calls.spawn(async move {
            let options = SubmitOptions { timeout: Some(support::DEADLINE), ..SubmitOptions::default() };
            match client.submit("serial", &number.to_be_bytes(), options).await.unwrap() {
                Submitted::Completed(done) => done.job.server,
                Submitted::Background(_) => panic!("background"),
            }
        });
    }
    while let Some(server) = calls.join_next().await {
        servers.insert(server.unwrap());
    }
    // Both that live took part, and the worker did one job at a time all the same.
    assert_eq!(servers, [one.endpoint(), two.endpoint()].into());
    assert_eq!(crowd.most(), 1);
    // All dead: each is named.
    let none = [dead.clone(), local(free_port())];
    let error = Client::connect(&none, &Transport::plain()).await.unwrap_err().to_string();
    assert!(none.iter().all(|endpoint| error.contains(&endpoint.to_string())), "{error}");
    worker.stop().await;
}

// G66
#[tokio::test]
async fn a_stopping_worker_finishes_its_job_and_leaves() {
    let server = Gearmand::start().await;
    let (started, mut running) = mpsc::unbounded_channel();
    let gate = Arc::new(Notify::new());
    let open = Arc::clone(&gate);
    let worker = Running::ready(&[server.endpoint()], "slow", move |job: Job, _: Progress| {
        let (started, gate) = (started.clone(), Arc::clone(&open));
        async move {
            let _ = started.send(());
            gate.notified().await;
            JobResult::Complete(job.payload)
        }
    })
    .await;
    let client = client(&[server.endpoint()]).await;
    let (asker, second) = (client.clone(), client.clone());
    let first = tokio::spawn(async move { asker.call("slow", b"first", support::DEADLINE).await });
    running.recv().await.unwrap();
    let waiting = tokio::spawn(async move { second.call("slow", b"second", support::DEADLINE).await });
    eventually("the second waits", || async { counts(server.port, "slow").await == Some((2, 1, 1)) }).await;
    worker.ask_to_stop();
    gate.notify_one();
    assert_eq!(first.await.unwrap().unwrap(), b"first");
    worker.stop().await;
    assert_eq!(counts(server.port, "slow").await, Some((1, 0, 0)));
    // The one that waited is done by the next worker, once.
    let _next = Running::ready(&[server.endpoint()], "slow", echo).await;
    assert_eq!(waiting.await.unwrap().unwrap(), b"second");
    assert!(running.try_recv().is_err());
}

// G67
#[tokio::test]
async fn too_large_a_payload_fails_and_the_next_is_served() {
    let server = Gearmand::start().await;
    let mut options = quick("small");
    options.max_payload = 100_000;
    let mut worker = Running::start(&[server.endpoint()], &Transport::plain(), options, echo);
    worker.connected(1).await;
    let client = client(&[server.endpoint()]).await;
    for _ in 0..2 {
        let outcome = client.call("small", &vec![1; 5_000_000], support::DEADLINE).await;
        assert!(matches!(outcome, Err(ClientError::Failed { .. })), "{outcome:?}");
        assert_eq!(client.call("small", &vec![1; 100_000], support::DEADLINE).await.unwrap().len(), 100_000);
    }
    assert_eq!(worker.state.borrow().last_error, None);
    worker.stop().await;
}

// G68
#[tokio::test]
async fn a_server_lost_under_a_job_is_told_and_the_worker_goes_on() {
    let mut server = Gearmand::start().await;
    let (started, mut running) = mpsc::unbounded_channel();
    let gate = Arc::new(Notify::new());
    let open = Arc::clone(&gate);
    let mut worker = Running::ready(&[server.endpoint()], "held", move |job: Job, _: Progress| {
        let (started, gate) = (started.clone(), Arc::clone(&open));
        async move {
            let _ = started.send(());
            gate.notified().await;
            JobResult::Complete(job.payload)
        }
    })
    .await;
    let client = client(&[server.endpoint()]).await;
    let asker = client.clone();
    let first = tokio::spawn(async move { asker.call("held", b"first", support::DEADLINE).await });
    running.recv().await.unwrap();
    server.kill();
    match first.await.unwrap() {
        Err(error @ ClientError::ServerLost { was_accepted: true, .. }) => {
            assert!(error.to_string().contains(&server.endpoint().to_string()), "{error}");
        }
        other => panic!("{other:?}"),
    }
    let _server = Gearmand::start_on(server.port).await;
    worker.connected(1).await;
    // Still one at a time: the job whose server is gone holds the place until it ends.
    let second = tokio::spawn(async move { client.call("held", b"second", support::DEADLINE).await });
    eventually("the second waits", || async { counts(server.port, "held").await == Some((1, 0, 1)) }).await;
    assert!(running.try_recv().is_err());
    gate.notify_one();
    running.recv().await.unwrap();
    gate.notify_one();
    assert_eq!(second.await.unwrap().unwrap(), b"second");
    worker.stop().await;
}

// G69
#[tokio::test]
async fn a_job_without_worker_times_out_and_is_withdrawn() {
    let server = Gearmand::start().await;
    let client = client(&[server.endpoint()]).await;
    let limit = Duration::from_millis(300);
    let error = client.call("nobody", b"late", limit).await.unwrap_err();
    assert!(matches!(error, ClientError::TimedOut { .. }), "{error}");
    assert!(error.to_string().contains("nobody") && error.to_string().contains("300ms"), "{error}");
    let (sender, mut seen) = mpsc::unbounded_channel();
    let _worker = Running::ready(&[server.endpoint()], "nobody", move |job: Job, progress: Progress| {
        let _ = sender.send(job.payload.clone());
        async move { echo(job, progress).await }
    })
    .await;
    assert_eq!(client.call("nobody", b"next", support::DEADLINE).await.unwrap(), b"next");
    assert_eq!(seen.recv().await.unwrap(), b"next");
}

// G70
#[tokio::test]
async fn background_jobs_are_acknowledged_and_can_be_asked_for() {
    let server = Gearmand::start().await;
    let client = client(&[server.endpoint()]).await;
    let submit = |unique: &str, priority| {
        let options = SubmitOptions {
            unique: Some(unique.to_owned()),
            background: true,
            priority,
            timeout: Some(support::DEADLINE),
            on_status: None,
        };
        let (client, payload) = (client.clone(), unique.as_bytes().to_vec());
        async move {
            match client.submit("later", &payload, options).await.unwrap() {
                Submitted::Background(job) => job,
                other => panic!("{other:?}"),
            }
        }
    };
    let low = submit("low", Priority::Low).await;
    let normal = submit("normal", Priority::Normal).await;
    submit("high", Priority::High).await;
    assert_eq!(submit("low", Priority::Low).await.handle, low.handle, "equal ids are one job");
    let status = client.status(&normal).await.unwrap();
    assert!(status.is_known && !status.is_running);
    let (sender, mut seen) = mpsc::unbounded_channel();
    let worker = Running::ready(&[server.endpoint()], "later", move |job: Job, progress: Progress| {
        let _ = sender.send(job.unique.clone());
        async move { echo(job, progress).await }
    })
    .await;
    for expected in ["high", "normal", "low"] {
        assert_eq!(within("the next job", seen.recv()).await.unwrap(), expected);
    }
    eventually("the server forgets it", || async { !client.status(&low).await.unwrap().is_known }).await;
    worker.stop().await;
}

// G71
#[tokio::test]
async fn what_cannot_be_sent_is_refused_here() {
    let client = Client::lazy(&[local(1)], &Transport::plain());
    for (function, unique, what) in
        [("a\0b", "u", "the function's name"), ("", "u", "the function's name"), ("f", "u\0", "the unique id")]
    {
        let options = SubmitOptions { unique: Some(unique.to_owned()), ..SubmitOptions::default() };
        let error = client.submit(function, b"", options).await.unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }
    let error = client.submit("f", &vec![0; 64 * 1024 * 1024], SubmitOptions::default()).await.unwrap_err();
    assert!(error.to_string().contains("67108864"), "{error}");
}
