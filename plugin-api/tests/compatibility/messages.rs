//! `golden/messages.txt`: every message that passes between host and driver.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::{FnArg, GenericArgument, ImplItem, Item, PathArguments, ReturnType, TraitItem, Type};

use crate::{
    macros::{self, Interface},
    record::{Entry, Record},
    source::{Crate, Found, Name},
    wire::{self, Reader},
};

const ABOUT: &str = "\
Every message of epoch 1 as it stands in JSON, read from plugin-api/src by tests/compatibility.";
const ABOUT_FRAMES: &str = "\
What carries the messages to a driver in a process of its own (docs/driver-protocol.md), read from the host's source.";
const POLICY: &str = "\
Nothing here is ever renamed, removed, retyped or newly required: docs/compatibility.md.
Growth is written down with CAPSTAN_UPDATE_GOLDEN=1 cargo test -p capstan-plugin-api --test compatibility";

pub const DRIVER_READS: &str = "driver reads";
pub const HOST_READS: &str = "host reads";
pub const BOTH_READ: &str = "both read";

/// Messages that belong to no method: who reads them.
const ENVELOPE: [(&[&str], &str); 5] = [
    (&["call", "Request"], DRIVER_READS),
    (&["call", "Pending"], HOST_READS),
    (&["call", "Health"], HOST_READS),
    (&["error", "DriverError"], BOTH_READ),
    (&["manifest", "Manifest"], HOST_READS),
];

pub fn record(source: &Crate, macro_source: &str) -> Record {
    let mut reads = Reads::default();
    for (name, by) in ENVELOPE {
        reads.note(name.iter().map(|&part| part.to_owned()).collect(), by);
    }
    let mut entries = interfaces(source, macro_source, &mut reads);
    entries.push(services(source, &mut reads));
    entries.extend(reads.shapes(source));
    entries.extend(words(source));
    about(ABOUT, entries)
}

/// The frames; `source` is the one file that defines them.
pub fn frames(source: &Crate) -> Record {
    let mut reads = Reads::default();
    reads.note(vec!["FromHost".to_owned()], DRIVER_READS);
    reads.note(vec!["FromDriver".to_owned()], HOST_READS);
    about(ABOUT_FRAMES, reads.shapes(source))
}

fn about(text: &str, entries: Vec<Entry>) -> Record {
    Record { about: text.lines().chain(POLICY.lines()).map(str::to_owned).collect(), entries }
}

/// Who reads which type.
#[derive(Default)]
struct Reads(BTreeMap<Name, BTreeSet<&'static str>>);

impl Reads {
    fn note(&mut self, name: Name, by: &'static str) {
        let by: &[&'static str] = match by {
            BOTH_READ => &[DRIVER_READS, HOST_READS],
            DRIVER_READS => &[DRIVER_READS],
            _ => &[HOST_READS],
        };
        self.0.entry(name).or_default().extend(by);
    }

    /// The JSON of all of them, and of what is in them.
    fn shapes(mut self, source: &Crate) -> Vec<Entry> {
        loop {
            let before: usize = self.0.values().map(BTreeSet::len).sum();
            for (name, by) in self.0.clone() {
                for inside in wire::shape(source, &name).inside {
                    self.0.entry(inside).or_default().extend(&by);
                }
            }
            if self.0.values().map(BTreeSet::len).sum::<usize>() == before {
                break;
            }
        }
        let entry = |(name, by): (&Name, &BTreeSet<&'static str>)| {
            let mut entry = wire::shape(source, name).entry;
            let who = if by.len() == 2 { BOTH_READ } else { by.iter().next().unwrap() };
            entry.line.detail = format!("{who}, {}", entry.line.detail);
            entry
        };
        let mut entries: Vec<Entry> = self.0.iter().map(entry).collect();
        entries.sort_by(|one, other| one.line.name.cmp(&other.line.name));
        entries
    }
}

/// `"Trait" => ("kind", "kind/1", quote!(path::Export))` of the attribute.
fn exports(macro_source: &str) -> Vec<(String, String, String)> {
    let file = syn::parse_file(macro_source).unwrap();
    let of_trait = file.items.iter().find_map(|item| match item {
        Item::Fn(item) if item.sig.ident == "of_trait" => Some(item.block.to_token_stream()),
        _ => None,
    });
    let mut words = Vec::new();
    texts(of_trait.expect("macros/src/driver.rs has of_trait"), &mut words);
    // Trait, kind, interface; then the exporting type's path, whose last word it is.
    words.chunks(4).map(|row| (row[0].clone(), row[2].clone(), row[3].clone())).collect()
}

/// Literals, and the last word of each path in `quote!(...)`.
fn texts(tokens: TokenStream, words: &mut Vec<String>) {
    let mut before = Vec::new();
    for token in tokens {
        match &token {
            TokenTree::Literal(literal) => words.push(literal.to_string().trim_matches('"').to_owned()),
            TokenTree::Group(group) if matches!(before.as_slice(), [.., quote, _] if quote == "quote") => {
                words.push(group.stream().into_iter().last().unwrap().to_string());
            }
            TokenTree::Group(group) => texts(group.stream(), words),
            _ => {}
        }
        before.push(token.to_string());
    }
}

fn interfaces(source: &Crate, macro_source: &str, reads: &mut Reads) -> Vec<Entry> {
    let exports = exports(macro_source);
    let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
    for (module, item) in source.items() {
        let Some(interface) = macros::read_interface(item) else { continue };
        let Found::Here(driver) = source.find(module, std::slice::from_ref(&interface.driver)) else {
            panic!("a foreign trait")
        };
        let (_, name, _) = exports.iter().find(|(_, _, export)| *export == interface.export).unwrap_or_else(|| {
            panic!("the attribute exports nothing through {}", interface.export);
        });
        let mut entry = Entry::new(format!("interface {name}"), wire::public_name(source, &driver));
        methods(source, &driver, &interface, reads, &mut entry);
        let twice = entries.insert(name.clone(), entry);
        assert!(twice.is_none(), "two traits are {name}");
    }
    // A trait behind an adapter has the interface of another.
    for (driver, name, _) in &exports {
        assert!(entries.contains_key(name), "{driver} is of {name}, which no interface! describes");
    }
    entries.into_values().collect()
}

fn methods(source: &Crate, driver: &[String], interface: &Interface, reads: &mut Reads, entry: &mut Entry) {
    let Some((module, Item::Trait(item))) = source.item(driver) else { panic!("{} is no trait", driver.join("::")) };
    let mut traits: BTreeMap<String, &syn::TraitItemFn> = BTreeMap::new();
    for item in &item.items {
        if let TraitItem::Fn(method) = item {
            traits.insert(method.sig.ident.to_string(), method);
        }
    }
    for listed in &interface.methods {
        let place = format!("{}::{}", driver.join("::"), listed.name);
        let method =
            traits.remove(&listed.name).unwrap_or_else(|| panic!("interface! lists {place}, which is not there"));
        let parameters = method.sig.inputs.iter().nth(2).map(|input| match input {
            FnArg::Typed(typed) => &*typed.ty,
            FnArg::Receiver(_) => unreachable!("the receiver comes first"),
        });
        assert_eq!(parameters.is_some(), listed.takes_parameters, "{place} and its line in interface! differ");
        let mut reader = Reader { source, module, inside: Vec::new() };
        let takes = parameters.map_or_else(|| "nothing".to_owned(), |kind| reader.kind(kind));
        reader.inside.drain(..).for_each(|name| reads.note(name, DRIVER_READS));
        let result = result(&method.sig.output).unwrap_or_else(|| panic!("{place} answers no Result"));
        let outcome = argument_of(result, "Outcome");
        assert_eq!(outcome.is_some(), listed.is_long, "{place} and its `long` in interface! differ");
        let answers = reader.kind(outcome.unwrap_or(result));
        reader.inside.drain(..).for_each(|name| reads.note(name, HOST_READS));
        let presence = if method.default.is_some() { OPTIONAL_METHOD } else { "required" };
        let pending = if listed.is_long { " or pending" } else { "" };
        entry.member(&listed.name, format!("{presence}, takes {takes}, answers {answers}{pending}"));
    }
    let forgotten: Vec<&String> = traits.keys().collect();
    assert!(forgotten.is_empty(), "{} has methods that interface! does not list: {forgotten:?}", driver.join("::"));
}

pub const OPTIONAL_METHOD: &str = "optional";

fn result(output: &ReturnType) -> Option<&Type> {
    let ReturnType::Type(_, output) = output else { return None };
    argument_of(output, "Result")
}

/// The first argument of a type of this name.
fn argument_of<'a>(kind: &'a Type, name: &str) -> Option<&'a Type> {
    let Type::Path(path) = kind else { return None };
    let last = path.path.segments.last()?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    match arguments.args.first()? {
        GenericArgument::Type(of) if last.ident == name => Some(of),
        _ => None,
    }
}

/// What `Host`'s methods ask of the host: `self.call("state.get", &StateKey { ... })`.
fn services(source: &Crate, reads: &mut Reads) -> Entry {
    let host = vec!["host".to_owned(), "Host".to_owned()];
    let mut entry = Entry::new("services of the host", "");
    for (module, item) in source.items() {
        let Item::Impl(block) = item else { continue };
        let Type::Path(of) = &*block.self_ty else { continue };
        let written = of.path.segments.iter().map(|segment| segment.ident.to_string()).collect::<Vec<_>>();
        if block.trait_.is_some() || source.find(module, &written) != Found::Here(host.clone()) {
            continue;
        }
        for method in
            block.items.iter().filter_map(|item| if let ImplItem::Fn(method) = item { Some(method) } else { None })
        {
            let Some((service, parameters)) = asked(method.block.to_token_stream()) else { continue };
            let mut reader = Reader { source, module, inside: Vec::new() };
            let of_argument = method.sig.inputs.iter().find_map(|input| match input {
                FnArg::Typed(typed) if typed.pat.to_token_stream().to_string() == parameters => {
                    Some((*typed.ty).clone())
                }
                _ => None,
            });
            let kind = of_argument.unwrap_or_else(|| syn::parse_str(&parameters).unwrap());
            let takes = reader.kind(&kind);
            reader.inside.drain(..).for_each(|name| reads.note(name, HOST_READS));
            let answer = result(&method.sig.output).cloned().or_else(|| annotated(method));
            let answers = reader.kind(&answer.unwrap_or_else(|| panic!("{service}: the gate cannot see its answer")));
            reader.inside.drain(..).for_each(|name| reads.note(name, DRIVER_READS));
            entry.member(service, format!("takes {takes}, answers {answers}"));
        }
    }
    entry
}

/// The service and the type of its parameters, or the argument that they are.
fn asked(tokens: TokenStream) -> Option<(String, String)> {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (index, token) in tokens.iter().enumerate() {
        let TokenTree::Group(group) = token else { continue };
        let is_call = index > 1 && tokens[index - 1].to_string() == "call" && tokens[index - 2].to_string() == ".";
        let inside: Vec<TokenTree> = group.stream().into_iter().collect();
        match inside.as_slice() {
            [TokenTree::Literal(service), _, rest @ ..] if is_call => {
                let parameters = rest.iter().find(|token| matches!(token, TokenTree::Ident(_)));
                return Some((service.to_string().trim_matches('"').to_owned(), parameters?.to_string()));
            }
            _ => {
                if let found @ Some(_) = asked(group.stream()) {
                    return found;
                }
            }
        }
    }
    None
}

/// `let _: Result<Answer, _> = ...` where the method itself answers nothing.
fn annotated(method: &syn::ImplItemFn) -> Option<Type> {
    method.block.stmts.iter().find_map(|statement| match statement {
        syn::Stmt::Local(local) => match &local.pat {
            syn::Pat::Type(typed) => argument_of(&typed.ty, "Result").cloned(),
            _ => None,
        },
        _ => None,
    })
}

/// Modules of constants and `ErrorCode`'s own: the words of open sets that have a meaning.
fn words(source: &Crate) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (name, module) in &source.modules {
        let values: Vec<Option<String>> = module
            .items
            .iter()
            .map(|item| match item {
                Item::Const(item) if item.ty.to_token_stream().to_string() == "& str" => wire::word(&item.expr),
                _ => None,
            })
            .collect();
        if !values.is_empty() && values.iter().all(Option::is_some) {
            let name = source.public_name(name).expect("words are for authors");
            entries.push(of_words(name, values.into_iter().flatten()));
        }
    }
    let codes = source.items().find_map(|(_, item)| match item {
        Item::Impl(block) if block.trait_.is_none() && block.self_ty.to_token_stream().to_string() == "ErrorCode" => {
            let codes = block
                .items
                .iter()
                .filter_map(|item| if let ImplItem::Const(item) = item { wire::word(&item.expr) } else { None });
            Some(of_words("error::ErrorCode".to_owned(), codes.collect::<Vec<_>>().into_iter()))
        }
        _ => None,
    });
    entries.extend(codes);
    entries
}

fn of_words(name: String, words: impl Iterator<Item = String>) -> Entry {
    let mut entry = Entry::new(format!("words of {name}"), "an open set");
    words.for_each(|word| entry.member(word, ""));
    entry
}
