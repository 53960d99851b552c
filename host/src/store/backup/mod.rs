//! A backup is one file of JSON lines, the same for both databases, so that one may be brought back into the other.
//!
//! The first line says what it is, then each table has a line with its columns and one for each row; the last line holds the number
//! of rows and the SHA-256 of all lines before it. Bytes are `{"bytes": "BASE64"}`.
//!
//! These calls block, and are not made on a thread of a runtime.

mod format;
mod restore;
mod take;

pub use format::Header;
pub use restore::{Brought, bring_back};
pub use take::{Taken, take};
