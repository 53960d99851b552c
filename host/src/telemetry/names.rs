//! The names, meanings and labels of all figures: the only place where a name is written.

use super::figures::{AmountFamily, CounterFamily, GaugeFamily, HistogramFamily};

/// Calls of drivers. `code` is `ok` or the code of the error.
pub const DRIVER_CALLS: CounterFamily<4> = CounterFamily {
    name: "capstan_driver_calls_total",
    help: "Calls of drivers by their result.",
    labels: ["kind", "driver", "method", "code"],
};

/// How long calls of drivers took, waiting for a free place included.
pub const DRIVER_CALL_SECONDS: HistogramFamily<3> = HistogramFamily {
    name: "capstan_driver_call_seconds",
    help: "Time of calls of drivers, waiting included.",
    labels: ["kind", "driver", "method"],
};

/// Calls inside a driver now.
pub const DRIVER_RUNNING: GaugeFamily<2> = GaugeFamily {
    name: "capstan_driver_running_calls",
    help: "Calls inside a driver now.",
    labels: ["kind", "driver"],
};

/// Calls that wait for a driver now.
pub const DRIVER_WAITING: GaugeFamily<2> = GaugeFamily {
    name: "capstan_driver_waiting_calls",
    help: "Calls that wait for a driver now.",
    labels: ["kind", "driver"],
};

/// Threads that never came back from a driver in the daemon.
pub const DRIVER_LOST_THREADS: GaugeFamily<2> = GaugeFamily {
    name: "capstan_driver_lost_threads",
    help: "Threads that never came back from a driver.",
    labels: ["kind", "driver"],
};

/// Processes of isolated drivers that ended without being asked to, by how.
pub const DRIVER_ENDS: CounterFamily<3> = CounterFamily {
    name: "capstan_driver_ends_total",
    help: "Processes of a driver that ended without being asked to.",
    labels: ["kind", "driver", "end"],
};

/// What drivers count themselves: at most 64 names a driver, of letters, digits and `_`.
pub const DRIVER_FIGURE: AmountFamily<3> = AmountFamily {
    name: "capstan_driver_figure",
    help: "Figures of a driver's own, by the name that it gave them.",
    labels: ["kind", "driver", "name"],
};

/// 1 for the state a driver is in.
pub const DRIVER_STATE: GaugeFamily<3> = GaugeFamily {
    name: "capstan_driver_state",
    help: "1 for the state a driver is in.",
    labels: ["kind", "driver", "state"],
};

/// The generation that serves: counts from 1 since the daemon started; 0 when none does.
pub const DRIVER_GENERATION: GaugeFamily<2> = GaugeFamily {
    name: "capstan_driver_generation",
    help: "The generation of a driver that serves; 0 when none does.",
    labels: ["kind", "driver"],
};

/// 1, with version and hash of what serves.
pub const DRIVER_INFO: GaugeFamily<4> = GaugeFamily {
    name: "capstan_driver_info",
    help: "1, with version and SHA-256 of the driver that serves.",
    labels: ["kind", "driver", "version", "sha256"],
};

/// Changes of generation that were asked for. `result` is `done` or `refused`.
pub const DRIVER_RELOADS: CounterFamily<3> = CounterFamily {
    name: "capstan_driver_reloads_total",
    help: "Reloads and rollbacks of drivers by their result; refused restarts among the refused.",
    labels: ["kind", "driver", "result"],
};

/// Restarts, by the operator and by themselves.
pub const DRIVER_RESTARTS: CounterFamily<2> = CounterFamily {
    name: "capstan_driver_restarts_total",
    help: "Restarts of drivers, by the operator and by themselves.",
    labels: ["kind", "driver"],
};

/// Generations that were replaced and still finish calls.
pub const DRIVER_DRAINING: GaugeFamily<2> = GaugeFamily {
    name: "capstan_driver_draining_generations",
    help: "Generations of a driver that were replaced and still finish calls.",
    labels: ["kind", "driver"],
};

/// Libraries that serve no more and stay in the daemon's memory.
pub const DRIVER_RETIRED: GaugeFamily<2> = GaugeFamily {
    name: "capstan_driver_retired_generations",
    help: "Libraries of a driver that serve no more and stay in the daemon's memory.",
    labels: ["kind", "driver"],
};

/// Messages a worker answered. `response` is `PASS` or `FAIL`.
pub const WORKER_MESSAGES: CounterFamily<2> = CounterFamily {
    name: "capstan_worker_messages_total",
    help: "Messages that the worker answered.",
    labels: ["action", "response"],
};

/// How long a worker took to answer.
pub const WORKER_MESSAGE_SECONDS: HistogramFamily<1> = HistogramFamily {
    name: "capstan_worker_message_seconds",
    help: "Time from message to answer.",
    labels: ["action"],
};

/// Job servers that a worker is registered with now.
pub const WORKER_JOB_SERVERS: GaugeFamily<0> = GaugeFamily {
    name: "capstan_worker_connected_job_servers",
    help: "Job servers that the worker is registered with now.",
    labels: [],
};

/// Jobs accepted by the embedded job server.
pub const JOBS_SUBMITTED: CounterFamily<0> = CounterFamily {
    name: "capstan_jobs_submitted_total",
    help: "Jobs that the embedded job server accepted.",
    labels: [],
};

/// Jobs that wait in the embedded job server now.
pub const JOBS_WAITING: GaugeFamily<0> =
    GaugeFamily { name: "capstan_jobs_waiting", help: "Jobs that wait in the embedded job server now.", labels: [] };

/// Connections to the embedded job server now.
pub const JOBS_CONNECTIONS: GaugeFamily<0> =
    GaugeFamily { name: "capstan_jobs_connections", help: "Connections to the embedded job server now.", labels: [] };

/// Requests answered over HTTP.
pub const HTTP_REQUESTS: CounterFamily<3> = CounterFamily {
    name: "capstan_http_requests_total",
    help: "Requests answered over HTTP.",
    labels: ["route", "method", "status"],
};

/// Tokens that were shown and not accepted. `reason` is `unknown`, `wrong`, `malformed`, `expired`, `revoked` or `too_many`.
pub const HTTP_REFUSED_TOKENS: CounterFamily<1> = CounterFamily {
    name: "capstan_http_refused_tokens_total",
    help: "Tokens that were shown over HTTP and not accepted.",
    labels: ["reason"],
};

/// Spare nodes that a stock is to have.
pub const POOL_WANTED: GaugeFamily<1> =
    GaugeFamily { name: "capstan_pool_wanted_nodes", help: "Spare nodes that a stock is to have.", labels: ["stock"] };

/// Nodes of a stock by state; `building` is all from the intent to the stock.
pub const POOL_NODES: GaugeFamily<2> = GaugeFamily {
    name: "capstan_pool_nodes",
    help: "Nodes of a stock by state; building is all from the intent to the stock.",
    labels: ["stock", "state"],
};

/// Spare nodes of a stock that were not well when they were last asked, so that they are not handed out.
pub const POOL_UNFIT: GaugeFamily<1> = GaugeFamily {
    name: "capstan_pool_unfit_nodes",
    help: "Spare nodes of a stock that were not well when they were last asked and are not handed out.",
    labels: ["stock"],
};

/// Nodes of a stock in use that the cloud shows in an error state.
pub const POOL_IN_ERROR: GaugeFamily<1> = GaugeFamily {
    name: "capstan_pool_taken_nodes_in_error",
    help: "Nodes of a stock in use that the cloud shows in an error state.",
    labels: ["stock"],
};

/// 1 while nothing is built for a stock: too many losses, or an operator.
pub const POOL_PAUSED: GaugeFamily<1> = GaugeFamily {
    name: "capstan_pool_paused",
    help: "1 while nothing is built for a stock: too many losses, or an operator.",
    labels: ["stock"],
};

/// 1 while nothing is done for a stock by itself.
pub const POOL_HELD: GaugeFamily<1> = GaugeFamily {
    name: "capstan_pool_held",
    help: "1 while nothing is done for a stock by itself.",
    labels: ["stock"],
};

/// Builds of a stock that failed since one went well.
pub const POOL_FAILURES_IN_A_ROW: GaugeFamily<1> = GaugeFamily {
    name: "capstan_pool_build_failures_in_a_row",
    help: "Builds of a stock that failed since one went well.",
    labels: ["stock"],
};

/// Builds of this daemon by how they ended: `done`, or why they failed.
pub const POOL_BUILDS: CounterFamily<2> = CounterFamily {
    name: "capstan_pool_builds_total",
    help: "Builds by how they ended: done, or why they failed.",
    labels: ["stock", "result"],
};

/// Seconds since the oldest job of the pool that has not ended was accepted.
pub const POOL_OLDEST_JOB_AGE: GaugeFamily<0> = GaugeFamily {
    name: "capstan_pool_oldest_job_age",
    help: "Seconds since the oldest job of the pool that has not ended was accepted; 0 without one.",
    labels: [],
};

/// Holds that concern the pool.
pub const POOL_HOLDS: GaugeFamily<0> =
    GaugeFamily { name: "capstan_pool_holds", help: "Holds that concern the pool.", labels: [] };

/// Nodes in a cloud with our tags that no row explains.
pub const POOL_ORPHANS: GaugeFamily<1> = GaugeFamily {
    name: "capstan_pool_orphans",
    help: "Nodes in a cloud with our tags that no row explains.",
    labels: ["cloud"],
};

/// Calls of a cloud by the pool of this daemon.
pub const POOL_CLOUD_CALLS: CounterFamily<1> =
    CounterFamily { name: "capstan_pool_cloud_calls_total", help: "Calls of a cloud by the pool.", labels: ["cloud"] };

/// How often a cloud asked the pool of this daemon for rest.
pub const POOL_CLOUD_RESTS: CounterFamily<1> = CounterFamily {
    name: "capstan_pool_cloud_rests_total",
    help: "How often a cloud asked the pool for rest.",
    labels: ["cloud"],
};

/// 1 while a cloud is left alone because it asked for rest.
pub const POOL_CLOUD_RESTING: GaugeFamily<1> = GaugeFamily {
    name: "capstan_pool_cloud_resting",
    help: "1 while a cloud is left alone because it asked for rest.",
    labels: ["cloud"],
};

/// 1 when the last comparison with a cloud failed.
pub const POOL_CLOUD_FAILING: GaugeFamily<1> = GaugeFamily {
    name: "capstan_pool_cloud_failing",
    help: "1 when the last comparison with a cloud failed.",
    labels: ["cloud"],
};

/// When a schedule's last run ended, in seconds since 1970.
pub const POOL_SCHEDULE_LAST_RUN: GaugeFamily<1> = GaugeFamily {
    name: "capstan_pool_schedule_last_run",
    help: "When a schedule's last run ended, in seconds since 1970.",
    labels: ["schedule"],
};

/// Seconds by which a schedule's next run is late.
pub const POOL_SCHEDULE_OVERDUE: GaugeFamily<1> = GaugeFamily {
    name: "capstan_pool_schedule_overdue",
    help: "Seconds by which a schedule's next run is late; 0 while it is not.",
    labels: ["schedule"],
};

/// Certificates given to nodes. `by` is `enrolment` or `renewal`.
pub const IDENTITY_CERTIFICATES: CounterFamily<1> =
    CounterFamily { name: "capstan_identity_certificates_total", help: "Certificates given to nodes.", labels: ["by"] };

/// Requests of nodes for a certificate that were refused. `reason` is a word of the manual of node identity.
pub const IDENTITY_REFUSALS: CounterFamily<1> = CounterFamily {
    name: "capstan_identity_refusals_total",
    help: "Requests of nodes for a certificate that were refused.",
    labels: ["reason"],
};

/// When the certificate of this node ends.
pub const IDENTITY_CERTIFICATE_END: GaugeFamily<0> = GaugeFamily {
    name: "capstan_identity_certificate_end_timestamp",
    help: "When the certificate of this node ends, in seconds since 1970.",
    labels: [],
};

/// 1, with the version of the daemon.
pub const BUILD_INFO: GaugeFamily<1> =
    GaugeFamily { name: "capstan_build_info", help: "1, with the version of the daemon.", labels: ["version"] };

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn no_name_is_given_twice_and_each_says_its_form() {
        let source = include_str!("names.rs");
        let (definitions, _) = source.split_once("#[cfg(test)]").unwrap();
        let mut names = BTreeSet::new();
        for definition in definitions.split("pub const ").skip(1) {
            let name = definition.split("name: \"").nth(1).unwrap().split('"').next().unwrap();
            assert!(names.insert(name), "{name} twice");
            assert!(name.starts_with("capstan_"), "{name}");
            assert_eq!(definition.contains(": CounterFamily"), name.ends_with("_total"), "{name}");
            assert_eq!(definition.contains(": HistogramFamily"), name.ends_with("_seconds"), "{name}");
        }
        assert!(names.len() > 10);
    }
}
