//! A plan as one data-modifying statement.
//!
//! ```text
//! input   the bound arrays, one row per item
//! closed  the items that a row prevents, where the plan names such rows
//! guards  lock and check, each joined to the one before: an item is dropped where its guard fails
//! ok      the items (and picked rows) that passed all guards
//! w0..wn  one write per mutation, each reading only `ok`: nothing is written for a dropped item,
//!         and all guards are checked before the first write
//! ```
//! Every CTE is materialized: the database must not evaluate a locking select twice, nor pick more
//! rows than the limit.

mod join;
mod pick;
mod report;
mod write;

use ff_core::plan::value::ColumnType;
use ff_core::plan::{
    Compare, Expr as Scalar, Guard, Mutation, Name, Pairing, Path, Plan, Predicate, Selection,
    Shape,
};
use ff_core::schema::ColumnRef;
use sea_query::{
    Alias, Asterisk, CommonTableExpression, Condition, Expr, ExprTrait, Func, JoinType, Query,
    SelectStatement, SubQueryStatement, WithClause,
};

use self::join::are_joined;
use crate::clauses::{held_value, is_first, one_row_hint, prevented};
use crate::dialect::{Dialect, RowLock};
use crate::scalar::{Operands, Scalars};
use crate::statement::{Arity, Fused, Param, RenderError};
use crate::writer::{self, Tree, placeholder};
use crate::{audit, clauses, names, reads};

/// Renders the shape as one statement, with and without waits for locked rows.
///
/// # Errors
/// [`RenderError::Audit`] for a shape that breaks a rule every statement must keep,
/// [`RenderError::Unsupported`] where the dialect has no fused form.
pub fn fused(dialect: &dyn Dialect, shape: &Shape) -> Result<Fused, RenderError> {
    let waits = statement(dialect, shape, RowLock::Wait)?;
    let skips = statement(dialect, shape, RowLock::SkipLocked)?.sql;
    Ok(Fused { beside_locks: (skips != waits.sql).then_some(skips), ..waits })
}

fn statement(dialect: &dyn Dialect, shape: &Shape, guards: RowLock) -> Result<Fused, RenderError> {
    audit::plan(shape.plan())?;
    let plan = shape.plan();
    let params = params(shape);
    let mut render = Renderer { dialect, plan, params: &params, guards, with: WithClause::new() };

    render.input()?;
    render.closed();
    let ok = render.ok()?;
    let items = render.pick(&ok)?;

    for (index, mutation) in plan.mutations.iter().enumerate() {
        if index == 0 && plan.gate().is_some() {
            continue;
        }
        let source = if plan.per_picked_row(mutation) { &items } else { &ok };
        render.write(index, mutation, source)?;
    }

    let (select, yields, presence) = render.report(&ok, &items)?;
    let text = writer::text(dialect.grammar(), &Tree::With(render.with.query(select)));
    let (sql, params) = text.with_marks(dialect.placeholders(), params);
    Ok(Fused { sql, beside_locks: None, params, yields, presence })
}

fn params(shape: &Shape) -> Vec<Param> {
    let once = once_slots(shape.plan());
    let least = least_slots(shape.plan());
    let types = shape.slot_types().iter().copied().enumerate();
    types
        .map(|(slot, ty)| {
            let arity = match (once.contains(&slot), least.contains(&slot)) {
                (true, true) => Arity::Least,
                (true, false) => Arity::Once,
                (false, _) => Arity::Each,
            };
            Param { slot, ty, arity }
        })
        .collect()
}

/// The slots that decide which rows a selection of up to n rows picks, or whether it picks any.
/// They hold for the statement, not for one item.
fn once_slots(plan: &Plan) -> Vec<usize> {
    let Some(Selection { predicate, pairing, .. }) = &plan.selection else { return Vec::new() };

    let mut slots = Vec::new();
    let mut collect = |expr: &Scalar| {
        if let Scalar::Slot(_, slot) = expr {
            slots.push(*slot);
        }
    };

    match pairing {
        Pairing::UpTo { limit, rest } => {
            predicate.visit(&mut collect);
            collect(limit);
            if let Some(rest) = rest {
                rest.predicate.visit(&mut collect);
            }
        }
        Pairing::Named(_) => {}
        Pairing::Every => return slots,
    }
    plan.unless.iter().for_each(|row| row.visit(&mut collect));
    slots
}

/// The slots that bound picked rows from above, or the rows that prevent it from below: the smaller
/// the value, the fewer rows are picked.
fn least_slots(plan: &Plan) -> Vec<usize> {
    let mut slots = Vec::new();
    if let Some(Selection { predicate, pairing, .. }) = &plan.selection {
        add_bounds(&mut slots, predicate, Compare::AtMost);
        if let Pairing::UpTo { rest: Some(rest), .. } = pairing {
            add_bounds(&mut slots, &rest.predicate, Compare::AtMost);
        }
    }
    for row in &plan.unless {
        add_bounds(&mut slots, &row.holds, Compare::Above);
    }
    slots
}

/// Adds the integers that a predicate compares columns with in this way.
fn add_bounds(slots: &mut Vec<usize>, predicate: &Predicate, compare: Compare) {
    match predicate {
        Predicate::All(parts) | Predicate::Any(parts) | Predicate::AnyApart(parts) => {
            parts.iter().for_each(|part| add_bounds(slots, part, compare));
        }
        Predicate::Compare(_, found, Scalar::Slot(ColumnType::BigInt, slot))
            if *found == compare =>
        {
            slots.push(*slot);
        }
        Predicate::Always
        | Predicate::Compare(..)
        | Predicate::OneOf(..)
        | Predicate::NoneOf(..)
        | Predicate::Null(_)
        | Predicate::NotNull(_)
        | Predicate::EmptyList(_)
        | Predicate::FirstBelow(..)
        | Predicate::NoneBelow(..)
        | Predicate::EachList(_)
        | Predicate::Among(..)
        | Predicate::Contains(..)
        | Predicate::Covered(..)
        | Predicate::CoveredOrOpen(..)
        | Predicate::After(_) => {}
    }
}

struct Renderer<'a> {
    dialect: &'a dyn Dialect,
    plan: &'a Plan,
    params: &'a [Param],
    /// The treatment of a guarded row that another transaction holds.
    guards: RowLock,
    with: WithClause,
}

/// Operands that read every value and held column from one CTE.
struct Columns<'a> {
    dialect: &'a dyn Dialect,
    plan: &'a Plan,
    params: &'a [Param],
    source: &'static str,
}

impl Operands for Columns<'_> {
    fn slot(&mut self, slot: usize, own: ColumnType, ty: ColumnType) -> Expr {
        let value = match self.params.get(slot).map(|param| param.arity) {
            Some(Arity::Once | Arity::Least) => self.dialect.typed(placeholder(slot + 1), own),
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

    fn picked_sum(&mut self, column: ColumnRef) -> Expr {
        let Some(selection) = &self.plan.selection else { return Expr::value(0) };
        let name = names::held(&selection.row, &Path::column(column));
        let sum = Func::coalesce([Func::sum(Expr::col(("p", name))).into(), Expr::cust("0")]);
        let mut summed = Query::select();
        summed
            .expr(self.dialect.typed(sum.into(), ColumnType::BigInt))
            .from_as("picked", "p")
            .and_where(Expr::col(("p", "ord")).eq(Expr::col((self.source, "ord"))));
        Expr::SubQuery(None, Box::new(SubQueryStatement::SelectStatement(summed)))
    }
}

/// The CTE of the items that a row prevents.
const CLOSED: &str = "closed";

/// The alias of the CTE that an item's values are read from.
const SOURCE: &str = "s";

impl Renderer<'_> {
    fn operands(&self) -> Columns<'_> {
        Columns { dialect: self.dialect, plan: self.plan, params: self.params, source: SOURCE }
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
        input.column(Asterisk).from_subquery(arrays, "a").and_where(one_row_hint("a"));
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
        let mut operands = self.operands();
        let mut scalars =
            Scalars { dialect: self.dialect, operands: &mut operands, subject: Some(&guard.row) };

        let mut found = Query::select();
        let holds = reads::reads_of(self.plan, &guard.row);
        found.from_as(guard.table.name, Alias::new(guard.row.to_string()));
        found.cond_where(scalars.has_key(&guard.key));
        found.cond_where(scalars.predicate(&guard.holds));
        self.select_held(&mut found, &guard.row, &holds);
        self.dialect.lock_rows(&mut found, self.guards)?;
        let mut joined = self.joined(source, found, &guard.row);
        if is_first(self.plan, guard) {
            joined.and_where_option(self.is_open());
        }
        Ok(joined)
    }

    /// `closed`: the items that a row prevents, if the plan names such rows and picks none.
    fn closed(&mut self) {
        if self.plan.unless.is_empty() || self.plan.picks_up_to() {
            return;
        }

        let mut closed = Query::select();
        closed.column((SOURCE, "ord")).from_as("input", SOURCE);
        closed.cond_where(prevented(self.dialect, &mut self.operands(), self.plan));
        self.cte(CLOSED, closed);
    }

    /// The condition that an item is not prevented.
    fn is_open(&self) -> Option<Expr> {
        let mut closed = Query::select();
        closed.column((CLOSED, "ord")).from(CLOSED);
        let open = Expr::col((SOURCE, "ord")).not_in_subquery(closed);
        (!self.plan.unless.is_empty()).then_some(open)
    }

    /// Selects the values of the found row that later steps read, under their names.
    fn select_held(&self, found: &mut SelectStatement, row: &Name, paths: &[Path]) {
        // A select needs at least one column.
        if paths.is_empty() {
            found.expr_as(Expr::cust("1"), Alias::new(format!("{row}_found")));
        }

        for path in paths {
            found.expr_as(held_value(self.dialect, row, path), names::held(row, path));
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
        self.dialect.ignore_existing(&mut insert, table.key)?;

        // The key joins an inserted row to its item, even if the plan reports nothing of it.
        let mut returning = reads::returned_columns(self.plan, gate);
        if returning.is_empty() {
            returning.extend(table.key);
        }
        clauses::returning(self.dialect, reads::write_kind(gate), &returning)?
            .map(|columns| insert.returning(columns));
        self.cte("gate", insert);

        let key = reads::key_of(self.plan, gate)?;
        let first = table.key.first().map(|column| Expr::col(("gate", column.name)));
        let mut ok = Query::select();
        ok.column((SOURCE, Asterisk)).from_as("input", SOURCE);
        self.join_rows(&mut ok, "gate", &key);
        ok.and_where_option(first.map(|column| are_joined([column])));
        self.cte("ok", ok);
        Ok("ok".into())
    }

    /// The CTE of the n-th mutation.
    fn write_name(&self, index: usize) -> String {
        if index == 0 && self.plan.gate().is_some() { "gate".into() } else { format!("w{index}") }
    }
}
