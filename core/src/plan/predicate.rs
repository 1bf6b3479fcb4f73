//! Conditions on one row, as values.
//!
//! There is deliberately no NOT: every leaf that meets a NULL is false. So the two truth values
//! used here agree with SQL's three wherever a predicate can stand.

use serde::{Deserialize, Serialize};

use super::expr::{Expr, Name, Path};
use crate::plan::column::ColumnRef;

/// A condition on one row.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Predicate {
    /// Holds for every row.
    Always,
    /// All hold.
    All(Vec<Predicate>),
    /// At least one holds.
    Any(Vec<Predicate>),
    /// At least one holds. The best rows are then looked for among those of each part by itself, as
    /// an index of its own has them.
    AnyApart(Vec<Predicate>),
    /// The stored scalar satisfies the comparison with the other; false when either is NULL.
    Compare(Path, Compare, Expr),
    /// The column holds one of these constants.
    OneOf(ColumnRef, Vec<Name>),
    /// The column holds a value, and none of these constants.
    NoneOf(ColumnRef, Vec<Name>),
    /// The column holds one of the texts of a bound list; a UUID is its hyphenated form, an integer
    /// its decimal one.
    Among(ColumnRef, Expr),
    /// The JSON document in the column has the members of the given object, at every depth.
    Contains(ColumnRef, Expr),
    /// The column is NULL.
    Null(ColumnRef),
    /// The column is not NULL.
    NotNull(ColumnRef),
    /// Every text in the list column is in the given list.
    Covered(ColumnRef, Expr),
    /// Every text in the list column is in the given list, or begins with the prefix and is not in
    /// the other list.
    CoveredOrOpen(ColumnRef, Openings),
    /// The list in the column has no elements.
    EmptyList(ColumnRef),
    /// The first text of the list in the column comes before the constant, byte by byte.
    FirstBelow(ColumnRef, Name),
    /// The list in the column is empty, or its first text does not come before the constant, byte
    /// by byte. A search list by list then passes over all others at once.
    NoneBelow(ColumnRef, Name),
    /// Holds for every row. The best rows are then looked for among those of each list in the
    /// column by itself, as an index that begins with the list has them.
    EachList(ColumnRef),
    /// The columns, read as one tuple, come after the given tuple: exclusive keyset paging.
    After(Vec<(ColumnRef, Expr)>),
}

/// What covers the texts of a list, some of them named one by one, others by how they begin.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Openings {
    /// The texts that are covered by name.
    pub by: Expr,
    /// The beginning of further texts that are covered.
    pub prefix: Expr,
    /// The texts with that beginning that are not covered.
    pub but: Expr,
}

/// A comparison of two scalars.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Compare {
    /// `=`
    Equal,
    /// `<`
    Below,
    /// `<=`
    AtMost,
    /// `>`
    Above,
}

impl Compare {
    /// Returns true if `ordering` satisfies the comparison.
    #[must_use]
    pub fn accepts(self, ordering: std::cmp::Ordering) -> bool {
        match self {
            Compare::Equal => ordering.is_eq(),
            Compare::Below => ordering.is_lt(),
            Compare::AtMost => ordering.is_le(),
            Compare::Above => ordering.is_gt(),
        }
    }
}

impl Predicate {
    /// Both hold.
    #[must_use]
    pub fn and(self, other: Predicate) -> Predicate {
        let mut parts = self.into_parts();
        parts.extend(other.into_parts());

        match parts.len() {
            0 => Predicate::Always,
            1 => parts.remove(0),
            _ => Predicate::All(parts),
        }
    }

    /// Either holds.
    #[must_use]
    pub fn or(self, other: Predicate) -> Predicate {
        Predicate::Any(vec![self, other])
    }

    fn into_parts(self) -> Vec<Predicate> {
        match self {
            Predicate::Always => Vec::new(),
            Predicate::All(parts) => parts,
            Predicate::Any(_)
            | Predicate::AnyApart(_)
            | Predicate::Compare(..)
            | Predicate::OneOf(..)
            | Predicate::NoneOf(..)
            | Predicate::Among(..)
            | Predicate::Contains(..)
            | Predicate::Null(_)
            | Predicate::NotNull(_)
            | Predicate::Covered(..)
            | Predicate::CoveredOrOpen(..)
            | Predicate::EmptyList(_)
            | Predicate::FirstBelow(..)
            | Predicate::NoneBelow(..)
            | Predicate::EachList(_)
            | Predicate::After(_) => vec![self],
        }
    }
}
