//! A zoo of bad drivers: each misbehaves beside a good one that answers a thousand calls a second, and beside a program that was started
//! through `program.start`.
//!
//! For each, in both modes where it applies: what the caller gets; that no call to the good driver fails; that descriptors,
//! threads and processes of the host are as before; that the program goes on; that nothing is left when the host has closed.
//! `cases.rs` is the list. `CAPSTAN_LONG=1` has each misbehave for 20 seconds, else for a moment.
//!
//! What a driver in the daemon's own process does that nothing there can contain (`driver list` shows the mode):
//!
//! | what | what it costs |
//! |---|---|
//! | a panic that is not caught, `abort`, `exit`, a bad pointer, a stack overflow | the daemon. What `program.start` started goes on |
//! | a call that does not come back | a thread; the driver, after five |
//! | memory, descriptors and threads that are kept | they are the daemon's until it ends |
//! | processes that it starts, SIGSTOP, writes into the daemon's descriptors, its file spoiled under its mapping | not shown here: the machine or this suite would suffer |
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a suite stops where something is wrong, and tells its figures"
)]

mod cases;
mod daemon;
mod entries;
mod host;
mod limits;
mod supervision;
mod traffic;

use capstan::drivers::Isolation::{InProcess, Process};

fn is_long() -> bool {
    std::env::var_os("CAPSTAN_LONG").is_some_and(|value| value != "0")
}

macro_rules! zoo {
    ($($isolation:ident in $module:ident: $($name:ident)*;)*) => {
        $(mod $module {
            $(#[test]
            fn $name() {
                super::host::run(stringify!($name), super::$isolation);
            })*
            pub const ALL: &[&str] = &[$(stringify!($name)),*];
        })*
    };
}

zoo! {
    Process in isolated:
        panic panic_uncaught abort exit segfault null_write stack_overflow hang busy_loop sleep_through_cancel obeys_cancel
        late_within_the_grace late_after_the_grace stops_itself kills_its_keeper garbage_answer unknown_status huge_answer fork_bomb
        processes_that_flee orphans grandchildren_with_pipes memory_hog descriptor_leak thread_leak files_at_their_limit
        processes_at_their_limit fork_bomb_at_its_limit closes_the_socket shuts_the_socket text_for_frames garbage_frame frame_without_object empty_frame huge_frame half_a_frame
        half_a_frame_and_the_end wrong_call_id double_reply log_flood writes_to_standard_output changes_its_file
        truncates_its_file spoils_the_copy_it_runs_from;
    InProcess in in_process:
        panic panic_uncaught abort exit segfault null_write stack_overflow hang busy_loop sleep_through_cancel obeys_cancel
        late_within_the_grace late_after_the_grace garbage_answer unknown_status huge_answer memory_hog descriptor_leak
        thread_leak log_flood writes_to_standard_output changes_its_file truncates_its_file;
}

#[test]
fn every_case_is_shown() {
    let all: Vec<&str> = cases::CASES.iter().map(|case| case.name).collect();
    assert_eq!(isolated::ALL, all);
    let fit = cases::CASES.iter().filter(|case| !matches!(case.in_process, cases::InProcess::Unfit));
    assert_eq!(in_process::ALL, fit.map(|case| case.name).collect::<Vec<_>>());
}
