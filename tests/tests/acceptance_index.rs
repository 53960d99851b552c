//! `docs/contract/acceptance.md` is true: its tests exist and carry the ids of their rows, and no id is missing from it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a suite stops where something is wrong")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The Rust files below a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

/// The files whose tests may carry ids: path below the repository, and text.
fn suites() -> BTreeMap<String, String> {
    let root = repository();
    let plugins = fs::read_dir(root.join("plugins")).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> = plugins.flat_map(|plugin| [plugin.join("src"), plugin.join("tests")]).collect();
    folders.extend(["tests/tests", "host/src", "host/tests", "plugin-api/tests"].map(|folder| root.join(folder)));
    let files = folders.iter().flat_map(|folder| sources(folder));
    files
        .map(|path| (path.strip_prefix(&root).unwrap().display().to_string(), fs::read_to_string(&path).unwrap()))
        .filter(|(path, _)| !path.ends_with("acceptance_index.rs"))
        .collect()
}

/// The id that a word is: `W05` or `w05`, `BUG-13` or `bug13`.
fn id(word: &str) -> Option<String> {
    let word = word.to_uppercase();
    let split = word.find(|c: char| c.is_ascii_digit())?;
    let (letters, digits) = word.split_at(split);
    if digits.len() != 2 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    match letters {
        "W" | "S" | "H" | "M" | "U" | "G" => Some(word),
        // Further on they are percentiles.
        "P" | "Q" => (digits <= "26").then_some(word),
        "BUG" | "BUG-" => Some(format!("BUG-{digits}")),
        _ => None,
    }
}

/// The ids in a text: upper-case words anywhere, lower-case ones in names of functions.
fn ids(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    let upper = words.filter(|word| !word.bytes().any(|byte| byte.is_ascii_lowercase()));
    let functions = text.split("fn ").skip(1).filter_map(|rest| rest.split(['(', '<']).next());
    upper.filter_map(id).chain(functions.flat_map(|name| name.split('_')).filter_map(id)).collect()
}

/// Functions of a file by name, each with its text up to the next test.
fn functions(text: &str) -> BTreeMap<&str, &str> {
    let parts = text.split("#[test]").flat_map(|part| part.split("#[tokio::test"));
    let named = parts.filter_map(|part| {
        let begin = part.find("fn ")? + 3;
        let name = part[begin..].split('(').next()?;
        Some((name, part))
    });
    named.collect()
}

struct Row {
    /// Its first cell: an id, or words in the lists of bad input.
    name: String,
    /// Files and names.
    tests: Vec<(String, String)>,
    section: String,
}

/// The rows of the page that have an id or tests.
fn index(page: &str) -> Vec<Row> {
    let mut files = BTreeMap::new();
    let mut rows = Vec::new();
    let mut section = String::new();
    for line in page.lines() {
        if let Some(heading) = line.strip_prefix("##") {
            section = heading.trim_start_matches('#').trim().to_owned();
        }
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(|cell| cell.trim().trim_matches('`')).collect();
        match cells.as_slice() {
            [short, file] if file.ends_with(".rs") => drop(files.insert((*short).to_owned(), (*file).to_owned())),
            [name, .., last] if line.starts_with('|') => {
                let tests = last.split("<br>").filter_map(|test| test.trim_matches('`').split_once("::"));
                let tests: Vec<_> = tests
                    .map(|(short, test)| {
                        let file = files.get(short).unwrap_or_else(|| panic!("{name}: no file is called {short}"));
                        (file.clone(), test.to_owned())
                    })
                    .collect();
                if id(name).is_some() || !tests.is_empty() {
                    rows.push(Row { name: (*name).to_owned(), tests, section: section.clone() });
                }
            }
            _ => {}
        }
    }
    rows
}

#[test]
fn every_row_has_tests_that_exist_and_carry_its_id() {
    let suites = suites();
    let rows = index(&read("docs/contract/acceptance.md"));
    assert!(rows.len() > 120, "{} rows were read", rows.len());
    let mut faults = Vec::new();
    for Row { name, tests, section } in &rows {
        if tests.is_empty() && !matches!(section.as_str(), "Superseded rows" | "Faults of services to come") {
            faults.push(format!("{name} has no test"));
        }
        for (file, test) in tests {
            let Some(text) = suites.get(file) else {
                faults.push(format!("{name}: {file} is not there"));
                continue;
            };
            match (functions(text).get(test.as_str()), id(name)) {
                (None, _) => faults.push(format!("{name}: {file} has no test {test}")),
                (Some(body), Some(id)) if !ids(body).contains(&id) => {
                    faults.push(format!("{id}: {file}::{test} does not carry it"));
                }
                _ => {}
            }
        }
    }
    let mut seen = BTreeSet::new();
    for row in rows.iter().filter(|row| row.section != "Superseded rows") {
        if !seen.insert(&row.name) {
            faults.push(format!("{} stands twice", row.name));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_id_stands_in_the_index() {
    let acceptance = read("docs/contract/acceptance.md");
    let mut known: BTreeSet<String> = index(&acceptance).iter().filter_map(|row| id(&row.name)).collect();
    // Those that are dropped or kept stand in a sentence.
    known.extend(ids(&acceptance).into_iter().filter(|id| id.starts_with("BUG-")));
    let gearman = read("docs/contract/gearman.md");
    let (_, table) = gearman.split_once("## Acceptance").expect("the rows of the job transport");
    let transport = ids(table);
    known.extend(transport.iter().cloned());

    let mut carried = BTreeSet::new();
    let mut faults = Vec::new();
    let pages = [
        "docs/contract/pool-messages.md",
        "docs/contract/worker-messages.md",
        "docs/contract/haproxy.md",
        "docs/contract/gearman.md",
    ];
    let pages = pages.map(|page| (page.to_owned(), read(page)));
    for (file, text) in suites().into_iter().chain(pages) {
        let found = ids(&text);
        faults.extend(found.difference(&known).map(|id| format!("{file} mentions {id}, which no index has")));
        if file.ends_with(".rs") {
            carried.extend(found);
        }
    }
    faults.extend(transport.difference(&carried).map(|id| format!("{id} of gearman.md is in no test")));
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
