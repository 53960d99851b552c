//! The attribute and the derive of `capstan-plugin-api`.
