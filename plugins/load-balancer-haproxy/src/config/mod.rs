//! HAProxy's configuration as types: sections, directives and words, written in one way only, and read back.

mod directive;
mod parse;
mod server;
pub mod token;

pub use directive::{Balance, Directive, Expire, LogTarget, Mode, ProxyOption, StatsSocket, StickTable};
pub use parse::{ParseError, parse};
pub use server::{Check, Host, Server};
pub use token::TokenError;

use token::{Kind, Token};

/// A whole file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    /// In this order.
    pub sections: Vec<Section>,
}

/// A section and its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Which one.
    pub head: Head,
    /// In this order.
    pub directives: Vec<Directive>,
}

/// First line of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Head {
    /// `backend NAME`
    Backend(String),
    /// `defaults`
    Defaults,
    /// `frontend NAME`
    Frontend(String),
    /// `global`
    Global,
}

impl Head {
    fn words(&self) -> Vec<Token> {
        let keyword = |word: &str| Token::new(Kind::Keyword, word);
        match self {
            Self::Backend(name) => vec![keyword("backend"), Token::new(Kind::Name, name)],
            Self::Defaults => vec![keyword("defaults")],
            Self::Frontend(name) => vec![keyword("frontend"), Token::new(Kind::Name, name)],
            Self::Global => vec![keyword("global")],
        }
    }
}

impl Configuration {
    /// The file's text: four spaces before each directive, a newline at the end. Every word is checked as it is written.
    pub fn write(&self) -> Result<String, TokenError> {
        let mut out = String::with_capacity(4096);
        for section in &self.sections {
            line(&section.head.words(), &mut out)?;
            for directive in &section.directives {
                out.push_str("    ");
                line(&directive.words(), &mut out)?;
            }
        }
        Ok(out)
    }
}

fn line(words: &[Token], out: &mut String) -> Result<(), TokenError> {
    for (index, word) in words.iter().enumerate() {
        if index > 0 {
            out.push(' ');
        }
        word.write(out)?;
    }
    out.push('\n');
    Ok(())
}

#[cfg(test)]
mod tests;
