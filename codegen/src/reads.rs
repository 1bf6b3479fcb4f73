//! The values that a plan reads from the rows that it finds and writes.

use ff_core::plan::{Expr, Mutation, Path, Plan, Return, Selection};
use ff_core::schema::ColumnRef;

use crate::dialect::WriteKind;
use crate::statement::RenderError;

/// The paths of a held row that the plan reads, each once, in first-read order.
pub(crate) fn reads_of(plan: &Plan, row: &str) -> Vec<Path> {
    let mut paths = Vec::new();
    let mut add = |path: &Path| {
        if !paths.contains(path) {
            paths.push(path.clone());
        }
    };

    plan.visit(&mut |expr| {
        if let Expr::Held(held, path) = expr
            && held == row
        {
            add(path);
        }
    });

    for item in &plan.returns {
        if let Return::Held(held, path) = item
            && held == row
        {
            add(path);
        }
    }

    paths
}

/// The paths of a picked row that the plan reads, the columns of its orders and those that it sums.
pub(crate) fn picked_reads(plan: &Plan, selection: &Selection) -> Vec<Path> {
    let mut paths = reads_of(plan, &selection.row);

    let mut columns: Vec<ColumnRef> = selection.orders().flatten().map(|(one, _)| *one).collect();
    plan.visit(&mut |expr| {
        if let Expr::PickedSum(column) = expr {
            columns.push(*column);
        }
    });
    for path in columns.into_iter().map(Path::column) {
        if !paths.contains(&path) {
            paths.push(path);
        }
    }

    paths
}

/// The kind of write that a mutation is.
pub(crate) fn write_kind(mutation: &Mutation) -> WriteKind {
    match mutation {
        Mutation::Insert { .. } | Mutation::InsertEach { .. } => WriteKind::Insert,
        Mutation::Update { .. } => WriteKind::Update,
        Mutation::Delete { .. } => WriteKind::Delete,
    }
}

/// The columns that a write returns: those that the plan reports, and the key.
pub(crate) fn returned_columns(plan: &Plan, mutation: &Mutation) -> Vec<ColumnRef> {
    let table = mutation.table();
    let mut columns: Vec<ColumnRef> = Vec::new();
    for item in &plan.returns {
        if let Return::Written(column) = item
            && column.table == table.name
        {
            columns.push(*column);
        }
    }

    if !columns.is_empty() {
        for key in table.key {
            if !columns.contains(key) {
                columns.push(*key);
            }
        }
    }

    columns
}

/// The mutation that writes the column's table, and its position.
pub(crate) fn writer_of(plan: &Plan, column: ColumnRef) -> Result<(usize, &Mutation), RenderError> {
    let mut writers = plan.mutations.iter().enumerate();
    writers.find(|(_, mutation)| mutation.table().name == column.table).ok_or_else(|| {
        RenderError::Audit {
            plan: plan.name.to_string(),
            rule: format!("{}.{} is returned but not written", column.table, column.name),
        }
    })
}

/// The primary key of the row that a mutation writes, column by column.
pub(crate) fn key_of(
    plan: &Plan,
    mutation: &Mutation,
) -> Result<Vec<(ColumnRef, Expr)>, RenderError> {
    let table = mutation.table();
    let given = match mutation {
        Mutation::Insert { row, .. } | Mutation::InsertEach { row, .. } => row,
        Mutation::Update { target, .. } | Mutation::Delete { target, .. } => target,
    };
    let found = |key: &ColumnRef| given.iter().find(|(column, _)| column == key).cloned();

    table.key.iter().map(found).collect::<Option<Vec<_>>>().ok_or_else(|| RenderError::Audit {
        plan: plan.name.to_string(),
        rule: format!("a result is read from {} without its full key", table.name),
    })
}
