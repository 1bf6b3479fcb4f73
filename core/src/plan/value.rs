//! Stored values and their logical types.
//!
//! A [`Value`] is what one column of one row holds, whatever the database; a [`ColumnType`] is the
//! logical type that a dialect maps to its own. [`Storable`] ties a Rust type to both, so that a
//! column of the schema is typed at compile time. This module knows no table and no SQL.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};
use strum::VariantArray;
use uuid::Uuid;

use crate::model::state::ClosedSet;
use crate::plan::Expr;

/// The logical type of a column. A dialect answers with its own type for each.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, VariantArray,
)]
pub enum ColumnType {
    /// 16-bit integer; partition keys.
    SmallInt,
    /// 32-bit integer.
    Int,
    /// 64-bit integer; times in Unix milliseconds, counters, epochs.
    BigInt,
    /// Truth value.
    Bool,
    /// Double-precision float; never NaN or infinite.
    Float,
    /// Text without NUL, compared bytewise.
    Text,
    /// Raw bytes.
    Bytes,
    /// A UUID, ordered by its 16 bytes.
    Uuid,
    /// A JSON document.
    Json,
    /// A list of texts.
    TextList,
}

impl ColumnType {
    /// Every type, in the order above.
    pub const ALL: &[Self] = Self::VARIANTS;

    /// The word for it in the catalogue of statements and in the reference of tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SmallInt => "smallint",
            Self::Int => "int",
            Self::BigInt => "bigint",
            Self::Bool => "bool",
            Self::Float => "float",
            Self::Text => "text",
            Self::Bytes => "bytes",
            Self::Uuid => "uuid",
            Self::Json => "json",
            Self::TextList => "text_list",
        }
    }
}

/// The value of one column of one row. Prints bytes as their number only: payloads and secrets are
/// bytes, and a plan may be logged.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub enum Value {
    /// SQL NULL.
    Null,
    /// Truth value.
    Bool(bool),
    /// Any integer column.
    Int(i64),
    /// A finite float.
    Float(f64),
    /// Text.
    Text(String),
    /// Raw bytes.
    Bytes(Vec<u8>),
    /// UUID.
    Uuid(Uuid),
    /// JSON document.
    Json(serde_json::Value),
    /// List of texts.
    TextList(Vec<String>),
}

impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

// Invariant: floats are finite, so `PartialEq` is reflexive.
impl Eq for Value {}

impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::mem::discriminant(self).hash(state);
        match self {
            // Floats and JSON hash by kind only: 0.0 equals -0.0 but has other bits. The keys of
            // statement caches are shapes, which hold no values.
            Value::Null | Value::Float(_) | Value::Json(_) => {}
            Value::Bool(flag) => flag.hash(state),
            Value::Int(number) => number.hash(state),
            Value::Text(text) => text.hash(state),
            Value::Bytes(bytes) => bytes.hash(state),
            Value::Uuid(uuid) => uuid.hash(state),
            Value::TextList(list) => list.hash(state),
        }
    }
}

impl Value {
    /// Returns true if this is NULL.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// The order every backend sorts by: integers by value, text and UUIDs by their bytes. `None`
    /// when the two are of different types or one of them is NULL, as in SQL.
    #[must_use]
    pub fn compare(&self, other: &Value) -> Option<Ordering> {
        match (self, other) {
            (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
            (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
            (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
            (Value::Text(a), Value::Text(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
            (Value::Bytes(a), Value::Bytes(b)) => Some(a.cmp(b)),
            (Value::Uuid(a), Value::Uuid(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
            (Value::TextList(a), Value::TextList(b)) => Some(a.cmp(b)),
            // Every kind is named, so that a new one does not compile until its order is decided.
            (
                Value::Null
                | Value::Bool(_)
                | Value::Int(_)
                | Value::Float(_)
                | Value::Text(_)
                | Value::Bytes(_)
                | Value::Uuid(_)
                | Value::Json(_)
                | Value::TextList(_),
                _,
            ) => None,
        }
    }
}

/// A Rust type that a column can hold.
pub trait Storable: Sized {
    /// The column's logical type.
    const TYPE: ColumnType;

    /// True if the column may be NULL.
    const NULLABLE: bool = false;

    /// The canonical spellings when the column holds a closed set, else nothing.
    fn spellings() -> Vec<&'static str> {
        Vec::new()
    }

    /// The value as an expression of a plan: closed-set members are constants of the plan's shape,
    /// everything else is bound.
    fn into_expr(self) -> Expr;

    /// Reads the value back; `None` when the stored value is not one of this type.
    fn from_value(value: &Value) -> Option<Self>;
}

macro_rules! integer {
    ($($rust:ty => $column:ident),*) => {$(
        impl Storable for $rust {
            const TYPE: ColumnType = ColumnType::$column;

            fn into_expr(self) -> Expr {
                Expr::Value(Self::TYPE, vec![Value::Int(i64::from(self))])
            }

            fn from_value(value: &Value) -> Option<Self> {
                if let Value::Int(number) = value { Self::try_from(*number).ok() } else { None }
            }
        }
    )*};
}
integer!(i16 => SmallInt, i32 => Int, i64 => BigInt);

macro_rules! plain {
    ($($rust:ty => $kind:ident),*) => {$(
        impl Storable for $rust {
            const TYPE: ColumnType = ColumnType::$kind;

            fn into_expr(self) -> Expr {
                Expr::Value(Self::TYPE, vec![Value::$kind(self)])
            }

            fn from_value(value: &Value) -> Option<Self> {
                if let Value::$kind(inner) = value { Some(inner.clone()) } else { None }
            }
        }
    )*};
}
plain!(
    bool => Bool,
    f64 => Float,
    String => Text,
    Vec<u8> => Bytes,
    Uuid => Uuid,
    serde_json::Value => Json,
    Vec<String> => TextList
);

/// Key material: stored as bytes, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Storable for Secret {
    const TYPE: ColumnType = ColumnType::Bytes;

    fn into_expr(self) -> Expr {
        self.0.into_expr()
    }

    fn from_value(value: &Value) -> Option<Self> {
        Vec::from_value(value).map(Self)
    }
}

impl<T: ClosedSet> Storable for T {
    const TYPE: ColumnType = ColumnType::Text;

    fn spellings() -> Vec<&'static str> {
        T::all().into_iter().map(T::as_str).collect()
    }

    fn into_expr(self) -> Expr {
        Expr::Const(self.as_str().into())
    }

    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Text(text) = value { T::parse(text) } else { None }
    }
}

impl<T: Storable> Storable for Option<T> {
    const TYPE: ColumnType = T::TYPE;
    const NULLABLE: bool = true;

    fn spellings() -> Vec<&'static str> {
        T::spellings()
    }

    fn into_expr(self) -> Expr {
        match self {
            Some(inner) => inner.into_expr(),
            None if T::spellings().is_empty() => Expr::Value(Self::TYPE, vec![Value::Null]),
            None => Expr::Null(Self::TYPE),
        }
    }

    fn from_value(value: &Value) -> Option<Self> {
        if value.is_null() { Some(None) } else { T::from_value(value).map(Some) }
    }
}
