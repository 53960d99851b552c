//! `image.toml`.

use std::{
    collections::BTreeMap,
    fs, io,
    net::Ipv4Addr,
    path::{Component, Path, PathBuf},
};

use serde::Deserialize;

use super::{Values, is_variable, template::is_private};
use crate::record::{Limits, Plan, Ready, Restart};

/// Its name in an image's folder.
const MANIFEST: &str = "image.toml";
/// Bytes of a manifest.
const LARGEST: u64 = 256 << 10;

/// What an image says.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    /// Default: the folder's name.
    pub name: Option<String>,
    #[serde(default)]
    pub description: String,
    command: Vec<String>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    /// Values of words that the cloud may set otherwise.
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
    /// Made in the node's folder.
    #[serde(default)]
    pub folders: Vec<PathBuf>,
    /// Copied there.
    #[serde(default)]
    pub files: Vec<FileEntry>,
    ready: Option<ReadyEntry>,
    #[serde(default)]
    restart: Restart,
    #[serde(default = "default_stop")]
    stop_seconds: u32,
}

/// A file or folder of the image.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileEntry {
    pub from: PathBuf,
    /// Default: as `from`.
    pub to: Option<PathBuf>,
    /// Whether words are filled in.
    #[serde(default)]
    pub template: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReadyEntry {
    port: Option<u16>,
    path: Option<String>,
    file: Option<String>,
    #[serde(default = "default_ready")]
    timeout_seconds: u32,
}

fn default_stop() -> u32 {
    5
}

fn default_ready() -> u32 {
    60
}

impl Manifest {
    /// Of an image's folder; none when it has no manifest. `Err` says what is wrong and where.
    pub fn read(folder: &Path) -> Result<Option<Self>, String> {
        let path = folder.join(MANIFEST);
        let text = match text(&path) {
            Ok(text) => text,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(one_line(&format!("{} cannot be read: {error}", path.display()))),
        };
        toml::from_str::<Self>(&text)
            .map_err(|error| error.to_string().split_whitespace().collect::<Vec<_>>().join(" "))
            .and_then(|manifest| manifest.check().map(|()| Some(manifest)))
            .map_err(|wrong| one_line(&format!("{}: {wrong}", path.display())))
    }

    fn check(&self) -> Result<(), String> {
        if self.command.first().is_none_or(String::is_empty) {
            return Err("command is empty; expected a program and its arguments".into());
        }
        if self.command.iter().any(|word| is_private(word)) {
            return Err("command has @USER_DATA@, which everybody could read there; take a file".into());
        }
        if let Some(name) = self.variables.keys().find(|name| !is_variable(name)) {
            return Err(format!("variables.{name} is no name; expected capitals, digits and _, a letter first"));
        }
        let targets = self.files.iter().flat_map(|file| [Some(&file.from), file.to.as_ref()]).flatten();
        if let Some(path) = targets.chain(&self.folders).find(|path| !is_below(path)) {
            let expected = "a relative path without \"..\" and control characters";
            return Err(format!("{} is not below the folder; expected {expected}", path.display()));
        }
        if self.stop_seconds > 60 {
            return Err(format!("stop_seconds is {}; expected at most 60", self.stop_seconds));
        }
        if self.restart.delay_ms == 0 || self.restart.window_seconds == 0 {
            return Err("restart.delay_ms and restart.window_seconds must be at least 1".into());
        }
        if let Some(ready) = &self.ready {
            match (ready.port, &ready.path, &ready.file) {
                (None, None, Some(file)) if is_private(file) => {
                    return Err("ready.file has @USER_DATA@, which a node that is not ready in time would tell".into());
                }
                (Some(1..), None, None) | (None, None, Some(_)) => {}
                (Some(1..), Some(path), None) if is_path(path) => {}
                _ => return Err("ready must have a port, a port and a path that begins with /, or a file".into()),
            }
        }
        Ok(())
    }

    /// What a node of this image runs.
    pub fn plan(&self, values: &Values, limits: Limits, gateway: Option<Ipv4Addr>) -> Result<Plan, String> {
        let fill = |text: &String| values.fill(text);
        let pair = |(name, value): (&String, &String)| Ok::<_, String>((name.clone(), values.fill(value)?));
        let ready = match &self.ready {
            None => None,
            Some(ReadyEntry { port: Some(port), path: Some(path), .. }) => {
                Some(Ready::Http { port: *port, path: path.clone() })
            }
            Some(ReadyEntry { port: Some(port), .. }) => Some(Ready::Port(*port)),
            Some(ReadyEntry { file, .. }) => {
                Some(Ready::File(values.fill(file.as_deref().unwrap_or_default())?.into()))
            }
        };
        let command = self.command.iter().map(fill).collect::<Result<Vec<_>, _>>()?;
        if let Some(program) = command.first().filter(|program| !Path::new(program).is_absolute()) {
            return Err(format!("command begins with {program:?}; expected an absolute path"));
        }
        Ok(Plan {
            command,
            environment: self.environment.iter().map(pair).collect::<Result<_, _>>()?,
            ready,
            ready_timeout_seconds: self.ready.as_ref().map_or_else(default_ready, |ready| ready.timeout_seconds),
            restart: self.restart,
            stop_seconds: self.stop_seconds,
            limits,
            gateway,
        })
    }
}

/// What stands in a manifest. A pipe would keep whoever opens it waiting.
fn text(path: &Path) -> io::Result<String> {
    let about = fs::metadata(path)?;
    if !about.is_file() || about.len() > LARGEST {
        let expected = format!("expected a file of at most {} KiB", LARGEST >> 10);
        return Err(io::Error::new(io::ErrorKind::InvalidInput, expected));
    }
    fs::read_to_string(path)
}

/// Names come from outside, and a line that says one must stay a line.
fn one_line(text: &str) -> String {
    let escaped = |character: char| match character.is_control() {
        true => character.escape_default().to_string(),
        false => character.to_string(),
    };
    text.chars().map(escaped).collect()
}

fn is_below(path: &Path) -> bool {
    path.to_str().is_some_and(|text| !text.is_empty() && !text.contains(char::is_control))
        && path.components().all(|part| matches!(part, Component::Normal(_)))
}

fn is_path(path: &str) -> bool {
    path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Manifest, String> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(MANIFEST), text).unwrap();
        Manifest::read(folder.path()).map(Option::unwrap)
    }

    #[test]
    fn a_manifest_becomes_a_plan() {
        let text =
            "command = ['@BIN@/web', '--bind', '@ADDRESS@']\n[environment]\nHOME = '@DIR@'\n[ready]\nport = 80\n";
        let values = Values::new([("BIN", "/usr/bin"), ("ADDRESS", "127.77.0.1"), ("DIR", "/d")]);
        let limits = Limits { memory_mib: 64, files: 64, processes: 8 };
        let plan = read(text).unwrap().plan(&values, limits, None).unwrap();
        assert_eq!(plan.command, ["/usr/bin/web", "--bind", "127.77.0.1"]);
        assert_eq!(plan.environment["HOME"], "/d");
        assert_eq!((plan.ready, plan.ready_timeout_seconds, plan.stop_seconds), (Some(Ready::Port(80)), 60, 5));
        let relative = read("command = ['web']").unwrap().plan(&values, limits, None).unwrap_err();
        assert!(relative.contains("absolute path"), "{relative}");
    }

    #[test]
    fn what_cannot_be_is_named() {
        for (text, words) in [
            ("", "missing field `command`"),
            ("command = []", "command is empty"),
            ("command = ['/bin/sh', '@USER_DATA@']", "@USER_DATA@"),
            ("command = ['/x']\nfile = 'a'", "unknown field `file`"),
            ("command = ['/x']\nfiles = [{ from = '../secret' }]", "../secret is not below the folder"),
            ("command = ['/x']\nfolders = ['/etc']", "/etc is not below the folder"),
            ("command = ['/x']\nready = { path = '/' }", "ready must have"),
            ("command = ['/x']\nready = { port = 80, path = \"/ x\" }", "ready must have"),
            ("command = ['/x']\nready = { file = '/d/@USER_DATA@' }", "ready.file has @USER_DATA@"),
            ("command = ['/x']\nstop_seconds = 61", "stop_seconds is 61"),
            ("command = ['/x']\nfolders = [\"a\\nb\"]", "a\\nb is not below the folder"),
            ("command = ['/x']\n\"\\u001b[1m\" = 1", "\\u{1b}[1m"),
            ("command = ['/x']\nvariables = { \"A\\u0000\" = '' }", "variables.A\\u{0} is no name"),
        ] {
            let wrong = read(text).unwrap_err();
            let is_line = !wrong.contains(char::is_control);
            assert!(wrong.contains(words) && wrong.contains("image.toml") && is_line, "{text}: {wrong}");
        }
        let folder = tempfile::tempdir().unwrap();
        assert!(Manifest::read(folder.path()).unwrap().is_none());
        let path = folder.path().join(MANIFEST);
        fs::write(&path, "#".repeat(300 << 10)).unwrap();
        assert!(Manifest::read(folder.path()).unwrap_err().ends_with("expected a file of at most 256 KiB"));
        fs::remove_file(&path).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
        assert!(Manifest::read(folder.path()).unwrap_err().ends_with("expected a file of at most 256 KiB"));
    }
}
