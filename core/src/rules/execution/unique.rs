//! Idempotency keys: of the submissions of one kind with one key, in one namespace, the first one
//! counts. It holds the key for a time, or until it has ended.

use sha2::{Digest as _, Sha256};

use crate::contracts::CreateExecutionArgs;
use crate::model::error::EngineError;
use crate::model::ids::TimestampMs;
use crate::model::partition::{PartitionConfig, text_partition};
use crate::model::policy::ExecutionPolicy;
use crate::plan::facts::{Facts, Row};
use crate::plan::{Expr, Guard, Held, Lookup, Mutation, OnConflict, OnTaken};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Decided, Decision, Verdict};
use crate::rules::input;
use crate::rules::key::ExecutionKey;
use crate::rules::premise::{Condition, Premise, answer, lookup};
use crate::schema::ColumnRef;
use crate::schema::execution::{exec_core, finished, idempotency_key};

/// The time for which a key is held where the submission says nothing: a day.
const USUAL_WINDOW_MS: u64 = 86_400_000;

/// The name of the row of a key.
const TAKEN: &str = "taken";
/// The name of the row of the execution that took a key.
const HOLDER: &str = "holder";

/// The row of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRow {
    /// Its partition.
    pub partition: i16,
    /// The digest of namespace, kind and key.
    pub digest: String,
}

/// The key of a submission.
#[derive(Clone, Debug)]
pub struct UniqueKey {
    row: KeyRow,
    hold: Hold,
}

/// The time for which a submission holds its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    /// That long, in milliseconds.
    For(i64),
    /// Until the execution has ended, or is gone.
    WhileActive,
}

impl KeyRow {
    fn key(&self) -> Vec<(ColumnRef, Expr)> {
        vec![
            idempotency_key::partition_key.with(self.partition),
            idempotency_key::key_digest.with(self.digest.clone()),
        ]
    }

    fn lookup(&self) -> Lookup {
        lookup(TAKEN, idempotency_key::REF, self.key())
    }

    fn insert(&self, cells: Vec<(ColumnRef, Expr)>, on_conflict: OnConflict) -> Mutation {
        let row = self.key().into_iter().chain(cells).collect();
        Mutation::insert(idempotency_key::REF, row, on_conflict)
    }
}

impl UniqueKey {
    /// The key of a submission; `None` for one without a key, or with an empty one.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` naming the field, for a key that is too long, and for a policy
    /// about a key where there is none.
    pub fn of(
        args: &CreateExecutionArgs,
        partitions: &PartitionConfig,
    ) -> Result<Option<Self>, EngineError> {
        let policy = args.policy.as_ref();
        let key = args.idempotency_key.as_deref().unwrap_or_default();
        input::name("idempotency_key", key)?;
        if key.is_empty() {
            policy.map_or(Ok(()), ExecutionPolicy::check_without_key)?;
            return Ok(None);
        }

        // No part holds NUL, so different parts never make one text.
        let parts = [args.namespace.as_str(), args.execution_kind.as_str(), key];
        let digest = hex::encode(Sha256::digest(parts.join("\0")));
        let partition = input::partition(text_partition(&digest, partitions))?;

        let window = policy.and_then(|policy| policy.dedup_window_ms).unwrap_or(USUAL_WINDOW_MS);
        let hold = if policy.is_some_and(|policy| policy.dedup_while_active) {
            Hold::WhileActive
        } else {
            Hold::For(input::span_ms(window))
        };
        Ok(Some(Self { row: KeyRow { partition, digest }, hold }))
    }

    /// The look-ups of the key, and of the execution that took it.
    #[must_use]
    pub fn lookups(&self) -> [Lookup; 2] {
        let key = vec![
            exec_core::partition_key.with_expr(idempotency_key::execution_partition.of(TAKEN)),
            exec_core::execution_id.with_expr(idempotency_key::execution_id.of(TAKEN)),
        ];
        let columns = vec![exec_core::lifecycle_phase.column()];
        let holder = Lookup { row: HOLDER.into(), table: exec_core::REF, key, columns };
        [self.row.lookup(), holder]
    }

    /// The execution that holds the key, in rows that were read.
    ///
    /// # Errors
    /// `Validation(Corruption)` for a column of another type.
    pub fn holder(
        &self,
        facts: &Facts,
        now: TimestampMs,
    ) -> Result<Option<ExecutionKey>, EngineError> {
        let Some(taken) = facts.row(TAKEN) else { return Ok(None) };
        let is_held = match taken.read(idempotency_key::expires_at_ms)? {
            Some(expires) => now.0 < expires,
            None => facts.row(HOLDER).is_some_and(|row| !finished().accepts(row, &Held::default())),
        };
        is_held.then(|| taken_by(taken)).transpose()
    }

    /// The guards and the change by which an execution takes the key: from the one that held it,
    /// where that was read, and otherwise only if there is none.
    ///
    /// # Errors
    /// `Validation(Corruption)` for a column of another type.
    pub fn take(
        &self,
        execution: &ExecutionKey,
        facts: &Facts,
        now: TimestampMs,
    ) -> Result<(Vec<Guard>, Mutation), EngineError> {
        let cells = self.cells(execution, now);
        let Some(taken) = facts.row(TAKEN) else {
            return Ok((Vec::new(), self.row.insert(cells, OnConflict::Refuse)));
        };

        // The execution is locked first, as where retention removes it with its key.
        let before = taken_by(taken)?;
        let until_its_end = taken.read(idempotency_key::expires_at_ms)?.is_none();
        let has_ended = Guard::new(HOLDER, exec_core::REF, before.core(), finished());
        let ended = facts.row(HOLDER).filter(|_| until_its_end).map(|_| has_ended);
        let unchanged = idempotency_key::execution_id
            .equals(before.uuid)
            .and(idempotency_key::taken_at_ms.equals(taken.read(idempotency_key::taken_at_ms)?));
        let key = Guard::new(TAKEN, idempotency_key::REF, self.row.key(), unchanged);

        let anew = cells.iter().map(|(column, _)| (*column, OnTaken::Overwrite)).collect();
        let change = self.row.insert(cells, OnConflict::Update(anew));
        Ok((ended.into_iter().chain([key]).collect(), change))
    }

    fn cells(&self, execution: &ExecutionKey, now: TimestampMs) -> Vec<(ColumnRef, Expr)> {
        let (expires_at_ms, held_by) = match self.hold {
            Hold::For(ms) => (Some(now.0.saturating_add(ms)), None),
            Hold::WhileActive => (None, Some(execution.uuid)),
        };
        vec![
            idempotency_key::execution_partition.with(execution.partition),
            idempotency_key::execution_id.with(execution.uuid),
            idempotency_key::taken_at_ms.with(now.0),
            idempotency_key::expires_at_ms.with(expires_at_ms),
            idempotency_key::held_by_execution.with(held_by),
        ]
    }
}

fn taken_by(taken: &Row) -> Result<ExecutionKey, EngineError> {
    let partition = taken.read(idempotency_key::execution_partition)?;
    Ok(ExecutionKey { partition, uuid: taken.read(idempotency_key::execution_id)? })
}

/// Removes a key that has expired.
#[derive(Clone, Debug)]
pub struct ForgetKey {
    /// The key.
    pub row: KeyRow,
}

impl Decision for ForgetKey {
    /// True if it had expired.
    type Outcome = bool;

    const NAME: &'static str = "expire_idempotency_key";

    fn premises(&self, at: TimestampMs) -> Vec<Premise<bool>> {
        let expired = idempotency_key::expires_at_ms.at_most(Some(at.0));
        let conditions = vec![Condition::new(expired, answer(false))];
        let row = Premise::read(TAKEN, self.row.lookup());
        vec![row.or_if_absent(answer(false)).guarded_by(conditions)]
    }

    fn expects(&self) -> bool {
        true
    }

    fn decide(&self, _: &Facts, _: TimestampMs, _: &mut Ctx<'_>) -> Decided<bool> {
        Verdict::change([Mutation::delete(idempotency_key::REF, self.row.key())], true)
    }
}
