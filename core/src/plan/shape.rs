//! The shape of a plan, which one SQL text belongs to, and the values bound to that text.

use super::{Assign, Expr, List, Lookup, Mutation, Pairing, Plan, Predicate, Query};
use crate::plan::value::{ColumnType, Value};

/// A plan with its values erased: plans of one shape share one SQL text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Shape(Plan);

/// A query with its values erased.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct QueryShape(Query);

/// The erased values, by slot. Each slot has one value, or one for every picked row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bindings(Vec<Vec<Value>>);

impl Shape {
    /// The plan, with slots in place of values.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.0
    }

    /// The type of each slot, by number.
    #[must_use]
    pub fn slot_types(&self) -> Vec<ColumnType> {
        let mut types = Vec::new();
        self.0.clone().each_expr(&mut collect_types(&mut types));
        types
    }
}

impl QueryShape {
    /// The query, with slots in place of values.
    #[must_use]
    pub fn query(&self) -> &Query {
        &self.0
    }

    /// The type of each slot, by number.
    #[must_use]
    pub fn slot_types(&self) -> Vec<ColumnType> {
        let mut types = Vec::new();
        self.0.clone().each_expr(&mut collect_types(&mut types));
        types
    }
}

impl Bindings {
    /// The value of a slot for the `item`-th picked row (0 for a plan on named rows). A slot with
    /// one value gives it to every row.
    #[must_use]
    pub fn value(&self, slot: usize, item: usize) -> &Value {
        let values = self.0.get(slot).map_or(&[][..], Vec::as_slice);
        values.get(item).or_else(|| values.first()).unwrap_or(&Value::Null)
    }

    /// The number of slots.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns true if there is no slot.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn erase(values: &mut Vec<Vec<Value>>) -> impl FnMut(&mut Expr) {
    |expr| {
        if let Expr::Value(ty, bound) = expr {
            let slot = Expr::Slot(*ty, values.len());
            values.push(std::mem::take(bound));
            *expr = slot;
        }
    }
}

fn collect_types(types: &mut Vec<ColumnType>) -> impl FnMut(&mut Expr) {
    |expr| {
        if let Expr::Slot(ty, _) = expr {
            types.push(*ty);
        }
    }
}

impl Plan {
    /// Splits the plan into its shape and its values.
    #[must_use]
    pub fn into_shape(mut self) -> (Shape, Bindings) {
        let mut values = Vec::new();
        self.each_expr(&mut erase(&mut values));
        (Shape(self), Bindings(values))
    }

    /// The plan with its values erased.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.clone().into_shape().0
    }

    /// Visits every expression of guards, selection and mutations, in the order of their slots.
    pub fn visit(&self, mut visit: impl FnMut(&Expr)) {
        // A clone, so that one traversal serves both erasing and visiting.
        self.clone().each_expr(&mut |expr| visit(expr));
    }

    fn each_expr(&mut self, visit: &mut impl FnMut(&mut Expr)) {
        for guard in &mut self.guards {
            guard.key.iter_mut().for_each(|(_, expr)| visit_expr(expr, visit));
            guard.holds.each_expr(visit);
        }

        if let Some(selection) = &mut self.selection {
            selection.predicate.each_expr(visit);
            if let Pairing::UpTo(limit) = &mut selection.pairing {
                visit_expr(limit, visit);
            }
        }

        for mutation in &mut self.mutations {
            mutation.each_expr(visit);
        }
    }
}

impl Query {
    /// Splits the query into its shape and its values.
    #[must_use]
    pub fn into_shape(mut self) -> (QueryShape, Bindings) {
        let mut values = Vec::new();
        self.each_expr(&mut erase(&mut values));
        (QueryShape(self), Bindings(values))
    }

    fn each_expr(&mut self, visit: &mut impl FnMut(&mut Expr)) {
        match self {
            Query::Lookup(rows) => {
                for Lookup { key, .. } in rows {
                    key.iter_mut().for_each(|(_, expr)| visit_expr(expr, visit));
                }
            }
            Query::List(List { predicate, limit, .. }) => {
                predicate.each_expr(visit);
                visit_expr(limit, visit);
            }
        }
    }
}

impl Mutation {
    pub(super) fn each_expr(&mut self, visit: &mut impl FnMut(&mut Expr)) {
        match self {
            Mutation::Insert { row, .. } => {
                row.iter_mut().for_each(|(_, expr)| visit_expr(expr, visit));
            }
            Mutation::InsertEach { items, row, .. } => {
                visit_expr(items, visit);
                row.iter_mut().for_each(|(_, expr)| visit_expr(expr, visit));
            }
            Mutation::Update { target, set, .. } => {
                target.iter_mut().for_each(|(_, expr)| visit_expr(expr, visit));
                set.iter_mut().for_each(|(_, assign)| visit_expr(assign.expr_mut(), visit));
            }
            Mutation::Delete { target, .. } => {
                target.iter_mut().for_each(|(_, expr)| visit_expr(expr, visit));
            }
        }
    }
}

impl Assign {
    fn expr_mut(&mut self) -> &mut Expr {
        match self {
            Assign::Set(expr)
            | Assign::Keep(expr)
            | Assign::Add(expr)
            | Assign::Merge { members: expr, .. } => expr,
        }
    }
}

impl Predicate {
    /// Visits every expression that stored columns are compared with.
    pub fn visit(&self, mut visit: impl FnMut(&Expr)) {
        self.clone().each_expr(&mut |expr| visit(expr));
    }

    fn each_expr(&mut self, visit: &mut impl FnMut(&mut Expr)) {
        match self {
            Predicate::Always
            | Predicate::OneOf(..)
            | Predicate::NoneOf(..)
            | Predicate::Null(_)
            | Predicate::NotNull(_)
            | Predicate::EmptyList(_) => {}
            Predicate::All(parts) | Predicate::Any(parts) => {
                parts.iter_mut().for_each(|part| part.each_expr(visit));
            }
            Predicate::Compare(_, _, expr)
            | Predicate::Among(_, expr)
            | Predicate::Contains(_, expr)
            | Predicate::Covered(_, expr) => visit_expr(expr, visit),
            Predicate::After(pairs) => {
                pairs.iter_mut().for_each(|(_, expr)| visit_expr(expr, visit));
            }
        }
    }
}

fn visit_expr(expr: &mut Expr, visit: &mut impl FnMut(&mut Expr)) {
    match expr {
        Expr::Plus(left, right) | Expr::Greatest(left, right) => {
            visit_expr(left, visit);
            visit_expr(right, visit);
        }
        Expr::Joined(parts) => parts.iter_mut().for_each(|part| visit_expr(part, visit)),
        Expr::Object(members) => {
            members.iter_mut().for_each(|(_, member)| visit_expr(member, visit));
        }
        Expr::Value(..)
        | Expr::Slot(..)
        | Expr::Const(_)
        | Expr::Null(_)
        | Expr::Held(..)
        | Expr::Item(..)
        | Expr::PickedCount => visit(expr),
    }
}
