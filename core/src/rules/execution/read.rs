//! Reads of one execution.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value as Json;

use crate::contracts::{
    AttemptSummary, CancellationSummary, ExecutionContext, ExecutionInfo, ExecutionSnapshot,
    FailureSummary, LeaseSummary,
};
use crate::model::error::{EngineError, ValidationKind};
use crate::model::ids::{
    AttemptId, AttemptIndex, ExecutionId, FlowId, LaneId, LeaseEpoch, LeaseId, Namespace,
    TimestampMs, WorkerInstanceId,
};
use crate::model::state::{BlockingReason, ClosedSet, EligibilityState, FailureClass, PublicState};
use crate::plan::Query;
use crate::plan::facts::{Facts, Row};
use crate::plan::value::Value;
use crate::rules::budget::room::budgets_of;
use crate::rules::budget::token::capabilities_of;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Transition};
use crate::rules::input;
use crate::rules::key::{ATTEMPT, CORE, ExecutionKey};
use crate::rules::premise::{current_attempt_row, execution_row, without_bodies};
use crate::rules::status;
use crate::schema::ColumnRef;
use crate::schema::execution::{attempt, exec_core};

/// Reads an execution's row, and its current attempt where asked, and turns them into an answer.
pub struct ReadExecution<O> {
    key: ExecutionKey,
    columns: Vec<ColumnRef>,
    with_attempt: bool,
    read: fn(&ReadRows<'_>) -> Result<O, EngineError>,
}

/// The rows that were read.
pub struct ReadRows<'a> {
    /// The execution's id.
    pub id: ExecutionId,
    /// Its row.
    pub core: Option<&'a Row>,
    /// Its current attempt.
    pub attempt: Option<&'a Row>,
}

impl<O: Send> Transition for ReadExecution<O> {
    type Outcome = O;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<O>, EngineError> {
        if !facts.have_rows() {
            let mut wanted = vec![execution_row(&self.key, self.columns.clone())];
            if self.with_attempt {
                wanted.push(current_attempt_row());
            }
            return Ok(Step::Read(vec![Query::Lookup(wanted)]));
        }

        let rows =
            ReadRows { id: self.key.id(), core: facts.row(CORE), attempt: facts.row(ATTEMPT) };
        (self.read)(&rows).map(Step::Answer)
    }
}

fn of_core<O>(
    id: &ExecutionId,
    columns: Vec<ColumnRef>,
    read: fn(&ReadRows<'_>) -> Result<O, EngineError>,
) -> Result<ReadExecution<O>, EngineError> {
    Ok(ReadExecution { key: ExecutionKey::of(id)?, columns, with_attempt: false, read })
}

fn with_attempt<O>(
    id: &ExecutionId,
    read: fn(&ReadRows<'_>) -> Result<O, EngineError>,
) -> Result<ReadExecution<O>, EngineError> {
    let columns = without_bodies(exec_core::REF);
    Ok(ReadExecution { key: ExecutionKey::of(id)?, columns, with_attempt: true, read })
}

/// The public state; `None` for an unknown execution.
///
/// # Errors
/// `Validation(InvalidInput)` for an id that no row can have.
pub fn state(id: &ExecutionId) -> Result<ReadExecution<Option<PublicState>>, EngineError> {
    of_core(id, vec![exec_core::public_state.column()], |rows| {
        rows.core.map(|core| core.read(exec_core::public_state)).transpose()
    })
}

/// The stored result; `None` when there is none.
///
/// # Errors
/// As [`state`].
pub fn result(id: &ExecutionId) -> Result<ReadExecution<Option<Vec<u8>>>, EngineError> {
    of_core(id, vec![exec_core::result.column()], |rows| {
        Ok(rows.core.map(|core| core.read(exec_core::result)).transpose()?.flatten())
    })
}

/// The owning flow; `None` when there is none.
///
/// # Errors
/// As [`state`].
pub fn flow_id(id: &ExecutionId) -> Result<ReadExecution<Option<FlowId>>, EngineError> {
    of_core(id, vec![exec_core::flow_id.column()], |rows| {
        let flow = rows.core.map(|core| core.read(exec_core::flow_id)).transpose()?.flatten();
        Ok(flow.map(FlowId::from_uuid))
    })
}

/// The namespace; `None` when there is none.
///
/// # Errors
/// As [`state`].
pub fn namespace(id: &ExecutionId) -> Result<ReadExecution<Option<String>>, EngineError> {
    of_core(id, vec![exec_core::raw_fields.column()], |rows| {
        let raw = rows.core.map(|core| core.read(exec_core::raw_fields)).transpose()?;
        Ok(raw.as_ref().and_then(|raw| text(raw, "namespace")))
    })
}

/// All tags, by name.
///
/// # Errors
/// As [`state`].
pub fn tags(id: &ExecutionId) -> Result<ReadExecution<BTreeMap<String, String>>, EngineError> {
    of_core(id, vec![exec_core::raw_fields.column()], |rows| {
        let raw = rows.core.map(|core| core.read(exec_core::raw_fields)).transpose()?;
        Ok(raw.as_ref().map(tags_of).unwrap_or_default())
    })
}

/// The context that a worker needs after a claim: input, kind, tags and time limit.
///
/// # Errors
/// As [`state`]; `Validation(InvalidInput)` for an unknown execution.
pub fn context(id: &ExecutionId) -> Result<ReadExecution<ExecutionContext>, EngineError> {
    let columns = vec![
        exec_core::payload.column(),
        exec_core::raw_fields.column(),
        exec_core::attempt_timeout_ms.column(),
    ];

    of_core(id, columns, |rows| {
        let core = known(rows, "read_execution_context")?;
        let raw = core.read(exec_core::raw_fields)?;
        let context = ExecutionContext::new(
            core.read(exec_core::payload)?.unwrap_or_default(),
            text(&raw, "execution_kind").unwrap_or_default(),
            tags_of(&raw).into_iter().collect(),
        );

        let timeout = core.read(exec_core::attempt_timeout_ms)?;
        let timeout = timeout.map(|ms| u64::try_from(ms).unwrap_or(0));
        Ok(context.with_attempt_timeout_ms(timeout))
    })
}

/// The index of the current attempt.
///
/// # Errors
/// As [`context`].
pub fn attempt_index(id: &ExecutionId) -> Result<ReadExecution<AttemptIndex>, EngineError> {
    of_core(id, vec![exec_core::attempt_index.column()], |rows| {
        let core = known(rows, "read_current_attempt_index")?;
        Ok(index(core.read(exec_core::attempt_index)?))
    })
}

/// The index of the current attempt of an execution that has to be there.
///
/// # Errors
/// `NotFound` for an unknown execution; `Validation(InvalidInput)` for a partition beyond what a
/// row can store.
pub fn attempt_in_hand(id: &ExecutionId) -> Result<ReadExecution<AttemptIndex>, EngineError> {
    of_core(id, vec![exec_core::attempt_index.column()], |rows| {
        let missing = EngineError::NotFound { entity: "execution" };
        Ok(index(rows.core.ok_or(missing)?.read(exec_core::attempt_index)?))
    })
}

/// The number of attempts that were claimed.
///
/// # Errors
/// As [`context`].
pub fn attempt_count(id: &ExecutionId) -> Result<ReadExecution<AttemptIndex>, EngineError> {
    of_core(id, vec![exec_core::total_attempt_count.column()], |rows| {
        let core = known(rows, "read_total_attempt_count")?;
        Ok(index(core.read(exec_core::total_attempt_count)?))
    })
}

/// The wide read model; `None` for an unknown execution.
///
/// # Errors
/// As [`state`]; `Validation(Corruption)` naming the column that holds an unknown word.
pub fn info(id: &ExecutionId) -> Result<ReadExecution<Option<ExecutionInfo>>, EngineError> {
    with_attempt(id, |rows| {
        let Some(core) = rows.core else {
            return Ok(None);
        };

        let raw = core.read(exec_core::raw_fields)?;
        let vector = status::vector(core, rows.attempt)?;
        let time = |ms: i64| ms.to_string();

        Ok(Some(ExecutionInfo {
            execution_id: rows.id.clone(),
            namespace: text(&raw, "namespace").unwrap_or_default(),
            lane_id: core.read(exec_core::lane_id)?,
            priority: core.read(exec_core::priority)?,
            execution_kind: text(&raw, "execution_kind").unwrap_or_default(),
            public_state: vector.public_state,
            state_vector: vector,
            created_at: time(core.read(exec_core::created_at_ms)?),
            started_at: core.read(exec_core::started_at_ms)?.map(time),
            completed_at: core.read(exec_core::terminal_at_ms)?.map(time),
            current_attempt_index: index(core.read(exec_core::attempt_index)?).0,
            flow_id: core.read(exec_core::flow_id)?.map(|flow| flow.to_string()),
            blocking_detail: text(&raw, "blocking_detail").unwrap_or_default(),
            claimable_since: claimable_since(core)?.map(time),
            last_mutation_at: time(last_changed(core, &raw)?),
            last_failure: last_failure(&raw),
            cancellation: cancellation(core)?,
        }))
    })
}

/// The snapshot that operators see; `None` for an unknown execution.
///
/// # Errors
/// As [`info`].
pub fn snapshot(id: &ExecutionId) -> Result<ReadExecution<Option<ExecutionSnapshot>>, EngineError> {
    with_attempt(id, |rows| {
        let Some(core) = rows.core else {
            return Ok(None);
        };

        let raw = core.read(exec_core::raw_fields)?;
        let created = core.read(exec_core::created_at_ms)?;
        let lane_id = lane(core)?;
        let blocking = core.read(exec_core::blocking_reason)?;
        let blocking = blocking.filter(|reason| *reason != BlockingReason::None);
        let count = core.read(exec_core::total_attempt_count)?;

        Ok(Some(ExecutionSnapshot {
            execution_id: rows.id.clone(),
            flow_id: core.read(exec_core::flow_id)?.map(FlowId::from_uuid),
            lane_id,
            namespace: Namespace::new(text(&raw, "namespace").unwrap_or_default()),
            public_state: core.read(exec_core::public_state)?,
            blocking_reason: blocking.map(|reason| reason.as_str().to_owned()),
            blocking_detail: text(&raw, "blocking_detail"),
            current_attempt: rows.attempt.map(attempt_summary).transpose()?.flatten(),
            current_lease: rows.attempt.map(lease_summary).transpose()?.flatten(),
            current_waitpoint: None,
            created_at: TimestampMs(created),
            last_mutation_at: TimestampMs(last_changed(core, &raw)?),
            total_attempt_count: count.unsigned_abs(),
            tags: tags_of(&raw),
            claimable_since: claimable_since(core)?.map(TimestampMs),
            last_failure: last_failure(&raw),
            cancellation: cancellation(core)?,
        }))
    })
}

/// Named fields as texts; unknown names and an unknown execution give `None`.
///
/// # Errors
/// As [`state`].
pub fn fields(id: &ExecutionId) -> Result<ReadExecution<FieldReader>, EngineError> {
    with_attempt(id, |rows| {
        Ok(FieldReader { core: rows.core.cloned(), attempt: rows.attempt.cloned() })
    })
}

/// Reads named fields of one execution.
#[derive(Clone, Debug, Default)]
pub struct FieldReader {
    core: Option<Row>,
    attempt: Option<Row>,
}

impl FieldReader {
    /// The fields, each as text.
    #[must_use]
    pub fn read(&self, names: &[&str]) -> HashMap<String, Option<String>> {
        names.iter().map(|name| ((*name).to_owned(), self.field(name))).collect()
    }

    fn field(&self, name: &str) -> Option<String> {
        let core = self.core.as_ref()?;

        let column = match name {
            "lane_id"
            | "lifecycle_phase"
            | "ownership_state"
            | "eligibility_state"
            | "public_state"
            | "attempt_state"
            | "blocking_reason"
            | "cancellation_reason"
            | "cancelled_by"
            | "attempt_index"
            | "flow_id"
            | "priority"
            | "created_at_ms"
            | "terminal_at_ms"
            | "deadline_at_ms" => name,
            "current_attempt_index" => "attempt_index",
            "completed_at" => "terminal_at_ms",
            "cancel_reason" => "cancellation_reason",
            "current_worker_instance_id" => {
                let attempt = self.attempt.as_ref()?;
                return as_text(attempt.value(attempt::worker_instance_id.column())?);
            }
            "required_capabilities" => {
                let stored = core.read(exec_core::required_capabilities).ok()?;
                return as_text(&Value::TextList(capabilities_of(stored)));
            }
            "budget_ids" => {
                let budgets = budgets_of(core).ok()?;
                return Some(budgets.join(",")).filter(|budgets| !budgets.is_empty());
            }
            "current_waitpoint_id" | "quota_policy_id" => {
                let raw = core.read(exec_core::raw_fields).ok()?;
                return text(&raw, name);
            }
            _ => return None,
        };

        as_text(core.value(exec_core::REF.column(column)?)?)
    }
}

fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Text(text) => Some(text.clone()),
        Value::TextList(list) => Some(list.join(",")),
        Value::Bool(_)
        | Value::Int(_)
        | Value::Float(_)
        | Value::Bytes(_)
        | Value::Uuid(_)
        | Value::Json(_) => Some(value.to_string()),
    }
}

/// The lane of a row.
///
/// # Errors
/// `Validation(Corruption)` for a text that is no lane name.
pub fn lane(core: &Row) -> Result<LaneId, EngineError> {
    let stored = core.read(exec_core::lane_id)?;
    LaneId::try_new(stored.as_str())
        .map_err(|error| corrupt(format!("ff_exec_core.lane_id: {stored:?}: {error}")))
}

/// The time since which a row can be claimed, or will be. A row inserted by plain SQL holds none:
/// its creation or due time counts.
///
/// # Errors
/// `Validation(Corruption)` for a stored word outside its set.
pub fn claimable_since(core: &Row) -> Result<Option<i64>, EngineError> {
    let status = core.read(exec_core::eligibility_state)?;

    let since = match (status, core.read(exec_core::claimable_since_ms)?) {
        (EligibilityState::EligibleNow, 0) => Some(core.read(exec_core::created_at_ms)?),
        (EligibilityState::NotEligibleUntilTime, 0) => core.read(exec_core::eligible_at_ms)?,
        (EligibilityState::EligibleNow | EligibilityState::NotEligibleUntilTime, since) => {
            Some(since)
        }
        (
            EligibilityState::NotApplicable
            | EligibilityState::BlockedByDependencies
            | EligibilityState::BlockedByBudget
            | EligibilityState::BlockedByQuota
            | EligibilityState::BlockedByRoute
            | EligibilityState::BlockedByLaneState
            | EligibilityState::BlockedByOperator,
            _,
        ) => None,
    };
    Ok(since)
}

/// The time of a row's last change; older rows keep it in their raw fields.
fn last_changed(core: &Row, raw: &Json) -> Result<i64, EngineError> {
    match core.read(exec_core::last_changed_at_ms)? {
        0 => {
            let mutated = text(raw, "last_mutation_at").and_then(|ms| ms.parse().ok());
            Ok(mutated.unwrap_or(core.read(exec_core::created_at_ms)?))
        }
        changed => Ok(changed),
    }
}

fn last_failure(raw: &Json) -> Option<FailureSummary> {
    let message = text(raw, "last_failure_message")?;
    let class = text(raw, "last_failure_class").and_then(|word| FailureClass::parse(&word));
    Some(FailureSummary::new(message, class))
}

/// The failure of an attempt.
///
/// # Errors
/// `Validation(Corruption)` for a stored word outside its set.
pub fn failure_of_attempt(row: &Row) -> Result<Option<FailureSummary>, EngineError> {
    let class = row.read(attempt::failure_class)?;
    Ok(row.read(attempt::failure_message)?.map(|message| FailureSummary::new(message, class)))
}

fn cancellation(core: &Row) -> Result<Option<CancellationSummary>, EngineError> {
    let reason = core.read(exec_core::cancellation_reason)?;
    Ok(CancellationSummary::of(reason, core.read(exec_core::cancelled_by)?))
}

fn attempt_summary(row: &Row) -> Result<Option<AttemptSummary>, EngineError> {
    let attempt_index = index(row.read(attempt::attempt_index)?);
    let attempt_id = row.read(attempt::attempt_id)?;
    Ok(attempt_id.map(|id| AttemptSummary::new(AttemptId::from_uuid(id), attempt_index)))
}

fn lease_summary(row: &Row) -> Result<Option<LeaseSummary>, EngineError> {
    let owner = row.read(attempt::worker_instance_id)?.filter(|owner| !owner.is_empty());
    let (Some(owner), Some(expires)) = (owner, row.read(attempt::lease_expires_at_ms)?) else {
        return Ok(None);
    };

    let epoch = LeaseEpoch(row.read(attempt::lease_epoch)?.unsigned_abs());
    let lease = LeaseSummary::new(epoch, WorkerInstanceId::new(owner), TimestampMs(expires))
        .with_attempt_index(index(row.read(attempt::attempt_index)?));

    Ok(Some(match row.read(attempt::lease_id)? {
        Some(id) => lease.with_lease_id(LeaseId::from_uuid(id)),
        None => lease,
    }))
}

fn known<'a>(rows: &ReadRows<'a>, operation: &str) -> Result<&'a Row, EngineError> {
    rows.core
        .ok_or_else(|| input::invalid(format!("{operation}: execution not found: {}", rows.id)))
}

fn corrupt(detail: String) -> EngineError {
    EngineError::Validation { kind: ValidationKind::Corruption, detail }
}

fn index(stored: i32) -> AttemptIndex {
    AttemptIndex(u32::try_from(stored).unwrap_or(0))
}

pub(crate) fn text(raw: &Json, member: &str) -> Option<String> {
    raw.get(member).and_then(Json::as_str).map(str::to_owned)
}

pub(crate) fn tags_of(raw: &Json) -> BTreeMap<String, String> {
    let tags = raw.get("tags").and_then(Json::as_object);
    let texts = tags
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| value.as_str().map(|value| (name.clone(), value.to_owned())));
    texts.collect()
}
