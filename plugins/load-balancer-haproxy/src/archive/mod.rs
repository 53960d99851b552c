//! Puts a copy of the log of one protocol away: into a local directory, or as a Swift object.

mod directory;
mod log;
mod swift;

use std::{
    fs::{self, DirBuilder},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use capstan_plugin_api::{
    CallContext, DriverError,
    load_balancer::{ArchiveRequest, Archived},
};
use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};

use crate::{
    device::{Fault, Paths, names_for_log},
    settings::Settings,
    spec::identifier,
};

/// libra's name of an archive, with the time in UTC.
const STAMP: &[BorrowedFormatItem<'_>] = format_description!("[year][month][day]-[hour][minute][second]");

/// See [`capstan_plugin_api::DeclarativeLoadBalancer::archive`].
pub fn archive(settings: &Settings, call: &CallContext, request: &ArchiveRequest) -> Result<Archived, DriverError> {
    let to_swift = match request.method.as_str() {
        "directory" => false,
        "swift" => true,
        other => {
            let other: String = other.chars().take(80).collect();
            return Err(DriverError::invalid_argument(format!("Driver does not support archive method '{other}'")));
        }
    };
    identifier("load balancer", &request.load_balancer)?;
    if !settings.log_file.is_file() {
        return Err(DriverError::not_found("No HAProxy logs found")
            .for_operator(format!("{} is no file", settings.log_file.display())));
    }
    let paths = Paths::of(settings, &request.device);
    paths.prepare()?;
    let names = names_for_log(settings, &paths, &request.protocol, &request.load_balancer)?;
    let now = OffsetDateTime::now_utc();
    let stamp = now.format(STAMP).map_err(|error| DriverError::internal(error.to_string()))?;
    let place = Scratch::make(&paths.state)?;
    let packed = log::pack(&settings.log_file, &names, &place.0.join("log.gz"), call)?;
    let object = format!("{}/haproxy-{stamp}.log.gz", request.load_balancer);
    if to_swift {
        swift::put(settings, call, request, &object, &packed)?;
    } else {
        directory::put(settings, &request.basepath, &object, &packed)?;
    }
    Ok(Archived { object, bytes: packed.bytes })
}

/// A directory that nobody else can enter, and that goes with the value.
struct Scratch(PathBuf);

impl Scratch {
    fn make(within: &Path) -> Result<Self, Fault> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        loop {
            let name = format!("archive-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
            let path = within.join(name);
            // Fails on anything that is there already, links included.
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Fault::file("make the directory", path)(error)),
            }
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays behind is private, and the device's deletion does not depend on it.
        let _gone: std::io::Result<()> = fs::remove_dir_all(&self.0);
    }
}
