//! A golden text: entries, each with members below it, one a line.

use std::{collections::BTreeMap, fmt};

/// Members that begin so and have no detail stand in one line.
const TRAIT: &str = "is ";

fn is_plain_trait(line: &Line) -> bool {
    line.name.starts_with(TRAIT) && line.detail.is_empty() && !line.name.contains(',')
}

/// `NAME` or `NAME: DETAIL`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Line {
    pub name: String,
    pub detail: String,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entry {
    pub line: Line,
    pub members: Vec<Line>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// Said at the top, as comments.
    pub about: Vec<String>,
    pub entries: Vec<Entry>,
}

/// What differs. A new entry is one change, whatever is in it.
#[derive(Debug)]
pub enum Change<'a> {
    EntryGone(&'a Entry),
    EntryNew(&'a Entry),
    EntryChanged { before: &'a Entry, now: &'a Entry },
    MemberGone { entry: &'a Entry, member: &'a Line },
    MemberNew { before: &'a Entry, entry: &'a Entry, member: &'a Line },
    MemberChanged { entry: &'a Entry, before: &'a Line, now: &'a Line },
}

impl Line {
    pub fn new(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { name: name.into(), detail: detail.into() }
    }

    fn parse(text: &str) -> Self {
        // A path has colons too, but no space after them.
        let (name, detail) = text.split_once(": ").unwrap_or((text, ""));
        Self::new(name, detail)
    }
}

impl Entry {
    pub fn new(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { line: Line::new(name, detail), members: Vec::new() }
    }

    pub fn member(&mut self, name: impl Into<String>, detail: impl Into<String>) {
        let line = Line::new(name, detail);
        assert!(self.members.iter().all(|known| known.name != line.name), "{} has {} twice", self.line, line.name);
        self.members.push(line);
    }

    pub fn has(&self, member: &str) -> bool {
        self.members.iter().any(|known| known.name == member)
    }
}

impl Record {
    pub fn parse(text: &str) -> Self {
        let mut record = Self::default();
        for line in text.lines() {
            if let Some(about) = line.strip_prefix('#') {
                record.about.push(about.trim().to_owned());
            } else if let Some(member) = line.strip_prefix("    ") {
                let entry = record.entries.last_mut().expect("a member belongs to an entry");
                match member.strip_prefix(TRAIT).filter(|traits| !traits.contains(": ")) {
                    Some(traits) => {
                        entry.members.extend(traits.split(", ").map(|one| Line::new(format!("{TRAIT}{one}"), "")));
                    }
                    None => entry.members.push(Line::parse(member)),
                }
            } else if !line.is_empty() {
                record.entries.push(Entry { line: Line::parse(line), members: Vec::new() });
            }
        }
        record
    }

    pub fn changes<'a>(&'a self, now: &'a Self) -> Vec<Change<'a>> {
        let (olds, news) = (by_name(&self.entries), by_name(&now.entries));
        let mut changes = Vec::new();
        for (name, &before) in &olds {
            let Some(&now) = news.get(name) else {
                changes.push(Change::EntryGone(before));
                continue;
            };
            if before.line.detail != now.line.detail {
                changes.push(Change::EntryChanged { before, now });
            }
            members(before, now, &mut changes);
        }
        changes.extend(
            news.iter().filter(|(name, _)| !olds.contains_key(*name)).map(|(_, entry)| Change::EntryNew(entry)),
        );
        changes
    }
}

fn by_name(entries: &[Entry]) -> BTreeMap<&str, &Entry> {
    let found: BTreeMap<_, _> = entries.iter().map(|entry| (entry.line.name.as_str(), entry)).collect();
    assert_eq!(found.len(), entries.len(), "two entries have one name");
    found
}

fn members<'a>(before: &'a Entry, now: &'a Entry, changes: &mut Vec<Change<'a>>) {
    for old in &before.members {
        match now.members.iter().find(|line| line.name == old.name) {
            None => changes.push(Change::MemberGone { entry: now, member: old }),
            Some(new) if new.detail != old.detail => {
                changes.push(Change::MemberChanged { entry: now, before: old, now: new });
            }
            Some(_) => {}
        }
    }
    let is_new = |member: &&Line| !before.has(&member.name);
    changes.extend(now.members.iter().filter(is_new).map(|member| Change::MemberNew { before, entry: now, member }));
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if self.detail.is_empty() { Ok(()) } else { write!(f, ": {}", self.detail) }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.about {
            writeln!(f, "# {line}")?;
        }
        let mut is_apart = true;
        for entry in &self.entries {
            // Entries of one line stand together.
            if is_apart || !entry.members.is_empty() {
                writeln!(f)?;
            }
            is_apart = !entry.members.is_empty();
            writeln!(f, "{}", entry.line)?;
            let (traits, others): (Vec<&Line>, Vec<&Line>) =
                entry.members.iter().partition(|line| is_plain_trait(line));
            if !traits.is_empty() {
                let names: Vec<&str> = traits.iter().map(|line| &line.name[TRAIT.len()..]).collect();
                writeln!(f, "    {TRAIT}{}", names.join(", "))?;
            }
            for member in others {
                writeln!(f, "    {member}")?;
            }
        }
        Ok(())
    }
}
