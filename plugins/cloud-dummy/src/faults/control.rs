//! Faults that are changed from outside while the cloud runs.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use capstan_plugin_api::DriverError;

use super::{Armed, Fired, Rule};

/// The control file: looked at before each call, read when it has changed. What it counts begins anew then.
pub(crate) struct Control {
    path: PathBuf,
    seed: u64,
    seen: Option<Version>,
    armed: Armed,
}

const PLACE: &str = "control";

/// Another file, or another content of it.
type Version = (u64, i64, i64, u64);

impl Control {
    pub(crate) fn new(path: PathBuf, seed: u64) -> Self {
        Self { path, seed, seen: None, armed: Armed::new(seed, PLACE, &[]) }
    }

    /// As [`Armed::meet`]. A file that cannot be read or understood fails the call: a test is to notice.
    pub(crate) fn meet(&mut self, method: &str, subject: &str, fired: &mut Fired) -> Result<(), DriverError> {
        self.refresh()
            .map_err(|wrong| DriverError::internal(format!("the control file of the dummy cloud: {wrong}")))?;
        self.armed.meet(method, subject, fired);
        Ok(())
    }

    fn refresh(&mut self) -> Result<(), String> {
        let found = version(&self.path).map_err(|error| format!("{}: {error}", self.path.display()))?;
        if found == self.seen {
            return Ok(());
        }
        let rules = match found {
            None => Vec::new(),
            Some(_) => read(&self.path)?,
        };
        self.armed = Armed::new(self.seed, PLACE, &rules);
        self.seen = found;
        Ok(())
    }
}

/// None: there is no such file, which is the same as an empty list.
fn version(path: &Path) -> io::Result<Option<Version>> {
    match fs::metadata(path) {
        Ok(file) => Ok(Some((file.ino(), file.mtime(), file.mtime_nsec(), file.len()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn read(path: &Path) -> Result<Vec<Rule>, String> {
    let shown = path.display();
    let text = fs::read_to_string(path).map_err(|error| format!("{shown}: {error}"))?;
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let rules: Vec<Rule> = serde_json::from_str(&text)
        .map_err(|error| format!("{shown}: {error}; expected a JSON list of faults, written aside and renamed"))?;
    for (number, rule) in rules.iter().enumerate() {
        rule.check(&format!("{shown}: [{number}]"))?;
    }
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::Fault;

    #[test]
    fn what_is_written_holds_from_the_next_call_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("faults.json");
        let mut control = Control::new(path.clone(), 0);
        let mut meet = || {
            let mut fired = Fired::default();
            control.meet("list_nodes", "", &mut fired).map(|()| fired)
        };
        assert_eq!(meet().unwrap().iter().count(), 0, "no file, no faults");
        let put = |text: &str| {
            fs::write(path.with_extension("new"), text).unwrap();
            fs::rename(path.with_extension("new"), &path).unwrap();
        };
        put(r#"[{ "fault": "slow", "times": 1 }]"#);
        assert!(meet().unwrap().has(Fault::Slow));
        assert_eq!(meet().unwrap().iter().count(), 0, "spent");
        put(r#"[{ "fault": "slow", "times": 1 } ]"#);
        assert!(meet().unwrap().has(Fault::Slow), "written again, counted anew");
        for bad in ["[", r#"[{ "fault": "slo" }]"#, r#"[{ "fault": "slow", "every": 0 }]"#] {
            put(bad);
            let error = meet().unwrap_err();
            assert!(error.message.contains("faults.json"), "{error}");
        }
        put("");
        assert_eq!(meet().unwrap().iter().count(), 0);
        fs::remove_file(&path).unwrap();
        assert_eq!(meet().unwrap().iter().count(), 0);
    }
}
