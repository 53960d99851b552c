//! What serde makes of a type: its fields and choices as they stand in JSON.

use std::collections::BTreeMap;

use quote::ToTokens;
use syn::{Attribute, Expr, Fields, GenericArgument, Item, ItemImpl, LitStr, PathArguments, Type, parse::ParseStream};

use crate::{
    record::Entry,
    source::{Crate, Found, Name},
    spelling::Spelling,
};

/// A type's JSON, and the types of this crate that are in it.
pub struct Shape {
    pub entry: Entry,
    pub inside: Vec<Name>,
}

/// Of serde's attributes, those that the messages use.
#[derive(Default)]
struct Serde {
    rename: Option<String>,
    rename_all: Option<String>,
    tag: Option<String>,
    default: Option<Option<String>>,
    is_left_out: bool,
    is_other: bool,
    is_transparent: bool,
    denies_unknown: bool,
}

impl Serde {
    fn of(attributes: &[Attribute], place: &str) -> Self {
        let mut found = Self::default();
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("serde")) {
            let read = attribute.parse_nested_meta(|meta| {
                let word = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
                let text = |input: ParseStream<'_>| input.parse::<LitStr>().map(|text| text.value());
                match word.as_str() {
                    "rename" => found.rename = Some(text(meta.value()?)?),
                    "rename_all" => found.rename_all = Some(text(meta.value()?)?),
                    "tag" => found.tag = Some(text(meta.value()?)?),
                    "default" => found.default = Some(meta.value().ok().map(text).transpose()?),
                    "skip_serializing_if" => {
                        found.is_left_out = true;
                        text(meta.value()?)?;
                    }
                    // Of the frames: tells null from nothing.
                    "deserialize_with" if text(meta.value()?)? == "present" => {}
                    "other" => found.is_other = true,
                    "transparent" => found.is_transparent = true,
                    "deny_unknown_fields" => found.denies_unknown = true,
                    "borrow" => {}
                    _ => {
                        return Err(
                            meta.error("the gate does not know what this does to the JSON; teach it to `wire.rs`")
                        );
                    }
                }
                Ok(())
            });
            read.unwrap_or_else(|error| panic!("{place}: {}: {error}", attribute.to_token_stream()));
        }
        found
    }

    fn name(&self, written: &str, rename_all: Option<&str>) -> String {
        match (&self.rename, rename_all) {
            (Some(name), _) => name.clone(),
            (None, None) => written.to_owned(),
            (None, Some("snake_case")) => snake_case(written),
            (None, Some(other)) => panic!("the gate knows no rename_all = {other:?}; teach it to `wire.rs`"),
        }
    }
}

fn snake_case(name: &str) -> String {
    let mut words = String::new();
    for (index, letter) in name.char_indices() {
        if letter.is_uppercase() && index > 0 {
            words.push('_');
        }
        words.extend(letter.to_lowercase());
    }
    words
}

/// The JSON of a type that is defined in this crate.
pub fn shape(source: &Crate, definition: &[String]) -> Shape {
    let (module, item) = source.item(definition).unwrap_or_else(|| panic!("no type {}", definition.join("::")));
    let name = public_name(source, definition);
    if let Some(stand_in) = written_as(source, definition) {
        let inner = shape(source, &stand_in);
        let (line, members) = (inner.entry.line, inner.entry.members);
        return Shape { entry: Entry { line: crate::record::Line { name, ..line }, members }, inside: inner.inside };
    }
    let mut reader = Reader { source, module, inside: Vec::new() };
    let entry = match item {
        Item::Struct(item) => reader.object(name, item),
        Item::Enum(item) => reader.choice(name, item),
        _ => panic!("{name} is neither struct nor enum"),
    };
    Shape { entry, inside: reader.inside }
}

pub fn public_name(source: &Crate, definition: &[String]) -> String {
    source.public_name(definition).unwrap_or_else(|| format!("private::{}", definition.join("::")))
}

/// The type that a hand-written `Deserialize` goes through: `OnTheWire::deserialize(...)`.
fn written_as(source: &Crate, definition: &[String]) -> Option<Name> {
    let (module, item) = source.items().find(|(module, item)| {
        matches!(item, Item::Impl(block) if implements(source, module, block, definition, "Deserialize"))
    })?;
    let body = item.to_token_stream().to_string();
    let words: Vec<&str> = body.split_whitespace().collect();
    let at = words.windows(3).position(|part| part[1] == "::" && part[2].starts_with("deserialize"));
    let at = at.unwrap_or_else(|| panic!("the gate cannot see how {} is read", definition.join("::")));
    match source.find(module, &[words[at].to_owned()]) {
        Found::Here(name) => Some(name),
        Found::Elsewhere(name) => panic!("{} is read as a foreign {}", definition.join("::"), name.join("::")),
    }
}

fn implements(source: &Crate, module: &[String], block: &ItemImpl, definition: &[String], of: &str) -> bool {
    let Some((_, path, _)) = &block.trait_ else { return false };
    let Type::Path(self_type) = &*block.self_ty else { return false };
    let written: Vec<String> = self_type.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
    path.segments.last().is_some_and(|segment| segment.ident == of)
        && source.find(module, &written) == Found::Here(definition.to_vec())
}

/// Reads one type's JSON where it is defined.
pub struct Reader<'a> {
    pub source: &'a Crate,
    pub module: &'a [String],
    pub inside: Vec<Name>,
}

impl Reader<'_> {
    fn object(&mut self, name: String, item: &syn::ItemStruct) -> Entry {
        let serde = Serde::of(&item.attrs, &name);
        let parameters: Vec<String> =
            item.generics.type_params().map(|parameter| parameter.ident.to_string()).collect();
        let of = if parameters.is_empty() { String::new() } else { format!(" of {}", parameters.join(", ")) };
        let others = if serde.denies_unknown { REFUSES } else { "" };
        let mut entry = Entry::new(name, format!("object{of}{others}"));
        for (field, detail) in self.fields(&entry.line.name, &serde, &item.fields) {
            entry.member(field, detail);
        }
        entry
    }

    fn fields(&mut self, owner: &str, serde: &Serde, fields: &Fields) -> Vec<(String, String)> {
        let Fields::Named(fields) = fields else { panic!("{owner}: a message has named fields") };
        let mut read = Vec::new();
        for field in &fields.named {
            let written = field.ident.as_ref().unwrap().to_string();
            let place = format!("{owner}.{written}");
            let own = Serde::of(&field.attrs, &place);
            let kind = self.kind(&field.ty);
            let default = own.default.as_ref().or(serde.default.as_ref());
            let is_optional = default.is_some() || kind.ends_with(" or null");
            assert!(
                is_optional || !own.is_left_out,
                "{place} is sometimes not written, and a reader insists on it; `default` is missing"
            );
            let presence = match default {
                Some(Some(function)) => format!("optional, {} when left out", self.body(function, &place)),
                _ if is_optional => "optional".to_owned(),
                _ => "required".to_owned(),
            };
            read.push((own.name(&written, serde.rename_all.as_deref()), format!("{kind}, {presence}")));
        }
        read
    }

    /// What a `default` function of the same module answers.
    fn body(&self, function: &str, place: &str) -> String {
        let name: Name = self.module.iter().cloned().chain([function.to_owned()]).collect();
        let Some((_, Item::Fn(item))) = self.source.item(&name) else { panic!("{place}: no function {function}") };
        let spelling = Spelling { source: self.source, module: self.module };
        item.block.stmts.iter().map(|statement| spelling.of(statement)).collect::<Vec<_>>().join(" ")
    }

    fn choice(&mut self, name: String, item: &syn::ItemEnum) -> Entry {
        let serde = Serde::of(&item.attrs, &name);
        let mut entry = Entry::new(name, "");
        let mut other = None;
        for variant in &item.variants {
            let place = format!("{}::{}", entry.line.name, variant.ident);
            let own = Serde::of(&variant.attrs, &place);
            let word = own.name(&variant.ident.to_string(), serde.rename_all.as_deref());
            if own.is_other {
                other = Some(word.clone());
            }
            let is_default = variant.attrs.iter().any(|attribute| attribute.path().is_ident("default"));
            let standard = if is_default { "the default" } else { "" };
            match &variant.fields {
                Fields::Unit => entry.member(&word, standard),
                Fields::Unnamed(one) if one.unnamed.len() == 1 && serde.tag.is_none() => {
                    let kind = self.kind(&one.unnamed[0].ty);
                    entry.member(&word, format!("object of one key with {kind}"));
                }
                Fields::Named(_) if serde.tag.is_some() => {
                    entry.member(&word, standard);
                    for (field, detail) in self.fields(&place, &own, &variant.fields) {
                        entry.member(format!("{word}.{field}"), detail);
                    }
                }
                _ => panic!("{place}: the gate knows no variant of this form; teach it to `wire.rs`"),
            }
        }
        let form = serde.tag.map_or_else(|| "choice".to_owned(), |tag| format!("object, told apart by `{tag}`"));
        entry.line.detail = match other {
            Some(other) => format!("{form}; any other is read as {other}"),
            None => format!("{form}; {CLOSED}"),
        };
        entry
    }

    /// A type in JSON's words; notes the types of this crate that it names.
    pub fn kind(&mut self, kind: &Type) -> String {
        match kind {
            Type::Reference(reference) => self.kind(&reference.elem),
            Type::Tuple(tuple) if tuple.elems.is_empty() => "null".to_owned(),
            Type::Path(path) => {
                let last = path.path.segments.last().unwrap();
                let of: Vec<&Type> = match &last.arguments {
                    PathArguments::AngleBracketed(arguments) => arguments
                        .args
                        .iter()
                        .filter_map(|argument| if let GenericArgument::Type(of) = argument { Some(of) } else { None })
                        .collect(),
                    _ => Vec::new(),
                };
                let written: Vec<String> = path.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
                match self.source.find(self.module, &written) {
                    Found::Here(name) => self.own(name, &of),
                    Found::Elsewhere(name) => self.foreign(&name.join("::"), &of),
                }
            }
            other => panic!("the gate cannot put {} in JSON's words", other.to_token_stream()),
        }
    }

    fn own(&mut self, name: Name, of: &[&Type]) -> String {
        let (module, item) = self.source.item(&name).unwrap_or_else(|| panic!("no type {}", name.join("::")));
        let (module, item) = (module.to_vec(), item.clone());
        let mut inner = Reader { source: self.source, module: &module, inside: Vec::new() };
        let text = match &item {
            Item::Type(alias) => inner.kind(&alias.ty),
            Item::Struct(item) if Serde::of(&item.attrs, &name.join("::")).is_transparent => {
                inner.kind(&item.fields.iter().next().unwrap().ty)
            }
            _ => {
                let arguments: Vec<String> = of.iter().map(|of| self.kind(of)).collect();
                let text = public_name(self.source, &name);
                self.inside.push(name);
                return if arguments.is_empty() { text } else { format!("{text} of {}", arguments.join(", ")) };
            }
        };
        self.inside.extend(inner.inside);
        text
    }

    fn foreign(&mut self, name: &str, of: &[&Type]) -> String {
        let plain = BTreeMap::from([
            ("String", "text"),
            ("str", "text"),
            ("std::path::PathBuf", "text (a path)"),
            ("std::net::IpAddr", "text (an IP address)"),
            ("bool", "true or false"),
            ("f64", "number"),
            ("serde_json::Value", "anything"),
            ("serde_json::value::RawValue", "anything"),
            ("serde_json::Map", "object"),
        ]);
        match (name, of) {
            ("Option", [of]) => format!("{} or null", self.kind(of)),
            ("Vec", [of]) => format!("list of {}", self.kind(of)),
            ("Box" | "std::borrow::Cow", [of]) => self.kind(of),
            ("std::collections::BTreeMap", [_, of]) => format!("object with free keys, each {}", self.kind(of)),
            ("i8" | "i16" | "i32" | "i64" | "u8" | "u16" | "u32" | "u64", []) => format!("whole number ({name})"),
            // A type's parameter.
            (letter, []) if letter.len() == 1 => letter.to_owned(),
            _ => (*plain.get(name).unwrap_or_else(|| panic!("the gate cannot put {name} in JSON's words"))).to_owned(),
        }
    }
}

/// A message's detail when it has `deny_unknown_fields`.
pub const REFUSES: &str = "; unknown fields are refused";

/// Whoever reads such a choice refuses a word that it does not know.
pub const CLOSED: &str = "any other is refused";

/// The value of a `pub const NAME: ... = "word"` or `Self::new("word")`.
pub fn word(value: &Expr) -> Option<String> {
    let literal = match value {
        Expr::Lit(literal) => literal,
        Expr::Call(call) => match call.args.first()? {
            Expr::Lit(literal) => literal,
            _ => return None,
        },
        _ => return None,
    };
    if let syn::Lit::Str(text) = &literal.lit { Some(text.value()) } else { None }
}
