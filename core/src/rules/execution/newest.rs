//! Executions that match a query, newest first, page by page.

use crate::contracts::{ExecutionQuery, ExecutionQueryPage};
use crate::model::error::EngineError;
use crate::model::ids::ExecutionId;
use crate::model::partition::PartitionConfig;
use crate::plan::facts::{Facts, Row};
use crate::plan::{Join, List, Predicate, Query};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Transition};
use crate::rules::execution::listing::{
    execution_columns, execution_row, few, filters, limit, split, with_attempt,
};
use crate::rules::input::{self, PAGE_MAX};
use crate::rules::key::{CORE, ExecutionKey};
use crate::rules::premise;
use crate::schema::Direction::{Ascending, Descending};
use crate::schema::execution::exec_core;

/// Executions that match a query, newest first; of one time by partition and UUID.
#[derive(Clone, Debug)]
pub struct Newest {
    predicate: Predicate,
    join: Option<Join>,
    page: usize,
    after: Option<(ExecutionId, ExecutionKey)>,
}

impl Newest {
    /// Checks the filters.
    ///
    /// # Errors
    /// As [`filters`].
    pub fn new(query: &ExecutionQuery, partitions: &PartitionConfig) -> Result<Self, EngineError> {
        let predicate = few(query, filters(query, partitions)?);
        let after = query.after.clone().map(|id| ExecutionKey::of(&id).map(|key| (id, key)));
        let page = usize::try_from(query.limit).unwrap_or(PAGE_MAX).min(PAGE_MAX);
        Ok(Self { predicate, join: with_attempt(query), page, after: after.transpose()? })
    }

    /// The list of those that come after a row, if one is given.
    fn list(&self, after: Option<&Row>) -> Result<List, EngineError> {
        let mut predicate = self.predicate.clone();
        if let Some((row, (_, key))) = after.zip(self.after.as_ref()) {
            let (created, at) = (exec_core::created_at_ms, row.read(exec_core::created_at_ms)?);
            let tied = created.equals(at).and(Predicate::After(key.core()));
            predicate = predicate.and(created.at_most(at)).and(created.below(at).or(tied));
        }

        Ok(List {
            name: "executions matching a query".into(),
            table: exec_core::REF,
            join: self.join.clone(),
            of_each: None,
            columns: execution_columns(),
            predicate,
            order: vec![
                (exec_core::created_at_ms.column(), Descending),
                (exec_core::partition_key.column(), Ascending),
                (exec_core::execution_id.column(), Ascending),
            ],
            limit: limit(self.page),
        })
    }
}

impl Transition for Newest {
    type Outcome = ExecutionQueryPage;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        if self.page == 0 {
            return Ok(Step::Answer(ExecutionQueryPage::new(Vec::new(), None)));
        }

        let mut after = None;
        if let Some((id, key)) = &self.after {
            if !facts.asked(CORE) {
                let lookup = premise::execution_row(key, vec![exec_core::created_at_ms.column()]);
                return Ok(Step::Read(vec![Query::Lookup(vec![lookup])]));
            }
            after = Some(facts.row(CORE).ok_or_else(|| gone(id))?);
        }

        let list = self.list(after)?;
        let Some(rows) = facts.list(&list) else {
            return Ok(Step::Read(vec![Query::List(list)]));
        };

        let rows = rows.iter().map(execution_row).collect::<Result<Vec<_>, _>>()?;
        let (rows, more) = split(rows, self.page);
        let cursor = more.then(|| rows.last().map(|row| row.execution_id.clone())).flatten();
        Ok(Step::Answer(ExecutionQueryPage::new(rows, cursor)))
    }
}

/// The refusal of a cursor without a place in the order.
fn gone(after: &ExecutionId) -> EngineError {
    input::invalid(format!("after: there is no execution {after}; list again from the start"))
}
