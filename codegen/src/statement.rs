//! The results of rendering: statements, their parameters and their result columns.

use ff_core::plan::value::ColumnType;
use ff_core::plan::{Name, Path};

use crate::dialect::Dialect;
use crate::writer::{self, Tree};

/// The reason that a shape cannot be rendered. A clause is never dropped instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// The dialect cannot express it.
    #[error("{dialect} cannot express {what}")]
    Unsupported {
        /// The dialect.
        dialect: &'static str,
        /// The requested feature.
        what: String,
    },
    /// The shape breaks a rule that every statement keeps.
    #[error("{plan}: {rule}")]
    Audit {
        /// The operation.
        plan: String,
        /// The rule.
        rule: String,
    },
}

/// One statement and its parameters, in placeholder order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The text. Values are always bound; only members of closed sets are written out.
    pub sql: String,
    /// The parameter of each placeholder.
    pub binds: Vec<Bind>,
    /// The type of each result column.
    pub yields: Vec<ColumnType>,
}

impl Statement {
    pub(crate) fn new(
        dialect: &dyn Dialect,
        tree: &Tree,
        binds: Vec<Bind>,
        yields: Vec<ColumnType>,
    ) -> Self {
        let text = writer::text(dialect.grammar(), tree);
        let (sql, binds) = text.with_marks(dialect.placeholders(), binds);
        Self { sql, binds, yields }
    }
}

/// The parameter of one placeholder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// The source of the value.
    pub source: BindSource,
    /// The type to bind it as; a UUID bound as text is its hyphenated form.
    pub ty: ColumnType,
}

/// The source of a bound value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BindSource {
    /// The plan's or query's n-th value.
    Slot(usize),
    /// A row that an earlier step of the script found.
    Held(Name, Path),
    /// The number of rows that an earlier step picked.
    PickedCount,
    /// The sum of a column over the rows that an earlier step picked.
    PickedSum(Path),
}

/// A plan as one statement. Every parameter is an array with one element per item, so that one text
/// serves a single plan and a batch. The result is one row per applied item, its ordinal (from 1)
/// first; and one per item that a row prevents, with its negative ordinal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fused {
    /// The text.
    pub sql: String,
    /// The text without waits for locked rows, if it differs. An item is dropped if another
    /// transaction holds its guarded row, and the result does not distinguish that from a failed
    /// guard.
    pub beside_locks: Option<String>,
    /// The parameter of each placeholder.
    pub params: Vec<Param>,
    /// The type of each result column after the ordinal.
    pub yields: Vec<ColumnType>,
    /// True if the first of those columns only shows, by not being NULL, that a row was picked.
    pub presence: bool,
}

/// One parameter of a fused statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param {
    /// The plan's n-th value.
    pub slot: usize,
    /// Its type.
    pub ty: ColumnType,
    /// One value per item, or one for the statement.
    pub arity: Arity,
}

/// The number of values of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    /// An array with one element per item.
    Each,
    /// One value for the statement: that of its items, which must be equal.
    Once,
    /// One value for the statement: the least of its items. Rows are picked up to it, so each item
    /// could pick what is picked.
    Least,
}

/// A plan as statements to run in one transaction, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// The steps that run once.
    pub once: Vec<ScriptStep>,
    /// The steps that run for each picked row, if the plan picks rows.
    pub each: Vec<ScriptStep>,
    /// The sources of the plan's results, by position.
    pub returns: Vec<Bind>,
    /// A guard that holds if a row prevents the plan, to tell that from another refusal.
    pub prevents: Option<ScriptStep>,
}

impl Script {
    /// True if the plan picks rows.
    #[must_use]
    pub fn picks(&self) -> bool {
        self.once.iter().any(|step| matches!(step, ScriptStep::Pick { .. }))
    }
}

/// One step of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScriptStep {
    /// A select that must find a row, or the plan is refused. The row is held under the name.
    Guard {
        /// The row's name.
        row: Name,
        /// The select.
        statement: Statement,
        /// The path that each result column holds.
        holds: Vec<Path>,
    },
    /// A select of the rows to work on, which are held under the name.
    Pick {
        /// The rows' name.
        row: Name,
        /// The select.
        statement: Statement,
        /// The slot with a value for each row, where the plan names its rows: the select then runs
        /// once for each of these values, and finds its row or none.
        named_by: Option<usize>,
        /// The path that each result column holds.
        holds: Vec<Path>,
    },
    /// A write.
    Write {
        /// The insert, update or delete.
        statement: Statement,
        /// True if the plan is refused when no row is changed.
        must_write: bool,
        /// The path that each result column holds, under the table's name.
        holds: Vec<Path>,
    },
}

impl ScriptStep {
    /// The statement of the step.
    #[must_use]
    pub fn statement(&self) -> &Statement {
        match self {
            ScriptStep::Guard { statement, .. }
            | ScriptStep::Pick { statement, .. }
            | ScriptStep::Write { statement, .. } => statement,
        }
    }

    /// The path that each result column holds.
    #[must_use]
    pub fn holds(&self) -> &[Path] {
        match self {
            ScriptStep::Guard { holds, .. }
            | ScriptStep::Pick { holds, .. }
            | ScriptStep::Write { holds, .. } => holds,
        }
    }

    /// The name under which later steps read the result. Columns that a write returns are held
    /// under the name of its table.
    #[must_use]
    pub fn row(&self) -> &str {
        match self {
            ScriptStep::Guard { row, .. } | ScriptStep::Pick { row, .. } => row,
            ScriptStep::Write { holds, .. } => holds.first().map_or("", |path| path.column.table),
        }
    }
}
