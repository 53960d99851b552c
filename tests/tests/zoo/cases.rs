//! What bad drivers do, and what their callers get.

use capstan::config::Limits;

use Ends::{Always, Never};
use Gets::{Answer, Error};
use InProcess::{Contained, Kept, Kills, Lost, Unfit};

/// One way to misbehave.
pub struct Case {
    pub name: &'static str,
    /// The bad driver's word for it; see `tests/bad-driver/src/behaviour.rs`. `@FILE@` is the driver's installed file.
    pub word: &'static str,
    /// What the caller gets of a driver in a process of its own.
    pub gets: Gets,
    /// How that process ends of it.
    pub ends: Ends,
    pub in_process: InProcess,
}

/// What a caller gets.
#[derive(Clone, Copy)]
pub enum Gets {
    /// The right answer.
    Answer,
    /// An error of this code; the operator's text has these words.
    Error(&'static str, &'static str),
}

/// Whether a process ends of it, and what `driver list` counts then.
#[derive(Clone, Copy)]
pub enum Ends {
    Never,
    Always(&'static str),
    /// In one of several ways: whether it has ended by itself when it is killed is a matter of time, and what using a closed
    /// descriptor does is one of the build.
    Somehow,
    /// The next one does not come up either: what it is loaded from is spoiled.
    ForGood(&'static str),
}

/// What it costs in the daemon's own process.
#[derive(Clone, Copy)]
pub enum InProcess {
    /// Nothing but the call.
    Contained(Gets),
    /// A thread of the driver's own as well, and after a few of them the driver.
    Lost(Gets),
    /// What the driver took is the daemon's, until that ends.
    Kept(Gets),
    /// The daemon: by a signal, or with a code.
    Kills { signal: Option<i32>, code: Option<i32> },
    /// It needs a process of its own to do this, or the machine would suffer.
    Unfit,
}

impl Case {
    /// It shows only when the deadline passes.
    pub fn is_about_time(&self) -> bool {
        let by_name = ["late_within_the_grace", "late_after_the_grace", "closes_the_socket"].contains(&self.name);
        by_name || matches!(self.gets, Error("timeout", _))
    }

    /// What the driver may use, in the cases that are about that.
    pub fn limits(&self) -> Limits {
        let none = Limits::default();
        match self.name {
            "memory_hog" => Limits { memory: Some(64 << 20), ..none },
            "files_at_their_limit" => Limits { files: Some(100), ..none },
            "processes_at_their_limit" | "fork_bomb_at_its_limit" => Limits { processes: Some(48), ..none },
            _ => none,
        }
    }
}

const fn by(signal: i32) -> InProcess {
    Kills { signal: Some(signal), code: None }
}

const fn case(name: &'static str, word: &'static str, gets: Gets, ends: Ends, in_process: InProcess) -> Case {
    Case { name, word, gets, ends, in_process }
}

const TIMEOUT: Gets = Error("timeout", "no answer by the deadline");
const HUNG: Ends = Always("hung");
const CRASHED: Ends = Always("crashed");
const EXITED: Ends = Always("exited");
const PROTOCOL: Ends = Always("protocol");
const LOST: InProcess = Lost(Error("timeout", ""));

const fn lost(says: &'static str) -> Gets {
    Error("unavailable", says)
}

/// All of them.
pub const CASES: [Case; 44] = [
    case("panic", "panic", Error("internal", "the bad driver panics"), Never, Contained(Error("internal", "panics"))),
    case("panic_uncaught", "panic_uncaught", lost("it crashed (SIGABRT)"), CRASHED, by(6)),
    case("abort", "abort", lost("it crashed (SIGABRT)"), CRASHED, by(6)),
    case("exit", "exit:0", lost("it ended by itself with code 0"), EXITED, Kills { signal: None, code: Some(0) }),
    case("segfault", "segfault", lost("it crashed (SIGSEGV)"), CRASHED, by(11)),
    case("null_write", "null_write", lost("it crashed (SIGSEGV)"), CRASHED, by(11)),
    case("stack_overflow", "stack_overflow", lost("it crashed (SIGABRT)"), CRASHED, by(6)),
    case("hang", "hang", TIMEOUT, HUNG, LOST),
    case("busy_loop", "busy", TIMEOUT, HUNG, LOST),
    case("sleep_through_cancel", "sleep:20000", TIMEOUT, HUNG, LOST),
    case("obeys_cancel", "hang_until_cancelled", Error("timeout", ""), Never, Contained(Error("timeout", ""))),
    case("late_within_the_grace", "sleep:350", Answer, Never, Contained(Answer)),
    case("late_after_the_grace", "sleep:900", TIMEOUT, HUNG, LOST),
    case("stops_itself", "stop", TIMEOUT, HUNG, Unfit),
    case("kills_its_keeper", "kill_parent", lost("it crashed (SIGKILL)"), CRASHED, Unfit),
    case("garbage_answer", "garbage", Error("internal", "no JSON"), Never, Contained(Error("internal", ""))),
    case(
        "unknown_status",
        "status:77",
        Error("internal", "status 77"),
        Never,
        Contained(Error("internal", "status 77")),
    ),
    case("huge_answer", "huge:100", Error("internal", ""), Never, Contained(Error("internal", ""))),
    case("fork_bomb", "fork_tree:5+hang", TIMEOUT, HUNG, Unfit),
    case("processes_that_flee", "run_away:3+abort", lost("it crashed (SIGABRT)"), CRASHED, Unfit),
    case("orphans", "orphans:20", Answer, Never, Unfit),
    case("grandchildren_with_pipes", "grandchild:60+abort", lost("it crashed (SIGABRT)"), CRASHED, Unfit),
    case("memory_hog", "memory:100", lost("it reached its memory limit"), Always("out_of_memory"), Kept(Answer)),
    case("descriptor_leak", "descriptors:200", Answer, Never, Kept(Answer)),
    case("thread_leak", "spawn_threads:20", Answer, Never, Kept(Answer)),
    case("files_at_their_limit", "descriptors:1000", Error("internal", "Too many open files"), Never, Unfit),
    case(
        "processes_at_their_limit",
        "processes:256",
        Error("internal", "Resource temporarily unavailable"),
        Never,
        Unfit,
    ),
    case("fork_bomb_at_its_limit", "fork_tree:8+hang", TIMEOUT, HUNG, Unfit),
    case("closes_the_socket", "close_socket", lost("it "), Ends::Somehow, Unfit),
    case("shuts_the_socket", "shut_socket", lost("it "), Ends::Somehow, Unfit),
    case("text_for_frames", "frames:text", lost("it broke the protocol (a frame of "), PROTOCOL, Unfit),
    case(
        "garbage_frame",
        "frames:no_json",
        lost("it broke the protocol (a frame that cannot be read"),
        PROTOCOL,
        Unfit,
    ),
    case("frame_without_object", "frames:no_object", lost("it broke the protocol (a frame that"), PROTOCOL, Unfit),
    case("empty_frame", "frames:empty", lost("it broke the protocol (an empty frame)"), PROTOCOL, Unfit),
    case("huge_frame", "frames:huge", lost("it broke the protocol (a frame of 4294967295 bytes"), PROTOCOL, Unfit),
    case("half_a_frame", "frames:half", TIMEOUT, HUNG, Unfit),
    case("half_a_frame_and_the_end", "frames:half_closed", lost("it "), Ends::Somehow, Unfit),
    case("wrong_call_id", "frames:wrong_id", lost("which was never called"), PROTOCOL, Unfit),
    case("double_reply", "frames:own", Answer, Never, Unfit),
    case("log_flood", "log_flood:5000", Answer, Never, Contained(Answer)),
    case("writes_to_standard_output", "stdout_flood:256", Answer, Never, Contained(Answer)),
    case("changes_its_file", "overwrite:@FILE@", Answer, Never, Contained(Answer)),
    case("truncates_its_file", "truncate:@FILE@", Answer, Never, Contained(Answer)),
    case("spoils_the_copy_it_runs_from", "truncate", lost("it crashed"), Ends::ForGood("crashed"), Unfit),
];

/// By its name.
pub fn find(name: &str) -> &'static Case {
    static ALL: &[Case] = &CASES;
    ALL.iter().find(|case| case.name == name).unwrap_or_else(|| panic!("there is no case {name:?}"))
}
