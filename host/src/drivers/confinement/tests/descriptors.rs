//! Nothing that the daemon had open stays open in a child.

use std::{fs, os::fd::IntoRawFd};

use serde_json::Value as Json;

use super::{Confinement, prepare, run};
use crate::drivers::confinement::{close_inherited, descriptors::close_listed};

fn open() -> Vec<String> {
    let folder = fs::read_dir("/proc/self/fd").unwrap();
    folder.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

pub(super) fn close_descriptors(_: &Json) {
    for close in [close_inherited, close_listed] {
        let file = fs::File::open("/dev/null").unwrap();
        let high = rustix::io::fcntl_dupfd_cloexec(&file, 500).unwrap().into_raw_fd();
        let low = file.into_raw_fd();
        assert!(open().contains(&high.to_string()));
        close(3).unwrap();
        // The listing has one itself.
        assert_eq!(open(), ["0", "1", "2", "3"], "{low} and {high} were open");
    }
    close_inherited(-1).unwrap_err();
}

#[test]
fn inherited_descriptors_are_closed() {
    run(&prepare(&Confinement::default()), "close_descriptors", &Json::Null).assert_success();
}
