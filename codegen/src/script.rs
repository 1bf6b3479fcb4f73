//! A plan as statements for one transaction: guards and picks first, then the writes.
//!
//! For a database with one writer at a time. The executor holds the rows that guards and picks
//! find, and binds their values to the later statements.

mod pick;

use ff_core::plan::key::bound;
use ff_core::plan::value::ColumnType;
use ff_core::plan::{Expr as Scalar, Guard, Mutation, Name, OnConflict, Path, Plan, Return, Shape};
use ff_core::schema::{ColumnRef, Default as Absent, TableRef};
use sea_query::{
    Alias, Condition, Expr, ExprTrait, InsertStatement, Query, SelectStatement, UpdateStatement,
};

use crate::clauses::{
    add_on_conflict, held_value, is_first, is_gate, prevented, returning, unprevented,
};
use crate::dialect::{Dialect, ITEM, RowLock};
use crate::scalar::{Operands, Scalars};
use crate::statement::{Bind, BindSource, RenderError, Script, ScriptStep, Statement};
use crate::writer::{Tree, inserted_columns, placeholder};
use crate::{audit, reads};

/// Renders the shape as a script.
///
/// # Errors
/// [`RenderError::Audit`] for a shape that breaks a rule every statement must keep.
pub fn script(dialect: &dyn Dialect, shape: &Shape) -> Result<Script, RenderError> {
    let plan = shape.plan();
    audit::plan(plan)?;

    let mut once = Vec::new();
    let mut each = Vec::new();
    for row in &plan.guards {
        once.push(guard(dialect, plan, row)?);
    }
    if let Some(selection) = &plan.selection {
        once.push(pick::pick(dialect, plan, selection)?);
    }

    for mutation in &plan.mutations {
        let steps = if plan.per_picked_row(mutation) { &mut each } else { &mut once };
        steps.extend(write(dialect, plan, mutation)?);
    }

    let returns = plan.returns.iter().map(|item| match item {
        Return::Held(row, path) => {
            Bind { source: BindSource::Held(row.clone(), path.clone()), ty: path.ty() }
        }
        Return::Written(column) => {
            let source = BindSource::Held(column.table.into(), Path::column(*column));
            Bind { source, ty: column.ty }
        }
    });

    let asks = !plan.unless.is_empty() && !plan.picks_up_to();
    let prevents = asks.then(|| prevents(dialect, plan));
    Ok(Script { once, each, returns: returns.collect(), prevents })
}

/// Collects the parameters of one statement, in placeholder order.
struct Binds<'a> {
    dialect: &'a dyn Dialect,
    plan: &'a Plan,
    binds: Vec<Bind>,
}

impl Binds<'_> {
    fn bind(&mut self, source: BindSource, ty: ColumnType) -> Expr {
        self.binds.push(Bind { source, ty });
        self.dialect.typed(placeholder(self.binds.len()), ty)
    }
}

impl Operands for Binds<'_> {
    fn slot(&mut self, slot: usize, _: ColumnType, ty: ColumnType) -> Expr {
        self.bind(BindSource::Slot(slot), ty)
    }

    fn held(&mut self, row: &Name, path: &Path, ty: ColumnType) -> Expr {
        let source = match key_slot(self.plan, row, path) {
            Some(slot) => BindSource::Slot(slot),
            None => BindSource::Held(row.clone(), path.clone()),
        };
        self.bind(source, ty)
    }

    fn picked_count(&mut self) -> Expr {
        self.bind(BindSource::PickedCount, ColumnType::BigInt)
    }

    fn picked_sum(&mut self, column: ColumnRef) -> Expr {
        self.bind(BindSource::PickedSum(Path::column(column)), ColumnType::BigInt)
    }
}

/// The slot that the key column of a guarded row equals, if the plan binds one. A later step can
/// then bind the slot without waiting for the guard.
fn key_slot(plan: &Plan, row: &Name, path: &Path) -> Option<usize> {
    let guard = |row: &Name| plan.guards.iter().find(|guard| guard.row == *row);
    let key_of = |row: &Name| guard(row).map(|guard| guard.key.as_slice());
    let Scalar::Slot(_, slot) = bound(&key_of, row, path)? else { return None };
    Some(*slot)
}

fn prevents(dialect: &dyn Dialect, plan: &Plan) -> ScriptStep {
    let mut operands = Binds { dialect, plan, binds: Vec::new() };
    let mut select = Query::select();
    select.expr(Expr::cust("1")).cond_where(prevented(dialect, &mut operands, plan));
    let statement = Statement::new(dialect, &Tree::Select(select), operands.binds, Vec::new());
    ScriptStep::Guard { row: "prevents".into(), statement, holds: Vec::new() }
}

fn guard(dialect: &dyn Dialect, plan: &Plan, guard: &Guard) -> Result<ScriptStep, RenderError> {
    let mut operands = Binds { dialect, plan, binds: Vec::new() };
    let mut scalars = Scalars { dialect, operands: &mut operands, subject: None };
    let mut select = Query::select();
    select.from(guard.table.name);
    select.cond_where(scalars.has_key(&guard.key));
    select.cond_where(scalars.predicate(&guard.holds));
    if is_first(plan, guard) {
        select.cond_where(unprevented(dialect, &mut operands, plan));
    }

    let holds = reads::reads_of(plan, &guard.row);
    let yields = select_held(dialect, &mut select, &holds);
    dialect.lock_rows(&mut select, RowLock::Wait)?;

    let statement = Statement::new(dialect, &Tree::Select(select), operands.binds, yields);
    Ok(ScriptStep::Guard { row: guard.row.clone(), statement, holds })
}

/// Selects the values of the found rows that later steps read.
fn select_held(
    dialect: &dyn Dialect,
    select: &mut SelectStatement,
    paths: &[Path],
) -> Vec<ColumnType> {
    // A select needs at least one column.
    if paths.is_empty() {
        select.expr(Expr::cust("1"));
    }

    for path in paths {
        select.expr(held_value(dialect, path.column.table, path));
    }
    paths.iter().map(Path::ty).collect()
}

fn write(
    dialect: &dyn Dialect,
    plan: &Plan,
    mutation: &Mutation,
) -> Result<Vec<ScriptStep>, RenderError> {
    let returned = reads::returned_columns(plan, mutation);
    let kind = reads::write_kind(mutation);
    if let Mutation::Update { table, target, .. } = mutation
        && !dialect.returns_from(kind)
        && !returned.is_empty()
    {
        let write = write_returning(dialect, plan, mutation, &[])?;
        return Ok(vec![write, read_back(dialect, plan, *table, target, &returned)]);
    }
    Ok(vec![write_returning(dialect, plan, mutation, &returned)?])
}

/// Reads the columns of rows that an update has written, where the update cannot return them.
fn read_back(
    dialect: &dyn Dialect,
    plan: &Plan,
    table: TableRef,
    target: &[(ColumnRef, Scalar)],
    returned: &[ColumnRef],
) -> ScriptStep {
    let mut operands = Binds { dialect, plan, binds: Vec::new() };
    let mut scalars = Scalars { dialect, operands: &mut operands, subject: None };
    let mut select = Query::select();
    select.from(table.name).cond_where(scalars.has_key(target));

    let holds: Vec<Path> = returned.iter().map(|column| Path::column(*column)).collect();
    let yields = select_held(dialect, &mut select, &holds);
    let statement = Statement::new(dialect, &Tree::Select(select), operands.binds, yields);
    ScriptStep::Write { statement, must_write: false, holds }
}

fn write_returning(
    dialect: &dyn Dialect,
    plan: &Plan,
    mutation: &Mutation,
    returned: &[ColumnRef],
) -> Result<ScriptStep, RenderError> {
    let mut operands = Binds { dialect, plan, binds: Vec::new() };
    let returning = returning(dialect, reads::write_kind(mutation), returned)?;
    let mut must_write = false;
    let mut scalars = Scalars { dialect, operands: &mut operands, subject: None };

    let tree = match mutation {
        Mutation::Insert { table, row, on_conflict } => {
            let (columns, values) = inserted(&mut scalars, *table, row);
            let unprevented = (is_gate(plan, mutation) && !plan.unless.is_empty())
                .then(|| unprevented(dialect, scalars.operands, plan));
            let mut insert = insert_one(columns, values, unprevented)
                .map_err(|error| unsupported(dialect, &error))?;
            insert.into_table(table.name);

            // The executor checks that a refusing insert wrote a row.
            must_write = *on_conflict == OnConflict::Refuse;
            if must_write {
                dialect.refuse_existing(&mut insert, table.key)?;
            } else {
                add_on_conflict(dialect, &mut insert, *table, on_conflict)?;
            }
            returning.map(|columns| insert.returning(columns));
            Tree::Insert(insert)
        }
        Mutation::InsertEach { table, items, row, on_conflict } => {
            let mut insert = insert_each(&mut scalars, *table, items, row)?;
            add_on_conflict(dialect, &mut insert, *table, on_conflict)?;
            Tree::Insert(insert)
        }
        Mutation::Update { table, target, set } => {
            let mut update = UpdateStatement::new();
            update.table(table.name);
            for (column, assign) in set {
                update.value(column.name, scalars.assign(*column, assign));
            }

            for (column, expr) in target {
                update.and_where(Expr::col(column.name).eq(scalars.expr(expr, column.ty)));
            }
            returning.map(|columns| update.returning(columns));
            Tree::Update(update)
        }
        Mutation::Delete { table, target } => {
            let mut delete = Query::delete();
            delete.from_table(table.name);
            for (column, expr) in target {
                delete.and_where(Expr::col(column.name).eq(scalars.expr(expr, column.ty)));
            }
            returning.map(|columns| delete.returning(columns));
            Tree::Delete(delete)
        }
    };

    let holds = returned.iter().map(|column| Path::column(*column)).collect();
    let yields = returned.iter().map(|column| column.ty).collect();
    let statement = Statement::new(dialect, &tree, operands.binds, yields);
    Ok(ScriptStep::Write { statement, must_write, holds })
}

/// The column of the number of an event's transaction, and the number that the insert gives, where
/// neither the row nor the column's default does. It goes first, as the column is: it is evaluated
/// before the event takes its own number.
fn event_stamp(
    dialect: &dyn Dialect,
    table: TableRef,
    row: &[(ColumnRef, Scalar)],
) -> Option<(Alias, Expr)> {
    let mut columns = table.columns.iter();
    let column = columns.find(|column| matches!(column.default, Absent::Transaction))?;
    let is_given = row.iter().any(|(given, _)| given.name == column.name);
    let stamp = dialect.event_stamp().filter(|_| !is_given)?;
    Some((Alias::new(column.name), stamp))
}

/// The columns that an insert names, and their values.
fn inserted(
    scalars: &mut Scalars<'_, impl Operands>,
    table: TableRef,
    row: &[(ColumnRef, Scalar)],
) -> (Vec<Alias>, Vec<Expr>) {
    let dialect = scalars.dialect;
    let mut columns = inserted_columns(dialect, row);
    let given = row.iter().map(|(column, expr)| scalars.expr(expr, column.ty));
    let mut values: Vec<Expr> = given.collect();
    if let Some((column, stamp)) = event_stamp(dialect, table, row) {
        columns.insert(0, column);
        values.insert(0, stamp);
    }
    (columns, values)
}

/// The insert of one row for each element of a list.
fn insert_each(
    scalars: &mut Scalars<'_, impl Operands>,
    table: TableRef,
    items: &Scalar,
    row: &[(ColumnRef, Scalar)],
) -> Result<InsertStatement, RenderError> {
    let dialect = scalars.dialect;
    let (columns, values) = inserted(scalars, table, row);
    let list = dialect.items(scalars.expr(items, ColumnType::Bytes));
    // Without a condition, SQLite would parse ON CONFLICT as the ON of a join.
    let mut select = Query::select();
    select.exprs(values).from_function(list, ITEM).and_where(Expr::cust("TRUE"));

    let mut insert = InsertStatement::new();
    insert.into_table(table.name).columns(columns);
    insert.select_from(select).map_err(|error| unsupported(dialect, &error))?;
    Ok(insert)
}

/// The insert of one row, under a condition if there is one.
fn insert_one(
    columns: Vec<Alias>,
    values: Vec<Expr>,
    condition: Option<Condition>,
) -> Result<InsertStatement, sea_query::error::Error> {
    let mut insert = InsertStatement::new();
    insert.columns(columns);
    match condition {
        None => insert.values(values)?,
        Some(condition) => {
            let mut one = Query::select();
            one.exprs(values).cond_where(condition);
            insert.select_from(one)?
        }
    };
    Ok(insert)
}

fn unsupported(dialect: &dyn Dialect, error: &impl ToString) -> RenderError {
    RenderError::Unsupported { dialect: dialect.name(), what: error.to_string() }
}
