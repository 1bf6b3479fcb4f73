//! Admission: what an execution takes of its keys, if each has enough left.

use crate::model::error::EngineError;
use crate::model::ids::TimestampMs;
use crate::rules::key::ExecutionKey;
use crate::rules::limit::cell::{Cell, Rate};
use crate::rules::limit::held::Holdings;
use crate::rules::limit::key::{LimitKey, governing};
use crate::rules::limit::permits::Permits;
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

impl Shortage {
    /// The key, as the execution names it.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Permits { key, .. } | Self::Cells { key, .. } => key,
        }
    }
}

impl HeldLimits {
    /// What the execution takes of each of its keys, which counts as taken from then on; nothing of
    /// a key without a limit, and no second permit of a key.
    ///
    /// # Errors
    /// `Validation(Corruption)` for a stored number out of its range.
    pub fn admit(&mut self, asking: &Asking, at: TimestampMs) -> Result<Admission, EngineError> {
        let mut holdings = Holdings::default();
        for text in &asking.keys {
            let Some(row) = governing(text, &self.limits) else { continue };
            let key = LimitKey::new(text, &self.partitions)?;

            if let Some(max) = row.read(limit::max_running)? {
                let permits = self.permits.entry(text.clone()).or_default();
                if !permits.is_held_by(asking.execution.uuid) {
                    let Some(permit) = permits.free(max) else {
                        return Ok(Admission::Full(text.clone()));
                    };
                    holdings.permits.push((key.clone(), permit));
                }
            }

            if let Some(rate) = Rate::stored(row)? {
                let last = self.last_cell(text, rate);
                let Some(numbers) = rate.take(asking.weight, last, at) else {
                    return Ok(Admission::Full(text.clone()));
                };
                let cell = |number| Cell {
                    key: key.clone(),
                    rate: rate.to_string(),
                    number,
                    expires_at: rate.expiry(number),
                };
                holdings.cells.extend(numbers.into_iter().map(cell));
            }
        }
        self.note(&holdings, asking.execution);
        Ok(Admission::Admitted(holdings))
    }

    /// The same for an execution that waits for a worker: it holds no permit, whatever was read.
    ///
    /// # Errors
    /// As [`Self::admit`].
    pub fn admit_waiting(
        &mut self,
        asking: &Asking,
        at: TimestampMs,
    ) -> Result<Admission, EngineError> {
        for key in &asking.keys {
            if let Some(permits) = self.permits.get_mut(key) {
                permits.remove(asking.execution.uuid);
            }
        }
        self.admit(asking, at)
    }

    /// Notes that the execution takes these.
    pub fn note(&mut self, holdings: &Holdings, execution: ExecutionKey) {
        for (key, permit) in &holdings.permits {
            self.permits.entry(key.text.clone()).or_default().insert(*permit, execution);
        }
        for Cell { key, rate, number, .. } in &holdings.cells {
            let last = self.last_cells.entry((key.text.clone(), rate.clone())).or_insert(*number);
            *last = (*last).max(*number);
        }
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
            let Some(row) = governing(key, &self.limits) else { continue };
            let (key, limit) = (key.clone(), row.read(limit::limit_key)?);

            let none = Permits::default();
            let permits = self.permits.get(&key).unwrap_or(&none);
            if let Some(max) = row.read(limit::max_running)?
                && !permits.is_held_by(asking.execution.uuid)
                && permits.is_full(max)
            {
                let (key, limit) = (key.clone(), limit.clone());
                let holders = permits.holders().copied().collect();
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
}
