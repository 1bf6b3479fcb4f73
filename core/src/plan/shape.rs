//! The shape of a plan or a query, which one SQL text belongs to, and the values of that text.

use super::{Expr, Plan, Query};
use crate::plan::value::{ColumnType, Value};

/// A plan or a query with its values erased: those of one shape share one SQL text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Shape<T = Plan> {
    erased: T,
    // Invariant: the types of the slots in `erased`, by number.
    slots: Vec<ColumnType>,
}

/// A query with its values erased.
pub type QueryShape = Shape<Query>;

/// The erased values, by slot. Each slot has one value, or one for every picked row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bindings(Vec<Vec<Value>>);

impl Shape<Plan> {
    /// The plan, with slots in place of values.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.erased
    }
}

impl Shape<Query> {
    /// The query, with slots in place of values.
    #[must_use]
    pub fn query(&self) -> &Query {
        &self.erased
    }
}

impl<T> Shape<T> {
    /// The type of each slot, by number.
    #[must_use]
    pub fn slot_types(&self) -> &[ColumnType] {
        &self.slots
    }
}

impl Plan {
    /// Splits the plan into its shape and its values.
    #[must_use]
    pub fn into_shape(mut self) -> (Shape, Bindings) {
        let mut erasing = Erasing::default();
        self.visit_mut(&mut |expr| erasing.erase(expr));
        erasing.split(self)
    }

    /// The plan with its values erased.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.clone().into_shape().0
    }
}

impl Query {
    /// Splits the query into its shape and its values.
    #[must_use]
    pub fn into_shape(mut self) -> (QueryShape, Bindings) {
        let mut erasing = Erasing::default();
        self.visit_mut(&mut |expr| erasing.erase(expr));
        erasing.split(self)
    }
}

/// The slots made so far: their types and the values that were there.
#[derive(Default)]
struct Erasing {
    slots: Vec<ColumnType>,
    values: Vec<Vec<Value>>,
}

impl Erasing {
    fn erase(&mut self, expr: &mut Expr) {
        if let Expr::Value(ty, bound) = expr {
            let slot = Expr::Slot(*ty, self.slots.len());
            self.slots.push(*ty);
            self.values.push(std::mem::take(bound));
            *expr = slot;
        } else if let Expr::Slot(ty, _) = expr {
            // The plan of a shape is erased already.
            self.slots.push(*ty);
        }
    }

    fn split<T>(self, erased: T) -> (Shape<T>, Bindings) {
        (Shape { erased, slots: self.slots }, Bindings(self.values))
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

    /// The number of values of a slot.
    #[must_use]
    pub fn count(&self, slot: usize) -> usize {
        self.0.get(slot).map_or(0, Vec::len)
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
