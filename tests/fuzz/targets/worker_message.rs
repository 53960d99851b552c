//! A worker's message: whatever the payload and whatever the appliance answers, there is a reply or a failure, no token is
//! told, and what reaches the appliance is clean.
#![no_main]

use std::{
    cell::RefCell,
    sync::{Arc, Mutex},
};

use capstan::worker::{Answer, Appliance, Call, Controller, Job, MessageForm, Settings, Verdict};
use capstan_fuzz::Source;
use capstan_plugin_api::{
    DriverError, ErrorCode,
    load_balancer::{
        Applied, ApplyRequest, ArchiveRequest, Archived, ListenerStatistics, LoadBalancerResult, MemberError,
        MemberStatus, Observed, Statistics, Status, Target,
    },
};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// Stands for a token; no input holds it.
const TOKEN: &str = "4b1d9a70-token-0c5e";

const TEXTS: &[&str] = &["", "busy", "a\nb", "\u{1b}[2J", "token 4b1d9a70-token-0c5e", "tcp", "GALERA"];

/// An appliance whose answers come from the input.
struct Strange {
    answers: Mutex<Vec<u8>>,
    applied: Mutex<Vec<ApplyRequest>>,
    archived: Mutex<Vec<ArchiveRequest>>,
}

impl Strange {
    fn draw<T>(&self, make: impl FnOnce(&mut Source<'_>) -> T) -> Result<T, DriverError> {
        let mut bytes = self.answers.lock().expect("nothing panics");
        let mut source = Source(&bytes);
        let answer = if source.byte() % 3 == 1 { Err(error(&mut source)) } else { Ok(make(&mut source)) };
        let rest = source.0.to_vec();
        *bytes = rest;
        answer
    }

    fn change(&self, ids: &[String]) -> Result<Applied, DriverError> {
        self.draw(|source| {
            let mut ids = ids.iter();
            // One result for each, or any number of others.
            let count = if source.coin() { ids.len() } else { source.below(4) };
            let load_balancers = (0..count)
                .map(|_| LoadBalancerResult {
                    id: ids.next().filter(|_| source.byte() < 200).cloned().unwrap_or_else(|| source.text(TEXTS)),
                    error: (source.byte() > 200).then(|| error(source)),
                    members: match source.byte() > 200 {
                        true => {
                            source.list(3, |source| MemberError { id: source.text(&["1", "2"]), error: error(source) })
                        }
                        false => Vec::new(),
                    },
                })
                .collect();
            Applied { load_balancers, method: source.text(TEXTS) }
        })
    }
}

fn error(source: &mut Source<'_>) -> DriverError {
    let codes = [
        ErrorCode::CONFLICT,
        ErrorCode::NOT_FOUND,
        ErrorCode::NOT_SUPPORTED,
        ErrorCode::INTERNAL,
        ErrorCode::INVALID_ARGUMENT,
    ];
    DriverError::new(source.one(&codes), source.text(TEXTS)).for_operator(source.text(TEXTS))
}

fn now<'a, T: Send + 'a>(answer: Result<T, DriverError>) -> Answer<'a, T> {
    Box::pin(std::future::ready(answer))
}

impl Appliance for Strange {
    fn apply<'a>(&'a self, _call: &'a Call, request: &'a ApplyRequest) -> Answer<'a, Applied> {
        self.applied.lock().expect("nothing panics").push(request.clone());
        let ids: Vec<String> = request.load_balancers.iter().map(|one| one.id.clone()).collect();
        now(self.change(&ids))
    }
    fn observe<'a>(&'a self, _call: &'a Call, _target: &'a Target) -> Answer<'a, Observed> {
        now(self
            .draw(|source| Observed { generation: source.one(&[0, 1, u64::MAX - 1, u64::MAX]), ..Observed::default() }))
    }
    fn suspend<'a>(&'a self, _call: &'a Call, _target: &'a Target) -> Answer<'a, Applied> {
        now(self.change(&[]))
    }
    fn enable<'a>(&'a self, _call: &'a Call, _target: &'a Target) -> Answer<'a, Applied> {
        now(self.change(&[]))
    }
    fn delete<'a>(&'a self, _call: &'a Call, _target: &'a Target) -> Answer<'a, Applied> {
        now(self.change(&[]))
    }
    fn status<'a>(&'a self, _call: &'a Call, _target: &'a Target) -> Answer<'a, Status> {
        now(self.draw(|source| Status {
            members: source.list(4, |source| MemberStatus {
                load_balancer: source.text(TEXTS),
                id: source.text(TEXTS),
                up: source.coin(),
                detail: source.text(TEXTS),
            }),
        }))
    }
    fn statistics<'a>(&'a self, _call: &'a Call, _target: &'a Target) -> Answer<'a, Statistics> {
        now(self.draw(|source| Statistics {
            start: source.text(TEXTS),
            end: source.text(TEXTS),
            listeners: source.list(4, |source| ListenerStatistics {
                load_balancer: source.text(TEXTS),
                protocol: source.text(TEXTS),
                bytes_out: source.one(&[0, -1, i64::MAX, i64::MIN]),
                bytes_in: None,
            }),
        }))
    }
    fn archive<'a>(&'a self, _call: &'a Call, request: &'a ArchiveRequest) -> Answer<'a, Archived> {
        self.archived.lock().expect("nothing panics").push(request.clone());
        now(self.draw(|source| Archived { object: source.text(TEXTS), bytes: 1 }))
    }
}

thread_local! {
    static RUNTIME: RefCell<tokio::runtime::Runtime> = RefCell::new(
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
    );
}

/// What an appliance's configuration could be made of.
fn is_clean(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic() && !b"#\"'\\`".contains(&byte))
}

fn apply_is_clean(request: &ApplyRequest) {
    let mut ids = std::collections::HashSet::new();
    for one in &request.load_balancers {
        assert!(is_clean(&one.id) && ids.insert(&one.id), "{request:?}");
        assert!(one.listeners.iter().all(|listener| is_clean(&listener.protocol) && listener.port != Some(0)));
        for pool in &one.pools {
            assert!(is_clean(&pool.algorithm), "{request:?}");
            assert!(pool.monitor.iter().all(|m| is_clean(&m.kind) && m.path.as_deref().is_none_or(is_clean)));
            let mut members = std::collections::HashSet::new();
            for member in &pool.members {
                assert!(is_clean(&member.id) && members.insert(&member.id), "{request:?}");
                assert!(is_clean(&member.address) && member.port > 0, "{request:?}");
                assert!((1..=256).contains(&member.weight), "{request:?}");
            }
        }
    }
}

/// Carries the payload out and looks at everything that came of it.
fn carry_out(settings: &Settings, answers: &[u8], payload: &[u8]) -> Verdict {
    let appliance = Arc::new(Strange {
        answers: Mutex::new(answers.to_vec()),
        applied: Mutex::default(),
        archived: Mutex::default(),
    });
    let controller = Controller::new(Arc::clone(&appliance) as Arc<dyn Appliance>, settings.clone());
    let verdict = RUNTIME.with_borrow(|runtime| runtime.block_on(controller.run(Job { unique: "u-1", payload })));
    match &verdict {
        Verdict::Reply(reply) => {
            let reply: Value = serde_json::from_slice(reply).expect("a reply is JSON");
            let reply = reply.as_object().expect("a reply is an object");
            let word = reply.get("hpcs_response").and_then(Value::as_str);
            match reply.get("badRequest") {
                Some(_) if word.is_none() => assert_eq!(reply.len(), 1, "{reply:?}"),
                // A field that the worker does not know comes back, this name too.
                _ => assert!(matches!(word, Some("PASS" | "FAIL")), "{reply:?}"),
            }
        }
        Verdict::Failure { reason } => assert!(!reason.is_empty() && !reason.contains('\n'), "{reason:?}"),
    }
    let applied = appliance.applied.lock().expect("nothing panics");
    applied.iter().for_each(apply_is_clean);
    assert!(applied.windows(2).all(|two| two[0].idempotency_key == two[1].idempotency_key), "one message, one key");
    verdict
}

fuzz_target!(|data: &[u8]| {
    let mut source = Source(data);
    let mut settings = Settings::new("node-7");
    settings.form = source.one(&[MessageForm::Libra, MessageForm::Seed]);
    settings.max_depth = source.one(&[64, 4, 0, 127]);
    settings.max_message_bytes = source.one(&[1 << 20, 1 << 20, 1 << 20, 50]);
    let answers = source.list(64, Source::byte);
    let payload = source.0;

    let verdict = carry_out(&settings, &answers, payload);
    let Ok(Value::Object(mut fields)) = serde_json::from_slice::<Value>(payload) else {
        return assert!(matches!(verdict, Verdict::Failure { .. }), "{verdict:?}");
    };
    let names_it = Value::Object(fields.clone()).to_string().to_lowercase().contains(TOKEN);
    if names_it || fields.contains_key("hpcs_object_store_token") {
        return;
    }
    // The same with a token in it: the driver may know it, nobody else does.
    fields.insert("hpcs_object_store_token".to_owned(), TOKEN.into());
    let payload = Value::Object(fields).to_string();
    let told = match carry_out(&settings, &answers, payload.as_bytes()) {
        Verdict::Reply(reply) => String::from_utf8(reply).expect("JSON is UTF-8"),
        Verdict::Failure { reason } => reason,
    };
    // An appliance may put it anywhere in its figures, which are no words about an error.
    if !told.contains("\"hpcs_response\":\"PASS\"") {
        assert!(!told.contains(TOKEN), "{told}");
    }
});
