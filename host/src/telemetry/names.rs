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
