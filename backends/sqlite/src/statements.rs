//! Rendered statements, each shape once.
//!
//! A script's steps are grouped into runs. A run is one text and one trip to the connection's
//! thread. Steps share a run if none needs a result of another.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, PoisonError, RwLock};

use ff_codegen::{Bind, BindSource, RenderError, Script, ScriptStep, Sqlite, Statement};
use ff_core::engine::Rings;
use ff_core::plan::value::ColumnType;
use ff_core::plan::{Name, Path, Query, QueryShape, Shape};
use sqlx::AssertSqlSafe;
use sqlx::sqlite::SqliteArguments;

use crate::error::SqliteError;

/// The rendered statements so far. There is one entry per shape, and shapes are a closed set.
#[derive(Default)]
pub(crate) struct Statements {
    plans: RwLock<HashMap<Shape, Arc<Prepared>>>,
    queries: RwLock<HashMap<QueryShape, Arc<Read>>>,
}

impl Statements {
    /// The texts of a plan.
    pub(crate) fn plan(&self, shape: Shape) -> Result<Arc<Prepared>, SqliteError> {
        cached(&self.plans, shape, |shape| {
            Ok(Prepared::new(ff_codegen::script(&Sqlite, shape)?, Rings::of(shape.plan())))
        })
    }

    /// The text of a query.
    pub(crate) fn query(&self, shape: QueryShape) -> Result<Arc<Read>, SqliteError> {
        cached(&self.queries, shape, |shape| {
            let statement = ff_codegen::query(&Sqlite, shape)?;
            let (sql, binds) = (statement.sql.into(), statement.binds);
            Ok(Read { sql, binds, query: shape.query().clone() })
        })
    }
}

fn cached<K: Hash + Eq, V>(
    known: &RwLock<HashMap<K, Arc<V>>>,
    shape: K,
    render: impl FnOnce(&K) -> Result<V, RenderError>,
) -> Result<Arc<V>, SqliteError> {
    if let Some(found) = known.read().unwrap_or_else(PoisonError::into_inner).get(&shape) {
        return Ok(Arc::clone(found));
    }

    // Rendered outside the lock: two callers may render one shape, and the first result is kept.
    let rendered = Arc::new(render(&shape).map_err(SqliteError::permanent)?);
    let mut known = known.write().unwrap_or_else(PoisonError::into_inner);
    Ok(Arc::clone(known.entry(shape).or_insert(rendered)))
}

/// The only place that vouches for a text. Every text was rendered by codegen from a shape, which
/// holds no values, or is a constant of this module around such a text.
pub(crate) fn statement(
    sql: &Arc<str>,
    arguments: SqliteArguments,
) -> sqlx::query::Query<'static, sqlx::Sqlite, SqliteArguments> {
    sqlx::query_with(AssertSqlSafe(Arc::clone(sql)), arguments)
}

/// A rendered query.
pub(crate) struct Read {
    pub(crate) sql: Arc<str>,
    pub(crate) binds: Vec<Bind>,
    /// The query, for the columns of its rows.
    pub(crate) query: Query,
}

/// A rendered plan.
pub(crate) struct Prepared {
    alone: Sequence,
    grouped: Sequence,
    /// True if the plan picks rows.
    pub(crate) picks: bool,
    /// The sources of the plan's results.
    pub(crate) returns: Vec<Bind>,
    /// The topics to ring once it is durable.
    pub(crate) rings: Rings,
}

/// A plan's share of its transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isolation {
    /// The plan is alone in its transaction, which is rolled back if the plan does not apply.
    Alone,
    /// The plan shares the transaction: its writes are inside a savepoint.
    Grouped,
}

/// The runs of a plan.
pub(crate) struct Sequence {
    /// The runs that happen once.
    pub(crate) once: Vec<Run>,
    /// The runs that happen for each picked row.
    pub(crate) each: Vec<Run>,
}

/// Statements that are sent to the database together.
pub(crate) struct Run {
    pub(crate) sql: Arc<str>,
    pub(crate) parts: Vec<Part>,
    /// True if it begins by opening the plan's savepoint.
    pub(crate) opens: bool,
    /// True if it ends by releasing the plan's savepoint.
    pub(crate) closes: bool,
}

/// One statement of a run.
pub(crate) struct Part {
    pub(crate) kind: Kind,
    pub(crate) binds: Vec<Bind>,
    /// The name of the row that it yields.
    pub(crate) row: Name,
    /// The path that each result column holds.
    pub(crate) holds: Vec<Path>,
    /// The type of each result column.
    pub(crate) yields: Vec<ColumnType>,
}

/// The purpose of a statement of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A select that must find a row.
    Guard,
    /// A select of the rows to work on.
    Pick,
    /// A write.
    Write {
        /// True if it must change at least one row.
        must_write: bool,
    },
    /// Opens or releases a savepoint.
    Savepoint,
}

/// Opens the savepoint of a plan.
pub(crate) const OPEN: &str = "SAVEPOINT plan";
/// Keeps the changes since the savepoint.
pub(crate) const RELEASE: &str = "RELEASE plan";
/// Rolls back the changes since the savepoint, which stays open.
pub(crate) const ROLLBACK_TO: &str = "ROLLBACK TO plan";

impl Prepared {
    fn new(script: Script, rings: Rings) -> Self {
        let picks = script.once.iter().any(|step| matches!(step, ScriptStep::Pick { .. }));

        let runs = || Sequence { once: runs(&script.once), each: runs(&script.each) };
        let alone = runs();
        let mut grouped = runs();
        grouped.save();

        Self { alone, grouped, picks, returns: script.returns, rings }
    }

    pub(crate) fn sequence(&self, isolation: Isolation) -> &Sequence {
        match isolation {
            Isolation::Alone => &self.alone,
            Isolation::Grouped => &self.grouped,
        }
    }
}

impl Sequence {
    /// Puts the writes that happen once into a savepoint, inside the texts where that is possible.
    fn save(&mut self) {
        if let Some(first) = self.once.iter_mut().find(|run| run.writes()) {
            first.sql = format!("{OPEN};\n{}", first.sql).into();
            first.parts.insert(0, Part::savepoint());
            first.opens = true;
        }

        // The results of a run must be checked before the savepoint is released, so such a run
        // keeps it.
        let last = self.once.last_mut().filter(|run| run.writes() && !run.is_judged());
        if let Some(last) = last
            && self.each.is_empty()
        {
            last.sql = format!("{};\n{RELEASE}", last.sql).into();
            last.parts.push(Part::savepoint());
            last.closes = true;
        }
    }
}

impl Run {
    fn writes(&self) -> bool {
        self.parts.iter().any(|part| matches!(part.kind, Kind::Write { .. }))
    }

    fn is_judged(&self) -> bool {
        let judged =
            |part: &Part| part.kind == Kind::Write { must_write: true } || !part.yields.is_empty();
        self.parts.iter().any(judged)
    }

    /// True if `part` can join the run: it has the same purpose, no other statement stands between,
    /// and it needs no result of this run.
    fn takes(&self, part: &Part) -> bool {
        let independent = |source: &BindSource| match source {
            BindSource::Slot(_) => true,
            BindSource::PickedCount => false,
            BindSource::Held(row, _) => self.parts.iter().all(|earlier| earlier.row != *row),
        };

        let same = self.parts.iter().all(|earlier| match (earlier.kind, part.kind) {
            (Kind::Guard, Kind::Guard)
            | (Kind::Write { must_write: false }, Kind::Write { .. }) => true,
            (Kind::Guard | Kind::Pick | Kind::Write { .. } | Kind::Savepoint, _) => false,
        });

        same && part.binds.iter().all(|bind| independent(&bind.source))
    }
}

impl Part {
    fn savepoint() -> Self {
        let (binds, holds, yields) = (Vec::new(), Vec::new(), Vec::new());
        Self { kind: Kind::Savepoint, binds, row: Name::Borrowed(""), holds, yields }
    }

    fn of(step: &ScriptStep) -> (Self, &Statement) {
        let (kind, row, statement, holds) = match step {
            ScriptStep::Guard { row, statement, holds } => {
                (Kind::Guard, row.clone(), statement, holds)
            }
            ScriptStep::Pick { row, statement, holds } => {
                (Kind::Pick, row.clone(), statement, holds)
            }
            ScriptStep::Write { statement, must_write, holds } => {
                // What a write yields is held under its table's name.
                let table = holds.first().map_or("", |path| path.column.table);
                (Kind::Write { must_write: *must_write }, table.into(), statement, holds)
            }
        };

        let (binds, yields) = (statement.binds.clone(), statement.yields.clone());
        (Self { kind, binds, row, holds: holds.clone(), yields }, statement)
    }
}

fn runs(steps: &[ScriptStep]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    // True if the placeholders of the last run are positional, so that a text can follow.
    let mut open = false;
    for step in steps {
        let (part, statement) = Part::of(step);
        let positional = positional(&statement.sql, statement.binds.len());
        let last = runs.last_mut().filter(|last| open && last.takes(&part));

        if let (Some(last), Some(sql)) = (last, &positional) {
            last.sql = format!("{};\n{sql}", last.sql).into();
            last.parts.push(part);
            continue;
        }

        open = positional.is_some();
        let sql = positional.unwrap_or_else(|| statement.sql.clone()).into();
        runs.push(Run { sql, parts: vec![part], opens: false, closes: false });
    }

    runs
}

/// The text with `?` for `?1`, `?2`, …, so that it can follow another text; `None` if the numbers
/// do not simply count up to `binds`.
fn positional(sql: &str, binds: usize) -> Option<String> {
    let mut text = String::with_capacity(sql.len());
    let mut seen = 0;
    let mut quote = None;
    let mut rest = sql.chars().peekable();

    while let Some(next) = rest.next() {
        text.push(next);
        match (quote, next) {
            (None, '\'' | '"') => quote = Some(next),
            (Some(open), close) if open == close => quote = None,
            (None, '?') => {
                seen += 1;
                let mut number = String::new();
                while let Some(digit) = rest.next_if(char::is_ascii_digit) {
                    number.push(digit);
                }
                if number != seen.to_string() {
                    return None;
                }
            }
            (None | Some(_), _) => {}
        }
    }
    (seen == binds).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_become_positional_outside_quotes() {
        let sql = "SELECT \"a?1\" FROM t WHERE a = ?1 AND b = 'it''s ?2' AND c = ?2";
        let expected = "SELECT \"a?1\" FROM t WHERE a = ? AND b = 'it''s ?2' AND c = ?";
        assert_eq!(positional(sql, 2).as_deref(), Some(expected));
    }

    #[test]
    fn numbers_out_of_order_stay() {
        assert_eq!(positional("SELECT ?2, ?1", 2), None);
        assert_eq!(positional("SELECT ?1, ?1", 1), None);
        assert_eq!(positional("SELECT ?1", 2), None);
    }
}
