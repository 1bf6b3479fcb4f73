//! The rows that a plan guards or changes, so that one statement never holds two plans with a
//! common row.
//!
//! A data-modifying statement changes a row once, whatever its source rows say, so the second of
//! two plans for one row would be lost. Two plans share a statement only if no row that one guards
//! or changes can be a row that the other guards or changes. Rows are compared by the bound values
//! of their keys. Where a key is partly read from another row, the bound part must differ. A key
//! that contains the whole key of a picked row differs by itself: the database deals each row that
//! it picks to one item. Where nothing else is bound, such plans never share a statement.

use std::collections::HashSet;

use ff_core::plan::key::bound;
use ff_core::plan::value::Value;
use ff_core::plan::{Bindings, Expr, Mutation, Name, OnConflict, Pairing, Plan, Selection};
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

/// The way in which a key names its row.
#[derive(Debug, PartialEq, Eq)]
enum Naming {
    /// By bound values, with their slots. The rest of the key is read from other rows.
    Bound(Vec<(ColumnRef, usize)>),
    /// By these columns, which hold the key of a picked row. Up to n picked rows are dealt to the
    /// items of a statement, so no two items name one row.
    Dealt(Vec<ColumnRef>),
}

impl RowKeys {
    /// Reads the guards, changes and refusing or updating inserts of a shape's plan.
    pub(crate) fn of(plan: &Plan) -> Self {
        let mut keys: Vec<(&'static str, Naming)> = Vec::new();
        for guard in &plan.guards {
            keys.push((guard.table.name, naming(plan, &guard.key)));
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
                        keys.push((table.name, naming(plan, &key)));
                    }
                }
                Mutation::Update { table, target, .. } | Mutation::Delete { table, target } => {
                    keys.push((table.name, naming(plan, target)));
                }
            }
        }

        let mut tables: Vec<_> = keys.iter().map(|(table, _)| *table).collect();
        tables.sort_unstable();
        tables.dedup();
        let of_table = |table: &'static str| {
            let same = keys.iter().filter(|(other, _)| *other == table);
            row_keys(table, &same.map(|(_, naming)| naming).collect::<Vec<_>>())
        };

        Self(tables.into_iter().flat_map(of_table).collect())
    }

    /// The rows of the plan with these values, which has that many items.
    pub(crate) fn of_plan(&self, bindings: &Bindings, items: usize) -> PlanRows {
        let row = |item: usize, key: &RowKey| {
            let mut bytes = Vec::with_capacity(48);
            bytes.extend_from_slice(key.table.as_bytes());
            for slot in &key.slots {
                bytes.push(0);
                write_ordered(&mut bytes, bindings.value(*slot, item));
            }
            bytes
        };
        let of_item = |item| self.0.iter().map(move |key| row(item, key));
        PlanRows((0..items).flat_map(of_item).collect())
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

/// The keys of one table's rows, by the columns that all of them bind. Rows that all are dealt by
/// the same columns need no key.
fn row_keys(table: &'static str, keys: &[&Naming]) -> Vec<RowKey> {
    let dealt_alike = |key: &&Naming| matches!(key, Naming::Dealt(_)) && keys.first() == Some(key);
    if keys.iter().all(dealt_alike) {
        return Vec::new();
    }

    let bound = |key: &Naming| match key {
        Naming::Bound(columns) => columns.clone(),
        Naming::Dealt(_) => Vec::new(),
    };
    let common = |column: &ColumnRef| {
        keys.iter().all(|key| bound(key).iter().any(|(other, _)| other == column))
    };

    let row_key = |key: &&Naming| {
        let mut columns = bound(key);
        columns.retain(|(column, _)| common(column));
        columns.sort_by_key(|(column, _)| column.name);
        RowKey { table, slots: columns.into_iter().map(|(_, slot)| slot).collect() }
    };
    keys.iter().map(row_key).collect()
}

/// The way in which that key names its row.
fn naming(plan: &Plan, key: &[(ColumnRef, Expr)]) -> Naming {
    let bound = |(column, expr): &(ColumnRef, Expr)| Some((*column, slot_of(plan, expr)?));
    dealt(plan, key).unwrap_or_else(|| Naming::Bound(key.iter().filter_map(bound).collect()))
}

/// The columns that hold the whole key of a picked row, if the key has them all.
fn dealt(plan: &Plan, key: &[(ColumnRef, Expr)]) -> Option<Naming> {
    let Selection { row, table, pairing: Pairing::UpTo { .. }, .. } = plan.selection.as_ref()?
    else {
        return None;
    };
    let holds = |part: &ColumnRef, expr: &Expr| {
        matches!(expr, Expr::Held(held, path)
            if held == row && path.keys.is_empty() && path.column == *part)
    };

    let column_of = |part: &ColumnRef| {
        key.iter().find_map(|(column, expr)| holds(part, expr).then_some(*column))
    };
    table.key.iter().map(column_of).collect::<Option<_>>().map(Naming::Dealt)
}

/// The slot that supplies the expression's value. A guarded or named row was found by its key, so a
/// key column of it has the value that the key gives.
fn slot_of(plan: &Plan, expr: &Expr) -> Option<usize> {
    let key_of = |row: &Name| match &plan.selection {
        Some(Selection { row: picked, pairing: Pairing::Named(key), .. }) if picked == row => {
            Some(key.as_slice())
        }
        Some(_) | None => {
            plan.guards.iter().find(|guard| guard.row == *row).map(|guard| guard.key.as_slice())
        }
    };
    let value = if let Expr::Held(row, path) = expr { bound(&key_of, row, path)? } else { expr };
    let Expr::Slot(_, slot) = value else { return None };
    Some(*slot)
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
    use ff_core::schema::execution::{attempt, exec_core};
    use ff_core::schema::flow::edge;
    use ff_core::schema::{Direction, TableRef};
    use sqlx::types::Uuid;

    use super::*;

    fn rows(plan: Plan) -> PlanRows {
        let (shape, bindings) = plan.into_shape();
        RowKeys::of(shape.plan()).of_plan(&bindings, 1)
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

    /// A plan that picks executions and changes rows by these keys.
    fn pick(pairing: Pairing, keys: Vec<(TableRef, Vec<(ColumnRef, Expr)>)>) -> Plan {
        let mut plan = Plan::new("pick");
        plan.selection = Some(Selection {
            row: "core".into(),
            table: exec_core::REF,
            predicate: exec_core::lane_id.equals("a".to_owned()),
            order: vec![(exec_core::execution_id.column(), Direction::Ascending)],
            pairing,
        });
        plan.mutations =
            keys.into_iter().map(|(table, key)| Mutation::delete(table, key)).collect();
        plan
    }

    fn one() -> Pairing {
        Pairing::UpTo { limit: Expr::int(1), rest: None }
    }

    fn picked_core() -> (TableRef, Vec<(ColumnRef, Expr)>) {
        let (partition, id) = (exec_core::partition_key, exec_core::execution_id);
        let key = vec![(partition.column(), partition.of("core")), (id.column(), id.of("core"))];
        (exec_core::REF, key)
    }

    fn share(plan: impl Fn() -> Plan) -> bool {
        let mut taken = HashSet::new();
        assert!(rows(plan()).claim(&mut taken));
        rows(plan()).claim(&mut taken)
    }

    #[test]
    fn picked_rows_are_dealt_so_plans_that_pick_share_a_statement() {
        assert!(share(|| pick(one(), vec![picked_core()])));

        let attempt_key = || {
            let [partition, id] = [attempt::partition_key.column(), attempt::execution_id.column()];
            let (_, core) = picked_core();
            let mut key: Vec<_> =
                [partition, id].into_iter().zip(core.into_iter().map(|(_, expr)| expr)).collect();
            let index = exec_core::attempt_index.of("core");
            key.push((attempt::attempt_index.column(), index));
            (attempt::REF, key)
        };
        assert!(share(|| pick(one(), vec![picked_core(), attempt_key()])));
    }

    #[test]
    fn plans_that_pick_every_row_pick_the_same_ones() {
        assert!(!share(|| pick(Pairing::Every, vec![picked_core()])));
    }

    #[test]
    fn a_part_of_a_picked_key_is_not_enough() {
        let of_partition = || {
            let (table, mut key) = picked_core();
            key.truncate(1);
            (table, key)
        };
        assert!(!share(|| pick(one(), vec![of_partition()])));
    }

    #[test]
    fn a_named_row_may_be_one_that_another_plan_picks() {
        let named = || {
            let key = vec![
                (exec_core::partition_key.column(), 1_i16.into_expr()),
                (exec_core::execution_id.column(), Uuid::nil().into_expr()),
            ];
            (exec_core::REF, key)
        };
        assert!(!share(|| pick(one(), vec![picked_core(), named()])));
    }

    #[test]
    fn rows_that_are_dealt_by_different_columns_may_be_the_same() {
        let by = |column: ColumnRef| {
            let key = vec![
                (edge::partition_key.column(), exec_core::partition_key.of("core")),
                (column, exec_core::execution_id.of("core")),
            ];
            (edge::REF, key)
        };
        let (up, down) = (edge::upstream_eid.column(), edge::downstream_eid.column());
        assert!(share(|| pick(one(), vec![by(up), by(up)])));
        assert!(!share(|| pick(one(), vec![by(up), by(down)])));
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
