//! `golden/public-api.txt`: everything that a driver's source can name, and the rules by which it grows.

use std::collections::BTreeMap;

use quote::ToTokens;
use syn::{Attribute, Fields, GenericArgument, GenericParam, ImplItem, Item, ItemImpl, PathArguments, TraitItem, Type};

use crate::{
    gate::Verdict,
    macros,
    record::{Change, Entry, Line, Record},
    source::{Crate, Found, Name, is_public},
    spelling::Spelling,
};

const ABOUT: &str = "\
Every public item of capstan-plugin-api, read from its source by tests/compatibility. It only grows: docs/compatibility.md.
Growth is written down with CAPSTAN_UPDATE_GOLDEN=1 cargo test -p capstan-plugin-api --test compatibility";

const NON_EXHAUSTIVE: &str = "non_exhaustive";
const PRIVATE_FIELDS: &str = "with private fields";
const REQUIRED: &str = "required ";
const PROVIDED: &str = "provided ";

pub fn record(source: &Crate, attribute_source: &str, derive_source: &str) -> Record {
    let mut entries: BTreeMap<Name, Entry> = BTreeMap::new();
    for (module, item) in source.items() {
        let Some((ident, _)) = crate::source::declared(item) else { continue };
        let definition: Name = module.iter().cloned().chain([ident.to_string()]).collect();
        if let Some(name) = source.public_name(&definition) {
            entries.insert(definition, of_item(Spelling { source, module }, item, &name));
        }
    }
    for (module, item) in source.items() {
        if let Item::Impl(block) = item {
            implementation(Spelling { source, module }, block, &mut entries);
        }
    }
    let mut entries: Vec<Entry> = entries.into_values().collect();
    entries.extend(
        source.also.iter().map(|(name, target)| Entry::new(format!("use {}", name.join("::")), target.join("::"))),
    );
    entries.push(of_macro("attribute driver", "argument", attribute_source));
    entries.push(of_macro("derive ConfigSchema", "obeys", derive_source));
    entries.sort_by(|one, other| one.line.name.cmp(&other.line.name));
    Record { about: ABOUT.lines().map(str::to_owned).collect(), entries }
}

/// The words that a macro takes in its attributes.
fn of_macro(name: &str, verb: &str, source: &str) -> Entry {
    let file = syn::parse_file(source).unwrap();
    let not_a_test = |item: &&Item| !matches!(item, Item::Mod(_));
    let mut entry = Entry::new(name, "");
    for item in file.items.iter().filter(not_a_test) {
        for word in macros::attribute_words(item.to_token_stream()) {
            if !entry.has(&format!("{verb} {word}")) {
                entry.member(format!("{verb} {word}"), "");
            }
        }
    }
    entry
}

fn has(attributes: &[Attribute], name: &str) -> bool {
    attributes.iter().any(|attribute| attribute.path().is_ident(name))
}

fn joined(words: impl IntoIterator<Item = String>) -> String {
    words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(", ")
}

fn of_item(spelling: Spelling<'_>, item: &Item, name: &str) -> Entry {
    let exhaustive =
        |attributes| if has(attributes, "non_exhaustive") { NON_EXHAUSTIVE.to_owned() } else { String::new() };
    match item {
        Item::Const(item) => Entry::new(format!("const {name}"), spelling.of(&item.ty)),
        Item::Static(item) => Entry::new(format!("static {name}"), spelling.of(&item.ty)),
        Item::Fn(item) => Entry::new(format!("fn {name}"), spelling.signature(&item.sig)),
        Item::Mod(_) => Entry::new(format!("mod {name}"), ""),
        Item::Type(item) => {
            Entry::new(format!("type {name}"), joined([spelling.of(&item.generics), spelling.of(&item.ty)]))
        }
        Item::Struct(item) => {
            let are_private = !item.fields.is_empty() && item.fields.iter().any(|field| !is_public(&field.vis));
            let private = if are_private { PRIVATE_FIELDS.to_owned() } else { String::new() };
            let repr = representation(&item.attrs);
            let detail = joined([spelling.of(&item.generics), repr, exhaustive(&item.attrs), private]);
            let mut entry = Entry::new(format!("struct {name}"), detail);
            derives(spelling, &item.attrs, &mut entry);
            let fields = item.fields.iter().enumerate().filter(|(_, field)| is_public(&field.vis));
            for (index, field) in fields {
                let field_name = field.ident.as_ref().map_or_else(|| index.to_string(), ToString::to_string);
                entry.member(format!("field {field_name}"), spelling.of(&field.ty));
            }
            entry
        }
        Item::Enum(item) => {
            let detail = joined([spelling.of(&item.generics), representation(&item.attrs), exhaustive(&item.attrs)]);
            let mut entry = Entry::new(format!("enum {name}"), detail);
            derives(spelling, &item.attrs, &mut entry);
            for variant in &item.variants {
                let fields: Vec<String> = match &variant.fields {
                    Fields::Unit => Vec::new(),
                    Fields::Unnamed(fields) => fields.unnamed.iter().map(|field| spelling.of(&field.ty)).collect(),
                    Fields::Named(fields) => fields
                        .named
                        .iter()
                        .map(|field| format!("{} = {}", field.ident.as_ref().unwrap(), spelling.of(&field.ty)))
                        .collect(),
                };
                entry.member(format!("variant {}", variant.ident), fields.join(", "));
            }
            entry
        }
        Item::Trait(item) => of_trait(spelling, item, name),
        _ => panic!("{name} is an item of a kind that the gate does not know; teach it to `public_api.rs`"),
    }
}

fn representation(attributes: &[Attribute]) -> String {
    let found = attributes.iter().find(|attribute| attribute.path().is_ident("repr"));
    found.map(|attribute| attribute.meta.to_token_stream().to_string().replace(' ', "")).unwrap_or_default()
}

fn derives(spelling: Spelling<'_>, attributes: &[Attribute], entry: &mut Entry) {
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("derive")) {
        let paths = attribute
            .parse_args_with(syn::punctuated::Punctuated::<syn::Path, syn::Token![,]>::parse_terminated)
            .unwrap();
        paths.iter().for_each(|path| entry.member(format!("is {}", trait_name(spelling, path)), ""));
    }
}

/// The same whether it is derived or written by hand: std's by its last word, and without lifetimes.
fn trait_name(spelling: Spelling<'_>, path: &syn::Path) -> String {
    let mut path = path.clone();
    for segment in &mut path.segments {
        if let PathArguments::AngleBracketed(arguments) = &segment.arguments
            && arguments.args.iter().all(|argument| matches!(argument, GenericArgument::Lifetime(_)))
        {
            segment.arguments = PathArguments::None;
        }
    }
    let name = spelling.of(&path);
    match name.strip_prefix("std::").and_then(|name| name.rsplit_once("::")) {
        Some((_, last)) => last.to_owned(),
        None => name,
    }
}

fn of_trait(spelling: Spelling<'_>, item: &syn::ItemTrait, name: &str) -> Entry {
    let mut entry =
        Entry::new(format!("trait {name}"), joined([spelling.of(&item.generics), spelling.of(&item.supertraits)]));
    for item in &item.items {
        let kind = |is_provided: bool| if is_provided { PROVIDED } else { REQUIRED };
        match item {
            TraitItem::Fn(method) => {
                let signature = spelling.signature(&method.sig);
                entry.member(
                    format!("fn {}", method.sig.ident),
                    format!("{}{signature}", kind(method.default.is_some())),
                );
            }
            TraitItem::Type(item) => {
                let bounds = spelling.of(&item.bounds);
                entry.member(format!("type {}", item.ident), format!("{}{bounds}", kind(item.default.is_some())));
            }
            TraitItem::Const(item) => {
                let of = spelling.of(&item.ty);
                entry.member(format!("const {}", item.ident), format!("{}{of}", kind(item.default.is_some())));
            }
            _ => panic!("{name} has an item of a kind that the gate does not know; teach it to `public_api.rs`"),
        }
    }
    entry
}

/// What an `impl` block adds to the type that it is for, or to the trait when the type is foreign.
fn implementation(spelling: Spelling<'_>, block: &ItemImpl, entries: &mut BTreeMap<Name, Entry>) {
    let here = |written: &syn::Path| {
        let words: Vec<String> = written.segments.iter().map(|segment| segment.ident.to_string()).collect();
        match spelling.source.find(spelling.module, &words) {
            Found::Here(name) => Some(name),
            Found::Elsewhere(_) => None,
        }
    };
    // Parameters and bounds belong to what is implemented.
    let bounds: Vec<String> = block
        .generics
        .params
        .iter()
        .filter(|parameter| !matches!(parameter, GenericParam::Lifetime(_)))
        .map(|parameter| spelling.of(parameter))
        .collect();
    let bounds = if bounds.is_empty() { String::new() } else { format!("for {}", bounds.join(", ")) };
    let own = if let Type::Path(path) = &*block.self_ty { here(&path.path) } else { None };
    let Some((_, of, _)) = &block.trait_ else {
        let Some(entry) = own.and_then(|name| entries.get_mut(&name)) else { return };
        for item in &block.items {
            match item {
                ImplItem::Fn(method) if is_public(&method.vis) => {
                    entry.member(
                        format!("fn {}", method.sig.ident),
                        joined([spelling.signature(&method.sig), bounds.clone()]),
                    );
                }
                ImplItem::Const(item) if is_public(&item.vis) => {
                    entry.member(format!("const {}", item.ident), spelling.of(&item.ty));
                }
                _ => {}
            }
        }
        return;
    };
    match own {
        Some(name) => {
            if let Some(entry) = entries.get_mut(&name) {
                entry.member(format!("is {}", trait_name(spelling, of)), bounds);
            }
        }
        None => {
            if let Some(entry) = here(of).and_then(|name| entries.get_mut(&name)) {
                entry.member(format!("implemented for {}", spelling.of(&*block.self_ty)), bounds);
            }
        }
    }
}

/// What a difference means to the source of an older driver.
pub fn judge(change: &Change<'_>) -> Verdict {
    use Verdict::{Break, Growth};
    match change {
        Change::EntryGone(entry) => {
            Break(format!("{} is gone; the source of a driver that names it no longer compiles", entry.line.name))
        }
        Change::EntryNew(entry) => Growth(format!("{} is new", entry.line.name)),
        Change::EntryChanged { before, now } => {
            Break(format!("{} was \"{}\" and is \"{}\"", now.line.name, before.line.detail, now.line.detail))
        }
        Change::MemberGone { entry, member } => Break(format!(
            "{}: {} is gone; the source of a driver that uses it no longer compiles",
            entry.line.name, member.name
        )),
        Change::MemberNew { before, entry, member } => new_member(before, entry, member),
        Change::MemberChanged { entry, before, now } => {
            let name = format!("{}: {}", entry.line.name, now.name);
            let signature = before.detail.strip_prefix(REQUIRED);
            if signature.is_some() && signature == now.detail.strip_prefix(PROVIDED) {
                return Growth(format!("{name} now has a default"));
            }
            Break(format!("{name} was \"{}\" and is \"{}\"", before.detail, now.detail))
        }
    }
}

fn new_member(before: &Entry, entry: &Entry, member: &Line) -> Verdict {
    use Verdict::{Break, Growth};
    let Line { name: owner, detail } = &entry.line;
    let name = format!("{owner}: {}", member.name);
    let is_open = detail.contains(NON_EXHAUSTIVE);
    if member.detail.starts_with(REQUIRED) {
        return Break(format!("{name} is new and required; an older driver has not got it. Give it a default"));
    }
    // A literal that ends with `..Default::default()` goes on compiling; the Default must have been there before.
    if member.name.starts_with("field ") && !is_open && !detail.contains(PRIVATE_FIELDS) && !before.has("is Default") {
        return Break(format!(
            "{name} is new in a struct without Default, so an older driver's literal no longer compiles"
        ));
    }
    if member.name.starts_with("variant ") && !is_open {
        return Break(format!(
            "{name} is new in an enum that is not #[non_exhaustive], so an older driver's match no longer compiles"
        ));
    }
    Growth(format!("{name} is new"))
}
