//! Scalars, which changes write and predicates compare with.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::plan::column::ColumnRef;
use crate::plan::value::{ColumnType, Value};

/// A name that belongs to a plan's shape: an operation, a held row, a JSON member, a state.
pub type Name = Cow<'static, str>;

/// A scalar.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Expr {
    /// A bound value; several when picked rows take one each ([`super::Pairing::UpTo`]).
    Value(ColumnType, Vec<Value>),
    /// The n-th bound value, once the values are erased into a shape.
    Slot(ColumnType, usize),
    /// A member of a closed set: part of the shape, written as a literal, so that the planner can
    /// prove a partial index applies.
    Const(Name),
    /// NULL as part of the shape.
    Null(ColumnType),
    /// The value at a path of a guarded, picked or looked-up row.
    Held(Name, Path),
    /// The sum of two integers; NULL when either is.
    Plus(Box<Expr>, Box<Expr>),
    /// The larger of two integers; the first when either is NULL.
    Greatest(Box<Expr>, Box<Expr>),
    /// The number of rows that the plan picked.
    PickedCount,
    /// The sum of a column of integers over the rows that the plan picked; 0 where it picked none.
    PickedSum(ColumnRef),
    /// Texts, one after the other; a UUID is its lower-case hyphenated form.
    Joined(Vec<Expr>),
    /// A member of the list element that a row is inserted for ([`super::Mutation::InsertEach`]);
    /// NULL when absent. Bytes are hexadecimal text.
    Item(ColumnType, Name),
    /// A JSON object of these members: integers as numbers, everything else as text.
    Object(Vec<(Name, Expr)>),
}

/// A column, or the text at a key path inside a JSON column.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Path {
    /// The column.
    pub column: ColumnRef,
    /// Member names from the outside in; empty for the column itself.
    pub keys: Vec<Name>,
}

impl Path {
    /// The column itself.
    #[must_use]
    pub fn column(column: ColumnRef) -> Self {
        Self { column, keys: Vec::new() }
    }

    /// The type of the value read: text behind a key path, else the column's type.
    #[must_use]
    pub fn ty(&self) -> ColumnType {
        if self.keys.is_empty() { self.column.ty } else { ColumnType::Text }
    }
}

impl Expr {
    /// A bound 64-bit integer.
    #[must_use]
    pub fn int(value: i64) -> Self {
        Expr::Value(ColumnType::BigInt, vec![Value::Int(value)])
    }

    /// A bound text.
    #[must_use]
    pub fn text(value: impl Into<String>) -> Self {
        Expr::Value(ColumnType::Text, vec![Value::Text(value.into())])
    }

    /// One value for each picked row.
    #[must_use]
    pub fn each(ty: ColumnType, values: Vec<Value>) -> Self {
        Expr::Value(ty, values)
    }

    /// The member of that name of the list's element, as a value of that type.
    #[must_use]
    pub fn item(ty: ColumnType, name: &'static str) -> Self {
        Self::Item(ty, name.into())
    }

    /// `self + other`.
    #[must_use]
    pub fn plus(self, other: Expr) -> Self {
        Expr::Plus(Box::new(self), Box::new(other))
    }

    /// The larger of `self` and `other`: a time that never runs backwards.
    #[must_use]
    pub fn or_later(self, other: Expr) -> Self {
        Expr::Greatest(Box::new(self), Box::new(other))
    }

    /// The type of the scalar.
    #[must_use]
    pub fn ty(&self) -> ColumnType {
        match self {
            Expr::Value(ty, _) | Expr::Slot(ty, _) | Expr::Null(ty) | Expr::Item(ty, _) => *ty,
            Expr::Const(_) | Expr::Joined(_) => ColumnType::Text,
            Expr::Object(_) => ColumnType::Json,
            Expr::Held(_, path) => path.ty(),
            Expr::Plus(..) | Expr::Greatest(..) | Expr::PickedCount | Expr::PickedSum(_) => {
                ColumnType::BigInt
            }
        }
    }

    /// Returns true if the expression reads the held row `row`.
    #[must_use]
    pub fn reads_row(&self, row: &str) -> bool {
        let mut found = false;
        self.visit(&mut |leaf| found |= matches!(leaf, Expr::Held(held, _) if held == row));
        found
    }
}
