//! `capstan driver new`: a project that builds outside of this workspace and passes the conformance kit as it is.

mod project;

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};

use crate::{
    cli::{
        exit::{Failure, Outcome},
        output,
    },
    drivers::{Kind, is_name},
};
use project::Project;

#[derive(Debug, Args)]
pub struct Arguments {
    /// Name of the driver and of the folder that is made: a-z, 0-9, _ and -, a letter first
    name: String,
    /// What it is for: cloud, database, load_balancer or mgm
    #[arg(long, value_parser = kind)]
    kind: Kind,
    /// What it is written in
    #[arg(long, value_enum, default_value_t)]
    language: Language,
    /// Folder in which the project's folder is made
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    directory: PathBuf,
    /// The crate capstan-plugin-api that a Rust driver is built with. Default: the one that was installed with this binary
    /// (PREFIX/share/capstan/plugin-api), else the one of the checkout that it was built in
    #[arg(long, value_name = "FOLDER")]
    plugin_api: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Language {
    #[default]
    Rust,
    Python,
    C,
}

fn kind(name: &str) -> Result<Kind, String> {
    Kind::from_name(name).ok_or_else(|| {
        let known: Vec<&str> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
        format!("known are {}", known.join(", "))
    })
}

pub(super) fn new(arguments: &Arguments) -> Outcome {
    let Arguments { name, kind, language, directory, plugin_api } = arguments;
    check_name(name)?;
    let project = match language {
        Language::Rust => Project::in_rust(*kind, name, &find_plugin_api(plugin_api.as_deref())?),
        Language::Python => Project::in_python(*kind, name),
        Language::C => Project::in_c(*kind, name),
    };
    let folder = directory.join(name);
    write(&folder, &project)?;
    output::line(&format!("made {}:", folder.display()));
    for file in &project.files {
        output::line(&format!("  {}", file.name));
    }
    output::line("\nnext:");
    output::line(&format!("  cd {}", folder.display()));
    for step in &project.steps {
        output::line(&format!("  {step}"));
    }
    Ok(())
}

fn check_name(name: &str) -> Outcome {
    if is_name(name) {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "the name {name:?} is not of a-z, 0-9, _ and -, a letter first, at most 64 bytes; choose another"
    )))
}

/// Where `capstan-plugin-api` lies on this machine.
fn find_plugin_api(given: Option<&Path>) -> Result<PathBuf, Failure> {
    let is_it = |folder: &Path| folder.join("Cargo.toml").is_file() && folder.join("src").is_dir();
    if let Some(folder) = given {
        let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        if is_it(&absolute) {
            return Ok(absolute);
        }
        return Err(Failure::Usage(format!("--plugin-api {}: no crate lies there", folder.display())));
    }
    let binary = std::env::current_exe().unwrap_or_default();
    let installed = binary.ancestors().nth(2).map(|prefix| prefix.join("share/capstan/plugin-api"));
    let checkouts = binary.ancestors().skip(2).map(|folder| folder.join("plugin-api"));
    installed.into_iter().chain(checkouts).find(|folder| is_it(folder)).ok_or_else(|| {
        Failure::Usage(
            "the crate capstan-plugin-api is not beside this binary (PREFIX/share/capstan/plugin-api); name it with --plugin-api".to_owned(),
        )
    })
}

fn write(folder: &Path, project: &Project) -> Outcome {
    let failed = |path: &Path, error: io::Error| Failure::Failed(format!("{} cannot be made: {error}", path.display()));
    if let Err(error) = fs::create_dir(folder) {
        let why = if error.kind() == io::ErrorKind::AlreadyExists {
            "it is there already; choose another name or folder".to_owned()
        } else {
            error.to_string()
        };
        return Err(Failure::Usage(format!("{}: {why}", folder.display())));
    }
    for file in &project.files {
        let path = folder.join(&file.name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|error| failed(parent, error))?;
        }
        fs::write(&path, &file.text).map_err(|error| failed(&path, error))?;
        // Not writable by a group, whatever the umask: the loader would refuse it.
        let mode = if file.is_executable { 0o755 } else { 0o644 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(|error| failed(&path, error))?;
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).map_err(|error| failed(folder, error))
}
