//! The crate's own macros, expanded as far as the gate has to see what they make.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use quote::quote;
use syn::{Item, ItemMacro};

use crate::source::Files;

/// What an item that is a macro's definition or call stands for.
pub fn expand(item: &ItemMacro, files: &Files) -> Vec<Item> {
    let name = item.mac.path.segments.last().unwrap().ident.to_string();
    let made = match name.as_str() {
        "macro_rules" => {
            let is_exported = item.attrs.iter().any(|attribute| attribute.path().is_ident("macro_export"));
            assert!(!is_exported, "the gate cannot judge an exported macro_rules; teach it to `macros.rs`");
            return Vec::new();
        }
        "thread_local" => return Vec::new(),
        "interface" => interface(item, files),
        "shapes" => shapes(item.mac.tokens.clone()),
        other => panic!("the gate does not know what {other}! makes; write it out, or teach it to `macros.rs`"),
    };
    let file: syn::File = syn::parse2(made).unwrap_or_else(|error| panic!("{name}!: {error}"));
    file.items.into_iter().chain([Item::Macro(item.clone())]).collect()
}

/// A call of `interface!`: the exporting type, its trait, and the methods.
pub struct Interface {
    pub export: String,
    pub driver: String,
    pub methods: Vec<Method>,
}

/// `name(Parameters)`, `name()` or `long name(Parameters)`.
pub struct Method {
    pub name: String,
    pub is_long: bool,
    pub takes_parameters: bool,
}

/// Reads a call of `interface!`; nothing of any other item.
pub fn read_interface(item: &Item) -> Option<Interface> {
    let Item::Macro(item) = item else { return None };
    if !item.mac.path.is_ident("interface") {
        return None;
    }
    // What comes before the braces, without its documentation: `Export<D: Driver>`.
    let tokens: Vec<TokenTree> = item.mac.tokens.clone().into_iter().collect();
    let words: Vec<String> = tokens.iter().filter_map(ident).collect();
    let Some(TokenTree::Group(body)) = tokens.last() else { panic!("interface! without its methods") };
    let [export, _, driver] = words.as_slice() else { panic!("interface! begins with Export<D: Driver>") };
    let body: Vec<TokenTree> = body.stream().into_iter().collect();
    let methods = body.split(|token| token.to_string() == ";").filter(|entry| !entry.is_empty());
    let methods = methods
        .map(|entry| {
            let words: Vec<String> = entry.iter().filter_map(ident).collect();
            let parameters =
                entry.iter().find_map(|token| if let TokenTree::Group(group) = token { Some(group) } else { None });
            Method {
                name: words.last().unwrap().clone(),
                is_long: words.len() == 2,
                takes_parameters: !parameters.unwrap().stream().is_empty(),
            }
        })
        .collect();
    Some(Interface { export: export.clone(), driver: driver.clone(), methods })
}

fn ident(token: &TokenTree) -> Option<String> {
    if let TokenTree::Ident(ident) = token { Some(ident.to_string()) } else { None }
}

/// The first arm of `interface!` in `dispatch.rs`, with its names put in; of repetitions only the documentation and the
/// bodies of functions have any, and neither is looked at.
fn interface(item: &ItemMacro, files: &Files) -> TokenStream {
    let file = syn::parse_file(&files["dispatch.rs"]).unwrap();
    let rules = file.items.into_iter().find_map(|item| match item {
        Item::Macro(found) if found.ident.as_ref().is_some_and(|name| name == "interface") => Some(found.mac.tokens),
        _ => None,
    });
    let arm: Vec<TokenTree> = rules.expect("dispatch.rs defines interface!").into_iter().collect();
    let is_arm = arm.len() > 3 && arm[1].to_string() == "=" && arm[2].to_string() == ">";
    let (true, TokenTree::Group(made)) = (is_arm, &arm[3]) else {
        panic!("the first arm of interface! is not as it was")
    };
    let called = read_interface(&Item::Macro(item.clone())).unwrap();
    put_in(made.stream(), &[("export", &called.export), ("driver", &called.driver), ("crate", "crate")])
}

fn put_in(tokens: TokenStream, names: &[(&str, &str)]) -> TokenStream {
    let mut made = TokenStream::new();
    let mut tokens = tokens.into_iter();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == '$' => match tokens.next() {
                Some(TokenTree::Ident(ident)) => {
                    let name = ident.to_string();
                    let (_, value) = names.iter().find(|(known, _)| *known == name).unwrap_or(&("", "unknown"));
                    made.extend([TokenTree::Ident(proc_macro2::Ident::new(value, ident.span()))]);
                }
                // A repetition, up to its `*`.
                _ => _ = tokens.next(),
            },
            TokenTree::Group(group) => {
                let inside = put_in(group.stream(), names);
                made.extend([TokenTree::Group(Group::new(group.delimiter(), inside))]);
            }
            token => made.extend([token]),
        }
    }
    made
}

/// `type => schema;` of `shapes!` in `schema.rs`.
fn shapes(tokens: TokenStream) -> TokenStream {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut made = TokenStream::new();
    for shape in tokens.split(|token| token.to_string() == ";").filter(|shape| !shape.is_empty()) {
        let arrow = shape.windows(2).position(|pair| pair[0].to_string() == "=" && pair[1].to_string() == ">");
        let (of, schema) = shape.split_at(arrow.expect("type => schema"));
        let (of, schema): (TokenStream, TokenStream) =
            (of.iter().cloned().collect(), schema[2..].iter().cloned().collect());
        made.extend(quote!(impl ConfigSchema for #of { const SCHEMA: Schema = #schema; }));
    }
    made
}

/// The texts of all `is_ident("...")` below a token stream: the words that a macro looks for in its attributes.
pub fn attribute_words(tokens: TokenStream) -> Vec<String> {
    let mut words = Vec::new();
    let mut before = String::new();
    for token in tokens {
        if let TokenTree::Group(group) = &token {
            if before == "is_ident" && group.delimiter() == Delimiter::Parenthesis {
                words.extend(syn::parse2::<syn::LitStr>(group.stream()).map(|text| text.value()));
            } else {
                words.extend(attribute_words(group.stream()));
            }
        }
        before = token.to_string();
    }
    words
}
