//! The configuration schema as a constant: a tree that `#[derive(ConfigSchema)]` makes from the author's struct and that
//! the manifest carries as JSON Schema (2020-12).

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use crate::{json::Writer, secret::Secret};

/// A type whose shape is known at compile time. Derive it for structs and for enums without data.
pub trait ConfigSchema {
    /// The shape.
    const SCHEMA: Schema;
    /// A field of this type may be left out even without a default.
    const OPTIONAL: bool = false;
}

/// One node of the tree.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Schema {
    /// Anything.
    Any,
    /// A list.
    Array(&'static Schema),
    /// `true` or `false`.
    Boolean,
    /// One of these texts.
    Choice(&'static [&'static str]),
    /// A whole number within bounds, both included.
    Integer {
        /// Least value.
        minimum: i64,
        /// Greatest value.
        maximum: i64,
    },
    /// A table with free keys.
    Map(&'static Schema),
    /// Any number.
    Number,
    /// A table with known keys.
    Object(&'static Object),
    /// A text of a form that a regular expression tells.
    Pattern {
        /// The expression, of ECMA 262; `^` and `$` are not implied.
        regex: &'static str,
        /// The form in words, for whoever wrote a text of another.
        form: &'static str,
    },
    /// A text that is never shown.
    Secret,
    /// A text.
    Text,
}

/// A table with known keys.
#[derive(Clone, Copy, Debug)]
pub struct Object {
    /// From the doc comment.
    pub description: &'static str,
    /// The keys.
    pub fields: &'static [Field],
}

/// A key of an [`Object`].
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Name in the file.
    pub name: &'static str,
    /// From the doc comment.
    pub description: &'static str,
    /// Must be given.
    pub required: bool,
    /// Shape of the value.
    pub schema: &'static Schema,
}

impl Schema {
    /// Writes the node as JSON Schema.
    pub const fn write<const N: usize>(&self, out: &mut Writer<N>) {
        match self {
            Self::Any => out.raw("true"),
            Self::Array(items) => {
                out.raw("{\"type\":\"array\",\"items\":");
                items.write(out);
                out.raw("}");
            }
            Self::Boolean => out.raw("{\"type\":\"boolean\"}"),
            Self::Choice(names) => {
                out.raw("{\"type\":\"string\",\"enum\":");
                out.strings(names);
                out.raw("}");
            }
            Self::Integer { minimum, maximum } => {
                out.raw("{\"type\":\"integer\",\"minimum\":");
                out.integer(*minimum);
                out.raw(",\"maximum\":");
                out.integer(*maximum);
                out.raw("}");
            }
            Self::Map(values) => {
                out.raw("{\"type\":\"object\",\"additionalProperties\":");
                values.write(out);
                out.raw("}");
            }
            Self::Number => out.raw("{\"type\":\"number\"}"),
            Self::Object(object) => object.write(out),
            Self::Pattern { regex, form } => {
                out.raw("{\"type\":\"string\",\"pattern\":");
                out.string(regex);
                out.raw(",\"x-capstan-form\":");
                out.string(form);
                out.raw("}");
            }
            Self::Secret => out.raw("{\"type\":\"string\",\"writeOnly\":true,\"x-capstan-secret\":true}"),
            Self::Text => out.raw("{\"type\":\"string\"}"),
        }
    }

    const fn write_secrets<const N: usize>(&self, out: &mut Writer<N>, path: &Path<'_>, first: &mut bool) {
        match self {
            Self::Secret => {
                out.raw(if *first { "\"" } else { ",\"" });
                path.write(out);
                out.raw("\"");
                *first = false;
            }
            Self::Object(object) => object.write_secrets(out, Some(path), first),
            Self::Array(each) | Self::Map(each) => {
                each.write_secrets(out, &Path { parent: Some(path), name: "*" }, first);
            }
            _ => {}
        }
    }
}

impl Object {
    const fn write<const N: usize>(&self, out: &mut Writer<N>) {
        out.raw("{\"type\":\"object\"");
        if !self.description.is_empty() {
            out.raw(",\"description\":");
            out.string(self.description);
        }
        out.raw(",\"properties\":{");
        let mut i = 0;
        while i < self.fields.len() {
            if i > 0 {
                out.raw(",");
            }
            out.string(self.fields[i].name);
            out.raw(":");
            self.fields[i].write(out);
            i += 1;
        }
        out.raw("},\"required\":[");
        let mut first = true;
        i = 0;
        while i < self.fields.len() {
            if self.fields[i].required {
                if !first {
                    out.raw(",");
                }
                out.string(self.fields[i].name);
                first = false;
            }
            i += 1;
        }
        out.raw("],\"additionalProperties\":false}");
    }

    /// Writes the dotted names of all secrets below this object as JSON strings separated by commas; `*` stands for every
    /// entry of a list and every key of a table with free keys.
    pub(crate) const fn write_secrets<const N: usize>(
        &self,
        out: &mut Writer<N>,
        parent: Option<&Path<'_>>,
        first: &mut bool,
    ) {
        let mut i = 0;
        while i < self.fields.len() {
            let path = Path { parent, name: self.fields[i].name };
            self.fields[i].schema.write_secrets(out, &path, first);
            i += 1;
        }
    }
}

impl Field {
    const fn write<const N: usize>(&self, out: &mut Writer<N>) {
        if self.description.is_empty() {
            self.schema.write(out);
            return;
        }
        // A nested object has a description of its own; `allOf` keeps both.
        out.raw("{\"description\":");
        out.string(self.description);
        out.raw(",\"allOf\":[");
        self.schema.write(out);
        out.raw("]}");
    }
}

pub(crate) struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    name: &'static str,
}

impl Path<'_> {
    const fn write<const N: usize>(&self, out: &mut Writer<N>) {
        if let Some(parent) = self.parent {
            parent.write(out);
            out.raw(".");
        }
        out.raw(self.name);
    }
}

macro_rules! shapes {
    ($($type:ty => $schema:expr;)*) => { $(impl ConfigSchema for $type { const SCHEMA: Schema = $schema; })* };
}

shapes! {
    bool => Schema::Boolean;
    f32 => Schema::Number;
    f64 => Schema::Number;
    i8 => Schema::Integer { minimum: i8::MIN as i64, maximum: i8::MAX as i64 };
    i16 => Schema::Integer { minimum: i16::MIN as i64, maximum: i16::MAX as i64 };
    i32 => Schema::Integer { minimum: i32::MIN as i64, maximum: i32::MAX as i64 };
    i64 => Schema::Integer { minimum: i64::MIN, maximum: i64::MAX };
    u8 => Schema::Integer { minimum: 0, maximum: u8::MAX as i64 };
    u16 => Schema::Integer { minimum: 0, maximum: u16::MAX as i64 };
    u32 => Schema::Integer { minimum: 0, maximum: u32::MAX as i64 };
    u64 => Schema::Integer { minimum: 0, maximum: i64::MAX };
    usize => Schema::Integer { minimum: 0, maximum: i64::MAX };
    String => Schema::Text;
    PathBuf => Schema::Text;
    Secret => Schema::Secret;
    std::net::IpAddr => Schema::Text;
    serde_json::Value => Schema::Any;
}

impl ConfigSchema for () {
    const SCHEMA: Schema = Schema::Object(&Object { description: "", fields: &[] });
}

impl<T: ConfigSchema> ConfigSchema for Option<T> {
    const SCHEMA: Schema = T::SCHEMA;
    const OPTIONAL: bool = true;
}

impl<T: ConfigSchema> ConfigSchema for Vec<T> {
    const SCHEMA: Schema = Schema::Array(&T::SCHEMA);
}

impl<T: ConfigSchema> ConfigSchema for BTreeMap<String, T> {
    const SCHEMA: Schema = Schema::Map(&T::SCHEMA);
}

impl<T: ConfigSchema> ConfigSchema for HashMap<String, T> {
    const SCHEMA: Schema = Schema::Map(&T::SCHEMA);
}
