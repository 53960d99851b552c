//! From text to typed values: the tree of all sources with the place of each value, and the reader that takes it apart.

mod bounds;
mod environment;
mod field;
mod nearest;
mod reader;
mod session;
mod sources;
mod tree;

pub(super) use bounds::{Bound, Port, Size};
pub(super) use environment::apply;
pub(super) use field::{Field, Refusal, Shown, choices, duration};
pub(crate) use nearest::nearest;
pub(super) use reader::TableReader;
pub use session::Effective;
pub(super) use session::Session;
pub(super) use sources::{Gathered, gather, parse};
pub(super) use tree::{Node, Table, Value, describe_text};
