//! Columns and tables by reference, and what plans say about them: the typed constants `Col<T>`.

use std::marker::PhantomData;

use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::table::{Column, Table};
use crate::model::state::ClosedSet;
use crate::plan::value::Storable;
use crate::plan::{Assign, Compare, Expr, Openings, Path, Predicate};

/// A table by reference; equal when the names are.
#[derive(Clone, Copy)]
pub struct TableRef(pub &'static Table);

/// A column by reference; equal when table and name are.
#[derive(Clone, Copy)]
pub struct ColumnRef(pub &'static Column);

/// A column with its Rust type, for the writes and comparisons of rules.
pub struct Col<T> {
    /// The description.
    pub column: &'static Column,
    rust: PhantomData<fn() -> T>,
}

impl<T> Clone for Col<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Col<T> {}

impl<T: Storable> Col<T> {
    /// Types a column; only the table macro calls this, with the type it gave the description.
    #[must_use]
    pub const fn new(column: &'static Column) -> Self {
        Self { column, rust: PhantomData }
    }

    /// The untyped reference.
    #[must_use]
    pub const fn column(self) -> ColumnRef {
        ColumnRef(self.column)
    }

    /// `column := value`.
    #[must_use]
    pub fn set(self, value: T) -> (ColumnRef, Assign) {
        (self.column(), Assign::Set(value.into_expr()))
    }

    /// `column := expression`.
    #[must_use]
    pub fn set_expr(self, expr: Expr) -> (ColumnRef, Assign) {
        (self.column(), Assign::Set(expr))
    }

    /// `column := value` unless the row already holds one.
    #[must_use]
    pub fn keep_or(self, value: T) -> (ColumnRef, Assign) {
        (self.column(), Assign::Keep(value.into_expr()))
    }

    /// The column with a value: a cell of a new row, or a component of a key.
    #[must_use]
    pub fn with(self, value: T) -> (ColumnRef, Expr) {
        (self.column(), value.into_expr())
    }

    /// The column with an expression: a cell of a new row, or a component of a key.
    #[must_use]
    pub fn with_expr(self, expr: Expr) -> (ColumnRef, Expr) {
        (self.column(), expr)
    }

    /// `column = value`.
    #[must_use]
    pub fn equals(self, value: T) -> Predicate {
        self.compare(Compare::Equal, value)
    }

    /// `column < value`.
    #[must_use]
    pub fn below(self, value: T) -> Predicate {
        self.compare(Compare::Below, value)
    }

    /// `column <= value`.
    #[must_use]
    pub fn at_most(self, value: T) -> Predicate {
        self.compare(Compare::AtMost, value)
    }

    /// `column > value`.
    #[must_use]
    pub fn above(self, value: T) -> Predicate {
        self.compare(Compare::Above, value)
    }

    fn compare(self, compare: Compare, value: T) -> Predicate {
        Predicate::Compare(Path::column(self.column()), compare, value.into_expr())
    }

    /// The text found at `keys` inside this column, which holds JSON; NULL when absent.
    #[must_use]
    pub fn text_at(self, keys: &[&'static str]) -> Path {
        Path { column: self.column(), keys: keys.iter().map(|key| (*key).into()).collect() }
    }

    /// `column IS NULL`.
    #[must_use]
    pub fn is_null(self) -> Predicate {
        Predicate::Null(self.column())
    }

    /// `column IS NOT NULL`.
    #[must_use]
    pub fn is_present(self) -> Predicate {
        Predicate::NotNull(self.column())
    }

    /// This column of a row that the plan holds under `row`.
    #[must_use]
    pub fn of(self, row: &'static str) -> Expr {
        Expr::Held(row.into(), Path::column(self.column()))
    }
}

impl<T: Storable> Col<Option<T>> {
    /// `column := NULL`, as part of the plan's shape.
    #[must_use]
    pub fn clear(self) -> (ColumnRef, Assign) {
        (self.column(), Assign::Set(Expr::Null(T::TYPE)))
    }
}

impl<T: ClosedSet> Col<Option<T>> {
    /// The column holds `member`, in any of its accepted spellings.
    #[must_use]
    pub fn holds(self, member: T) -> Predicate {
        let spellings = member.spellings().into_iter().map(Into::into).collect();
        Predicate::OneOf(self.column(), spellings)
    }

    /// The column holds another word of its set than `member`.
    #[must_use]
    pub fn holds_another_than(self, member: T) -> Predicate {
        let spellings = member.spellings().into_iter().map(Into::into).collect();
        Predicate::NoneOf(self.column(), spellings)
    }

    /// `column := value`, bound rather than part of the shape: for a word that is data to the plan,
    /// not one of its cases.
    #[must_use]
    pub fn set_chosen(self, member: Option<T>) -> (ColumnRef, Assign) {
        let word = member.map(|member| member.as_str().to_owned());
        (self.column(), Assign::Set(word.into_expr()))
    }
}

impl Col<i64> {
    /// `column := column + delta`; commutes with itself.
    #[must_use]
    pub fn grow(self, delta: i64) -> (ColumnRef, Assign) {
        (self.column(), Assign::Add(delta.into_expr()))
    }
}

impl Col<i32> {
    /// `column := column + delta`; commutes with itself.
    #[must_use]
    pub fn grow(self, delta: i32) -> (ColumnRef, Assign) {
        (self.column(), Assign::Add(delta.into_expr()))
    }
}

impl Col<serde_json::Value> {
    /// Replaces the given top-level members of the stored object and leaves the others.
    #[must_use]
    pub fn merge(self, members: serde_json::Value) -> (ColumnRef, Assign) {
        (self.column(), Assign::Merge { under: None, members: members.into_expr() })
    }

    /// The same inside the object stored under `member`, which is created when absent.
    #[must_use]
    pub fn merge_under(
        self,
        member: &'static str,
        members: serde_json::Value,
    ) -> (ColumnRef, Assign) {
        (self.column(), Assign::Merge { under: Some(member.into()), members: members.into_expr() })
    }

    /// The text found at `keys` inside this column of the held row `row`; NULL when absent.
    #[must_use]
    pub fn text_of(self, row: &'static str, keys: &[&'static str]) -> Expr {
        Expr::Held(row.into(), self.text_at(keys))
    }
}

impl Col<Uuid> {
    /// The column holds one of these UUIDs.
    #[must_use]
    pub fn is_among(self, uuids: impl IntoIterator<Item = Uuid>) -> Predicate {
        let texts: Vec<String> = uuids.into_iter().map(|uuid| uuid.to_string()).collect();
        Predicate::Among(self.column(), texts.into_expr())
    }
}

impl Col<i64> {
    /// The column holds one of these numbers.
    #[must_use]
    pub fn is_among(self, numbers: impl IntoIterator<Item = i64>) -> Predicate {
        let texts: Vec<String> = numbers.into_iter().map(|number| number.to_string()).collect();
        Predicate::Among(self.column(), texts.into_expr())
    }
}

impl Col<i16> {
    /// The column holds one of these numbers. A single one is compared with, as an index needs it.
    /// None of them can be above what the column stores.
    #[must_use]
    pub fn is_among(self, numbers: impl IntoIterator<Item = u16>) -> Predicate {
        let numbers: Vec<u16> = numbers.into_iter().collect();
        if let [number] = numbers[..] {
            return self.equals(number.cast_signed());
        }
        let texts: Vec<String> = numbers.iter().map(ToString::to_string).collect();
        Predicate::Among(self.column(), texts.into_expr())
    }
}

impl Col<serde_json::Value> {
    /// The stored document has these members, at every depth.
    #[must_use]
    pub fn contains(self, members: serde_json::Value) -> Predicate {
        Predicate::Contains(self.column(), members.into_expr())
    }
}

impl Col<Vec<String>> {
    /// Every text stored in the column is also in `list`.
    #[must_use]
    pub fn covered_by(self, list: Vec<String>) -> Predicate {
        Predicate::Covered(self.column(), list.into_expr())
    }

    /// Every text stored in the column is also in `list`, or begins with `prefix` and is not in
    /// `but`.
    #[must_use]
    pub fn covered_by_or_open(
        self,
        list: Vec<String>,
        prefix: String,
        but: Vec<String>,
    ) -> Predicate {
        let (by, prefix, but) = (list.into_expr(), prefix.into_expr(), but.into_expr());
        Predicate::CoveredOrOpen(self.column(), Openings { by, prefix, but })
    }

    /// The list stored in the column has no elements.
    #[must_use]
    pub fn is_empty(self) -> Predicate {
        Predicate::EmptyList(self.column())
    }

    /// The first text stored in the list comes before `bound`, byte by byte.
    #[must_use]
    pub fn begins_below(self, bound: &'static str) -> Predicate {
        Predicate::FirstBelow(self.column(), bound.into())
    }

    /// The list stored in the column is empty, or its first text does not come before `bound`, byte
    /// by byte.
    #[must_use]
    pub fn begins_not_below(self, bound: &'static str) -> Predicate {
        Predicate::NoneBelow(self.column(), bound.into())
    }

    /// Any list, where rows are looked for list by list.
    #[must_use]
    pub fn each(self) -> Predicate {
        Predicate::EachList(self.column())
    }
}

impl<T: ClosedSet> Col<T> {
    /// The column holds one of `members`, in any of their accepted spellings, all bound. It serves
    /// filters with members that callers choose, so that every choice shares one shape.
    #[must_use]
    pub fn is_one_of_chosen(self, members: &[T]) -> Predicate {
        let spellings = members.iter().flat_map(|member| member.spellings());
        let spellings: Vec<String> = spellings.map(Into::into).collect();
        Predicate::Among(self.column(), spellings.into_expr())
    }

    /// The column in a row being inserted, bound rather than part of the shape: for a word that is
    /// data to the plan, not one of its cases.
    #[must_use]
    pub fn with_chosen(self, member: T) -> (ColumnRef, Expr) {
        (self.column(), Expr::text(member.as_str()))
    }

    /// The column holds `member`, in any of its accepted spellings.
    #[must_use]
    pub fn is(self, member: T) -> Predicate {
        self.is_one_of(&[member])
    }

    /// The column holds one of `members`, in any of their accepted spellings.
    #[must_use]
    pub fn is_one_of(self, members: &[T]) -> Predicate {
        let spellings = members.iter().flat_map(|member| member.spellings());
        Predicate::OneOf(self.column(), spellings.map(Into::into).collect())
    }

    /// The column holds none of `members`, in none of their accepted spellings.
    #[must_use]
    pub fn is_none_of(self, members: &[T]) -> Predicate {
        let spellings = members.iter().flat_map(|member| member.spellings());
        Predicate::NoneOf(self.column(), spellings.map(Into::into).collect())
    }
}

impl std::ops::Deref for TableRef {
    type Target = Table;

    fn deref(&self) -> &Table {
        self.0
    }
}

impl std::ops::Deref for ColumnRef {
    type Target = Column;

    fn deref(&self) -> &Column {
        self.0
    }
}

impl PartialEq for TableRef {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for TableRef {}

impl std::hash::Hash for TableRef {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl std::fmt::Debug for TableRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for ColumnRef {
    fn eq(&self, other: &Self) -> bool {
        // Mostly it is the same description. Names differ more often than tables do.
        std::ptr::eq(self.0, other.0) || (self.name == other.name && self.table == other.table)
    }
}

impl Eq for ColumnRef {}

impl std::hash::Hash for ColumnRef {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (self.table, self.name).hash(state);
    }
}

impl std::fmt::Debug for ColumnRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.table, self.name)
    }
}

impl Serialize for TableRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name)
    }
}

impl Serialize for ColumnRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}.{}", self.table, self.name))
    }
}
