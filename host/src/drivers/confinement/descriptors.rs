//! Descriptors that a child was born with and must not keep.
#![allow(unsafe_code)]

use std::{fs, io, os::fd::RawFd};

/// Closes every descriptor from `from` upwards that this process inherited. To be called first of all in a child: nothing in it
/// may own one of them yet.
pub(crate) fn close_inherited(from: RawFd) -> io::Result<()> {
    let first = u32::try_from(from).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: no memory is involved, and by this function's contract nobody owns what is closed.
    if unsafe { libc::close_range(first, u32::MAX, 0) } == 0 {
        return Ok(());
    }
    // Linux 5.9 brought the call.
    close_listed(from)
}

pub(super) fn close_listed(from: RawFd) -> io::Result<()> {
    let listed: Vec<RawFd> = fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|descriptor| *descriptor >= from)
        .collect();
    for descriptor in listed {
        // SAFETY: as above. The descriptor of the listing itself is closed already.
        unsafe { libc::close(descriptor) };
    }
    Ok(())
}
