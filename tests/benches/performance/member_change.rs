//! One change of a member through the driver, file persisted, beside a bare runtime command and beside a reload.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use capstan_tests::{free_port, wait_for, web};

use crate::{
    balancer::Balancer,
    haproxy::{HaProxy, replace},
    measure::{Contender, Round, Series, alternate, each, nanoseconds},
    report::{Report, Row, quantiles, time},
    scratch,
    wrk::{self, Connections, Counted},
};

const ROUNDS: usize = 5;
const CHANGES: usize = 60;
const RELOADS: usize = 6;
/// The aim: at most so many nanoseconds more than the bare command.
const AIM: f64 = 1e6;
const CLIENTS: u32 = 16;
const LOAD_SECONDS: u64 = 5;
/// Between two changes under load.
const PACE: Duration = Duration::from_millis(40);

/// An administrator's HAProxy with the same service and a second port that tells the number of the file that runs.
struct ByHand {
    haproxy: HaProxy,
    port: u16,
    marker_port: u16,
    text: String,
    number: u32,
    weight: u32,
}

impl ByHand {
    fn start(web: &[u16]) -> Self {
        let (port, marker_port) = (free_port(), free_port());
        let text = format!(
            r"global
    maxconn 4000
    stats socket {{folder}}/admin.sock level admin expose-fd listeners
    hard-stop-after 5s
defaults
    mode http
    timeout client 30s
    timeout connect 5s
    timeout server 30s
frontend web
    bind 127.0.0.1:{port}
    default_backend web
frontend marker
    bind 127.0.0.1:{marker_port}
    http-request return status 200 content-type text/plain string @NUMBER@
backend web
    balance roundrobin
    cookie SERVERID insert indirect
    option httpclose
    option forwardfor
    server 0 127.0.0.1:{} cookie 0 check inter 30s
    server 1 127.0.0.1:{} cookie 1 check inter 30s
    server slot 127.0.0.1:9 cookie slot check inter 30s disabled
",
            web[0], web[1]
        );
        let haproxy = HaProxy::start(&text.replace("@NUMBER@", "0"), port);
        let text = text.replace("{folder}", &haproxy.file().parent().expect("its folder").display().to_string());
        Self { haproxy, port, marker_port, text, number: 0, weight: 1 }
    }

    fn command(&mut self) {
        self.weight = self.weight % 200 + 1;
        let answer = self.haproxy.command(&format!("set server web/0 weight {}", self.weight));
        assert_eq!(answer.trim(), "", "the bare command is taken");
    }

    /// What adding a member into a slot takes at the least: its address, its check, its state; then out again.
    fn slot(&mut self, port: u16, into: bool) {
        let lines: &[String] = if into {
            &[format!("set server web/slot addr 127.0.0.1 port {port}"), "set server web/slot state ready".to_owned()]
        } else {
            &["set server web/slot state maint".to_owned()]
        };
        for line in lines {
            self.haproxy.command(line);
        }
    }

    fn persist(&self) {
        replace(&self.haproxy.file(), &self.text.replace("@NUMBER@", &self.number.to_string()));
    }

    /// Writes the file and reloads until a new connection is answered by the new process.
    fn reload(&mut self) {
        self.number += 1;
        self.persist();
        self.haproxy.reload();
        let number = self.number.to_string();
        wait_for("the new process to answer", Duration::from_secs(10), || {
            web::get(self.marker_port, None).ok().filter(|answer| answer.body.trim() == number)
        });
    }
}

/// Runs changes while wrk asks, and counts what wrk lost.
fn under_load(port: u16, connections: Connections, mut change: impl FnMut()) -> (Round, Counted) {
    let load = wrk::start(port, connections, CLIENTS, LOAD_SECONDS);
    thread::sleep(Duration::from_millis(300));
    let end = Instant::now() + Duration::from_secs(LOAD_SECONDS) - Duration::from_millis(900);
    let mut round = Round::new();
    while Instant::now() < end {
        let start = Instant::now();
        change();
        round.push(nanoseconds(start.elapsed()));
        thread::sleep(PACE);
    }
    (round, load.finish(LOAD_SECONDS))
}

/// The whole subject.
pub fn run(report: &mut Report) {
    report.subject(
        "A member change",
        &format!(
            "`apply` with one changed member through the driver (fsync of the file included), a bare `set server … weight` on a \
             connection of its own, and a reload (file replaced, master told, a new connection answered by the new process). \
             {ROUNDS} alternating rounds of {CHANGES} changes ({RELOADS} reloads); then under {CLIENTS} clients of wrk for {LOAD_SECONDS} s each."
        ),
    );
    let balancer = RefCell::new(Balancer::start(scratch::folder(), 3, 2));
    let in_memory = RefCell::new(Balancer::start(scratch::folder_in_memory(), 2, 2));
    let hand = RefCell::new(ByHand::start(&balancer.borrow().web.ports));
    let third = balancer.borrow().web.ports[2];
    let methods = RefCell::new(BTreeMap::<String, u64>::new());
    let applied = |members: &[(usize, u32)]| {
        let applied = balancer.borrow_mut().apply(members);
        *methods.borrow_mut().entry(applied.method).or_default() += 1;
    };
    let weight = RefCell::new(1_u32);
    let change_weight = || {
        let mut weight = weight.borrow_mut();
        *weight = *weight % 200 + 1;
        applied(&[(0, *weight), (1, 1)]);
    };
    let weight_in_memory = RefCell::new(1_u32);
    let change_in_memory = || {
        let mut weight = weight_in_memory.borrow_mut();
        *weight = *weight % 200 + 1;
        in_memory.borrow_mut().apply(&[(0, *weight), (1, 1)])
    };
    let is_in = RefCell::new(false);
    let add_or_remove = || {
        let mut is_in = is_in.borrow_mut();
        *is_in = !*is_in;
        applied(if *is_in { &[(0, 1), (1, 1), (2, 1)] } else { &[(0, 1), (1, 1)] });
    };
    let slot_in = RefCell::new(false);

    let [ours, memory, bare, ours_slot, bare_slot, file, reload] = alternate(
        ROUNDS,
        [
            Contender::new("driver: weight, persisted", || each(5, CHANGES, change_weight)),
            Contender::new("driver: weight, files in memory", || each(5, CHANGES, change_in_memory)),
            Contender::new("bare command: weight", || each(5, CHANGES, || hand.borrow_mut().command())),
            Contender::new("driver: member added or removed, persisted", || {
                applied(&[(0, 1), (1, 1)]);
                *is_in.borrow_mut() = false;
                each(4, CHANGES, add_or_remove)
            }),
            Contender::new("bare commands: slot filled or emptied", || {
                each(4, CHANGES, || {
                    let mut slot_in = slot_in.borrow_mut();
                    *slot_in = !*slot_in;
                    hand.borrow_mut().slot(third, *slot_in);
                })
            }),
            Contender::new("the file alone: write, fsync, rename, fsync", || {
                each(2, CHANGES, || hand.borrow().persist())
            }),
            Contender::new("reload by hand", || each(1, RELOADS, || hand.borrow_mut().reload())),
        ],
    );
    report.series(&[&ours, &memory, &bare, &ours_slot, &bare_slot, &file, &reload]);
    let more = ours.p50() - bare.p50();
    report.row(Row {
        what: "member change by runtime API (weight), file persisted".into(),
        ours: quantiles(&ours),
        beside: format!(
            "bare command {}; file alone {}; reload {}",
            quantiles(&bare),
            time(file.p50()),
            quantiles(&reload)
        ),
        relation: format!("+{}; {:.0} x faster than a reload", time(more), reload.p50() / ours.p50()),
        aim: "+1 ms".into(),
        kept: Some(more <= AIM),
    });
    report.row(Row {
        what: "the same with the files in memory: what does not wait for the disk".into(),
        ours: quantiles(&memory),
        beside: format!("bare command {}", quantiles(&bare)),
        relation: format!("+{}", time(memory.p50() - bare.p50())),
        aim: String::new(),
        kept: None,
    });
    let more = ours_slot.p50() - bare_slot.p50();
    report.row(Row {
        what: "member added or removed without a reload, file persisted".into(),
        ours: quantiles(&ours_slot),
        beside: format!("bare commands {}", quantiles(&bare_slot)),
        relation: format!("+{}", time(more)),
        aim: "+1 ms".into(),
        kept: Some(more <= AIM),
    });

    let mut table = vec![["", "changes", "p50", "p99", "requests", "requests/s", "failed requests"].map(String::from)];
    let port = balancer.borrow().port;
    let hand_port = hand.borrow().port;
    for connections in [Connections::Kept, Connections::Closed] {
        let runs = [
            ("driver: weight", under_load(port, connections, change_weight)),
            ("driver: member added or removed", under_load(port, connections, add_or_remove)),
            ("bare command: weight", under_load(hand_port, connections, || hand.borrow_mut().command())),
            ("reload by hand", under_load(hand_port, connections, || hand.borrow_mut().reload())),
        ];
        let mut lost = Vec::new();
        for (name, (round, counted)) in runs {
            let mut series = Series::new(name);
            series.add(round);
            table.push([
                format!("{name}, {}", connections.name()),
                series.count().to_string(),
                time(series.p50()),
                time(series.p99()),
                counted.requests.to_string(),
                format!("{:.0}", counted.rate),
                counted.failed.to_string(),
            ]);
            lost.push((name, series, counted));
        }
        let ours = lost[0].2.failed + lost[1].2.failed;
        report.row(Row {
            what: format!("requests that failed during member changes, {}", connections.name()),
            ours: format!(
                "{ours} of {} in {} changes",
                lost[0].2.requests + lost[1].2.requests,
                lost[0].1.count() + lost[1].1.count()
            ),
            beside: format!(
                "reload by hand {} of {} in {} reloads",
                lost[3].2.failed,
                lost[3].2.requests,
                lost[3].1.count()
            ),
            relation: String::new(),
            aim: "0".into(),
            kept: Some(ours == 0),
        });
    }
    report.table(&table);
    let methods: Vec<[String; 2]> = [["how the driver made its changes".to_owned(), "times".to_owned()]]
        .into_iter()
        .chain(methods.into_inner().into_iter().map(|(method, count)| [method, count.to_string()]))
        .collect();
    report.table(&methods);
}
