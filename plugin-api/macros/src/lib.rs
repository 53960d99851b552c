//! The attribute and the derive of `capstan-plugin-api`, which re-exports both.

mod config_schema;
mod driver;

use proc_macro::TokenStream;

/// Exports the driver whose trait this `impl` block implements: the root symbol with a panic guard around every entry, the
/// layout record, and the manifest in its ELF section.
///
/// `#[driver(name = "acme", vendor = "Acme", description = "...", version = "1.2.0", serial_by = "device")]`; only `name` is
/// required. `version` is the crate's, `serial_by` is `"instance"` (`"device"` for load balancers) unless given.
#[proc_macro_attribute]
pub fn driver(arguments: TokenStream, item: TokenStream) -> TokenStream {
    driver::expand(arguments.into(), item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Derives `ConfigSchema` for a struct with named fields or an enum without data. Doc comments become descriptions; of
/// serde's attributes `rename`, `rename_all`, `default` and `skip` are obeyed, others that change the shape are refused.
#[proc_macro_derive(ConfigSchema, attributes(serde))]
pub fn config_schema(item: TokenStream) -> TokenStream {
    config_schema::expand(item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}
