//! A typed call with 1 KiB each way: through the host, through the bare table, and what serde and a process cost beside it.
#![allow(unsafe_code)]

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    hint::black_box,
    io::{Read, Write},
    ptr, thread,
    time::{Duration, Instant},
};

// Brings in the root symbol below.
use capstan::drivers::{CallOptions, DriverHandle, Kind};
use capstan_cloud_dummy as _;
use capstan_plugin_api::{
    abi::{self, Bytes, DriverTable, HostContext, HostTable, Reply},
    call::Request,
    cloud::{CreateNode, Node},
};
use serde_json::{
    json,
    value::{RawValue, to_raw_value},
};
use tokio::runtime::Runtime;

use crate::{
    hosted,
    measure::{Contender, Round, alternate, batched, each, nanoseconds},
    report::{Report, Row, quantiles, time},
    rivals::Rivals,
    scratch,
};

const ROUNDS: usize = 8;
const WARM_UP: usize = 500;
const CALLS: usize = 10_000;
const SIZE: usize = 1024;
/// The aim, in nanoseconds.
const AIM: f64 = 5_000.0;

unsafe extern "C" {
    /// The driver `dummy`, linked into this program besides the copy that the host loads.
    safe fn capstan_driver_epoch_1() -> *const DriverTable;
}

unsafe extern "C" fn no_service(_: *mut HostContext, _: u64, _: Bytes, _: Bytes) -> Reply {
    Reply::new(abi::STATUS_OK, b"null".to_vec())
}

unsafe extern "C" fn no_log(_: *mut HostContext, _: u64, _: u32, _: Bytes, _: Bytes, _: Bytes) {}

unsafe extern "C" fn not_cancelled(_: *mut HostContext, _: u64) -> u32 {
    0
}

/// The table without a host around it.
struct Bare {
    table: &'static DriverTable,
    instance: *mut abi::Instance,
}

impl Bare {
    fn open() -> Self {
        // SAFETY: the root symbol of a driver of this build answers a pointer to a static table.
        let table = unsafe { &*capstan_driver_epoch_1() };
        let host: &'static HostTable = Box::leak(Box::new(HostTable {
            magic: abi::MAGIC,
            epoch: abi::EPOCH,
            size: size_of::<HostTable>() as u32,
            context: ptr::null_mut(),
            call: no_service,
            log: no_log,
            cancelled: not_cancelled,
        }));
        let mut instance = ptr::null_mut();
        // SAFETY: the host table is never freed, the configuration lives through the call.
        let reply = unsafe { (table.open)(host, Bytes::of(b"{}"), &mut instance) };
        assert_eq!(reply.status, abi::STATUS_OK, "the bare driver opens");
        // SAFETY: the body came over the boundary just now.
        drop(unsafe { reply.body.take() });
        Self { table, instance }
    }

    fn invoke(&self, body: &[u8]) -> Vec<u8> {
        // SAFETY: the instance is open and the body lives through the call.
        let reply = unsafe { (self.table.invoke)(self.instance, 1, Bytes::of(b"create_node"), Bytes::of(body)) };
        assert_eq!(reply.status, abi::STATUS_OK, "the bare driver answers");
        // SAFETY: the body came over the boundary just now.
        unsafe { reply.body.take() }
    }

    fn cancel(&self) {
        // SAFETY: the instance is open; an id that is not out is ignored.
        unsafe { (self.table.cancel)(self.instance, black_box(0)) }
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        // SAFETY: open, and no call is out.
        unsafe { (self.table.close)(self.instance) }
    }
}

/// `create_node` with a token that was used answers the node that it made: its tags come back, the driver does next to nothing.
fn request() -> CreateNode {
    let mut request = CreateNode {
        name: "bench".into(),
        image: "image-1".into(),
        size: "size-1".into(),
        client_token: "bench".into(),
        ..CreateNode::default()
    };
    let length = |request: &CreateNode| serde_json::to_vec(request).expect("JSON").len();
    let tag = |number: usize| format!("tag-{number}");
    for number in 0..8 {
        request.tags.insert(tag(number), "v".repeat(90));
    }
    let missing = SIZE - length(&request);
    request.tags.insert(tag(7), "v".repeat(90 + missing));
    assert_eq!(length(&request), SIZE);
    request
}

fn envelope(params: &RawValue) -> Vec<u8> {
    let request = Request { deadline_ms: 30_000, request_id: "bench".into(), params: Some(params) };
    serde_json::to_vec(&request).expect("JSON")
}

/// What serde does in one call: parameters and envelope written and read, answer written and read.
fn serde_alone(request: &CreateNode, answer: &Node) -> Node {
    let body = envelope(&to_raw_value(request).expect("JSON"));
    let read: Request<'_> = serde_json::from_slice(&body).expect("JSON");
    let params: CreateNode = serde_json::from_str(read.params.map_or("null", RawValue::get)).expect("JSON");
    black_box(params);
    let body = serde_json::to_vec(answer).expect("JSON");
    serde_json::from_slice(&body).expect("JSON")
}

async fn call(handle: &DriverHandle, request: &CreateNode) -> Node {
    let options = CallOptions { request_id: "bench".into(), ..CallOptions::default() };
    handle.call("create_node", request, options).await.unwrap_or_else(|error| panic!("{error}"))
}

/// A task of the runtime that calls, as the services do.
fn from_a_task(runtime: &Runtime, handle: &DriverHandle, request: &CreateNode, pause: Duration, count: usize) -> Round {
    let (handle, request) = (handle.clone(), request.clone());
    let task = async move {
        let mut round = Round::with_capacity(count);
        for number in 0..count + WARM_UP.min(count) {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            let start = Instant::now();
            black_box(call(&handle, &request).await);
            if number >= WARM_UP.min(count) {
                round.push(nanoseconds(start.elapsed()));
            }
        }
        round
    };
    runtime.block_on(runtime.spawn(task)).expect("the calls end well")
}

/// The whole subject.
pub fn run(report: &mut Report, rivals: &Rivals) {
    report.subject(
        "A typed driver call, 1 KiB each way",
        &format!(
            "`create_node` of cloud-dummy, {ROUNDS} alternating rounds of {CALLS} calls after {WARM_UP} to warm up. The child answers 1 KiB over \
             pipes without any protocol: the least that a plugin in a process costs."
        ),
    );
    let runtime = Runtime::new().expect("a runtime");
    let state = scratch::folder();
    let (registry, handle) = hosted::open(&runtime, state.path(), hosted::entry(Kind::Cloud, "dummy", json!({})));
    let request = request();
    let answer: Node = runtime.block_on(call(&handle, &request));
    let answered = serde_json::to_vec(&answer).expect("JSON").len();
    assert_eq!(answer.tags, BTreeMap::clone(&request.tags), "the tags come back");

    let bare = Bare::open();
    let body = envelope(&to_raw_value(&request).expect("JSON"));
    let mut child = rivals.echo(SIZE);
    let pipes = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
    let pipes = Cell::new(Some(pipes));

    let go_plugin = RefCell::new(rivals.go_plugin(1));

    let [task, thread, quiet, table, serde, empty, process, go_plugin] = alternate(
        ROUNDS,
        [
            Contender::new("through the host, from a task", || {
                from_a_task(&runtime, &handle, &request, Duration::ZERO, CALLS)
            }),
            Contender::new("through the host, from a blocking thread", || {
                each(WARM_UP, CALLS, || runtime.block_on(call(&handle, &request)))
            }),
            Contender::new("through the host, 2 ms after the call before", || {
                from_a_task(&runtime, &handle, &request, Duration::from_millis(2), 100)
            }),
            Contender::new("`invoke` of the bare table", || each(WARM_UP, CALLS, || bare.invoke(&body))),
            Contender::new("serde alone, both sides", || each(WARM_UP, CALLS, || serde_alone(&request, &answer))),
            Contender::new("an empty entry of the table", || batched(10_000, 20, || bare.cancel())),
            Contender::new("1 KiB to a child and back", || {
                let (mut to, mut from) = pipes.take().expect("the pipes");
                let mut bytes = [7; SIZE];
                let round = each(WARM_UP, CALLS / 4, || {
                    to.write_all(&bytes).and_then(|()| from.read_exact(&mut bytes)).expect("the child echoes");
                });
                pipes.set(Some((to, from)));
                round
            }),
            Contender::new("1 KiB to go-plugin's plugin and back", || {
                go_plugin.borrow_mut().calls("grpc", SIZE, WARM_UP, CALLS / 4)
            }),
        ],
    );
    drop(pipes);
    let _ended_with_its_input = child.wait();
    runtime.block_on(registry.close(Duration::from_secs(5)));
    thread::yield_now();

    report.series(&[&task, &thread, &quiet, &table, &serde, &empty, &process, &go_plugin]);
    report.row(Row {
        what: format!("typed driver call in-process, {SIZE} B in, {answered} B out"),
        ours: quantiles(&task),
        beside: format!(
            "`invoke` of the bare table {}, serde alone {}, child over pipes {}, go-plugin {}",
            time(table.p50()),
            time(serde.p50()),
            time(process.p50()),
            time(go_plugin.p50())
        ),
        relation: format!(
            "{:.1} x the bare table, {:.0} x faster than the child",
            task.p50() / table.p50(),
            process.p50() / task.p50()
        ),
        aim: "5 us".into(),
        kept: Some(task.p50() <= AIM),
    });
    report.row(Row {
        what: "the same from a blocking thread".into(),
        ours: quantiles(&thread),
        beside: format!("an empty entry of the table {}", time(empty.p50())),
        relation: String::new(),
        aim: "5 us".into(),
        kept: Some(thread.p50() <= AIM),
    });
    report.row(Row {
        what: "the same, 2 ms after the call before (its thread has parked)".into(),
        ours: quantiles(&quiet),
        beside: format!("child over pipes, busy {}", time(process.p50())),
        relation: String::new(),
        aim: String::new(),
        kept: None,
    });
}
