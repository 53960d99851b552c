//! Old configurations in our form.

mod ini;
mod options;
mod translate;

pub use translate::{Imported, libra_ini};
