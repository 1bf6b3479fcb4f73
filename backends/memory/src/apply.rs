//! Commits plans.
//!
//! The rows that prevent the plan come first; then the guards, in order; then the pick; then the
//! changes that happen once; then, for each picked row, the changes that happen per row. A refused
//! or failed plan leaves nothing behind.

use ff_core::engine::Commit;
use ff_core::plan::facts::Row;
use ff_core::plan::value::Value;
use ff_core::plan::{
    Assign, Expr, Held, Mutation, Name, OnConflict, OnTaken, Pairing, Plan, Predicate, Return,
    Selection,
};
use ff_core::schema::{ColumnRef, Table};
use ff_core::types::TimestampMs;

use crate::answer::{best, limit_of, row_by_key};
use crate::error::MemoryError;
use crate::tables::{Key, Tables, key_of};

/// Applies the plan entirely, or not at all.
pub(crate) fn apply(
    tables: &mut Tables,
    plan: &Plan,
    now: TimestampMs,
) -> Result<Commit, MemoryError> {
    let mut run = PlanRun { tables, plan, now, guards: Vec::new(), picked: Vec::new() };
    match run.apply_all() {
        Ok(rows) => {
            tables.commit();
            Ok(Commit::Applied(rows))
        }
        Err(Stop::Refused) => {
            tables.roll_back();
            Ok(Commit::Refused)
        }
        Err(Stop::Prevented) => Ok(Commit::Prevented),
        Err(Stop::Failed(error)) => {
            tables.roll_back();
            Err(error)
        }
    }
}

/// The reason that a plan does not apply.
enum Stop {
    Refused,
    Prevented,
    Failed(MemoryError),
}

impl From<MemoryError> for Stop {
    fn from(error: MemoryError) -> Self {
        Stop::Failed(error)
    }
}

/// A plan that is being applied.
struct PlanRun<'a> {
    tables: &'a mut Tables,
    plan: &'a Plan,
    now: TimestampMs,
    /// The rows that the guards found, in order.
    guards: Vec<(&'a Name, Row)>,
    picked: Vec<Row>,
}

/// A picked row, with the number of the values that it takes.
type Picked = (usize, Row);

/// A row that the plan wrote, in its new state; a deleted one in its old state.
type Written = (&'static str, Row);

impl<'a> PlanRun<'a> {
    fn apply_all(&mut self) -> Result<Vec<Vec<Value>>, Stop> {
        if self.is_prevented() {
            return if self.plan.picks_up_to() { Ok(Vec::new()) } else { Err(Stop::Prevented) };
        }
        self.check_guards()?;
        let picked = self.pick();
        self.picked = picked.iter().flatten().map(|(_, row)| row.clone()).collect();

        let (each, once): (Vec<&Mutation>, Vec<&Mutation>) =
            self.plan.mutations.iter().partition(|mutation| self.plan.per_picked_row(mutation));

        let mut written = Vec::new();
        for mutation in once {
            self.apply_mutation(mutation, 0, None, &mut written)?;
        }

        let Some(picked) = picked else {
            return Ok(vec![self.returned_values(0, None, &written)]);
        };

        let mut applied = Vec::with_capacity(picked.len());
        for (item, row) in &picked {
            let mut written = written.clone();
            for mutation in &each {
                self.apply_mutation(mutation, *item, Some(row), &mut written)?;
            }
            applied.push(self.returned_values(*item, Some(row), &written));
        }

        Ok(applied)
    }

    fn is_prevented(&self) -> bool {
        let held = self.held(0, None);
        self.plan.unless.iter().any(|row| {
            let key = Row::new(evaluate(&row.key, &held));
            let found = row_by_key(self.tables, row.table.0, &key);
            found.is_some_and(|found| row.holds.accepts(found, &held))
        })
    }

    fn check_guards(&mut self) -> Result<(), Stop> {
        for guard in &self.plan.guards {
            let held = self.held(0, None);
            let key = Row::new(evaluate(&guard.key, &held));
            let row = row_by_key(self.tables, guard.table.0, &key).ok_or(Stop::Refused)?;
            if !guard.holds.accepts(row, &held) {
                return Err(Stop::Refused);
            }
            let row = row.clone();
            self.guards.push((&guard.row, row));
        }
        Ok(())
    }

    /// The picked rows, best first or as they are named; `None` if the plan picks none.
    fn pick(&self) -> Option<Vec<Picked>> {
        let selection = self.plan.selection.as_ref()?;
        let held = self.held(0, None);
        let accepted = |predicate: &Predicate, order, limit| {
            let rows = self.tables.rows(selection.table.name).map(|(_, row)| row);
            best(rows.filter(|row| predicate.accepts(row, &held)).collect(), order, limit)
        };

        let (predicate, order) = (&selection.predicate, &selection.order);
        let picked = match &selection.pairing {
            Pairing::Every => accepted(predicate, order, usize::MAX),
            Pairing::UpTo { limit, rest } => {
                let limit = limit_of(&limit.evaluate(&held));
                let mut picked = accepted(predicate, order, limit);
                let left = limit - picked.len();
                if let Some(rest) = rest.as_ref().filter(|_| 0 < left) {
                    picked.extend(accepted(&rest.predicate, &rest.order, left));
                }
                picked
            }
            Pairing::Named(key) => return Some(self.named(selection, key)),
        };

        Some(picked.into_iter().cloned().enumerate().collect())
    }

    /// The rows that values name, but for those that are absent or do not qualify.
    fn named(&self, selection: &Selection, key: &[(ColumnRef, Expr)]) -> Vec<Picked> {
        let named = |item| {
            let held = self.held(item, None);
            let key = Row::new(evaluate(key, &held));
            let row = row_by_key(self.tables, selection.table.0, &key)?;
            selection.predicate.accepts(row, &held).then(|| (item, row.clone()))
        };
        let Some(Expr::Value(_, values)) = selection.naming() else { return Vec::new() };
        (0..values.len()).filter_map(named).collect()
    }

    /// The values that expressions for the `item`-th picked row may read.
    fn held<'h>(&'h self, item: usize, picked: Option<&'h Row>) -> Held<'h> {
        let mut held = Held::default();
        held.item = item;
        held.picked = self.picked.len();
        held.picked_rows = &self.picked;

        for (name, row) in &self.guards {
            held.hold(name, row);
        }
        if let Some((selection, row)) = self.plan.selection.as_ref().zip(picked) {
            held.hold(&selection.row, row);
        }

        held
    }

    fn returned_values(
        &self,
        item: usize,
        picked: Option<&Row>,
        written: &[Written],
    ) -> Vec<Value> {
        let held = self.held(item, picked);
        let value = |item: &Return| match item {
            Return::Held(row, path) => held.read(row, path),
            Return::Written(column) => {
                let row = written.iter().find(|(table, _)| *table == column.table);
                row.and_then(|(_, row)| row.value(*column)).cloned().unwrap_or(Value::Null)
            }
        };
        self.plan.returns.iter().map(value).collect()
    }

    fn apply_mutation(
        &mut self,
        mutation: &Mutation,
        item: usize,
        picked: Option<&Row>,
        written: &mut Vec<Written>,
    ) -> Result<(), Stop> {
        match mutation {
            Mutation::Insert { table, row, on_conflict } => {
                let given = evaluate(row, &self.held(item, picked));
                self.insert(table.0, given, on_conflict, written)
            }
            Mutation::InsertEach { table, items, row, on_conflict } => {
                let mut held = self.held(item, picked);
                let Value::Bytes(list) = items.evaluate(&held) else {
                    return Err(MemoryError::NotAList.into());
                };
                let list: Vec<serde_json::Value> =
                    serde_json::from_slice(&list).map_err(|_| MemoryError::NotAList)?;

                let mut rows = Vec::with_capacity(list.len());
                for element in &list {
                    held.element = Some(element);
                    rows.push(evaluate(row, &held));
                }

                rows.into_iter()
                    .try_for_each(|given| self.insert(table.0, given, on_conflict, written))
            }
            Mutation::Update { table, target, set } => {
                let held = self.held(item, picked);
                let keys = self.tables.matching(table.0, &evaluate(target, &held));
                let rows = keys.iter().filter_map(|key| self.tables.row(table.name, key));
                let changed: Vec<Row> =
                    rows.map(|row| with_assignments(table.0, row, set, &held)).collect();

                self.check_guarded(table.0, target, item, picked, changed.len());
                for (key, row) in keys.into_iter().zip(changed) {
                    self.replace(table.0, key, row, written)?;
                }
                Ok(())
            }
            Mutation::Delete { table, target } => {
                let target = evaluate(target, &self.held(item, picked));
                for key in self.tables.matching(table.0, &target) {
                    let row = self.tables.row(table.name, &key).cloned();
                    written.extend(row.map(|row| (table.name, row)));
                    self.tables.store(table.0, key, None)?;
                }
                Ok(())
            }
        }
    }

    fn insert(
        &mut self,
        table: &'static Table,
        given: Vec<(ColumnRef, Value)>,
        on_conflict: &OnConflict,
        written: &mut Vec<Written>,
    ) -> Result<(), Stop> {
        let (key, row) = self.tables.complete_row(table, given, self.now);
        let Some(stored) = self.tables.row(table.name, &key) else {
            written.push((table.name, row.clone()));
            return Ok(self.tables.store(table, key, Some(row))?);
        };

        match on_conflict {
            OnConflict::Refuse => Err(Stop::Refused),
            OnConflict::Ignore => Ok(()),
            OnConflict::Update(set) => {
                let updated = with_conflict_update(table, stored, &row, set);
                self.replace(table, key, updated, written)
            }
        }
    }

    fn replace(
        &mut self,
        table: &'static Table,
        key: Key,
        row: Row,
        written: &mut Vec<Written>,
    ) -> Result<(), Stop> {
        written.push((table.name, row.clone()));
        let new_key = key_of(table, &row);
        if new_key != key {
            self.tables.store(table, key, None)?;
        }
        Ok(self.tables.store(table, new_key, Some(row))?)
    }

    // A guard has found this very row, so an update that misses it is a bug in the plan.
    fn check_guarded(
        &self,
        table: &Table,
        target: &[(ColumnRef, Expr)],
        item: usize,
        picked: Option<&Row>,
        changed: usize,
    ) {
        if cfg!(debug_assertions) && target.len() == table.key.len() {
            let target = Row::new(evaluate(target, &self.held(item, picked)));
            let key = key_of(table, &target);

            let mut guards = self.plan.guards.iter().zip(&self.guards);
            let guarded = guards.any(|(guard, (_, row))| {
                guard.table.name == table.name && key_of(table, row) == key
            });
            debug_assert!(!guarded || changed == 1, "{}: a guarded row is gone", self.plan.name);
        }
    }
}

fn evaluate(cells: &[(ColumnRef, Expr)], held: &Held<'_>) -> Vec<(ColumnRef, Value)> {
    let cell =
        |(column, expr): &(ColumnRef, Expr)| (*column, expr.evaluate(held).stored_as(column.ty));
    cells.iter().map(cell).collect()
}

/// The row after the assignments, each of which reads the row as it was.
fn with_assignments(table: &Table, row: &Row, set: &[(ColumnRef, Assign)], held: &Held<'_>) -> Row {
    map_cells(table, row, |column, now| {
        let (_, assign) = set.iter().find(|(changed, _)| *changed == column)?;
        Some(assign.apply(now, held).stored_as(column.ty))
    })
}

/// The stored row after a conflict with the row to insert.
fn with_conflict_update(
    table: &Table,
    stored: &Row,
    row: &Row,
    set: &[(ColumnRef, OnTaken)],
) -> Row {
    map_cells(table, stored, |column, now| {
        let (_, on_taken) = set.iter().find(|(changed, _)| *changed == column)?;
        let inserted = row.value(column).unwrap_or(&Value::Null);
        Some(match on_taken {
            OnTaken::Overwrite => inserted.clone(),
            OnTaken::Add => now.plus(inserted),
            OnTaken::Clear => Value::Null,
        })
    })
}

fn map_cells(table: &Table, row: &Row, change: impl Fn(ColumnRef, &Value) -> Option<Value>) -> Row {
    let cell = |column: &ColumnRef| {
        let now = row.value(*column).unwrap_or(&Value::Null);
        (*column, change(*column, now).unwrap_or_else(|| now.clone()))
    };
    Row::new(table.columns.iter().map(cell).collect())
}
