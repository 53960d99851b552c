//! From the device specification to what HAProxy shall run, refusing by name what it cannot.

mod check;
mod member;
mod render;
mod wanted;

pub use check::{Checked, check};
pub use member::identifier;
pub use render::{Marker, Rendering, shape};
pub use wanted::{Member, Monitor, Names, Service, Slots, Sticky, Wanted};

#[cfg(test)]
mod tests;
