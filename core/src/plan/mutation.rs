//! Plans: guards, changes and what an applied plan returns.

use serde::{Deserialize, Serialize};

use super::{Expr, Name, Path, Predicate};
use crate::plan::column::{ColumnRef, TableRef};
use crate::plan::table::Direction;

/// One operation's changes and the guards they rely on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Plan {
    /// The operation, for logs, snapshots and error context; part of the shape.
    pub name: Name,
    /// Rows that must exist and hold their predicate, in lock order (execution before attempt
    /// before the rest, as every plan does, so that two plans cannot wait for each other).
    pub guards: Vec<Guard>,
    /// Rows that prevent the plan: while one of them exists and holds its predicate, a plan that
    /// picks up to n rows picks none, and any other does not apply. Their keys and predicates hold
    /// bound values only. They are read without a lock, so a change to them that commits at the
    /// same time counts as later.
    pub unless: Vec<Guard>,
    /// Rows that the database picks, if the plan works on more than named rows.
    pub selection: Option<Selection>,
    /// The changes. Each row is changed at most once.
    pub mutations: Vec<Mutation>,
    /// The values that an applied plan reports, one list per applied item.
    pub returns: Vec<Return>,
}

/// A row that must exist and hold a predicate at commit; locked until the plan is through.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Guard {
    /// The name of the row in the rest of the plan.
    pub row: Name,
    /// Its table.
    pub table: TableRef,
    /// Its primary key.
    pub key: Vec<(ColumnRef, Expr)>,
    /// The condition that must hold.
    pub holds: Predicate,
}

impl Guard {
    /// A guard of that row.
    #[must_use]
    pub fn new(
        row: &'static str,
        table: TableRef,
        key: Vec<(ColumnRef, Expr)>,
        holds: Predicate,
    ) -> Self {
        Self { row: row.into(), table, key, holds }
    }
}

/// Rows that the database picks, locks and hands to the mutations.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Selection {
    /// The name of a picked row in the rest of the plan.
    pub row: Name,
    /// Their table.
    pub table: TableRef,
    /// The condition that picked rows meet.
    pub predicate: Predicate,
    /// Best first. Ends in the primary key, so that the order is total. Empty where values name the
    /// rows.
    pub order: Vec<(ColumnRef, Direction)>,
    /// The pairing of picked rows with the plan's values.
    pub pairing: Pairing,
}

impl Selection {
    /// The orders of the picked rows: of those that meet its condition, and of the rest.
    pub fn orders(&self) -> impl Iterator<Item = &[(ColumnRef, Direction)]> {
        let rest = match &self.pairing {
            Pairing::UpTo { rest, .. } => rest.as_ref(),
            Pairing::Named(_) | Pairing::Every => None,
        };
        std::iter::once(&self.order[..]).chain(rest.map(|rest| &rest.order[..]))
    }

    /// The value with one element for each row, where values name the rows.
    #[must_use]
    pub fn naming(&self) -> Option<&Expr> {
        match &self.pairing {
            Pairing::Named(key) => key.last().map(|(_, value)| value),
            Pairing::UpTo { .. } | Pairing::Every => None,
        }
    }
}

/// Further rows of a selection, which come behind all others. No row meets both conditions.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rest {
    /// The condition that they meet.
    pub predicate: Predicate,
    /// Best first. Ends in the primary key, so that the order is total.
    pub order: Vec<(ColumnRef, Direction)>,
}

/// The pairing of picked rows with the plan's values.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Pairing {
    /// The n-th picked row takes the n-th value of every list. Rows that another plan has locked
    /// are skipped: claimers never wait for each other.
    UpTo {
        /// The most rows that are picked.
        limit: Expr,
        /// The rows that are picked next where fewer meet the selection's condition.
        rest: Option<Rest>,
    },
    /// The n-th value of every list names a row by this primary key, and that row takes it. One
    /// that is absent, does not qualify or is locked by another plan is left out; the others are
    /// picked. No two values name the same row.
    Named(Vec<(ColumnRef, Expr)>),
    /// Every row that qualifies is picked, waiting for its lock; all take the same values.
    Every,
}

/// One kind of change.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Mutation {
    /// Adds one row.
    Insert {
        /// The table.
        table: TableRef,
        /// The columns given; the others take their defaults.
        row: Vec<(ColumnRef, Expr)>,
        /// The action on a row that is already there.
        on_conflict: OnConflict,
    },
    /// Adds one row for each element of a list, however long it is.
    InsertEach {
        /// The table.
        table: TableRef,
        /// The list: bytes that hold a JSON array of objects, which no log prints.
        items: Expr,
        /// The columns given; [`Expr::Item`] reads them from an element.
        row: Vec<(ColumnRef, Expr)>,
        /// The action on a row that is already there.
        on_conflict: OnConflict,
    },
    /// Changes the rows that match the target: by primary key, by a leading part of it, or by a
    /// leading part of an index.
    Update {
        /// The table.
        table: TableRef,
        /// The columns and values that select the rows.
        target: Vec<(ColumnRef, Expr)>,
        /// The new values.
        set: Vec<(ColumnRef, Assign)>,
    },
    /// Removes the rows that match the target.
    Delete {
        /// The table.
        table: TableRef,
        /// The columns and values that select the rows.
        target: Vec<(ColumnRef, Expr)>,
    },
}

/// The action of an insert when its primary key is taken.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum OnConflict {
    /// The plan does not apply: the insert is itself a guard that the row is absent.
    Refuse,
    /// The stored row stays as it is.
    Ignore,
    /// The stored row is changed instead.
    Update(Vec<(ColumnRef, OnTaken)>),
}

/// The new value of one column, where the primary key of an inserted row is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum OnTaken {
    /// The value that was to be inserted.
    Overwrite,
    /// The stored value plus the value that was to be inserted.
    Add,
    /// NULL.
    Clear,
}

/// The change of one column.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Assign {
    /// Takes the value.
    Set(Expr),
    /// Takes the value unless it already holds one.
    Keep(Expr),
    /// Grows by the value; commutes with itself, so it needs no guard.
    Add(Expr),
    /// Replaces members of a JSON object and leaves the others.
    Merge {
        /// The member that holds the object, created when absent; the column itself when `None`.
        under: Option<Name>,
        /// The members.
        members: Expr,
    },
}

/// A value that an applied plan reports.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Return {
    /// A column of a guarded or picked row, as it was before the plan.
    Held(Name, Path),
    /// A column of the row that the plan wrote into that column's table, as it is now.
    Written(ColumnRef),
}

impl Plan {
    /// A plan without guards, changes or results, to be filled in.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        Self {
            name: name.into(),
            guards: Vec::new(),
            unless: Vec::new(),
            selection: None,
            mutations: Vec::new(),
            returns: Vec::new(),
        }
    }

    /// Adds a guard.
    #[must_use]
    pub fn guard(
        mut self,
        row: &'static str,
        table: TableRef,
        key: Vec<(ColumnRef, Expr)>,
        holds: Predicate,
    ) -> Self {
        self.guards.push(Guard::new(row, table, key, holds));
        self
    }

    /// Adds a row that prevents the plan.
    #[must_use]
    pub fn unless(mut self, row: Guard) -> Self {
        self.unless.push(row);
        self
    }

    /// Adds an update.
    #[must_use]
    pub fn update(
        mut self,
        table: TableRef,
        target: Vec<(ColumnRef, Expr)>,
        set: Vec<(ColumnRef, Assign)>,
    ) -> Self {
        self.mutations.push(Mutation::Update { table, target, set });
        self
    }

    /// Adds an insert.
    #[must_use]
    pub fn insert(
        mut self,
        table: TableRef,
        row: Vec<(ColumnRef, Expr)>,
        on_conflict: OnConflict,
    ) -> Self {
        self.mutations.push(Mutation::Insert { table, row, on_conflict });
        self
    }

    /// Adds an insert of one row for each element of a list.
    #[must_use]
    pub fn insert_each(
        mut self,
        table: TableRef,
        items: Expr,
        row: Vec<(ColumnRef, Expr)>,
        on_conflict: OnConflict,
    ) -> Self {
        self.mutations.push(Mutation::InsertEach { table, items, row, on_conflict });
        self
    }

    /// Adds a delete.
    #[must_use]
    pub fn delete(mut self, table: TableRef, target: Vec<(ColumnRef, Expr)>) -> Self {
        self.mutations.push(Mutation::Delete { table, target });
        self
    }

    /// Adds these changes.
    #[must_use]
    pub fn and(mut self, mutations: impl IntoIterator<Item = Mutation>) -> Self {
        self.mutations.extend(mutations);
        self
    }

    /// The insert that decides whether a plan without guards applies, if the plan begins with one.
    #[must_use]
    pub fn gate(&self) -> Option<&Mutation> {
        match self.mutations.first() {
            Some(first @ Mutation::Insert { on_conflict: OnConflict::Refuse, .. })
                if self.guards.is_empty() && self.selection.is_none() =>
            {
                Some(first)
            }
            Some(
                Mutation::Insert { .. }
                | Mutation::InsertEach { .. }
                | Mutation::Update { .. }
                | Mutation::Delete { .. },
            )
            | None => None,
        }
    }

    /// Returns true if the database picks up to a number of rows, and the plan applies without any.
    #[must_use]
    pub fn picks_up_to(&self) -> bool {
        self.selection.as_ref().is_some_and(|selection| match selection.pairing {
            Pairing::UpTo { .. } | Pairing::Named(_) => true,
            Pairing::Every => false,
        })
    }

    /// Returns true if `mutation` happens once for every picked row, rather than once for the plan.
    #[must_use]
    pub fn per_picked_row(&self, mutation: &Mutation) -> bool {
        let Some(selection) = &self.selection else {
            return false;
        };

        match selection.pairing {
            Pairing::UpTo { .. } | Pairing::Named(_) => true,
            Pairing::Every => mutation.reads_row(&selection.row),
        }
    }
}

impl Mutation {
    /// The change of these columns in the rows that match the target.
    #[must_use]
    pub fn update(
        table: TableRef,
        target: Vec<(ColumnRef, Expr)>,
        set: Vec<(ColumnRef, Assign)>,
    ) -> Self {
        Self::Update { table, target, set }
    }

    /// One row more.
    #[must_use]
    pub fn insert(table: TableRef, row: Vec<(ColumnRef, Expr)>, on_conflict: OnConflict) -> Self {
        Self::Insert { table, row, on_conflict }
    }

    /// One row more for each element of a list.
    #[must_use]
    pub fn insert_each(
        table: TableRef,
        items: Expr,
        row: Vec<(ColumnRef, Expr)>,
        on_conflict: OnConflict,
    ) -> Self {
        Self::InsertEach { table, items, row, on_conflict }
    }

    /// No row any more that matches the target.
    #[must_use]
    pub fn delete(table: TableRef, target: Vec<(ColumnRef, Expr)>) -> Self {
        Self::Delete { table, target }
    }

    /// The table it changes.
    #[must_use]
    pub fn table(&self) -> TableRef {
        match self {
            Mutation::Insert { table, .. }
            | Mutation::InsertEach { table, .. }
            | Mutation::Update { table, .. }
            | Mutation::Delete { table, .. } => *table,
        }
    }

    /// Returns true if any of its expressions reads the held row `row`.
    #[must_use]
    pub fn reads_row(&self, row: &str) -> bool {
        let mut found = false;
        self.visit(&mut |expr| found |= expr.reads_row(row));
        found
    }
}
