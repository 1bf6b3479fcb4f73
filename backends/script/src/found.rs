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

/// The sums over the rows, of each integer that was read of them.
pub(crate) fn sums<'r, 'a: 'r>(
    rows: impl Iterator<Item = &'r FoundRow<'a>> + Clone,
) -> Vec<(Path, i64)> {
    let Some(first) = rows.clone().next() else { return Vec::new() };
    let sum = |index: usize| {
        rows.clone().fold(0_i64, |sum, row| match row.cells.get(index) {
            Some(Value::Int(number)) => sum.saturating_add(*number),
            Some(
                Value::Null
                | Value::Bool(_)
                | Value::Float(_)
                | Value::Text(_)
                | Value::Bytes(_)
                | Value::Uuid(_)
                | Value::Json(_)
                | Value::TextList(_),
            )
            | None => sum,
        })
    };
    let columns = first.step.holds().iter().enumerate();
    columns.map(|(index, path)| (path.clone(), sum(index))).collect()
}

/// The sources of bound values.
pub(crate) struct Sources<'a, 's> {
    pub(crate) bindings: &'s Bindings,
    /// The position of the picked row.
    pub(crate) item: usize,
    /// The number of picked rows.
    pub(crate) picked: usize,
    /// The sums over the picked rows, by what was read of them.
    pub(crate) sums: Vec<(Path, i64)>,
    /// The rows found by the steps that happen once.
    pub(crate) once: &'s [FoundRow<'a>],
    /// The rows found by these steps themselves, after the picked row, if there is one.
    pub(crate) own: Vec<FoundRow<'a>>,
}

impl<'s> Sources<'_, 's> {
    /// The values of the plan, before anything was found.
    pub(crate) fn of(bindings: &'s Bindings) -> Self {
        Self { bindings, item: 0, picked: 0, sums: Vec::new(), once: &[], own: Vec::new() }
    }
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
            BindSource::PickedSum(path) => {
                let sum = self.sums.iter().find(|(summed, _)| summed == path);
                Cow::Owned(Value::Int(sum.map_or(0, |(_, sum)| *sum)))
            }
            BindSource::Held(row, path) => {
                let mut found = self.once.iter().chain(&self.own);
                let value = found.find_map(|found| found.value(row, path));
                value.map_or(Cow::Owned(Value::Null), Cow::Borrowed)
            }
        }
    }
}
