//! The rows that a plan guards or changes, so that one statement never holds two plans with a
//! common row.
//!
//! A data-modifying statement changes a row once, whatever its source rows say, so the second of
//! two plans for one row would be lost. Two plans share a statement only if no row that one guards
//! or changes can be a row that the other guards or changes. Rows are compared by the bound values
//! of their keys. Where a key is partly read from another row, the bound part must differ; where
//! nothing is bound, such plans never share a statement.

use std::collections::HashSet;

use ff_core::plan::value::Value;
use ff_core::plan::{Bindings, Expr, Mutation, OnConflict, Plan};
use ff_core::schema::ColumnRef;

/// The rows that plans of one shape guard or change, by the slots of their keys.
#[derive(Debug)]
pub(crate) struct RowKeys(Vec<RowKey>);

/// One guarded or changed row: its table, and the slots that name it within the table.
#[derive(Debug)]
struct RowKey {
    table: &'static str,
    slots: Vec<usize>,
}

/// The rows of one plan, in the order in which it locks them.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PlanRows(Vec<Vec<u8>>);

impl RowKeys {
    /// Reads the guards, changes and refusing or updating inserts of a shape's plan.
    pub(crate) fn of(plan: &Plan) -> Self {
        let mut keys: Vec<(&'static str, Vec<(ColumnRef, usize)>)> = Vec::new();
        for guard in &plan.guards {
            keys.push((guard.table.name, bound(plan, &guard.key)));
        }

        for mutation in &plan.mutations {
            match mutation {
                Mutation::Insert { on_conflict: OnConflict::Ignore, .. } => {}
                // The rows of a list belong to a row that the plan guards.
                Mutation::InsertEach { .. } => {}
                Mutation::Insert {
                    table,
                    row,
                    on_conflict: OnConflict::Refuse | OnConflict::Update(_),
                } => {
                    let of_key = |(column, _): &&(ColumnRef, Expr)| table.key.contains(column);
                    let key: Vec<_> = row.iter().filter(of_key).cloned().collect();
                    // With a partial key the database numbers the row, so it is always a new one.
                    if key.len() == table.key.len() {
                        keys.push((table.name, bound(plan, &key)));
                    }
                }
                Mutation::Update { table, target, .. } | Mutation::Delete { table, target } => {
                    keys.push((table.name, bound(plan, target)));
                }
            }
        }

        let common = |table: &str, column: &ColumnRef| {
            let mut same = keys.iter().filter(|(other, _)| *other == table);
            same.all(|(_, key)| key.iter().any(|(other, _)| other == column))
        };

        let row_key = |(table, key): &(&'static str, Vec<(ColumnRef, usize)>)| {
            let mut columns: Vec<_> =
                key.iter().filter(|(column, _)| common(table, column)).collect();
            columns.sort_by_key(|(column, _)| column.name);
            RowKey { table, slots: columns.into_iter().map(|(_, slot)| *slot).collect() }
        };

        Self(keys.iter().map(row_key).collect())
    }

    /// The rows of the plan with these values.
    pub(crate) fn of_plan(&self, bindings: &Bindings) -> PlanRows {
        let row = |key: &RowKey| {
            let mut bytes = Vec::with_capacity(48);
            bytes.extend_from_slice(key.table.as_bytes());
            for slot in &key.slots {
                bytes.push(0);
                write_ordered(&mut bytes, bindings.value(*slot, 0));
            }
            bytes
        };
        PlanRows(self.0.iter().map(row).collect())
    }
}

impl PlanRows {
    /// Adds the rows to `taken`; false, and nothing is added, if one of them is there already.
    pub(crate) fn claim(&self, taken: &mut HashSet<Vec<u8>>) -> bool {
        if self.0.iter().any(|row| taken.contains(row)) {
            return false;
        }
        taken.extend(self.0.iter().cloned());
        true
    }
}

/// The parts of the key that are bound values, with their slots.
fn bound(plan: &Plan, key: &[(ColumnRef, Expr)]) -> Vec<(ColumnRef, usize)> {
    let part = |(column, expr): &(ColumnRef, Expr)| Some((*column, slot_of(plan, expr)?));
    key.iter().filter_map(part).collect()
}

/// The slot that supplies the expression's value. A guarded row was found by its key, so a key
/// column of it has the value that the guard's key gives.
fn slot_of(plan: &Plan, expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Slot(_, slot) => Some(*slot),
        Expr::Held(row, path) if path.keys.is_empty() => {
            let at = plan.guards.iter().position(|guard| guard.row == *row)?;
            // Guards read only the guards before them, so the recursion ends.
            let (before, guard) = (plan.guards.get(..at)?, plan.guards.get(at)?);
            let (_, same) = guard.key.iter().find(|(column, _)| *column == path.column)?;
            match same {
                Expr::Held(other, _) if !before.iter().any(|guard| guard.row == *other) => None,
                _ => slot_of(plan, same),
            }
        }
        Expr::Held(..)
        | Expr::Value(..)
        | Expr::Const(_)
        | Expr::Null(_)
        | Expr::Plus(..)
        | Expr::Greatest(..)
        | Expr::PickedCount
        | Expr::Item(..)
        | Expr::Joined(_)
        | Expr::Object(_) => None,
    }
}

/// Appends bytes that sort as the values do, so that all batches lock in one order. A UUID and its
/// text in a text column are one key.
fn write_ordered(bytes: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => {}
        Value::Bool(flag) => bytes.push(u8::from(*flag)),
        Value::Int(number) => bytes.extend((number ^ i64::MIN).to_be_bytes()),
        Value::Float(number) => bytes.extend(number.to_be_bytes()),
        Value::Text(text) => bytes.extend_from_slice(text.as_bytes()),
        Value::Bytes(raw) => bytes.extend_from_slice(raw),
        Value::Uuid(uuid) => bytes.extend_from_slice(uuid.hyphenated().to_string().as_bytes()),
        Value::Json(document) => bytes.extend_from_slice(document.to_string().as_bytes()),
        Value::TextList(list) => {
            for text in list {
                bytes.extend_from_slice(text.as_bytes());
                bytes.push(0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ff_core::plan::value::Storable;
    use ff_core::plan::{Assign, Plan, Predicate};
    use ff_core::schema::admin::lane_registry;

    use super::*;

    fn rows(plan: Plan) -> PlanRows {
        let (shape, bindings) = plan.into_shape();
        RowKeys::of(shape.plan()).of_plan(&bindings)
    }

    fn touch(lane: &str) -> Plan {
        let key = vec![(lane_registry::lane_id.column(), lane.to_owned().into_expr())];
        Plan::new("touch").update(
            lane_registry::REF,
            key,
            vec![(lane_registry::registered_at_ms.column(), Assign::Add(Expr::int(1)))],
        )
    }

    #[test]
    fn plans_about_one_row_do_not_share_a_statement() {
        let mut taken = HashSet::new();
        assert!(rows(touch("a")).claim(&mut taken));
        assert!(rows(touch("b")).claim(&mut taken));
        assert!(!rows(touch("a")).claim(&mut taken));
    }

    #[test]
    fn a_guard_and_a_change_of_one_row_have_one_key() {
        let key = vec![(lane_registry::lane_id.column(), "a".to_owned().into_expr())];
        let plan = touch("a").guard("lane", lane_registry::REF, key, Predicate::Always);
        let PlanRows(both) = rows(plan);
        assert_eq!(both.first(), both.last());
        assert!(both.iter().all(|row| rows(touch("a")).0.contains(row)));
    }

    #[test]
    fn a_key_read_from_a_guarded_row_is_that_rows_key() {
        let touch_held = |lane: &str| {
            let key = vec![(lane_registry::lane_id.column(), lane.to_owned().into_expr())];
            let held = vec![(lane_registry::lane_id.column(), lane_registry::lane_id.of("lane"))];
            let set = vec![lane_registry::registered_at_ms.grow(1)];
            Plan::new("touch_held")
                .guard("lane", lane_registry::REF, key, Predicate::Always)
                .update(lane_registry::REF, held, set)
        };
        let mut taken = HashSet::new();
        assert!(rows(touch_held("a")).claim(&mut taken));
        assert!(rows(touch_held("b")).claim(&mut taken));
        assert!(!rows(touch_held("b")).claim(&mut taken));
    }

    #[test]
    fn rows_that_only_the_database_knows_never_share_a_statement() {
        let unknown = || {
            let held = vec![(lane_registry::lane_id.column(), lane_registry::lane_id.of("picked"))];
            let set = vec![lane_registry::registered_at_ms.grow(1)];
            Plan::new("unknown").update(lane_registry::REF, held, set)
        };
        let mut taken = HashSet::new();
        assert!(rows(unknown()).claim(&mut taken));
        assert!(!rows(unknown()).claim(&mut taken));
    }

    #[test]
    fn keys_sort_as_their_values_do() {
        assert!(rows(touch("a")) < rows(touch("b")));
        let bytes = |number| {
            let mut bytes = Vec::new();
            write_ordered(&mut bytes, &Value::Int(number));
            bytes
        };
        assert!(bytes(-1) < bytes(0) && bytes(0) < bytes(300));
    }
}
