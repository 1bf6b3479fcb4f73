//! What rendering produces.

use ff_core::plan::{Name, Path};
use ff_core::value::ColumnType;

/// Why a shape cannot be rendered. Never a dropped clause: what a dialect cannot say is an error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// The dialect has no way to say it.
    #[error("{dialect} cannot express {what}")]
    Unsupported {
        /// Which dialect.
        dialect: &'static str,
        /// What was asked of it.
        what: String,
    },
    /// The shape breaks one of the rules that every statement must keep.
    #[error("{plan}: {rule}")]
    Audit {
        /// The operation.
        plan: String,
        /// The rule.
        rule: String,
    },
}

/// One statement and what to bind to it, in placeholder order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The text. Values are always bound; only members of closed sets are written out.
    pub sql: String,
    /// What each placeholder takes.
    pub binds: Vec<Bind>,
    /// The type of each result column.
    pub yields: Vec<ColumnType>,
}

/// What a placeholder takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// Where the value comes from.
    pub source: Source,
    /// The type to bind it as; a UUID bound as text is its hyphenated form.
    pub ty: ColumnType,
}

/// Where a bound value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The plan's or query's n-th value.
    Slot(usize),
    /// A row that an earlier step of the script found.
    Held(Name, Path),
    /// The number of rows that an earlier step picked.
    PickedCount,
}

/// A plan as one statement: every parameter is an array with one element per item, so that one text
/// serves a single plan and a batch. Result: one row per applied item, its ordinal (from 1) first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fused {
    /// The text.
    pub sql: String,
    /// What each placeholder takes.
    pub params: Vec<Param>,
    /// The type of each result column after the ordinal.
    pub yields: Vec<ColumnType>,
    /// Whether the first of those only says, by not being NULL, that a row was picked.
    pub presence: bool,
}

/// One parameter of a fused statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param {
    /// The plan's n-th value.
    pub slot: usize,
    /// Its type.
    pub ty: ColumnType,
    /// Array or scalar.
    pub arity: Arity,
}

/// Whether a parameter is an array or a scalar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    /// An array with one element per item.
    Each,
    /// One value for the statement.
    Once,
}

/// A plan as statements to run in one transaction, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// The steps that run once.
    pub once: Vec<Step>,
    /// The steps that run for each picked row, if the plan picks rows.
    pub each: Vec<Step>,
    /// Where the plan's results come from, by position.
    pub returns: Vec<Bind>,
}

/// One step of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Must find a row; none means the plan is refused. What it yields is held under the name.
    Guard {
        /// The row's name.
        row: Name,
        /// The select.
        statement: Statement,
        /// What each result column is.
        holds: Vec<Path>,
    },
    /// Finds the rows to work on. What they yield is held under the name.
    Pick {
        /// The rows' name.
        row: Name,
        /// The select.
        statement: Statement,
        /// What each result column is.
        holds: Vec<Path>,
    },
    /// Changes rows.
    Write {
        /// The insert, update or delete.
        statement: Statement,
        /// Whether changing no row means that the plan is refused.
        must_write: bool,
        /// What each result column is, held under the table's name.
        holds: Vec<Path>,
    },
}
