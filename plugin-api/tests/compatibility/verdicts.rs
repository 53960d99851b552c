//! The gate is seen to work: each kind of change is made in a copy of the crate's own source, and judged.

use std::sync::LazyLock;

use crate::{
    Sources,
    gate::{self, Difference, Judge},
    message_rules, public_api,
    record::Record,
};

static TODAY: LazyLock<Sources> = LazyLock::new(Sources::read);
static MESSAGES_TODAY: LazyLock<Record> = LazyLock::new(|| TODAY.messages());
static ITEMS_TODAY: LazyLock<Record> = LazyLock::new(|| TODAY.public_api());

/// Which of the two texts.
#[derive(Clone, Copy)]
enum Text {
    Messages,
    Items,
}
use Text::{Items, Messages};

impl Text {
    fn of(self, sources: &Sources) -> Record {
        match self {
            Messages => sources.messages(),
            Items => sources.public_api(),
        }
    }

    fn today(self) -> &'static Record {
        match self {
            Messages => &MESSAGES_TODAY,
            Items => &ITEMS_TODAY,
        }
    }

    fn judge(self) -> Judge {
        match self {
            Messages => message_rules::judge,
            Items => public_api::judge,
        }
    }
}

/// The source after replacements in one file; each text stands there once.
fn changed(file: &str, edits: &[(&str, &str)]) -> Sources {
    let mut sources = TODAY.clone();
    let text = match file {
        "macros/driver.rs" => &mut sources.attribute,
        file => sources.crate_files.get_mut(file).unwrap(),
    };
    for (old, new) in edits {
        assert_eq!(text.matches(old).count(), 1, "{old:?} stands once in {file}");
        *text = text.replace(old, new);
    }
    sources
}

fn difference(text: Text, before: &Record, now: &Sources) -> Option<Difference> {
    gate::compare(before, &text.of(now), text.judge())
}

fn told(text: Text, file: &str, edits: &[(&str, &str)]) -> Difference {
    difference(text, text.today(), &changed(file, edits)).unwrap_or_else(|| panic!("{edits:?} was not seen"))
}

fn breaks(text: Text, file: &str, edits: &[(&str, &str)], words: &str) {
    let told = told(text, file, edits);
    assert!(told.is_break && told.words.contains(words), "{edits:?}: {told:?}");
}

fn grows(text: Text, file: &str, edits: &[(&str, &str)], words: &str) {
    let told = told(text, file, edits);
    assert!(!told.is_break && told.words.contains(words), "{edits:?}: {told:?}");
}

const ID_OF_SIZE: &str = "    /// Virtual processors.\n    #[serde(default)]\n    pub vcpus: u32,\n";

#[test]
fn a_field_may_be_added_and_nothing_else() {
    let file = "cloud/node.rs";
    let with = |more: &str| format!("{ID_OF_SIZE}{more}");
    grows(
        Messages,
        file,
        &[(ID_OF_SIZE, &with("    /// Cores.\n    pub cores: Option<u32>,\n"))],
        "growth: cloud::Size: cores is a new field; an older side ignores it",
    );
    let required = with("    /// Cores.\n    pub cores: u32,\n");
    breaks(Messages, file, &[(ID_OF_SIZE, &required)], "cores is a new field that is required");
    breaks(Messages, file, &[(ID_OF_SIZE, "")], "BREAK: cloud::Size: vcpus is gone; an older side still writes it");
    let renamed = ID_OF_SIZE.replace("pub vcpus", "pub cpus");
    breaks(Messages, file, &[(ID_OF_SIZE, &renamed)], "cloud::Size: vcpus is gone");
    // On the wire it is still the same; in the source it is not.
    let on_the_wire = renamed.replace("default", "default, rename = \"vcpus\"");
    assert!(difference(Messages, Messages.today(), &changed(file, &[(ID_OF_SIZE, &on_the_wire)])).is_none());
    breaks(Items, file, &[(ID_OF_SIZE, &on_the_wire)], "struct cloud::Size: field vcpus is gone");
    let retyped = ID_OF_SIZE.replace("u32", "u64");
    breaks(
        Messages,
        file,
        &[(ID_OF_SIZE, &retyped)],
        "cloud::Size: vcpus was \"whole number (u32), optional\" and is \"whole number (u64), optional\"",
    );
    let newly_required = ID_OF_SIZE.replace("    #[serde(default)]\n", "");
    breaks(Messages, file, &[(ID_OF_SIZE, &newly_required)], "it is newly required, and an older side leaves it out");
    breaks(
        Messages,
        "mgm.rs",
        &[("    /// The server took the device.\n    pub", "    #[serde(default)]\n    pub")],
        "an older side insists on it, so nobody may leave it out",
    );
    breaks(
        Messages,
        "load_balancer/spec.rs",
        &[("    1\n}", "    2\n}")],
        "weight was \"whole number (u32), optional, 1",
    );
}

#[test]
fn a_method_of_the_wire_may_be_added_with_a_default() {
    let file = "mgm.rs";
    let (first, listed) = ("    /// Counts of devices.\n", "        usage();\n");
    let method = "    fn drain(&self, _call: &CallContext) -> Result<(), DriverError>";
    let with = |body: &str| format!("{method}{body}\n{first}");
    let listed_too = format!("        drain();\n{listed}");
    let default = with(" { Err(DriverError::not_supported(\"drain\")) }");
    let edits = [(first, default.as_str()), (listed, listed_too.as_str())];
    grows(Messages, file, &edits, "interface mgm/1: drain is a new method; an older driver answers not_supported");
    grows(Items, file, &edits, "trait mgm::MgmDriver: fn drain is new");
    let required = with(";");
    let edits = [(first, required.as_str()), (listed, listed_too.as_str())];
    breaks(Messages, file, &edits, "drain is a new method that a driver must have, and an older one has not");
    breaks(Items, file, &edits, "fn drain is new and required; an older driver has not got it. Give it a default");
    breaks(
        Messages,
        file,
        &[(
            "get_url(&self, call: &CallContext) -> Result<String",
            "get_url(&self, call: &CallContext) -> Result<Usage",
        )],
        "interface mgm/1: get_url was \"required, takes nothing, answers text\"",
    );
    breaks(
        Messages,
        "macros/driver.rs",
        &[("\"mgm/1\"", "\"mgm/2\"")],
        "interface mgm/1 is gone; an older side still speaks it",
    );
}

#[test]
fn a_method_is_listed_and_dispatched_or_the_gate_stops() {
    for (edits, words) in [
        (("        usage();\n", ""), "has methods that interface! does not list: [\"usage\"]"),
        (("        usage();\n", "        long usage();\n"), "and its `long` in interface! differ"),
        (("        usage();\n", "        usage(Usage);\n"), "and its line in interface! differ"),
    ] {
        let sources = changed("mgm.rs", &[edits]);
        let panic = std::panic::catch_unwind(|| sources.messages()).expect_err("it stops");
        let said = panic.downcast_ref::<String>().unwrap();
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn who_reads_a_choice_decides_whether_it_grows() {
    let spec = "load_balancer/spec.rs";
    let variant = "    /// No.\n    Disabled,\n";
    grows(
        Messages,
        spec,
        &[(variant, "    /// No.\n    Disabled,\n    /// Soon.\n    Warming,\n")],
        "warming is a new choice; an older driver refuses a call that says it with invalid_argument",
    );
    breaks(
        Messages,
        spec,
        &[(variant, "")],
        "load_balancer::MemberState: disabled is gone; an older side still says it",
    );
    // A choice with fields of its own.
    let last = "        expire_s: u32,\n    },\n";
    let by_header =
        format!("{last}    /// By a header.\n    Header {{\n        /// Its name.\n        name: String,\n    }},\n");
    grows(Messages, spec, &[(last, &by_header)], "load_balancer::Persistence: header.name is a new field");
    let more = "        expire_s: u32,\n        /// Bits.\n        mask: u8,\n    },\n";
    breaks(Messages, spec, &[(last, more)], "source_ip.mask is a new field that is required");
    breaks(Messages, spec, &[("tag = \"type\"", "tag = \"kind\"")], "told apart by `kind`; any other is refused\"");

    let state = "load_balancer/state.rs";
    let failed = "    Failed,\n    /// A state that";
    grows(
        Messages,
        state,
        &[(failed, "    Failed,\n    /// Half.\n    Degraded,\n    /// A state that")],
        "degraded is a new choice; an older reader takes it for the one that stands for all others",
    );
    let closed = changed(state, &[("    #[serde(other)]\n", "")]);
    let told = difference(Messages, Messages.today(), &closed).unwrap();
    assert!(told.is_break && told.words.contains("and is \"host reads, choice; any other is refused\""), "{told:?}");
    let panic =
        std::panic::catch_unwind(|| message_rules::assert_able_to_grow(&closed.messages())).expect_err("it stops");
    assert!(panic.downcast_ref::<String>().unwrap().contains("LoadBalancerState is in an answer"));
    // The other way round it only opens.
    assert!(!difference(Messages, &closed.messages(), &TODAY).unwrap().is_break);
}

#[test]
fn words_and_services_may_be_added_and_nothing_else() {
    let code = "    pub const TIMEOUT: Self = Self::new(\"timeout\");\n";
    let more = format!("{code}    /// No more tape.\n    pub const TAPE_FULL: Self = Self::new(\"tape_full\");\n");
    grows(Messages, "error.rs", &[(code, &more)], "words of error::ErrorCode: tape_full is a new word");
    breaks(Messages, "error.rs", &[("\"timeout\"", "\"timed_out\"")], "words of error::ErrorCode: timeout is gone");
    breaks(Messages, "cloud/node.rs", &[("\"rebooting\"", "\"restarting\"")], "cloud::node_state: rebooting is gone");
    breaks(Messages, "host/state.rs", &[("\"state.list\"", "\"state.keys\"")], "state.list is gone; an older driver");
    grows(
        Messages,
        "host/state.rs",
        &[(
            "    /// Removes a key",
            "    /// Counts.\n    pub fn count(&self) -> Result<u64, DriverError> {\n        self.call(\"state.count\", &StateList::default())\n    }\n\n    /// Removes a key",
        )],
        "services of the host: state.count is a new service; an older host answers not_supported",
    );
    let unknown =
        [("/// Parameters of `secret.get`.\n", "/// Parameters of `secret.get`.\n#[serde(deny_unknown_fields)]\n")];
    let strict = changed("host/service.rs", &unknown);
    assert!(difference(Messages, Messages.today(), &strict).unwrap().is_break);
    let panic =
        std::panic::catch_unwind(|| message_rules::assert_able_to_grow(&strict.messages())).expect_err("it stops");
    assert!(panic.downcast_ref::<String>().unwrap().contains("deny_unknown_fields"));
}

#[test]
fn public_items_may_be_added_and_nothing_else() {
    breaks(Items, "lib.rs", &[(", Program, ProgramSpec", ", Program")], "use ProgramSpec is gone");
    breaks(Items, "lib.rs", &[("pub mod json;", "mod json;")], "mod json is gone");
    let method = "    pub fn time_left(&self) -> Duration {";
    breaks(Items, "call.rs", &[(method, "    fn time_left(&self) -> Duration {")], "fn time_left is gone");
    breaks(
        Items,
        "call.rs",
        &[(method, "    pub fn time_left(&self, _since: Instant) -> Duration {")],
        "fn time_left was \"fn(&self) -> std::time::Duration\" and is \"fn(&self, std::time::Instant) -> std::time::Duration\"",
    );
    grows(
        Items,
        "call.rs",
        &[(method, &format!("    /// No.\n    pub fn no(&self) {{}}\n{method}"))],
        "CallContext: fn no is new",
    );
    // How a parameter is called is nobody's business, nor how a path is written.
    let renamed = changed(
        "cloud/driver.rs",
        &[("fn get_node(&self, _call: &CallContext, _request", "fn get_node(&self, _c: &crate::CallContext, _r")],
    );
    assert!(difference(Items, Items.today(), &renamed).is_none());
    breaks(
        Items,
        "cloud/node.rs",
        &[(
            "#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]\npub struct Quotas",
            "#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]\npub struct Quotas",
        )],
        "struct cloud::Quotas: is Default is gone",
    );
    breaks(
        Items,
        "schema.rs",
        &[("    f32 => Schema::Number;\n", "")],
        "trait schema::ConfigSchema: implemented for f32 is gone",
    );
    breaks(
        Items,
        "macros/driver.rs",
        &[("is_ident(\"vendor\")", "is_ident(\"maker\")")],
        "attribute driver: argument vendor is gone",
    );
    breaks(
        Items,
        "dispatch.rs",
        &[("        pub struct $export<D>(D);", "        pub struct $export<D>(pub D);")],
        "struct mgm::Mgm was",
    );
    let required = "    fn health(&self) -> Result<Health, DriverError> {\n        Ok(Health::default())\n    }";
    breaks(
        Items,
        "lib.rs",
        &[(required, "    fn health(&self) -> Result<Health, DriverError>;")],
        "fn health was \"provided fn",
    );
    let before = changed("lib.rs", &[(required, "    fn health(&self) -> Result<Health, DriverError>;")]);
    assert!(!difference(Items, &before.public_api(), &TODAY).unwrap().is_break, "a default may be added");
}

#[test]
fn a_source_that_ends_its_literals_and_matches_openly_goes_on_compiling() {
    let field = (
        "    pub output: String,\n",
        "    pub output: String,\n    /// Lines.\n    #[serde(default)]\n    pub lines: u64,\n",
    );
    grows(Items, "cloud/node.rs", &[field], "struct cloud::Console: field lines is new");
    // Without Default there is no `..` to end a literal with.
    let derive = "#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]\npub struct Console";
    let without = "#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]\npub struct Console";
    let before = changed("cloud/node.rs", &[(derive, without)]);
    let now = changed("cloud/node.rs", &[field]);
    let told = difference(Items, &before.public_api(), &now).unwrap();
    assert!(told.is_break && told.words.contains("field lines is new in a struct without Default"), "{told:?}");

    let variant = (
        "    /// The server with the fewest connections.\n",
        "    /// By chance.\n    Random,\n    /// The server with the fewest connections.\n",
    );
    grows(Items, "load_balancer/queued.rs", &[variant], "enum load_balancer::Algorithm: variant Random is new");
    let exhaustive =
        changed("load_balancer/queued.rs", &[("#[non_exhaustive]\npub enum Algorithm", "pub enum Algorithm")]);
    let now =
        changed("load_balancer/queued.rs", &[variant, ("#[non_exhaustive]\npub enum Algorithm", "pub enum Algorithm")]);
    let told = difference(Items, &exhaustive.public_api(), &now).unwrap();
    assert!(told.is_break && told.words.contains("an enum that is not #[non_exhaustive]"), "{told:?}");
}

#[test]
fn what_the_gate_cannot_read_stops_it() {
    for (file, edits, words) in [
        ("mgm.rs", ("interface! {", "conjure! {}\n\ninterface! {"), "does not know what conjure! makes"),
        ("mgm.rs", ("use serde::{Deserialize, Serialize};", "use serde::*;"), "follows no `use serde::*`"),
        ("mgm.rs", ("#[serde(default, rename = \"type\")]", "#[serde(flatten)]"), "what this does to the JSON"),
        ("mgm.rs", ("pub struct Usage", "#[cfg(unix)]\npub struct Usage"), "does not know when"),
        ("mgm.rs", ("    pub total: u64", "    pub total: u128"), "cannot put u128 in JSON's words"),
        (
            "mgm.rs",
            ("    /// All devices.\n", "    #[serde(skip_serializing_if = \"zero\")]\n"),
            "is sometimes not written, and a reader insists on it",
        ),
    ] {
        let sources = changed(file, &[edits]);
        let panic = std::panic::catch_unwind(|| sources.messages()).expect_err("it stops");
        let said = panic.downcast_ref::<String>().unwrap();
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn a_golden_text_reads_back_as_it_was_written() {
    for text in [Messages, Items] {
        let record = text.today();
        let again = Record::parse(&record.to_string());
        assert_eq!(again.to_string(), record.to_string());
        assert!(gate::compare(&again, record, text.judge()).is_none());
    }
}
