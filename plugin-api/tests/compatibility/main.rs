//! The compatibility gate: what passes between host and driver, and what a driver's source can name, only grows.
//!
//! The crate's own source is read, golden files tell what it said before, and each difference is judged: growth has to
//! be written down, a break is refused. `docs/compatibility.md` is the policy and says how the gate is used. The
//! golden file of the frozen layout has a test of its own (`abi_layout.rs`).
//!
//! Rustdoc's JSON would tell more of the public items, but only a nightly compiler makes it, and it knows nothing of
//! serde; so both texts are read from the source with `syn`. What the reader does not know makes it fail, not guess.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where it fails")]

mod gate;
mod macros;
mod message_rules;
mod messages;
mod public_api;
mod record;
mod source;
mod spelling;
mod verdicts;
mod wire;

use std::{fs, path::Path};

use source::{Crate, Files};

/// The source of the crate and of its macros.
#[derive(Clone)]
struct Sources {
    crate_files: Files,
    attribute: String,
    derive: String,
    /// Of the host: the frames that carry the messages. A driver that is a program reads and writes them itself.
    frames: Files,
}

impl Sources {
    fn read() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let of_macros = |file: &str| fs::read_to_string(folder.join("macros/src").join(file)).unwrap();
        let frames = fs::read_to_string(folder.join("../host/src/drivers/frames/message.rs")).unwrap();
        Self {
            crate_files: source::files(&folder.join("src")),
            attribute: of_macros("driver.rs"),
            derive: of_macros("config_schema.rs"),
            frames: Files::from([("lib.rs".to_owned(), frames)]),
        }
    }

    fn messages(&self) -> record::Record {
        messages::record(&Crate::read(&self.crate_files), &self.attribute)
    }

    fn frames(&self) -> record::Record {
        messages::frames(&Crate::read(&self.frames))
    }

    fn public_api(&self) -> record::Record {
        public_api::record(&Crate::read(&self.crate_files), &self.attribute, &self.derive)
    }
}

#[test]
fn messages_only_grow() {
    gate::hold("messages.txt", &Sources::read().messages(), message_rules::judge);
}

#[test]
fn frames_only_grow() {
    gate::hold("frames.txt", &Sources::read().frames(), message_rules::judge);
}

#[test]
fn public_items_only_grow() {
    gate::hold("public-api.txt", &Sources::read().public_api(), public_api::judge);
}

#[test]
fn every_message_can_grow() {
    message_rules::assert_able_to_grow(&Sources::read().messages());
    message_rules::assert_able_to_grow(&Sources::read().frames());
}
