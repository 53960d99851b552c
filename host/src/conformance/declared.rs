//! What a file says of itself, without running a line of it.

use capstan_plugin_api::Manifest;
use serde_json::Value;

use super::{Report, Subject, methods::required};
use crate::drivers::{self, DriverProgram, LibcVersion};

/// What was read.
pub struct Declared {
    /// The manifest.
    pub manifest: Manifest,
    glibc: Option<LibcVersion>,
}

/// Checks file, manifest and schema; none for a command, which says what it is when it runs.
pub(super) fn check(subject: &Subject, report: &mut Report<'_>) -> Option<Declared> {
    if matches!(subject.entry.program, DriverProgram::Command(_)) {
        report.skip("manifest", "a command shows its manifest in its hello; it is looked at when it runs");
        return None;
    }
    let declared = match drivers::inspect(subject.entry.file(), subject.trust_own_files) {
        Ok(file) => Declared { manifest: file.manifest, glibc: file.glibc },
        Err(error) => {
            report.fail("file", error.to_string());
            return None;
        }
    };
    report.pass("file", format!("{} can be read and belongs to whom it should", subject.entry.file().display()));
    let manifest = &declared.manifest;
    report.pass(
        "manifest",
        format!("{} {}, kind {}, interface {}", manifest.name, manifest.version, manifest.kind, manifest.interface),
    );
    report.judge("methods", methods(subject, manifest));
    report.judge("schema", schema(manifest));
    if let Some(release) = subject.release {
        let fits = match declared.glibc {
            Some(needed) if needed > release.glibc => {
                Err(format!("it needs glibc {needed}, {} has {}; build it there", release.name, release.glibc))
            }
            Some(needed) => Ok(format!("it needs glibc {needed}, {} has {}", release.name, release.glibc)),
            None => Ok("it names no version of the C library".to_owned()),
        };
        report.judge("release", fits);
    }
    Some(declared)
}

/// Every method that the kind demands is there.
pub(super) fn methods(subject: &Subject, manifest: &Manifest) -> Result<String, String> {
    let missing: Vec<&str> =
        required(subject.entry.kind).iter().copied().filter(|method| !manifest.has(method)).collect();
    if missing.is_empty() {
        Ok(format!("{} methods, the required ones among them", manifest.methods.len()))
    } else {
        Err(format!("the manifest lists no {}, which every {} driver answers", missing.join(", "), subject.entry.kind))
    }
}

/// The schema is one, and every secret is a place in it.
fn schema(manifest: &Manifest) -> Result<String, String> {
    if manifest.config_schema.is_null() {
        return Ok("no schema: any configuration is taken as it is".to_owned());
    }
    jsonschema::validator_for(&manifest.config_schema).map_err(|error| format!("the schema is none: {error}"))?;
    if manifest.config_schema.get("type") != Some(&Value::from("object")) {
        return Err("the schema's top is no object, but a configuration is a table".to_owned());
    }
    for secret in &manifest.secrets {
        let first = secret.split('.').next().unwrap_or(secret);
        if manifest.config_schema.pointer(&format!("/properties/{first}")).is_none() {
            return Err(format!("the secret {secret} has no place in the schema"));
        }
    }
    Ok(format!("a JSON Schema, {} secrets", manifest.secrets.len()))
}
