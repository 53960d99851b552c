//! The files: the main one, then `conf.d` beside it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use toml::de::DeTable;

use super::tree::{self, Lines, Node, Table, Value};
use crate::config::{Fault, Origin};

/// What the files say together.
pub(in crate::config) struct Gathered {
    pub(in crate::config) tree: Table,
    pub(in crate::config) files: Vec<PathBuf>,
    /// Every file could be read and is TOML. Otherwise the tree lacks what stands in the others, and faults of it may be untrue.
    pub(in crate::config) is_whole: bool,
}

/// Reads the main file and the files of `conf.d` into one tree.
pub(in crate::config) fn gather(main: &Path, faults: &mut Vec<Fault>) -> Gathered {
    let before = faults.len();
    let mut files = vec![main.to_owned()];
    files.extend(dropped_in(main, faults));
    let mut tables: Vec<Table> = files.iter().map(|path| file(path, faults)).collect();
    let is_whole = faults.len() == before;
    let mut tree = tables.remove(0);
    let mut clashes = Vec::new();
    for added in tables {
        merge(&mut tree, added, "", &mut clashes);
    }
    if is_whole {
        faults.extend(clashes);
    }
    Gathered { tree, files, is_whole }
}

/// `conf.d/*.toml` beside the main file, sorted by name.
fn dropped_in(main: &Path, faults: &mut Vec<Fault>) -> Vec<PathBuf> {
    let folder = main.parent().unwrap_or(Path::new("")).join("conf.d");
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            faults.push(unreadable(&folder, &error.to_string(), "a folder that the daemon's user can read"));
            return Vec::new();
        }
    };
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    found.sort();
    found
}

fn file(path: &Path, faults: &mut Vec<Fault>) -> Table {
    match fs::read_to_string(path) {
        Ok(text) => parse(path, &text, faults),
        Err(error) => {
            faults.push(unreadable(path, &error.to_string(), "a TOML file in UTF-8 that the daemon's user can read"));
            Table::new()
        }
    }
}

fn unreadable(path: &Path, error: &str, expected: &str) -> Fault {
    Fault {
        origin: Origin::File { path: Arc::from(path), line: 1 },
        key: String::new(),
        found: format!("that it cannot be read ({error})"),
        expected: expected.to_owned(),
        remedy: "create it, correct its permissions, or name another file".to_owned(),
    }
}

/// Parses one document; what can be read in spite of faults is read, so that later faults of its syntax show as well.
pub(in crate::config) fn parse(path: &Path, text: &str, faults: &mut Vec<Fault>) -> Table {
    let lines = Lines::new(Arc::from(path), text);
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        faults.push(Fault {
            origin: lines.at(error.span().map_or(0, |span| span.start)),
            key: String::new(),
            found: error.message().replace('\n', ", "),
            expected: "TOML".to_owned(),
            remedy: "correct the line".to_owned(),
        });
    }
    tree::table(document.get_ref(), &|offset| lines.at(offset))
}

/// Adds tables and keys; a value that is set already stays and the second one is a fault.
fn merge(tree: &mut Table, added: Table, path: &str, faults: &mut Vec<Fault>) {
    for (name, node) in added {
        let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match (tree.get_mut(&name), node) {
            (None, node) => {
                tree.insert(name, node);
            }
            (Some(Node { value: Value::Table(into), .. }), Node { value: Value::Table(added), .. }) => {
                merge(into, added, &key, faults);
            }
            (Some(present), node) => faults.push(Fault {
                origin: node.origin,
                key,
                found: "a second value".to_owned(),
                expected: format!("no more than the one at {}, for a file of conf.d only adds", present.origin),
                remedy: "remove one of the two".to_owned(),
            }),
        }
    }
}
