//! The values that statements have found, and the values that later statements bind.

use std::borrow::Cow;

use ff_codegen::{Bind, BindSource, ScriptStep};
use ff_core::plan::value::Value;
use ff_core::plan::{Bindings, Name, Path};

use crate::connection::BoundValue;

/// A row that a statement has found or returned.
pub(crate) struct FoundRow<'a> {
    pub(crate) step: &'a ScriptStep,
    pub(crate) cells: Vec<Value>,
}

impl FoundRow<'_> {
    fn value(&self, row: &Name, path: &Path) -> Option<&Value> {
        if self.step.row() != *row {
            return None;
        }
        let column = self.step.holds().iter().position(|held| held == path)?;
        self.cells.get(column)
    }
}

/// The sources of bound values.
pub(crate) struct Sources<'a, 's> {
    pub(crate) bindings: &'s Bindings,
    /// The position of the picked row.
    pub(crate) item: usize,
    /// The number of picked rows.
    pub(crate) picked: usize,
    /// The rows found by the steps that happen once.
    pub(crate) once: &'s [FoundRow<'a>],
    /// The rows found by these steps themselves, after the picked row, if there is one.
    pub(crate) own: Vec<FoundRow<'a>>,
}

impl Sources<'_, '_> {
    /// The values of these parameters, in order.
    pub(crate) fn values(&self, binds: &[Bind]) -> Vec<BoundValue<'_>> {
        let value = |bind: &Bind| BoundValue { value: self.value(&bind.source), ty: bind.ty };
        binds.iter().map(value).collect()
    }

    /// The plan's results.
    pub(crate) fn returns(&self, returns: &[Bind]) -> Vec<Value> {
        returns.iter().map(|bind| self.value(&bind.source).into_owned()).collect()
    }

    fn value(&self, source: &BindSource) -> Cow<'_, Value> {
        match source {
            BindSource::Slot(slot) => Cow::Borrowed(self.bindings.value(*slot, self.item)),
            BindSource::PickedCount => {
                Cow::Owned(Value::Int(i64::try_from(self.picked).unwrap_or(i64::MAX)))
            }
            BindSource::Held(row, path) => {
                let mut found = self.once.iter().chain(&self.own);
                let value = found.find_map(|found| found.value(row, path));
                value.map_or(Cow::Owned(Value::Null), Cow::Borrowed)
            }
        }
    }
}
