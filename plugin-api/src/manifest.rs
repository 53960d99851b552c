//! The manifest: what a host reads of a driver without running it.

use serde::{Deserialize, Serialize};

use crate::{
    abi,
    json::Writer,
    schema::{Object, Schema},
};

/// The target triple that this build is for.
pub const TARGET: &str = env!("CAPSTAN_TARGET");

/// What must not run at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SerialBy {
    /// Calls about one device.
    Device,
    /// Nothing: the driver takes calls in any number.
    None,
    /// Calls to one instance. A word that this host does not know counts as this one, which is right for any driver.
    #[serde(other)]
    Instance,
}

impl SerialBy {
    /// As it stands in the manifest.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Instance => "instance",
            Self::None => "none",
        }
    }
}

/// What the attribute writes; [`Manifest`] is what the host reads.
#[derive(Clone, Copy, Debug)]
pub struct Declaration {
    /// Name of the driver.
    pub name: &'static str,
    /// Version of the driver.
    pub version: &'static str,
    /// Who made it.
    pub vendor: &'static str,
    /// One line for `driver info`.
    pub description: &'static str,
    /// `cloud`, `mgm`, `load_balancer` or `database`.
    pub kind: &'static str,
    /// Interface with its major number: `load_balancer/1`.
    pub interface: &'static str,
    /// `unwind` or `abort`.
    pub panic: &'static str,
    /// Methods that the driver answers.
    pub methods: &'static [&'static str],
    /// Calls of a queued load balancer that the author implemented; empty for every other interface.
    pub calls: &'static [&'static str],
    /// What the host must serialise.
    pub serial_by: SerialBy,
    /// Shape of the configuration.
    pub config: &'static Schema,
}

impl Declaration {
    /// Bytes that [`Declaration::render`] needs.
    pub const fn rendered_len(&self) -> usize {
        let mut out = Writer::<0>::new();
        self.write(&mut out);
        out.len()
    }

    /// The manifest as JSON; `N` is [`Declaration::rendered_len`].
    pub const fn render<const N: usize>(&self) -> [u8; N] {
        let mut out = Writer::<N>::new();
        self.write(&mut out);
        out.finish()
    }

    const fn write<const N: usize>(&self, out: &mut Writer<N>) {
        let texts = [
            ("{\"name\":", self.name),
            (",\"version\":", self.version),
            (",\"vendor\":", self.vendor),
            (",\"description\":", self.description),
            (",\"kind\":", self.kind),
            (",\"interface\":", self.interface),
            (",\"target\":", TARGET),
            (",\"panic\":", self.panic),
            (",\"serial_by\":", self.serial_by.as_str()),
        ];
        let mut i = 0;
        while i < texts.len() {
            out.raw(texts[i].0);
            out.string(texts[i].1);
            i += 1;
        }
        out.raw(",\"epoch\":");
        out.integer(abi::EPOCH as i64);
        out.raw(",\"methods\":");
        out.strings(self.methods);
        out.raw(",\"calls\":");
        out.strings(self.calls);
        out.raw(",\"secrets\":[");
        if let Schema::Object(object) = self.config {
            write_secrets(object, out);
        }
        out.raw("],\"config_schema\":");
        self.config.write(out);
        out.raw("}");
    }
}

const fn write_secrets<const N: usize>(object: &Object, out: &mut Writer<N>) {
    let mut first = true;
    object.write_secrets(out, None, &mut first);
}

/// The manifest as the host reads it. Fields that it does not know are ignored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Manifest {
    /// Name of the driver.
    pub name: String,
    /// Version of the driver.
    pub version: String,
    /// Who made it.
    #[serde(default)]
    pub vendor: String,
    /// One line for `driver info`.
    #[serde(default)]
    pub description: String,
    /// `cloud`, `mgm`, `load_balancer` or `database`.
    pub kind: String,
    /// Interface with its major number: `load_balancer/1`.
    pub interface: String,
    /// Target triple of the file; empty for a command.
    #[serde(default)]
    pub target: String,
    /// `unwind`, `abort`, or `none` for a language that has no panics.
    #[serde(default = "none")]
    pub panic: String,
    /// Epoch of the boundary; 0 for a command, which has none.
    #[serde(default)]
    pub epoch: u32,
    /// Methods that the driver answers.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Calls of a queued load balancer that the author implemented.
    #[serde(default)]
    pub calls: Vec<String>,
    /// What the host must serialise.
    #[serde(default = "serial_by_instance")]
    pub serial_by: SerialBy,
    /// Dotted names of the secrets in the configuration; `*` stands for every entry of a list and every free key of a table.
    #[serde(default)]
    pub secrets: Vec<String>,
    /// JSON Schema of the configuration; absent means that anything goes.
    #[serde(default)]
    pub config_schema: serde_json::Value,
}

fn none() -> String {
    "none".into()
}

// The safe choice for a driver that does not say.
fn serial_by_instance() -> SerialBy {
    SerialBy::Instance
}

impl Manifest {
    /// The driver answers `method`.
    pub fn has(&self, method: &str) -> bool {
        self.methods.iter().any(|known| known == method)
    }
}
