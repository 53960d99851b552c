//! The files of a new project.

use std::path::Path;

use crate::drivers::Kind;

/// What is written, and what to do with it.
pub(super) struct Project {
    pub files: Vec<NewFile>,
    pub steps: Vec<String>,
}

pub(super) struct NewFile {
    pub name: String,
    pub text: String,
    pub is_executable: bool,
}

/// What differs between the languages.
struct Words<'a> {
    kind: Kind,
    name: &'a str,
    plugin_api: String,
    build: &'a str,
    /// The driver's file, from the project's folder.
    file: String,
    /// What names the file in a daemon's configuration.
    entry: String,
    /// Folder of the file, and what names it, in the configuration for trying it.
    directory: &'a str,
    trial: String,
}

impl Words<'_> {
    fn fill(&self, template: &str) -> String {
        let (method, params) = match self.kind {
            Kind::Cloud => ("list_images", "{}"),
            Kind::Database => ("status", r#"{"server": "a"}"#),
            Kind::LoadBalancer => ("observe", r#"{"device": "a"}"#),
            Kind::Mgm => ("get_url", "{}"),
        };
        [
            ("@NAME@", self.name),
            ("@KIND@", self.kind.as_str()),
            ("@PLUGIN_API@", &self.plugin_api),
            ("@BUILD@", self.build),
            ("@FILE@", &self.file),
            ("@ENTRY@", &self.entry),
            ("@DIRECTORY@", self.directory),
            ("@TRIAL@", &self.trial),
            ("@METHOD@", method),
            ("@PARAMS@", params),
        ]
        .iter()
        .fold(template.to_owned(), |text, (word, value)| text.replace(word, value))
    }

    fn file(&self, name: &str, template: &str, is_executable: bool) -> NewFile {
        NewFile { name: name.to_owned(), text: self.fill(template), is_executable }
    }

    fn project(&self, mut files: Vec<NewFile>) -> Project {
        files.push(self.file("README.md", include_str!("templates/README.md"), false));
        files.push(self.file("conformance.toml", include_str!("templates/conformance.toml"), false));
        files.push(self.file("capstan.toml", include_str!("templates/capstan.toml"), false));
        let check = format!("capstan driver check {} --trust-own-files --live conformance.toml", self.file);
        let steps = [self.build.to_owned(), check].into_iter().filter(|step| !step.starts_with("true")).collect();
        Project { files, steps }
    }
}

impl Project {
    pub fn in_rust(kind: Kind, name: &str, plugin_api: &Path) -> Self {
        let library = format!("lib{}.so", name.replace('-', "_"));
        let file = format!("target/release/{library}");
        let words = Words {
            kind,
            name,
            // Inside quotes in TOML.
            plugin_api: plugin_api.display().to_string().replace('\\', "\\\\").replace('"', "\\\""),
            build: "cargo build --release",
            entry: format!("library = \"/path/to/{library}\""),
            directory: "target/release",
            trial: format!("library = \"{library}\""),
            file,
        };
        let source = match kind {
            Kind::Cloud => include_str!("templates/rust/cloud.rs"),
            Kind::Database => include_str!("templates/rust/database.rs"),
            Kind::LoadBalancer => include_str!("templates/rust/load_balancer.rs"),
            Kind::Mgm => include_str!("templates/rust/mgm.rs"),
        };
        words.project(vec![
            words.file("Cargo.toml", include_str!("templates/rust/Cargo.toml"), false),
            words.file("src/lib.rs", source, false),
            words.file(".gitignore", "/target\n/state\n/run\n", false),
        ])
    }

    pub fn in_python(kind: Kind, name: &str) -> Self {
        let words = Words {
            kind,
            name,
            plugin_api: String::new(),
            build: "python3 -m py_compile driver.py",
            file: "./driver.py".to_owned(),
            entry: format!("command = [\"/path/to/{name}/driver.py\"]"),
            directory: ".",
            trial: "command = [\"driver.py\"]".to_owned(),
        };
        let source = match kind {
            Kind::Cloud => include_str!("templates/python/cloud.py"),
            Kind::Database => include_str!("templates/python/database.py"),
            Kind::LoadBalancer => include_str!("templates/python/load_balancer.py"),
            Kind::Mgm => include_str!("templates/python/mgm.py"),
        };
        words.project(vec![
            words.file("driver.py", source, true),
            words.file("capstan_driver.py", capstan_plugin_api::languages::PYTHON_MODULE, false),
            words.file(".gitignore", "/__pycache__\n/state\n/run\n", false),
        ])
    }

    pub fn in_c(kind: Kind, name: &str) -> Self {
        let file = format!("lib{}.so", name.replace('-', "_"));
        let words = Words {
            kind,
            name,
            plugin_api: String::new(),
            build: "make",
            entry: format!("library = \"/path/to/{file}\""),
            directory: ".",
            trial: format!("library = \"{file}\""),
            file,
        };
        let source = match kind {
            Kind::Cloud => include_str!("templates/c/cloud.c"),
            Kind::Database => include_str!("templates/c/database.c"),
            Kind::LoadBalancer => include_str!("templates/c/load_balancer.c"),
            Kind::Mgm => include_str!("templates/c/mgm.c"),
        };
        words.project(vec![
            // From `open` on all kinds have the same.
            words.file("driver.c", &[source, include_str!("templates/c/entries.c")].join("\n"), false),
            words.file("Makefile", include_str!("templates/c/Makefile"), false),
            words.file("capstan_driver.h", capstan_plugin_api::languages::C_HEADER, false),
            words.file("capstan_json.h", capstan_plugin_api::languages::C_JSON, false),
            words.file(".gitignore", "*.so\n/state\n/run\n", false),
        ])
    }
}
