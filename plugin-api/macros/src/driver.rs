//! `#[driver]` on the `impl` block of a driver's trait.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, ImplItem, ItemImpl, LitStr, Result, meta::ParseNestedMeta, parse::Parser, spanned::Spanned};

/// What belongs to each trait: kind, interface with its major number, and the exporting type.
fn of_trait(name: &str) -> Option<(&'static str, &'static str, TokenStream)> {
    Some(match name {
        "CloudDriver" => ("cloud", "cloud/1", quote!(::capstan_plugin_api::cloud::Cloud)),
        "MgmDriver" => ("mgm", "mgm/1", quote!(::capstan_plugin_api::mgm::Mgm)),
        "LoadBalancerDriver" => {
            ("load_balancer", "load_balancer/1", quote!(::capstan_plugin_api::load_balancer::Queued))
        }
        "DeclarativeLoadBalancer" => {
            ("load_balancer", "load_balancer/1", quote!(::capstan_plugin_api::load_balancer::Declared))
        }
        "DatabaseDriver" => ("database", "database/1", quote!(::capstan_plugin_api::database::Database)),
        _ => return None,
    })
}

#[derive(Default)]
struct Arguments {
    name: Option<LitStr>,
    version: Option<LitStr>,
    vendor: Option<LitStr>,
    description: Option<LitStr>,
    serial_by: Option<LitStr>,
}

impl Arguments {
    fn parse(tokens: TokenStream) -> Result<Self> {
        let mut arguments = Self::default();
        let parser = syn::meta::parser(|meta: ParseNestedMeta<'_>| {
            let place = if meta.path.is_ident("name") {
                &mut arguments.name
            } else if meta.path.is_ident("version") {
                &mut arguments.version
            } else if meta.path.is_ident("vendor") {
                &mut arguments.vendor
            } else if meta.path.is_ident("description") {
                &mut arguments.description
            } else if meta.path.is_ident("serial_by") {
                &mut arguments.serial_by
            } else {
                return Err(meta.error("known are name, version, vendor, description and serial_by"));
            };
            *place = Some(meta.value()?.parse()?);
            Ok(())
        });
        parser.parse2(tokens)?;
        Ok(arguments)
    }
}

pub fn expand(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let block: ItemImpl = syn::parse2(item)?;
    let span = block.span();
    let expected = "#[driver] belongs on `impl T for YourDriver`, T being CloudDriver, MgmDriver, LoadBalancerDriver, \
                    DeclarativeLoadBalancer or DatabaseDriver";
    let (_, path, _) = block.trait_.as_ref().ok_or_else(|| Error::new(span, expected))?;
    let trait_name = path.segments.last().map(|segment| segment.ident.to_string()).unwrap_or_default();
    let (kind, interface, export) = of_trait(&trait_name).ok_or_else(|| Error::new(path.span(), expected))?;
    let Arguments { name, version, vendor, description, serial_by } = Arguments::parse(arguments)?;
    let name = name.ok_or_else(|| Error::new(span, "a driver needs a name: #[driver(name = \"acme\")]"))?;
    check_name(&name)?;
    let version = version.map_or_else(|| quote!(env!("CARGO_PKG_VERSION")), |version| quote!(#version));
    let vendor = vendor.map_or_else(|| quote!(""), |vendor| quote!(#vendor));
    let description = description.map_or_else(|| quote!(env!("CARGO_PKG_DESCRIPTION")), |text| quote!(#text));
    let serial_by = serial_variant(serial_by.as_ref(), kind)?;

    let written: Vec<String> = block
        .items
        .iter()
        .filter_map(|item| match item {
            ImplItem::Fn(method) => Some(method.sig.ident.to_string()),
            _ => None,
        })
        .collect();
    let (methods, calls) =
        if trait_name == "LoadBalancerDriver" { queued_methods(&written) } else { (written, Vec::new()) };
    let driver = &block.self_ty;

    Ok(quote! {
        #block

        const _: () = {
            use ::capstan_plugin_api::{abi, boundary, manifest, schema::ConfigSchema};

            const DECLARATION: manifest::Declaration = manifest::Declaration {
                name: #name,
                version: #version,
                vendor: #vendor,
                description: #description,
                kind: #kind,
                interface: #interface,
                panic: if cfg!(panic = "abort") { "abort" } else { "unwind" },
                methods: &[#(#methods),*],
                calls: &[#(#calls),*],
                serial_by: manifest::SerialBy::#serial_by,
                config: &<<#driver as ::capstan_plugin_api::Driver>::Config as ConfigSchema>::SCHEMA,
            };
            const MANIFEST_LEN: usize = DECLARATION.rendered_len();

            #[used]
            #[allow(unsafe_code)]
            #[unsafe(link_section = ".capstan_manifest")]
            static MANIFEST: [u8; MANIFEST_LEN] = DECLARATION.render();

            unsafe extern "C" fn describe() -> abi::Bytes {
                abi::Bytes::of(&MANIFEST)
            }

            static TABLE: abi::DriverTable = boundary::table::<#export<#driver>>(describe);
            static LAYOUT: abi::LayoutRecord = abi::LAYOUT;

            #[allow(unsafe_code, missing_docs)]
            #[unsafe(no_mangle)]
            pub extern "C" fn capstan_driver_epoch_1() -> *const abi::DriverTable {
                &TABLE
            }

            #[allow(unsafe_code, missing_docs)]
            #[unsafe(no_mangle)]
            pub extern "C" fn capstan_driver_layout_1() -> *const abi::LayoutRecord {
                &LAYOUT
            }
        };
    })
}

fn check_name(name: &LitStr) -> Result<()> {
    let text = name.value();
    let well_formed = text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-')
        && text.len() <= 64;
    if well_formed {
        Ok(())
    } else {
        Err(Error::new(
            name.span(),
            "a driver's name is a-z, 0-9, _ and -, begins with a letter and has at most 64 bytes",
        ))
    }
}

fn serial_variant(given: Option<&LitStr>, kind: &str) -> Result<TokenStream> {
    let Some(given) = given else {
        return Ok(if kind == "load_balancer" { quote!(Device) } else { quote!(Instance) });
    };
    match given.value().as_str() {
        "device" => Ok(quote!(Device)),
        "instance" => Ok(quote!(Instance)),
        "none" => Ok(quote!(None)),
        _ => Err(Error::new(given.span(), "serial_by is \"device\", \"instance\" or \"none\"")),
    }
}

/// On the wire a queued driver is declarative: the adapter always has the first six; the rest is the author's.
fn queued_methods(written: &[String]) -> (Vec<String>, Vec<String>) {
    let mut methods: Vec<String> =
        ["apply", "observe", "suspend", "enable", "delete", "validate"].map(String::from).into();
    methods.extend(written.iter().filter(|name| matches!(name.as_str(), "status" | "statistics" | "archive")).cloned());
    (methods, written.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(arguments: TokenStream, item: TokenStream) -> String {
        expand(arguments, item).expect_err("this is misuse").to_string()
    }

    #[test]
    fn misuse_is_told_in_the_authors_words() {
        let block = quote!(
            impl MgmDriver for Acme {}
        );
        for (arguments, words) in [
            (quote!(), "a driver needs a name: #[driver(name = \"acme\")]"),
            (quote!(name = "Acme"), "begins with a letter"),
            (quote!(name = "1acme"), "begins with a letter"),
            (quote!(name = "a b"), "a-z, 0-9, _ and -"),
            (quote!(name = "acme", serial_by = "node"), "\"device\", \"instance\" or \"none\""),
            (quote!(name = "acme", colour = "red"), "known are name, version, vendor, description and serial_by"),
        ] {
            let found = refusal(arguments, block.clone());
            assert!(found.contains(words), "{found}");
        }
        for item in [quote!(impl Acme {}), quote!(impl Clone for Acme {})] {
            let found = refusal(quote!(name = "acme"), item);
            assert!(found.contains("#[driver] belongs on `impl T for YourDriver`"), "{found}");
        }
        assert!(
            expand(
                quote!(name = "acme"),
                quote!(
                    struct Acme;
                )
            )
            .is_err()
        );
    }

    #[test]
    fn a_path_before_the_trait_is_fine() {
        let item = quote!(
            impl capstan_plugin_api::CloudDriver for Acme<Http> {}
        );
        let expanded = expand(quote!(name = "acme"), item).unwrap().to_string();
        assert!(expanded.contains("cloud :: Cloud < Acme < Http > >"), "{expanded}");
    }
}
