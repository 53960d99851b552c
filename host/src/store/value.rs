//! Values that both databases hold alike: whole numbers, texts, bytes.

use super::Error;

/// A value of a row.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// `BIGINT`; a truth is 0 or 1.
    Integer(i64),
    /// `TEXT`.
    Text(String),
    /// `BYTEA`.
    Bytes(Vec<u8>),
}

/// A value given to a statement.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Parameter<'a> {
    /// Nothing.
    Null,
    /// `BIGINT`.
    Integer(i64),
    /// `TEXT`.
    Text(&'a str),
    /// `BYTEA`.
    Bytes(&'a [u8]),
}

/// What can be given to a statement.
pub trait Bind {
    /// The value as the database takes it.
    fn bind(&self) -> Parameter<'_>;
}

/// What can be read from a row.
pub trait FromValue: Sized {
    /// What is expected, for the error.
    const EXPECTED: &'static str;

    /// The value, if it is of this type.
    fn from_value(value: &Value) -> Option<Self>;
}

impl Bind for Value {
    fn bind(&self) -> Parameter<'_> {
        match self {
            Self::Null => Parameter::Null,
            Self::Integer(value) => Parameter::Integer(*value),
            Self::Text(text) => Parameter::Text(text),
            Self::Bytes(bytes) => Parameter::Bytes(bytes),
        }
    }
}

impl Bind for str {
    fn bind(&self) -> Parameter<'_> {
        Parameter::Text(self)
    }
}

impl Bind for String {
    fn bind(&self) -> Parameter<'_> {
        Parameter::Text(self)
    }
}

impl Bind for [u8] {
    fn bind(&self) -> Parameter<'_> {
        Parameter::Bytes(self)
    }
}

impl Bind for Vec<u8> {
    fn bind(&self) -> Parameter<'_> {
        Parameter::Bytes(self)
    }
}

impl Bind for bool {
    fn bind(&self) -> Parameter<'_> {
        Parameter::Integer(i64::from(*self))
    }
}

impl<T: Bind + ?Sized> Bind for &T {
    fn bind(&self) -> Parameter<'_> {
        T::bind(self)
    }
}

impl<T: Bind> Bind for Option<T> {
    fn bind(&self) -> Parameter<'_> {
        self.as_ref().map_or(Parameter::Null, Bind::bind)
    }
}

impl FromValue for Value {
    const EXPECTED: &'static str = "a value";

    fn from_value(value: &Value) -> Option<Self> {
        Some(value.clone())
    }
}

impl FromValue for String {
    const EXPECTED: &'static str = "a text";

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        }
    }
}

impl FromValue for Vec<u8> {
    const EXPECTED: &'static str = "bytes";

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Bytes(bytes) => Some(bytes.clone()),
            _ => None,
        }
    }
}

impl FromValue for bool {
    const EXPECTED: &'static str = "0 or 1";

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Integer(value @ 0..=1) => Some(*value == 1),
            _ => None,
        }
    }
}

impl<T: FromValue> FromValue for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Null => Some(None),
            value => T::from_value(value).map(Some),
        }
    }
}

macro_rules! numbers {
    ($($type:ty)*) => { $(
        impl FromValue for $type {
            const EXPECTED: &'static str = concat!("a number that a ", stringify!($type), " holds");

            fn from_value(value: &Value) -> Option<Self> {
                match value {
                    Value::Integer(value) => Self::try_from(*value).ok(),
                    _ => None,
                }
            }
        }
    )* };
}

macro_rules! bound_numbers {
    ($($type:ty)*) => { $(
        impl Bind for $type {
            fn bind(&self) -> Parameter<'_> {
                Parameter::Integer(i64::from(*self))
            }
        }
    )* };
}

numbers!(i64 i32 u8 u16 u32 u64 usize);
bound_numbers!(i64 i32 u8 u16 u32);

impl Parameter<'_> {
    /// PostgreSQL holds no text with a NUL; what one database refuses, both do.
    pub(super) fn check(self) -> Result<(), Error> {
        match self {
            Parameter::Text(text) if text.as_bytes().contains(&0) => {
                Err(Error::Invalid("a text with a NUL in it; keep it as bytes, or without the NUL".to_owned()))
            }
            _ => Ok(()),
        }
    }
}
