//! A plan as one data-modifying statement.
//!
//! ```text
//! input   the bound arrays, one row per item
//! guards  lock and check, each joined to the one before: an item is dropped where its guard fails
//! ok      the items (and picked rows) that passed all guards
//! w0..wn  one write per mutation, each reading only `ok`: nothing is written for a dropped item,
//!         and all guards are checked before the first write
//! ```
//! Every CTE is materialized: the database must not evaluate a locking select twice, nor pick more
//! rows than the limit.

use std::collections::BTreeMap;

use ff_core::plan::value::ColumnType;
use ff_core::plan::{
    Expr as Scalar, Guard, Mutation, Name, OnConflict, OnTaken, Pairing, Path, Plan, Return,
    Selection, Shape,
};
use ff_core::schema::{ColumnRef, Direction, TableRef};
use sea_query::{
    Alias, Asterisk, CommonTableExpression, Condition, Expr, ExprTrait, Func, InsertStatement,
    IntoIden, JoinType, OnConflict as Conflict, Order, Query, SelectStatement, SubQueryStatement,
    UpdateStatement, WindowStatement, WithClause,
};

use crate::audit;
use crate::dialect::{self, Dialect, ITEM, RowLock};
use crate::lists::ByList;
use crate::names;
use crate::scalar::{Scalars, Scope};
use crate::statement::{Arity, Fused, Param, RenderError};
use crate::writer::{Tree, limit_by, placeholder};

/// Renders the shape as one statement.
///
/// # Errors
/// [`RenderError::Audit`] for a shape that breaks a rule every statement must keep,
/// [`RenderError::Unsupported`] where the dialect has no fused form.
pub fn fused(dialect: &dyn Dialect, shape: &Shape) -> Result<Fused, RenderError> {
    render(dialect, shape, RowLock::Wait)
}

/// Renders the same statement without waits for locked rows. An item is dropped if another
/// transaction holds its guarded row, and the result does not distinguish that from a failed guard.
///
/// # Errors
/// As [`fused`].
pub fn fused_beside_locks(dialect: &dyn Dialect, shape: &Shape) -> Result<Fused, RenderError> {
    render(dialect, shape, RowLock::SkipLocked)
}

fn render(dialect: &dyn Dialect, shape: &Shape, guards: RowLock) -> Result<Fused, RenderError> {
    audit::plan(shape.plan())?;
    let plan = shape.plan();
    let params = params(shape);
    let mut render = Renderer { dialect, plan, params: &params, guards, with: WithClause::new() };

    render.input()?;
    let ok = render.ok()?;
    let items = render.selected(&ok)?;

    for (index, mutation) in plan.mutations.iter().enumerate() {
        if index == 0 && plan.gate().is_some() {
            continue;
        }
        let source = if plan.per_picked_row(mutation) { &items } else { &ok };
        render.write(index, mutation, source)?;
    }

    let (select, yields, presence) = render.report(&ok, &items)?;
    let sql = dialect::text(dialect, &Tree::With(render.with.query(select)));
    Ok(Fused { sql, params, yields, presence })
}

fn params(shape: &Shape) -> Vec<Param> {
    let once = shape.plan().selection.as_ref().map(once_slots).unwrap_or_default();
    let types = shape.slot_types().iter().copied().enumerate();
    types
        .map(|(slot, ty)| {
            let arity = if once.contains(&slot) { Arity::Once } else { Arity::Each };
            Param { slot, ty, arity }
        })
        .collect()
}

/// The slots that a selection of up to n rows uses. They hold for the statement, not for one item.
fn once_slots(selection: &Selection) -> Vec<usize> {
    let Pairing::UpTo(limit) = &selection.pairing else {
        return Vec::new();
    };

    let mut slots = Vec::new();
    let mut collect = |expr: &Scalar| {
        if let Scalar::Slot(_, slot) = expr {
            slots.push(*slot);
        }
    };

    selection.predicate.visit(&mut collect);
    collect(limit);
    slots
}

struct Renderer<'a> {
    dialect: &'a dyn Dialect,
    plan: &'a Plan,
    params: &'a [Param],
    /// The treatment of a guarded row that another transaction holds.
    guards: RowLock,
    with: WithClause,
}

/// A scope that reads every value and held column from one CTE.
struct Columns<'a> {
    dialect: &'a dyn Dialect,
    params: &'a [Param],
    source: &'static str,
}

impl Scope for Columns<'_> {
    fn slot(&mut self, slot: usize, own: ColumnType, ty: ColumnType) -> Expr {
        let value = match self.params.get(slot).map(|param| param.arity) {
            Some(Arity::Once) => self.dialect.typed(placeholder(slot + 1), own),
            Some(Arity::Each) | None => Expr::col((self.source, names::slot(slot))),
        };

        self.dialect.stored_as(value, own, ty)
    }

    fn held(&mut self, row: &Name, path: &Path, ty: ColumnType) -> Expr {
        let column = Expr::col((self.source, names::held(row, path)));
        self.dialect.stored_as(column, path.ty(), ty)
    }

    fn picked_count(&mut self) -> Expr {
        // Of this item only: other items may have picked rows in the same statement.
        let mut count = Query::select();
        count
            .expr(Func::count(Expr::col(Asterisk)))
            .from_as("picked", "p")
            .and_where(Expr::col(("p", "ord")).eq(Expr::col((self.source, "ord"))));
        let query = SubQueryStatement::SelectStatement(count);
        Expr::SubQuery(None, Box::new(query))
    }
}

/// The CTE of the lists that rows are picked by, where they are picked list by list.
const LISTS: &str = "lists";

/// The alias of the CTE that an item's values are read from.
const SOURCE: &str = "s";

impl Renderer<'_> {
    fn scope(&self) -> Columns<'_> {
        Columns { dialect: self.dialect, params: self.params, source: SOURCE }
    }

    fn cte(&mut self, name: &str, query: impl Into<SubQueryStatement>) {
        let mut cte = CommonTableExpression::new();
        match query.into() {
            SubQueryStatement::SelectStatement(select) => cte.query(select).materialized(true),
            SubQueryStatement::InsertStatement(insert) => cte.query(insert),
            SubQueryStatement::UpdateStatement(update) => cte.query(update),
            SubQueryStatement::DeleteStatement(delete) => cte.query(delete),
            SubQueryStatement::WithStatement(with) => cte.query(with).materialized(true),
        };

        cte.table_name(Alias::new(name));
        self.with.cte(cte);
    }

    /// `input`: the arrays, unnested in step.
    fn input(&mut self) -> Result<(), RenderError> {
        let mut arrays = Query::select();
        let mut first = None;
        for param in self.params.iter().filter(|param| param.arity == Arity::Each) {
            let travels = self.dialect.array_type(param.ty)?;
            let array = placeholder(param.slot + 1).cast_as(travels.array);
            first.get_or_insert_with(|| array.clone());
            let mut element: Expr = Func::cust("unnest").arg(array).into();
            if let Some(ty) = travels.element {
                element = element.cast_as(ty);
            }
            arrays.expr_as(element, names::slot(param.slot));
        }

        let Some(first) = first else {
            return Err(RenderError::Audit {
                plan: self.plan.name.to_string(),
                rule: "a fused plan binds at least one value per item".into(),
            });
        };
        arrays.expr_as(Func::cust("generate_subscripts").arg(first).arg(Expr::cust("1")), "ord");

        let mut input = Query::select();
        input.column(Asterisk).from_subquery(arrays, "a").and_where(few("a"));
        self.cte("input", input);
        Ok(())
    }

    /// The CTE of items that passed all guards; for a gated plan, of those that its first insert
    /// inserted.
    fn ok(&mut self) -> Result<String, RenderError> {
        if let Some(gate) = self.plan.gate() {
            return self.gate(gate);
        }

        let mut source = String::from("input");
        for guard in &self.plan.guards {
            let name = format!("g_{}", guard.row);
            let select = self.guard(guard, &source)?;
            self.cte(&name, select);
            source = name;
        }

        Ok(source)
    }

    fn guard(&self, guard: &Guard, source: &str) -> Result<SelectStatement, RenderError> {
        let mut scope = self.scope();
        let mut scalars =
            Scalars { dialect: self.dialect, scope: &mut scope, subject: Some(&guard.row) };

        let mut found = Query::select();
        let holds = audit::reads_of(self.plan, &guard.row);
        found.from_as(guard.table.name, Alias::new(guard.row.to_string()));
        for (column, expr) in &guard.key {
            let value = scalars.expr(expr, column.ty);
            found.and_where(scalars.column(*column).eq(value));
        }
        found.cond_where(scalars.predicate(&guard.holds));

        self.expose(&mut found, &guard.row, &holds);
        self.dialect.lock_rows(&mut found, self.guards)?;
        Ok(self.joined(source, found, &guard.row))
    }

    /// Names the paths of the found row that later steps read. A select needs at least one column.
    fn expose(&self, found: &mut SelectStatement, row: &Name, holds: &[Path]) {
        let mut nothing = Nothing;
        let scalars = Scalars { dialect: self.dialect, scope: &mut nothing, subject: Some(row) };
        if holds.is_empty() {
            found.expr_as(Expr::cust("1"), Alias::new(format!("{row}_found")));
        }

        for path in holds {
            let column = scalars.column(path.column);
            let read = if path.keys.is_empty() {
                column
            } else {
                self.dialect.json_text(column, &path.keys)
            };
            found.expr_as(read, names::held(row, path));
        }
    }

    fn joined(&self, source: &str, found: SelectStatement, row: &Name) -> SelectStatement {
        let row = Alias::new(row.to_string());
        let mut select = Query::select();
        select
            .column((SOURCE, Asterisk))
            .column((row.clone(), Asterisk))
            .from_as(Alias::new(source), SOURCE)
            .join_lateral(
                JoinType::InnerJoin,
                found,
                row,
                Condition::all().add(Expr::cust("TRUE")),
            );
        select
    }

    /// The first insert in place of a guard: an item with an existing row inserts nothing, and so
    /// is missing from `ok`.
    fn gate(&mut self, gate: &Mutation) -> Result<String, RenderError> {
        let table = gate.table();
        let mut insert = self.insert(gate, "input")?;
        insert.on_conflict(Conflict::new().do_nothing().to_owned());

        // The key joins an inserted row to its item, even if the plan reports nothing of it.
        let mut returning = audit::returned_columns(self.plan, gate);
        if returning.is_empty() {
            returning.extend(table.key);
        }
        insert.returning(Query::returning().columns(returning.iter().map(|column| column.name)));
        self.cte("gate", insert);

        let mut scope = self.scope();
        let mut scalars =
            Scalars { dialect: self.dialect, scope: &mut scope, subject: Some("gate") };
        let mut same = Condition::all();
        for (column, expr) in audit::key_of(self.plan, gate)? {
            let value = scalars.expr(&expr, column.ty);
            same = same.add(scalars.column(column).eq(value));
        }

        let mut ok = Query::select();
        ok.column((SOURCE, Asterisk)).from_as("input", SOURCE).join(
            JoinType::InnerJoin,
            "gate",
            same,
        );
        self.cte("ok", ok);
        Ok("ok".into())
    }

    /// The CTE of picked rows with the values of their items; `ok` itself if the plan picks none.
    fn selected(&mut self, ok: &str) -> Result<String, RenderError> {
        let Some(selection) = &self.plan.selection else {
            return Ok(ok.to_owned());
        };
        let mut scope = self.scope();
        let mut scalars =
            Scalars { dialect: self.dialect, scope: &mut scope, subject: Some(&selection.row) };

        let mut found = Query::select();
        found.from_as(selection.table.name, Alias::new(selection.row.to_string()));
        found.cond_where(scalars.predicate(&selection.predicate));
        for (column, direction) in &selection.order {
            found.order_by_expr(scalars.column(*column), order(*direction));
        }

        let holds = audit::picked_reads(self.plan, selection);
        self.expose(&mut found, &selection.row, &holds);

        match &selection.pairing {
            Pairing::Every => {
                self.dialect.lock_rows(&mut found, RowLock::Wait)?;
                let mut picked = self.joined(ok, found, &selection.row);
                picked.and_where(few(SOURCE));
                self.cte("picked", picked);
            }
            Pairing::UpTo(limit) => {
                let Scalar::Slot(_, slot) = limit else {
                    return Err(RenderError::Audit {
                        plan: self.plan.name.to_string(),
                        rule: "the number of slots is a bound value".into(),
                    });
                };
                limit_by(&mut found, slot + 1);
                self.dialect.lock_rows(&mut found, RowLock::SkipLocked)?;
                if let Some(by_list) = ByList::of(selection.table, &selection.predicate) {
                    let known = by_list.known(self.dialect, &mut scope);
                    let mut each = Query::select();
                    each.column((Alias::new(selection.row.to_string()), Asterisk));
                    by_list.each(self.dialect, &mut each, LISTS, found, &selection.row);
                    self.cte(LISTS, known.query(ByList::covered_keys()));
                    self.cte("found", each);
                } else {
                    self.cte("found", found);
                }
                self.pair_with_slots(selection, ok);
            }
        }

        Ok("picked".into())
    }

    fn pair_with_slots(&mut self, selection: &Selection, ok: &str) {
        let mut best_first = WindowStatement::new();
        for (column, direction) in &selection.order {
            let name = names::held(&selection.row, &Path::column(*column));
            best_first.order_by_expr(Expr::col(("found", name)), order(*direction));
        }

        let mut numbered = Query::select();
        numbered.column(("found", Asterisk)).from("found");
        numbered.expr_window_as(Func::cust("row_number"), best_first, "slot");
        self.cte("numbered", numbered);

        let mut picked = Query::select();
        picked
            .column((SOURCE, Asterisk))
            .column(("n", Asterisk))
            .from_as(Alias::new(ok), SOURCE)
            .join_as(
                JoinType::InnerJoin,
                "numbered",
                "n",
                Expr::col(("n", "slot")).eq(Expr::col((SOURCE, "ord"))),
            );
        self.cte("picked", picked);
    }

    fn write(
        &mut self,
        index: usize,
        mutation: &Mutation,
        source: &str,
    ) -> Result<(), RenderError> {
        let name = self.write_name(index);
        let returning = audit::returned_columns(self.plan, mutation);
        let returning = (!returning.is_empty())
            .then(|| Query::returning().columns(returning.iter().map(|column| column.name)));

        match mutation {
            Mutation::Insert { table, on_conflict, .. }
            | Mutation::InsertEach { table, on_conflict, .. } => {
                let mut insert = self.insert(mutation, source)?;
                meet(&mut insert, *table, on_conflict);
                returning.map(|columns| insert.returning(columns));
                self.cte(&name, insert);
            }
            Mutation::Update { table, target, set } => {
                let mut scope = self.scope();
                let mut scalars =
                    Scalars { dialect: self.dialect, scope: &mut scope, subject: Some("t") };
                let mut update = UpdateStatement::new();
                update
                    .table((Alias::new(table.name), "t").into_aliased())
                    .from((Alias::new(source), SOURCE).into_aliased());

                for (column, assign) in set {
                    update.value(column.name, scalars.assign(*column, assign));
                }
                for (column, expr) in target {
                    let value = scalars.expr(expr, column.ty);
                    update.and_where(scalars.column(*column).eq(value));
                }

                returning.map(|columns| update.returning(columns));
                self.cte(&name, update);
            }
            Mutation::Delete { table, target } => {
                let mut scope = self.scope();
                let mut scalars =
                    Scalars { dialect: self.dialect, scope: &mut scope, subject: Some(table.name) };
                let mut rows = Query::select();
                rows.expr(Expr::cust("1")).from_as(Alias::new(source), SOURCE);
                for (column, expr) in target {
                    let value = scalars.expr(expr, column.ty);
                    rows.and_where(scalars.column(*column).eq(value));
                }

                let mut delete = Query::delete();
                delete.from_table(table.name).and_where(Expr::exists(rows));
                returning.map(|columns| delete.returning(columns));
                self.cte(&name, delete);
            }
        }
        Ok(())
    }

    fn insert(&self, mutation: &Mutation, source: &str) -> Result<InsertStatement, RenderError> {
        let (table, row, items) = match mutation {
            Mutation::Insert { table, row, .. } => (table, row, None),
            Mutation::InsertEach { table, row, items, .. } => (table, row, Some(items)),
            Mutation::Update { .. } | Mutation::Delete { .. } => {
                return Err(RenderError::Audit {
                    plan: self.plan.name.to_string(),
                    rule: "only an insert inserts".into(),
                });
            }
        };

        let mut scope = self.scope();
        let mut scalars = Scalars { dialect: self.dialect, scope: &mut scope, subject: None };
        let mut values = Query::select();
        for (column, expr) in row {
            values.expr(scalars.expr(expr, column.ty));
        }
        values.from_as(Alias::new(source), SOURCE);

        if let Some(items) = items {
            let list = self.dialect.items(scalars.expr(items, ColumnType::Bytes));
            values.from_function(list, ITEM);
        }

        let mut insert = InsertStatement::new();
        insert.into_table(table.name).columns(row.iter().map(|(column, _)| column.name));
        insert.select_from(values).map_err(|error| RenderError::Unsupported {
            dialect: self.dialect.name(),
            what: error.to_string(),
        })?;
        Ok(insert)
    }

    /// The final select: one row per applied item, ordinal first.
    fn report(
        &self,
        ok: &str,
        items: &str,
    ) -> Result<(SelectStatement, Vec<ColumnType>, bool), RenderError> {
        let every = matches!(self.plan.selection, Some(Selection { pairing: Pairing::Every, .. }));
        let mut select = Query::select();
        let mut yields = Vec::new();

        if every {
            // An item that picked nothing has still applied, so it is reported.
            select.column(("o", "ord")).from_as(Alias::new(ok), "o").join_as(
                JoinType::LeftJoin,
                Alias::new(items),
                SOURCE,
                Expr::col((SOURCE, "ord")).eq(Expr::col(("o", "ord"))),
            );
            select.column((SOURCE, "ord"));
            yields.push(ColumnType::Int);
        } else {
            select.column((SOURCE, "ord")).from_as(Alias::new(items), SOURCE);
        }

        let mut joins: BTreeMap<usize, &Mutation> = BTreeMap::new();
        for item in &self.plan.returns {
            match item {
                Return::Held(row, path) => {
                    select.column((SOURCE, names::held(row, path)));
                    yields.push(path.ty());
                }
                Return::Written(column) => {
                    let (index, mutation) = audit::writer_of(self.plan, *column)?;
                    joins.insert(index, mutation);
                    select.column((Alias::new(self.write_name(index)), column.name));
                    yields.push(column.ty);
                }
            }
        }

        for (index, mutation) in joins {
            let name = self.write_name(index);
            let mut scope = self.scope();
            let mut scalars =
                Scalars { dialect: self.dialect, scope: &mut scope, subject: Some(&name) };
            let mut same = Condition::all();
            for (column, expr) in audit::key_of(self.plan, mutation)? {
                let value = scalars.expr(&expr, column.ty);
                same = same.add(scalars.column(column).eq(value));
            }
            // A left join: an item that wrote or picked nothing has still applied.
            select.join(JoinType::LeftJoin, Alias::new(&name), same);
        }

        if let Some(Selection { pairing: Pairing::Every, row, order: best_first, .. }) =
            &self.plan.selection
        {
            for (column, direction) in best_first {
                let name = names::held(row, &Path::column(*column));
                select.order_by((SOURCE, name), order(*direction));
            }
        }

        Ok((select, yields, every))
    }

    /// The CTE of the n-th mutation.
    fn write_name(&self, index: usize) -> String {
        if index == 0 && self.plan.gate().is_some() { "gate".into() } else { format!("w{index}") }
    }
}

/// A scope without values, for reading columns of the subject row only.
struct Nothing;

impl Scope for Nothing {
    fn slot(&mut self, _: usize, _: ColumnType, _: ColumnType) -> Expr {
        Expr::null()
    }
    fn held(&mut self, _: &Name, _: &Path, _: ColumnType) -> Expr {
        Expr::null()
    }
    fn picked_count(&mut self) -> Expr {
        Expr::null()
    }
}

/// `ord = abs(ord)`, which keeps every row. The planner estimates that such a condition leaves few
/// rows, so it looks up other tables by key even where they have no statistics.
fn few(rows: &'static str) -> Expr {
    Expr::col((rows, "ord")).eq(Func::cust("abs").arg(Expr::col((rows, "ord"))))
}

pub(crate) fn order(direction: Direction) -> Order {
    match direction {
        Direction::Ascending => Order::Asc,
        Direction::Descending => Order::Desc,
    }
}

/// Adds the treatment of existing rows. A refusing insert has no clause: the unique violation
/// refuses the plan.
pub(crate) fn meet(insert: &mut InsertStatement, table: TableRef, on_conflict: &OnConflict) {
    match on_conflict {
        OnConflict::Refuse => {}
        OnConflict::Ignore => {
            insert.on_conflict(Conflict::new().do_nothing().to_owned());
        }
        OnConflict::Update(set) => {
            insert.on_conflict(settle(table.name, table.key, set));
        }
    }
}

/// `ON CONFLICT (key) DO UPDATE`.
fn settle(table: &'static str, key: &[ColumnRef], set: &[(ColumnRef, OnTaken)]) -> Conflict {
    let mut conflict = Conflict::columns(key.iter().map(|column| column.name));
    for (column, settle) in set {
        let inserted = Expr::col(("excluded", column.name));
        let value = match settle {
            OnTaken::Overwrite => inserted,
            OnTaken::Add => Expr::col((table, column.name)).add(inserted),
            OnTaken::Clear => Expr::null(),
        };
        conflict.value(column.name, value);
    }
    conflict
}

/// A table reference under an alias, for calls that take no separate alias argument.
trait IntoAliased {
    fn into_aliased(self) -> sea_query::TableRef;
}

impl IntoAliased for (Alias, &'static str) {
    fn into_aliased(self) -> sea_query::TableRef {
        use sea_query::IntoTableRef;
        self.0.into_iden().into_table_ref().alias(self.1)
    }
}
