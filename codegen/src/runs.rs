//! A script's statements, grouped into runs.
//!
//! A run is one text and one trip to the database. Statements share a run if none needs a result of
//! another, and if their texts can share one: the dialect says so by its
//! [`crate::dialect::Placeholders`].

use std::sync::Arc;

use ff_core::plan::value::ColumnType;
use ff_core::plan::{Name, Path};

use crate::dialect::Dialect;
use crate::statement::{Bind, BindSource, Script, ScriptStep, Statement};

/// A script in the form in which it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptRuns {
    alone: Sequence,
    grouped: Sequence,
    /// True if the plan picks rows.
    pub picks: bool,
    /// The sources of the plan's results, by position.
    pub returns: Vec<Bind>,
}

/// A plan's share of its transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// The plan is alone in its transaction, which is rolled back if the plan does not apply.
    Alone,
    /// The plan shares the transaction: its writes are inside a savepoint.
    Grouped,
}

/// The runs of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// The runs that happen once.
    pub once: Vec<Run>,
    /// The runs that happen for each picked row.
    pub each: Vec<Run>,
}

/// Statements that are sent to the database together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The text of all statements.
    pub sql: Arc<str>,
    /// The statements, in order.
    pub parts: Vec<Part>,
    /// True if it opens the plan's savepoint.
    pub opens: bool,
    /// True if it ends by releasing the plan's savepoint.
    pub closes: bool,
}

/// One statement of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The purpose of the statement.
    pub kind: PartKind,
    /// The parameter of each placeholder.
    pub binds: Vec<Bind>,
    /// The name of the row that it yields.
    pub row: Name,
    /// The path that each result column holds.
    pub holds: Vec<Path>,
    /// The type of each result column.
    pub yields: Vec<ColumnType>,
}

/// The purpose of a statement of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartKind {
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

impl ScriptRuns {
    /// Groups the steps of a script into runs.
    #[must_use]
    pub fn new(dialect: &dyn Dialect, script: Script) -> Self {
        let picks = script.once.iter().any(|step| matches!(step, ScriptStep::Pick { .. }));

        let alone = Sequence { once: runs(&script.once), each: runs(&script.each) };
        let mut grouped = alone.clone();
        grouped.add_savepoint(dialect);

        Self { alone, grouped, picks, returns: script.returns }
    }

    /// The runs of a plan with that share of its transaction.
    #[must_use]
    pub fn sequence(&self, isolation: Isolation) -> &Sequence {
        match isolation {
            Isolation::Alone => &self.alone,
            Isolation::Grouped => &self.grouped,
        }
    }
}

impl Sequence {
    /// Puts the writes that happen once into a savepoint, inside the texts where a text can hold
    /// several statements.
    fn add_savepoint(&mut self, dialect: &dyn Dialect) {
        let control = dialect.transaction_control();
        let shares_text = dialect.placeholders().share_a_text();
        let Some(first) = self.once.iter().position(Run::writes) else { return };

        match self.once.get_mut(first) {
            Some(run) if shares_text => {
                run.sql = format!("{};\n{}", control.open_savepoint, run.sql).into();
                run.parts.insert(0, Part::savepoint());
                run.opens = true;
            }
            Some(_) | None => {
                let (sql, parts) = (control.open_savepoint.into(), vec![Part::savepoint()]);
                self.once.insert(first, Run { sql, parts, opens: true, closes: false });
            }
        }

        // The results of a run must be checked before the savepoint is released, so such a run
        // keeps it.
        let last = self.once.last_mut().filter(|run| run.writes() && !run.is_judged());
        if let Some(last) = last
            && shares_text
            && self.each.is_empty()
        {
            last.sql = format!("{};\n{}", last.sql, control.release_savepoint).into();
            last.parts.push(Part::savepoint());
            last.closes = true;
        }
    }
}

impl Run {
    fn writes(&self) -> bool {
        self.parts.iter().any(|part| matches!(part.kind, PartKind::Write { .. }))
    }

    fn is_judged(&self) -> bool {
        let judged = |part: &Part| {
            part.kind == PartKind::Write { must_write: true } || !part.yields.is_empty()
        };
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
            (PartKind::Guard, PartKind::Guard)
            | (PartKind::Write { must_write: false }, PartKind::Write { .. }) => true,
            (
                PartKind::Guard | PartKind::Pick | PartKind::Write { .. } | PartKind::Savepoint,
                _,
            ) => false,
        });

        same && part.binds.iter().all(|bind| independent(&bind.source))
    }
}

impl Part {
    fn savepoint() -> Self {
        let (binds, holds, yields) = (Vec::new(), Vec::new(), Vec::new());
        Self { kind: PartKind::Savepoint, binds, row: Name::Borrowed(""), holds, yields }
    }

    fn new(step: &ScriptStep) -> (Self, &Statement) {
        let (kind, row, statement, holds) = match step {
            ScriptStep::Guard { row, statement, holds } => {
                (PartKind::Guard, row.clone(), statement, holds)
            }
            ScriptStep::Pick { row, statement, holds } => {
                (PartKind::Pick, row.clone(), statement, holds)
            }
            ScriptStep::Write { statement, must_write, holds } => {
                // The columns that a write returns are held under its table's name.
                let table = holds.first().map_or("", |path| path.column.table);
                (PartKind::Write { must_write: *must_write }, table.into(), statement, holds)
            }
        };

        let (binds, yields) = (statement.binds.clone(), statement.yields.clone());
        (Self { kind, binds, row, holds: holds.clone(), yields }, statement)
    }
}

fn runs(steps: &[ScriptStep]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    // True if another text can follow that of the last run.
    let mut open = false;

    for step in steps {
        let (part, statement) = Part::new(step);
        let last = runs.last_mut().filter(|last| open && last.takes(&part));

        if let (Some(last), Some(sql)) = (last, &statement.shareable) {
            last.sql = format!("{};\n{sql}", last.sql).into();
            last.parts.push(part);
            continue;
        }

        open = statement.shareable.is_some();
        let sql = statement.shareable.as_ref().unwrap_or(&statement.sql).as_str().into();
        runs.push(Run { sql, parts: vec![part], opens: false, closes: false });
    }

    runs
}
