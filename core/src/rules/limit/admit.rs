//! Admission: what an execution takes of its keys, if each has enough left.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::error::EngineError;
use crate::model::ids::TimestampMs;
use crate::rules::key::ExecutionKey;
use crate::rules::limit::cell::Rate;
use crate::rules::limit::held::{Holdings, TakenCell};
use crate::rules::limit::key::{LimitKey, governing};
use crate::rules::limit::read::HeldLimits;
use crate::schema::limit::limit;

/// An execution, and what it asks of which keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asking {
    /// The execution.
    pub execution: ExecutionKey,
    /// The keys that it names.
    pub keys: Vec<String>,
    /// The cells that it takes of each rate.
    pub weight: u32,
}

/// The answer to an execution that asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It takes these.
    Admitted(Holdings),
    /// This key has not enough left.
    Full(String),
}

/// What a key lacks for an execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// A permit.
    Permits {
        /// The key.
        key: String,
        /// The key of its limit.
        limit: String,
        /// The most executions that run at once.
        max: i64,
        /// Those that hold a permit.
        holders: Vec<ExecutionKey>,
    },
    /// Cells of the rate.
    Cells {
        /// The key.
        key: String,
        /// The key of its limit.
        limit: String,
        /// The time from which there are enough.
        next_start: TimestampMs,
    },
}

impl HeldLimits {
    /// What the execution takes of each of its keys, beside what is `taken` already and no row
    /// shows yet; nothing of a key without a limit, and no second permit of a key.
    ///
    /// # Errors
    /// `Validation(Corruption)` for a stored number out of its range.
    pub fn admit(
        &self,
        asking: &Asking,
        taken: &Holdings,
        at: TimestampMs,
    ) -> Result<Admission, EngineError> {
        let mut holdings = Holdings::default();
        for text in &asking.keys {
            let Some(row) = governing(text, &self.limits)? else { continue };
            let key = LimitKey::new(text, &self.partitions)?;

            if let Some(max) = row.read(limit::max_running)?
                && !self.is_held_by(text, asking.execution.uuid)
            {
                let Some(permit) = self.free_permit(text, max, taken) else {
                    return Ok(Admission::Full(text.clone()));
                };
                holdings.permits.push((key.clone(), permit));
            }

            if let Some(rate) = Rate::stored(row)? {
                let last = self.last_cell(text, rate).max(taken.last_cell(text, rate));
                let Some(cells) = rate.take(asking.weight, last, at) else {
                    return Ok(Admission::Full(text.clone()));
                };
                let taken = |cell| TakenCell {
                    key: key.clone(),
                    rate: rate.to_string(),
                    cell,
                    expires_at: rate.expiry(cell),
                };
                holdings.cells.extend(cells.into_iter().map(taken));
            }
        }
        Ok(Admission::Admitted(holdings))
    }

    /// What each key of the execution lacks: nothing where it would be admitted.
    ///
    /// # Errors
    /// `Validation(Corruption)` for a stored number out of its range.
    pub fn shortages(
        &self,
        asking: &Asking,
        at: TimestampMs,
    ) -> Result<Vec<Shortage>, EngineError> {
        let mut shortages = Vec::new();
        for key in &asking.keys {
            let Some(row) = governing(key, &self.limits)? else { continue };
            let (key, limit) = (key.clone(), row.read(limit::limit_key)?);

            if let Some(max) = row.read(limit::max_running)?
                && !self.is_held_by(&key, asking.execution.uuid)
                && self.free_permit(&key, max, &Holdings::default()).is_none()
            {
                let holders = self.permits.get(&key).into_iter().flat_map(BTreeMap::values);
                let (key, limit) = (key.clone(), limit.clone());
                let holders = holders.copied().collect();
                shortages.push(Shortage::Permits { key, limit, max, holders });
            }
            if let Some(rate) = Rate::stored(row)?
                && let Some(next_start) =
                    rate.next_start(asking.weight, self.last_cell(&key, rate), at)
            {
                shortages.push(Shortage::Cells { key, limit, next_start });
            }
        }
        Ok(shortages)
    }

    /// The lowest permit that is free; `None` while as many are taken as the limit allows, even
    /// where some of them have higher numbers, since the limit was lowered.
    fn free_permit(&self, key: &str, max: i64, taken: &Holdings) -> Option<i64> {
        let stored = self.permits.get(key).into_iter().flat_map(BTreeMap::keys);
        let others =
            taken.permits.iter().filter(|(of, _)| of.text == key).map(|(_, permit)| permit);
        let taken: BTreeSet<i64> = stored.chain(others).copied().collect();
        let count = i64::try_from(taken.len()).unwrap_or(i64::MAX);
        if max <= count {
            return None;
        }
        (0..max).find(|permit| !taken.contains(permit))
    }
}
