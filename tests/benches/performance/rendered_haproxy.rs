//! Requests per second through the file that the driver renders, beside a file written by hand for the same service.

use capstan_tests::free_port;

use crate::{
    balancer::Balancer,
    haproxy::HaProxy,
    measure::median,
    report::{Report, Row},
    scratch,
    wrk::{self, Connections},
};

const ROUNDS: usize = 8;
const CLIENTS: u32 = 32;
const SECONDS: u64 = 2;
/// The aim, in percent.
const AIM: f64 = 97.0;

/// The same service, written by hand: same cookie, header, balancing, checks, log lines and threads. `closing` is the line that
/// tells what becomes of connections.
fn by_hand(balancer: &Balancer, port: u16, closing: &str) -> String {
    let user = if rustix::process::geteuid().is_root() { "    user haproxy\n    group haproxy\n" } else { "" };
    let servers: String = (0..2)
        .map(|n| format!("    server s{n} 127.0.0.1:{} cookie s{n} weight 1 check inter 30s\n", balancer.web.ports[n]))
        .collect();
    format!(
        r"global
    log {} local0
    maxconn 4096
{user}    stats socket {{folder}}/admin.sock mode 600 level admin
    hard-stop-after 5s
defaults
    mode http
    log global
    option httplog
    option dontlognull
    option redispatch
    retries 3
    timeout client 30s
    timeout connect 30s
    timeout server 30s
frontend web
    bind 127.0.0.1:{port}
    maxconn 4096
    default_backend web
backend web
    balance roundrobin
    cookie SERVERID insert indirect
    option forwardfor
    {closing}
{servers}",
        balancer.log_target()
    )
}

/// The whole subject.
pub fn run(report: &mut Report) {
    report.subject(
        "The rendered HAProxy",
        &format!(
            "Two web servers behind HTTP with cookie, X-Forwarded-For, checks and a log line for each request; wrk with {CLIENTS} connections, \
             {ROUNDS} alternating rounds of {SECONDS} s after one to warm up. Hand-tuned: the same service with nothing else in the file. \
             Hand-tuned with keep-alive: another service, in which connections on both sides are kept; libra's contract closes them."
        ),
    );
    let balancer = Balancer::start(scratch::folder(), 2, 2);
    let rendered = balancer.configuration();
    for line in ["option httpclose", "option forwardfor", "option httplog", "cookie SERVERID insert indirect"] {
        assert!(rendered.contains(line), "the rival is another service now; the driver renders\n{rendered}");
    }
    assert!(
        !rendered.contains("nbthread"),
        "the rival takes HAProxy's own number of threads; the driver renders\n{rendered}"
    );
    let ports = [balancer.port, free_port(), free_port()];
    let _hand = [
        HaProxy::start(&by_hand(&balancer, ports[1], "option httpclose"), ports[1]),
        HaProxy::start(&by_hand(&balancer, ports[2], "http-reuse safe"), ports[2]),
    ];
    let names = ["rendered by the driver", "hand-tuned, same service", "hand-tuned with keep-alive"];
    let mut table = vec![["requests/s", "median", "lowest", "highest", "failed"].map(String::from)];
    for connections in [Connections::Kept, Connections::Closed] {
        let mut rates = [const { Vec::new() }; 3];
        let mut failed = [0; 3];
        for round in 0..=ROUNDS {
            for place in 0..3 {
                let which = if round % 2 == 0 { place } else { 2 - place };
                let counted = wrk::run(ports[which], connections, CLIENTS, if round == 0 { 1 } else { SECONDS });
                failed[which] += counted.failed;
                if round > 0 {
                    rates[which].push(counted.rate);
                }
            }
        }
        for which in 0..3 {
            table.push([
                format!("{}, {}", names[which], connections.name()),
                format!("{:.0}", median(&rates[which])),
                format!("{:.0}", rates[which].iter().copied().fold(f64::INFINITY, f64::min)),
                format!("{:.0}", rates[which].iter().copied().fold(0.0, f64::max)),
                failed[which].to_string(),
            ]);
        }
        // Of rounds that ran right beside each other, so that a slow minute of the machine meets both.
        let shares: Vec<f64> = rates[0].iter().zip(&rates[1]).map(|(ours, hand)| ours / hand * 100.0).collect();
        let share = median(&shares);
        report.row(Row {
            what: format!("rendered HAProxy, clients with {}", connections.name()),
            ours: format!("{:.0} requests/s", median(&rates[0])),
            beside: format!(
                "hand-tuned {:.0} requests/s; with keep-alive, another service, {:.0}",
                median(&rates[1]),
                median(&rates[2])
            ),
            relation: format!("{share:.1} %"),
            aim: "97 %".into(),
            kept: Some(share >= AIM),
        });
    }
    report.table(&table);
}
