//! `#[derive(ConfigSchema)]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{
    Attribute, Data, DataEnum, DeriveInput, Error, Expr, ExprLit, Fields, FieldsNamed, Lit, LitStr, Meta, Result,
    spanned::Spanned,
};

pub fn expand(item: TokenStream) -> Result<TokenStream> {
    let input: DeriveInput = syn::parse2(item)?;
    let container = Serde::of(&input.attrs)?;
    let schema = match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => object(fields, &container, &description(&input.attrs))?,
            Fields::Unit => quote!(Schema::Object(&Object { description: "", fields: &[] })),
            Fields::Unnamed(_) => {
                return Err(Error::new(input.span(), "a configuration is a struct with named fields"));
            }
        },
        Data::Enum(data) => choice(data, &container)?,
        Data::Union(_) => return Err(Error::new(input.span(), "a union has no schema")),
    };
    let name = &input.ident;
    let (generics, arguments, conditions) = input.generics.split_for_impl();
    Ok(quote! {
        const _: () = {
            use ::capstan_plugin_api::schema::{ConfigSchema, Field, Object, Schema};
            impl #generics ConfigSchema for #name #arguments #conditions {
                const SCHEMA: Schema = #schema;
            }
        };
    })
}

fn object(fields: &FieldsNamed, container: &Serde, description_text: &str) -> Result<TokenStream> {
    let mut entries = Vec::new();
    for field in &fields.named {
        let serde = Serde::of(&field.attrs)?;
        if serde.skip {
            continue;
        }
        let Some(ident) = &field.ident else { continue };
        let plain = ident.to_string();
        let plain = plain.trim_start_matches("r#");
        let name = match (serde.rename, &container.rename_all) {
            (Some(name), _) => name,
            (None, Some(rule)) => rule.field(plain),
            (None, None) => plain.to_owned(),
        };
        let defaulted = serde.default || container.default;
        let text = description(&field.attrs);
        let kind = &field.ty;
        entries.push(quote! {
            Field {
                name: #name,
                description: #text,
                required: !#defaulted && !<#kind as ConfigSchema>::OPTIONAL,
                schema: &<#kind as ConfigSchema>::SCHEMA,
            }
        });
    }
    Ok(quote!(Schema::Object(&Object { description: #description_text, fields: &[#(#entries),*] })))
}

fn choice(data: &DataEnum, container: &Serde) -> Result<TokenStream> {
    let mut names = Vec::new();
    for variant in &data.variants {
        if !matches!(variant.fields, Fields::Unit) {
            return Err(Error::new(variant.span(), "an enum in a configuration has no data in its variants"));
        }
        let serde = Serde::of(&variant.attrs)?;
        let plain = variant.ident.to_string();
        names.push(match (serde.rename, &container.rename_all) {
            (Some(name), _) => name,
            (None, Some(rule)) => rule.variant(&plain),
            (None, None) => plain,
        });
    }
    Ok(quote!(Schema::Choice(&[#(#names),*])))
}

fn description(attributes: &[Attribute]) -> String {
    let mut lines = Vec::new();
    for attribute in attributes {
        if let Meta::NameValue(pair) = &attribute.meta
            && pair.path.is_ident("doc")
            && let Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) = &pair.value
        {
            lines.push(text.value().trim().to_owned());
        }
    }
    lines.join(" ").trim().to_owned()
}

/// What of serde's attributes changes names and presence.
#[derive(Default)]
struct Serde {
    rename: Option<String>,
    rename_all: Option<Case>,
    default: bool,
    skip: bool,
}

impl Serde {
    fn of(attributes: &[Attribute]) -> Result<Self> {
        let mut found = Self::default();
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("serde")) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("rename") {
                    found.rename = Some(meta.value()?.parse::<LitStr>()?.value());
                } else if meta.path.is_ident("rename_all") {
                    found.rename_all = Some(Case::of(&meta.value()?.parse()?)?);
                } else if meta.path.is_ident("default") {
                    found.default = true;
                    if let Ok(value) = meta.value() {
                        value.parse::<LitStr>()?;
                    }
                } else if meta.path.is_ident("skip") || meta.path.is_ident("skip_deserializing") {
                    found.skip = true;
                } else if meta.path.is_ident("deny_unknown_fields") || meta.path.is_ident("crate") {
                    // The host checks against the schema, which knows no further keys.
                    if let Ok(value) = meta.value() {
                        value.parse::<LitStr>()?;
                    }
                } else {
                    return Err(meta.error(
                        "this serde attribute changes the shape in a way that the schema does not follow; \
                         rename, rename_all, default and skip are known",
                    ));
                }
                Ok(())
            })?;
        }
        Ok(found)
    }
}

#[derive(Clone, Copy)]
enum Case {
    Lower,
    Upper,
    Snake,
    Kebab,
    ScreamingSnake,
}

impl Case {
    fn of(text: &LitStr) -> Result<Self> {
        Ok(match text.value().as_str() {
            "lowercase" => Self::Lower,
            "UPPERCASE" => Self::Upper,
            "snake_case" => Self::Snake,
            "kebab-case" => Self::Kebab,
            "SCREAMING_SNAKE_CASE" => Self::ScreamingSnake,
            _ => {
                return Err(Error::new(
                    text.span(),
                    "rename_all may be lowercase, UPPERCASE, snake_case, kebab-case or SCREAMING_SNAKE_CASE here",
                ));
            }
        })
    }

    /// A field's name is in snake case as it stands.
    fn field(self, name: &str) -> String {
        match self {
            Self::Lower | Self::Snake => name.to_owned(),
            Self::Upper | Self::ScreamingSnake => name.to_uppercase(),
            Self::Kebab => name.replace('_', "-"),
        }
    }

    /// A variant's name is in camel case as it stands.
    fn variant(self, name: &str) -> String {
        match self {
            Self::Lower => name.to_lowercase(),
            Self::Upper => name.to_uppercase(),
            Self::Snake => split_words(name, '_'),
            Self::Kebab => split_words(name, '-'),
            Self::ScreamingSnake => split_words(name, '_').to_uppercase(),
        }
    }
}

fn split_words(name: &str, separator: char) -> String {
    let mut words = String::with_capacity(name.len() + 4);
    for (i, c) in name.chars().enumerate() {
        if c.is_uppercase() && i > 0 {
            words.push(separator);
        }
        words.extend(c.to_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_schema_cannot_follow_is_refused() {
        for (item, words) in [
            (
                quote!(
                    struct C {
                        #[serde(flatten)]
                        rest: D,
                    }
                ),
                "changes the shape",
            ),
            (
                quote!(
                    struct C {
                        #[serde(alias = "old")]
                        new: u8,
                    }
                ),
                "changes the shape",
            ),
            (
                quote!(
                    #[serde(rename_all = "camelCase")]
                    struct C {
                        a_b: u8,
                    }
                ),
                "rename_all may be",
            ),
            (
                quote!(
                    struct C(u8);
                ),
                "named fields",
            ),
            (
                quote!(
                    enum E {
                        A(u8),
                    }
                ),
                "no data in its variants",
            ),
            (quote!(union U { a: u8 }), "no schema"),
        ] {
            let found = expand(item).expect_err("this is misuse").to_string();
            assert!(found.contains(words), "{found}");
        }
    }
}
