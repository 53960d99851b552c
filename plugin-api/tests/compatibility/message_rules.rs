//! How messages may grow: what a difference means to an older driver and to an older host.

use crate::{
    gate::Verdict,
    messages::{BOTH_READ, DRIVER_READS, HOST_READS, OPTIONAL_METHOD},
    record::{Change, Entry, Line, Record},
    wire,
};

/// Judges one difference of `messages.txt`.
pub fn judge(change: &Change<'_>) -> Verdict {
    use Verdict::{Break, Growth};
    match change {
        Change::EntryGone(entry) => Break(format!("{} is gone; an older side still speaks it", entry.line.name)),
        Change::EntryNew(entry) => Growth(format!("{} is new", entry.line.name)),
        Change::EntryChanged { before, now } => {
            // Who reads it, then its form, then what becomes of words that the reader does not know.
            let form = |entry: &Entry| {
                let (_, form) = entry.line.detail.split_once(", ")?;
                let (form, others) = form.split_once("; ").unwrap_or((form, ""));
                Some((form.to_owned(), others.to_owned()))
            };
            let text = format!("{} was \"{}\" and is \"{}\"", now.line.name, before.line.detail, now.line.detail);
            match (form(before), form(now)) {
                (Some((old, was)), Some((new, is))) if old == new && (was == is || was == wire::CLOSED) => Growth(text),
                _ => Break(text),
            }
        }
        Change::MemberGone { entry, member } => {
            let why = match what(entry) {
                What::Method => "an older host still calls it",
                What::Service => "an older driver still asks for it",
                What::Word | What::Choice => "an older side still says it",
                What::Field => {
                    "an older side still writes it, or insists on it (a new name is a removal and an addition)"
                }
            };
            Break(format!("{}: {} is gone; {why}", entry.line.name, member.name))
        }
        Change::MemberNew { before, entry, member } => new_member(before, entry, member),
        Change::MemberChanged { entry, before, now } => {
            let name = format!("{}: {}", entry.line.name, now.name);
            let why = if before.detail.contains(", optional") && now.detail.contains(", required") {
                "; it is newly required, and an older side leaves it out"
            } else if before.detail.contains(", required") && now.detail.contains(", optional") {
                "; an older side insists on it, so nobody may leave it out"
            } else {
                ""
            };
            Break(format!("{name} was \"{}\" and is \"{}\"{why}", before.detail, now.detail))
        }
    }
}

enum What {
    Method,
    Service,
    Word,
    Choice,
    Field,
}

fn what(entry: &Entry) -> What {
    let Line { name, detail } = &entry.line;
    match () {
        () if name.starts_with("interface ") => What::Method,
        () if name.starts_with("services ") => What::Service,
        () if name.starts_with("words ") => What::Word,
        () if detail.contains("; any other is ") => What::Choice,
        () => What::Field,
    }
}

fn new_member(before: &Entry, entry: &Entry, member: &Line) -> Verdict {
    use Verdict::{Break, Growth};
    let name = format!("{}: {}", entry.line.name, member.name);
    match what(entry) {
        What::Method if member.detail.starts_with(OPTIONAL_METHOD) => {
            Growth(format!("{name} is a new method; an older driver answers not_supported"))
        }
        What::Method => Break(format!(
            "{name} is a new method that a driver must have, and an older one has not; give it a default body"
        )),
        What::Service => Growth(format!("{name} is a new service; an older host answers not_supported")),
        What::Word => Growth(format!("{name} is a new word")),
        // A field of a variant.
        What::Choice if member.name.contains('.') => new_field(before, member, &name),
        What::Choice if !before.line.detail.ends_with(wire::CLOSED) => {
            Growth(format!("{name} is a new choice; an older reader takes it for the one that stands for all others"))
        }
        What::Choice if entry.line.detail.starts_with(DRIVER_READS) => Growth(format!(
            "{name} is a new choice; an older driver refuses a call that says it with invalid_argument, so the host must do without"
        )),
        What::Choice => Break(format!(
            "{name} is a new choice, and an older host cannot read an answer that says it; only a choice with #[serde(other)] grows"
        )),
        What::Field => new_field(before, member, &name),
    }
}

fn new_field(before: &Entry, member: &Line, name: &str) -> Verdict {
    // Of a choice that is new itself no older side knows anything.
    let is_of_a_new_choice = member.name.split_once('.').is_some_and(|(choice, _)| !before.has(choice));
    if is_of_a_new_choice || member.detail.contains(", optional") {
        return Verdict::Growth(format!("{name} is a new field; an older side ignores it"));
    }
    Verdict::Break(format!(
        "{name} is a new field that is required, and an older side does not write it; give it #[serde(default)]"
    ))
}

/// What must be so that the messages can grow at all.
pub fn assert_able_to_grow(record: &Record) {
    for entry in &record.entries {
        let Line { name, detail } = &entry.line;
        assert!(!detail.ends_with(wire::REFUSES), "{name} has deny_unknown_fields; a message's reader ignores them");
        let is_answer = detail.starts_with(HOST_READS) || detail.starts_with(BOTH_READ);
        assert!(
            !is_answer || !detail.ends_with(wire::CLOSED),
            "{name} is in an answer, and a word of a later driver would spoil all of it; give it a variant with #[serde(other)]"
        );
    }
}
