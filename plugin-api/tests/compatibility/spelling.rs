//! One way to write a type or a signature, whichever way the source has it: names in full, spaces by rule.

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{FnArg, ReturnType, Signature};

use crate::source::{Crate, Found};

/// Spells what stands in one module.
#[derive(Clone, Copy)]
pub struct Spelling<'a> {
    pub source: &'a Crate,
    pub module: &'a [String],
}

impl Spelling<'_> {
    pub fn of(&self, tokens: &impl ToTokens) -> String {
        let mut words = Vec::new();
        self.words(tokens.to_token_stream(), &mut words);
        join(&words)
    }

    /// Types only: an author does not see how the parameters are called.
    pub fn signature(&self, signature: &Signature) -> String {
        let mut text = String::new();
        for (is_there, word) in [
            (signature.constness.is_some(), "const "),
            (signature.asyncness.is_some(), "async "),
            (signature.unsafety.is_some(), "unsafe "),
        ] {
            text += if is_there { word } else { "" };
        }
        if let Some(abi) = &signature.abi {
            text += &format!("{} ", self.of(abi));
        }
        let inputs = signature.inputs.iter().map(|input| match input {
            FnArg::Receiver(receiver) => self.of(receiver),
            FnArg::Typed(typed) => self.of(&typed.ty),
        });
        text += &format!("fn{}({})", self.of(&signature.generics), inputs.collect::<Vec<_>>().join(", "));
        if let ReturnType::Type(_, output) = &signature.output {
            text += &format!(" -> {}", self.of(output));
        }
        if let Some(bounds) = &signature.generics.where_clause {
            text += &format!(" {}", self.of(bounds));
        }
        text
    }

    fn words(&self, tokens: TokenStream, words: &mut Vec<String>) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at] {
                TokenTree::Ident(_) => {
                    let path = path(&tokens[at..]);
                    at += path.len() * 3 - 2;
                    let follows_a_path = words.last().is_some_and(|word| word == "::");
                    words.push(if follows_a_path { path.join("::") } else { self.name(&path) });
                    continue;
                }
                TokenTree::Group(group) => {
                    let (open, close) = match group.delimiter() {
                        Delimiter::Parenthesis => ("(", ")"),
                        Delimiter::Bracket => ("[", "]"),
                        Delimiter::Brace => ("{", "}"),
                        Delimiter::None => ("", ""),
                    };
                    words.push(open.to_owned());
                    self.words(group.stream(), words);
                    words.push(close.to_owned());
                }
                TokenTree::Punct(punct) if punct.spacing() == Spacing::Joint => {
                    // `::`, `->`, a lifetime; anything else stands for itself.
                    let pair = format!("{}{}", punct, tokens[at + 1]);
                    let belongs = matches!(pair.as_str(), "::" | "->" | "=>" | "..") || punct.as_char() == '\'';
                    words.push(if belongs { pair } else { punct.to_string() });
                    at += usize::from(belongs);
                }
                token => words.push(token.to_string()),
            }
            at += 1;
        }
    }

    fn name(&self, path: &[String]) -> String {
        if matches!(path, [word] if word == "self") {
            return path.join("");
        }
        match self.source.find(self.module, path) {
            Found::Here(name) => {
                // What has no public name is spelled so that nobody takes it for one.
                let private = || format!("private::{}", name.join("::"));
                let whole = self.source.public_name(&name);
                whole.or_else(|| self.of_a_public_item(&name)).unwrap_or_else(private)
            }
            Found::Elsewhere(name) => name.join("::"),
        }
    }

    /// `Enum::Variant`, `Type::CONSTANT`.
    fn of_a_public_item(&self, name: &[String]) -> Option<String> {
        let (last, item) = name.split_last()?;
        Some(format!("{}::{last}", self.source.public_name(item)?))
    }
}

/// `a::b::c` at the beginning of the tokens.
fn path(tokens: &[TokenTree]) -> Vec<String> {
    let mut path = vec![tokens[0].to_string()];
    let mut rest = &tokens[1..];
    while let [TokenTree::Punct(one), TokenTree::Punct(two), TokenTree::Ident(next), ..] = rest {
        if one.as_char() != ':' || two.as_char() != ':' {
            break;
        }
        path.push(next.to_string());
        rest = &rest[3..];
    }
    path
}

fn join(words: &[String]) -> String {
    let is_word = |word: &str| word.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '\'' | '"'));
    let mut text = String::new();
    let mut before = "";
    let words: Vec<&str> = words.iter().map(String::as_str).filter(|word| !word.is_empty()).collect();
    for (index, &word) in words.iter().enumerate() {
        // rustfmt ends what it breaks into lines with one.
        if word == "," && matches!(words.get(index + 1), Some(&(")" | "]" | "}" | ">"))) {
            continue;
        }
        let apart = match (before, word) {
            ("", _) => false,
            (lifetime, "[" | "(") => lifetime.starts_with('\''),
            ("->" | "=>" | "=" | "+" | "," | ";" | ":" | "{", _) | (_, "->" | "=>" | "=" | "+" | "{" | "}") => true,
            (")" | "]" | ">", word) => is_word(word),
            (before, word) => is_word(before) && (is_word(word) || matches!(word, "*" | "&")),
        };
        if apart {
            text.push(' ');
        }
        text.push_str(word);
        before = word;
    }
    text
}
