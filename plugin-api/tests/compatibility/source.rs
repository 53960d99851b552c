//! The crate's source as modules full of items, with every name followed to where it is defined.

use std::{
    cell::RefCell,
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    path::Path,
};

use quote::ToTokens;
use syn::{Attribute, Ident, Item, UseTree, Visibility};

use crate::macros;

/// Files below `src`, by their path in it.
pub type Files = BTreeMap<String, String>;

/// A path without its crate: `["cloud", "Node"]`.
pub type Name = Vec<String>;

pub fn files(folder: &Path) -> Files {
    let mut files = Files::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(inside) = folders.pop() {
        for entry in fs::read_dir(&inside).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                files.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    files
}

#[derive(Default)]
pub struct Module {
    pub items: Vec<Item>,
    /// What `use` brings in: its name here, and the path as written.
    imports: BTreeMap<String, Name>,
    /// Those of them that are public.
    reexports: BTreeMap<String, Name>,
}

/// The names of a definition, the best first.
type Names = BTreeMap<Name, BTreeSet<(bool, Reverse<usize>, Name)>>;

pub struct Crate {
    pub modules: BTreeMap<Name, Module>,
    /// The name that an author would use, for everything that has one.
    public: BTreeMap<Name, Name>,
    /// Further names, and what they are.
    pub also: BTreeMap<Name, Name>,
}

/// Where a path leads.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// To a definition in this crate.
    Here(Name),
    /// Out of it.
    Elsewhere(Name),
}

/// Not compiled into what a driver links. What depends on anything else the gate cannot judge.
fn is_only_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().filter(|attribute| attribute.path().is_ident("cfg")).any(|attribute| {
        let word = attribute.parse_args::<Ident>().map(|word| word.to_string());
        let is_for_tests = word.is_ok_and(|word| matches!(word.as_str(), "test" | "doctest"));
        assert!(is_for_tests, "the gate does not know when {} holds", attribute.to_token_stream());
        true
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => panic!("an item of a kind that the gate does not know; teach it to `source.rs`"),
    }
}

/// Name and visibility of an item that has them.
pub fn declared(item: &Item) -> Option<(&Ident, &Visibility)> {
    Some(match item {
        Item::Const(item) => (&item.ident, &item.vis),
        Item::Enum(item) => (&item.ident, &item.vis),
        Item::Fn(item) => (&item.sig.ident, &item.vis),
        Item::Mod(item) => (&item.ident, &item.vis),
        Item::Static(item) => (&item.ident, &item.vis),
        Item::Struct(item) => (&item.ident, &item.vis),
        Item::Trait(item) => (&item.ident, &item.vis),
        Item::Type(item) => (&item.ident, &item.vis),
        _ => return None,
    })
}

pub fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

impl Crate {
    pub fn read(files: &Files) -> Self {
        let mut found = Self { modules: BTreeMap::new(), public: BTreeMap::new(), also: BTreeMap::new() };
        found.module(files, Vec::new(), parse(files, "lib.rs"));
        found.publish();
        found
    }

    fn module(&mut self, files: &Files, name: Name, items: Vec<Item>) {
        let mut module = Module::default();
        for item in items.into_iter().filter(|item| !is_only_for_tests(attributes(item))) {
            match item {
                Item::Mod(inner) => {
                    let below: Name = name.iter().cloned().chain([inner.ident.to_string()]).collect();
                    let items = match &inner.content {
                        Some((_, items)) => items.clone(),
                        None => parse_module(files, &below),
                    };
                    self.module(files, below, items);
                    module.items.push(Item::Mod(inner));
                }
                Item::Use(item) => {
                    let mut names = BTreeMap::new();
                    imported(&item.tree, &[], &mut names);
                    if is_public(&item.vis) {
                        module.reexports.extend(names.clone());
                    }
                    module.imports.extend(names);
                }
                Item::Macro(item) => module.items.extend(macros::expand(&item, files)),
                item => module.items.push(item),
            }
        }
        self.modules.insert(name, module);
    }

    /// Finds the names that an author can write. The first is where a thing is defined, else the longest that it has.
    fn publish(&mut self) {
        let mut names = Names::new();
        self.publish_module(&[], &[], &mut names);
        for (target, names) in names {
            let mut names = names.into_iter().map(|(_, _, name)| name);
            let first = names.next().unwrap();
            self.also.extend(names.map(|name| (name, first.clone())));
            self.public.insert(target, first);
        }
    }

    /// What an author reaches through a module that he knows as `known_as`.
    fn publish_module(&mut self, path: &[String], known_as: &[String], names: &mut Names) {
        let join = |path: &[String], name: &str| -> Name { path.iter().cloned().chain([name.to_owned()]).collect() };
        let mut found = Vec::new();
        let module = &self.modules[path];
        for (ident, _) in module.items.iter().filter_map(declared).filter(|(_, visibility)| is_public(visibility)) {
            found.push((ident.to_string(), Found::Here(join(path, &ident.to_string()))));
        }
        found.extend(module.reexports.iter().map(|(name, written)| (name.clone(), self.find(path, written))));
        for (name, target) in found {
            let name = join(known_as, &name);
            match target {
                Found::Elsewhere(target) => _ = self.also.insert(name, target),
                Found::Here(target) => {
                    let rank = (name != target, Reverse(name.len()), name.clone());
                    names.entry(target.clone()).or_default().insert(rank);
                    if self.modules.contains_key(&target) {
                        self.publish_module(&target, &name, names);
                    }
                }
            }
        }
    }

    /// Follows a path as it is written in a module.
    pub fn find(&self, module: &[String], written: &[String]) -> Found {
        let (first, rest) = written.split_first().unwrap();
        match first.as_str() {
            "crate" => self.descend(Vec::new(), rest),
            "self" => self.descend(module.to_vec(), rest),
            "super" => match rest.first().map(String::as_str) {
                Some("super") => self.find(&module[..module.len() - 1], rest),
                _ => self.descend(module[..module.len() - 1].to_vec(), rest),
            },
            name => match self.step(module, name) {
                Some(Found::Here(found)) => self.descend(found, rest),
                Some(Found::Elsewhere(path)) => Found::Elsewhere(path.into_iter().chain(rest.to_vec()).collect()),
                None => Found::Elsewhere(written.to_vec()),
            },
        }
    }

    fn descend(&self, mut at: Name, rest: &[String]) -> Found {
        for (index, name) in rest.iter().enumerate() {
            // What is no module is an item, and what follows belongs to it: a variant, an associated item.
            if !self.modules.contains_key(&at) {
                return Found::Here(at.into_iter().chain(rest[index..].to_vec()).collect());
            }
            match self.step(&at, name) {
                Some(Found::Here(found)) => at = found,
                Some(Found::Elsewhere(path)) => {
                    return Found::Elsewhere(path.into_iter().chain(rest[index + 1..].to_vec()).collect());
                }
                None => panic!("{name} is not in {}; is it made by a macro?", at.join("::")),
            }
        }
        Found::Here(at)
    }

    /// What one name means in a module.
    fn step(&self, module: &[String], name: &str) -> Option<Found> {
        let inside = self.modules.get(module)?;
        if inside.items.iter().filter_map(declared).any(|(ident, _)| ident == name) {
            return Some(Found::Here(module.iter().cloned().chain([name.to_owned()]).collect()));
        }
        let written = inside.imports.get(name)?;
        // `use serde;` names a crate, not itself.
        if written.len() == 1 && written[0] == name {
            Some(Found::Elsewhere(written.clone()))
        } else {
            Some(self.find(module, written))
        }
    }

    /// The name under which an author knows a definition, if he does.
    pub fn public_name(&self, definition: &[String]) -> Option<String> {
        self.public.get(definition).map(|name| name.join("::"))
    }

    /// The item that a name defines, with the module that it is in.
    pub fn item(&self, definition: &[String]) -> Option<(&[String], &Item)> {
        let (name, module) = definition.split_last()?;
        let (module, inside) = self.modules.get_key_value(module)?;
        let item = inside.items.iter().find(|item| declared(item).is_some_and(|(ident, _)| ident == name))?;
        Some((module, item))
    }

    /// All items, with the module that each is in.
    pub fn items(&self) -> impl Iterator<Item = (&[String], &Item)> {
        self.modules.iter().flat_map(|(name, module)| module.items.iter().map(|item| (name.as_slice(), item)))
    }
}

fn parse_module(files: &Files, name: &[String]) -> Vec<Item> {
    let path = name.join("/");
    let file = format!("{path}.rs");
    parse(files, if files.contains_key(&file) { file } else { format!("{path}/mod.rs") }.as_str())
}

fn parse(files: &Files, file: &str) -> Vec<Item> {
    thread_local! {
        // The tests of the gate read the same files again and again, with one of them changed.
        static PARSED: RefCell<HashMap<String, Vec<Item>>> = RefCell::default();
    }
    let text = files.get(file).unwrap_or_else(|| panic!("src/{file} is missing"));
    let parse = || syn::parse_file(text).unwrap_or_else(|error| panic!("src/{file}: {error}")).items;
    PARSED.with_borrow_mut(|parsed| parsed.entry(text.clone()).or_insert_with(parse).clone())
}

fn imported(tree: &UseTree, before: &[String], names: &mut BTreeMap<String, Name>) {
    let join = |name: &Ident| before.iter().cloned().chain([name.to_string()]).collect::<Name>();
    match tree {
        UseTree::Path(path) => imported(&path.tree, &join(&path.ident), names),
        UseTree::Name(name) if name.ident == "self" => {
            names.insert(before.last().unwrap().clone(), before.to_vec());
        }
        UseTree::Name(name) => _ = names.insert(name.ident.to_string(), join(&name.ident)),
        UseTree::Rename(name) => _ = names.insert(name.rename.to_string(), join(&name.ident)),
        UseTree::Group(group) => group.items.iter().for_each(|tree| imported(tree, before, names)),
        UseTree::Glob(_) => panic!("the gate follows no `use {}::*`; name what is meant", before.join("::")),
    }
}
