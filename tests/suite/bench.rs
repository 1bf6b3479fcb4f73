//! The helpers of most cases: submit, claim, insert a row by hand, read rows. And the checks at the
//! end of every case.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use ff_core::EngineError;
use ff_core::backend::{CapabilitySet, ClaimPolicy, Handle, HandleKind};
use ff_core::contracts::{CreateExecutionArgs, CreateExecutionResult};
use ff_core::handle_codec::{self, HandlePayload};
use ff_core::partition::{Partition, PartitionFamily};
use ff_core::plan::value::Value;
use ff_core::policy::{ExecutionPolicy, RoutingRequirements};
use ff_core::schema::TABLES;
use ff_core::state::{
    AttemptOutcome, AttemptState, BlockingReason, ClosedSet, EligibilityState, LifecyclePhase,
    OwnershipState, PublicState, TerminalOutcome, derive_public_state,
};
use ff_core::types::{ExecutionId, LaneId, LeaseFence, Namespace, WorkerId, WorkerInstanceId};
use serde_json::json;
use uuid::Uuid;

use crate::backends::Bench;
use crate::flow::assert_flows_sound;
use crate::plain::{Cells, Given, int, text};

/// The lane of every case that needs only one.
pub(crate) const LANE: &str = "work";
/// The namespace of everything submitted through the engine.
pub(crate) const NAMESPACE: &str = "tenant-a";
/// The instance tag of everything submitted through the engine.
pub(crate) const INSTANCE: &str = "instance-7";
/// The duration of a lease, ms.
pub(crate) const TTL: i64 = 30_000;

/// States by hand, in the order of [`Cells::states`].
pub(crate) const ACTIVE: &str = "active leased not_applicable active running_attempt -";
pub(crate) const WAITING: &str =
    "runnable unowned eligible_now waiting pending_first_attempt waiting_for_worker";
pub(crate) const COMPLETED: &str = "terminal unowned not_applicable completed attempt_terminal -";
pub(crate) const FAILED: &str = "terminal unowned not_applicable failed attempt_terminal -";
pub(crate) const CANCELLED: &str = "terminal unowned not_applicable cancelled attempt_terminal -";
pub(crate) const EXPIRED: &str = "terminal unowned not_applicable expired attempt_terminal -";

/// A fresh id in that partition.
pub(crate) fn id_in(partition: u16) -> ExecutionId {
    ExecutionId::from_parts(partition, Uuid::new_v4())
}

/// A fresh id.
pub(crate) fn id() -> ExecutionId {
    id_in(7)
}

pub(crate) fn lane() -> LaneId {
    LaneId::new(LANE)
}

/// The partition of an id, as the scanner operations take it.
pub(crate) fn partition(id: &ExecutionId) -> Partition {
    Partition { family: PartitionFamily::Execution, index: id.partition() }
}

/// A worker's terms.
pub(crate) fn worker(name: &str) -> ClaimPolicy {
    let instance = WorkerInstanceId::new(format!("{name}-1"));
    ClaimPolicy::new(WorkerId::new(name), instance, u32::try_from(TTL).unwrap(), None)
}

/// A policy that requires capabilities.
pub(crate) fn requiring(tokens: &[&str]) -> ExecutionPolicy {
    let required_capabilities = tokens.iter().map(|&token| token.to_owned()).collect();
    ExecutionPolicy {
        routing_requirements: Some(RoutingRequirements {
            required_capabilities,
            ..RoutingRequirements::default()
        }),
        ..ExecutionPolicy::default()
    }
}

/// The payload of a handle.
pub(crate) fn payload_of(handle: &Handle) -> HandlePayload {
    handle_codec::decode(&handle.opaque).unwrap().payload
}

/// The fence of a handle, for typed operations.
pub(crate) fn fence(handle: &Handle) -> LeaseFence {
    let HandlePayload { lease_id, lease_epoch, attempt_id, .. } = payload_of(handle);
    LeaseFence { lease_id, lease_epoch, attempt_id }
}

/// Asserts the refusal, as it is printed.
#[track_caller]
pub(crate) fn assert_refused<T: fmt::Debug>(result: Result<T, EngineError>, expected: &str) {
    let error = result.expect_err("must be refused");
    assert_eq!(error.to_string(), expected);
}

/// Asserts the refusal of an execution that is not active.
#[track_caller]
pub(crate) fn assert_not_active<T: fmt::Debug>(result: Result<T, EngineError>, phase: &str) {
    use ff_core::engine_error::ContentionKind::ExecutionNotActive;
    match result.expect_err("must be refused") {
        EngineError::Contention(ExecutionNotActive { lifecycle_phase, .. }) => {
            assert_eq!(lifecycle_phase, phase);
        }
        other => panic!("{other}"),
    }
}

/// A change to a submission.
pub(crate) type Change<'a> = &'a (dyn Fn(&mut CreateExecutionArgs) + Sync);

impl Bench {
    /// A submission with nothing special.
    pub(crate) fn args(&self, id: &ExecutionId) -> CreateExecutionArgs {
        CreateExecutionArgs {
            execution_id: id.clone(),
            namespace: Namespace::new(NAMESPACE),
            lane_id: lane(),
            execution_kind: "job".into(),
            input_payload: b"input".to_vec(),
            payload_encoding: None,
            priority: 0,
            creator_identity: "suite".into(),
            idempotency_key: None,
            tags: HashMap::from([("cairn.instance_id".into(), INSTANCE.into())]),
            policy: None,
            delay_until: None,
            execution_deadline_at: None,
            partition_id: id.partition(),
            now: self.clock.now(),
        }
    }

    pub(crate) async fn create(&self) -> ExecutionId {
        self.create_with(&|_| {}).await
    }

    pub(crate) async fn create_with(&self, change: Change<'_>) -> ExecutionId {
        let mut args = self.args(&id());
        change(&mut args);
        let id = args.execution_id.clone();
        let result = self.backend.create_execution(args).await.unwrap();
        assert!(matches!(result, CreateExecutionResult::Created { .. }), "{result:?}");
        id
    }

    /// Claims what is best for a worker without capabilities.
    pub(crate) async fn try_claim(&self) -> Option<Handle> {
        self.backend.claim(&lane(), &CapabilitySet::default(), worker("w")).await.unwrap()
    }

    pub(crate) async fn claim(&self) -> Handle {
        self.try_claim().await.expect("something to claim")
    }

    /// A fresh execution in a worker's hands.
    pub(crate) async fn leased(&self) -> (ExecutionId, Handle) {
        self.leased_with(&|_| {}).await
    }

    pub(crate) async fn leased_with(&self, change: Change<'_>) -> (ExecutionId, Handle) {
        let id = self.create_with(change).await;
        let handle = self.claim().await;
        assert_eq!(payload_of(&handle).execution_id, id);
        (id, handle)
    }

    /// The handle that would stand for this lease.
    pub(crate) fn forged(&self, payload: &HandlePayload) -> Handle {
        Handle::new(self.tag, HandleKind::Fresh, handle_codec::encode(self.tag, payload))
    }

    /// A handle like `handle`, except for what is changed.
    pub(crate) fn altered(&self, handle: &Handle, change: impl Fn(&mut HandlePayload)) -> Handle {
        let mut payload = payload_of(handle);
        change(&mut payload);
        self.forged(&payload)
    }

    /// Inserts an execution by hand. Names only columns that the reference schema has, and the
    /// states as literals in the order of [`Cells::states`], `-` being NULL.
    pub(crate) async fn insert_core(&self, id: &ExecutionId, states: &str, more: Given<'_>) {
        let columns = [
            "lifecycle_phase",
            "ownership_state",
            "eligibility_state",
            "public_state",
            "attempt_state",
            "blocking_reason",
        ];
        let words: Vec<&str> = states.split(' ').collect();
        assert_eq!(words.len(), columns.len(), "{states}");
        let mut cells: HashMap<&str, Value> = HashMap::from([
            ("partition_key", int(i64::from(id.partition()))),
            ("execution_id", Value::Uuid(id.uuid())),
            ("lane_id", text(LANE)),
            ("attempt_index", int(0)),
            ("priority", int(0)),
            ("created_at_ms", int(self.clock.now().0)),
            ("raw_fields", Value::Json(json!({}))),
        ]);
        for (column, word) in columns.into_iter().zip(words) {
            cells.insert(column, if word == "-" { Value::Null } else { text(word) });
        }
        cells.extend(more);
        self.plain.insert("ff_exec_core", cells.into_iter().collect()).await;
    }

    /// Inserts an attempt by hand, with an epoch and what else is given.
    pub(crate) async fn insert_attempt(
        &self,
        id: &ExecutionId,
        index: i64,
        epoch: i64,
        more: Given<'_>,
    ) {
        let mut cells: HashMap<&str, Value> = HashMap::from([
            ("partition_key", int(i64::from(id.partition()))),
            ("execution_id", Value::Uuid(id.uuid())),
            ("attempt_index", int(index)),
            ("lease_epoch", int(epoch)),
        ]);
        cells.extend(more);
        self.plain.insert("ff_attempt", cells.into_iter().collect()).await;
    }

    /// An active execution inserted by hand, leased in epoch 1 until [`TTL`] from now.
    pub(crate) async fn insert_leased(&self, raw: serde_json::Value) -> ExecutionId {
        let id = id();
        self.insert_core(&id, ACTIVE, vec![("raw_fields", Value::Json(raw))]).await;
        let lease = vec![
            ("worker_id", text("w")),
            ("worker_instance_id", text("w-1")),
            ("lease_expires_at_ms", int(self.clock.now().0 + TTL)),
            ("started_at_ms", int(self.clock.now().0)),
        ];
        self.insert_attempt(&id, 0, 1, lease).await;
        id
    }

    pub(crate) async fn core(&self, id: &ExecutionId) -> Cells {
        let mut found = self.of("ff_exec_core", id).await;
        assert_eq!(found.len(), 1, "rows of {id}");
        found.remove(0)
    }

    pub(crate) async fn attempts(&self, id: &ExecutionId) -> Vec<Cells> {
        self.of("ff_attempt", id).await
    }

    pub(crate) async fn attempt(&self, id: &ExecutionId, index: usize) -> Cells {
        self.attempts(id).await.swap_remove(index)
    }

    /// What the lease outbox says of an execution, oldest first.
    pub(crate) async fn lease_events(&self, id: &ExecutionId) -> Vec<String> {
        let rows = self.of("ff_lease_event", id).await;
        rows.iter().map(|row| row.text("event_type").to_owned()).collect()
    }

    /// What the completion outbox says of an execution, oldest first.
    pub(crate) async fn completions(&self, id: &ExecutionId) -> Vec<String> {
        let rows = self.of("ff_completion_event", id).await;
        rows.iter().map(|row| row.text("outcome").to_owned()).collect()
    }

    /// The rows of one execution, in primary key order.
    pub(crate) async fn of(&self, table: &str, id: &ExecutionId) -> Vec<Cells> {
        self.plain.rows_with(table, "execution_id", id.uuid()).await
    }

    /// Every row of every table.
    pub(crate) async fn everything(&self) -> Vec<(&'static str, Vec<Cells>)> {
        let mut all = Vec::new();
        for table in TABLES {
            all.push((table.name, self.plain.rows(table.name).await));
        }
        all
    }

    /// The counts are those of the rows, also of rows that were inserted or changed by hand. A fold
    /// by a process with another clock may have forgotten the minutes of failures.
    pub(crate) async fn assert_counted(&self, cores: &[Cells]) {
        let mut counted: BTreeMap<[String; 4], i64> = BTreeMap::new();
        let mut minutes: BTreeMap<([String; 4], i64), i64> = BTreeMap::new();
        for core in cores {
            let failed = core.text("public_state") == "failed";
            let word = |member: &str| core.raw(member).as_str().unwrap_or_default().to_owned();
            let class = if failed { word("last_failure_class") } else { String::new() };
            let [lane, state] = ["lane_id", "public_state"].map(|name| core.text(name).to_owned());
            let group = [lane, word("execution_kind"), state, class];
            if let Some(ended) = core.int("terminal_at_ms").filter(|_| failed) {
                *minutes.entry((group.clone(), ended / 60_000)).or_default() += 1;
            }
            *counted.entry(group).or_default() += 1;
        }

        let mut stored: BTreeMap<[String; 4], i64> = BTreeMap::new();
        for row in self.plain.rows("ff_exec_count").await {
            let words = ["lane_id", "execution_kind", "public_state", "failure_class"];
            let group = words.map(|name| match row.value(name) {
                Value::Text(text) => text.clone(),
                other => panic!("{name}: {other:?}"),
            });
            let (minute, n) = (row.int("ended_minute").unwrap(), row.int("n").unwrap());
            if minute != 0 {
                *minutes.entry((group.clone(), minute)).or_default() -= n;
            }
            *stored.entry(group).or_default() += n;
        }
        stored.retain(|_, n| *n != 0);
        assert_eq!(stored, counted, "the counts are those of the rows");
        assert!(minutes.values().all(|left| 0 <= *left), "{minutes:?}");
    }

    /// What holds of everything submitted through the engine, whatever happened to it since. Rows
    /// that a case inserted by hand may break it on purpose and are left out.
    pub(crate) async fn assert_sound(&self) {
        let cores = self.plain.rows("ff_exec_core").await;
        let ours: Vec<&Cells> =
            cores.iter().filter(|core| core.raw("namespace") == NAMESPACE).collect();
        let by_execution = |rows: Vec<Cells>| {
            let mut sorted: HashMap<Uuid, Vec<Cells>> = HashMap::new();
            for row in rows {
                sorted.entry(row.uuid("execution_id").unwrap()).or_default().push(row);
            }
            sorted
        };
        let attempts = by_execution(self.plain.rows("ff_attempt").await);
        let completions = by_execution(self.plain.rows("ff_completion_event").await);
        let leases = by_execution(self.plain.rows("ff_lease_event").await);
        for core in ours {
            let uuid = core.uuid("execution_id").unwrap();
            let of =
                |rows: &HashMap<Uuid, Vec<Cells>>| rows.get(&uuid).cloned().unwrap_or_default();
            let (completions, leases) = (of(&completions), of(&leases));
            let ends = completions.iter().filter(|event| event.text("outcome") != "resumable");
            assert_execution_sound(core, &of(&attempts), ends.count());
            for event in completions.iter().chain(&leases) {
                assert_eq!(event.text("namespace"), NAMESPACE, "{event:?}");
                let tagged = core.raw("tags").get("cairn.instance_id").cloned();
                let tag = tagged.as_ref().and_then(serde_json::Value::as_str).unwrap_or("-");
                assert_eq!(event.text("instance_tag"), tag, "{event:?}");
                assert_eq!(event.int("partition_key"), core.int("partition_key"), "{event:?}");
            }
        }
        self.assert_counted(&cores).await;
        self.assert_nothing_outlives_its_wait(&cores).await;
        self.assert_budgets_sound(&cores).await;
        self.assert_limits_sound(&cores).await;
        assert_flows_sound(self).await;
    }
}

/// A stored word, which must be the canonical spelling.
#[track_caller]
fn word<T: ClosedSet>(row: &Cells, column: &str) -> T {
    let stored = row.text(column);
    let parsed = T::parse(stored).unwrap_or_else(|| panic!("{column} is {stored:?}"));
    assert_eq!(parsed.as_str(), stored, "{column} is written in its canonical spelling");
    parsed
}

fn assert_execution_sound(core: &Cells, attempts: &[Cells], completions: usize) {
    let phase: LifecyclePhase = word(core, "lifecycle_phase");
    let ownership: OwnershipState = word(core, "ownership_state");
    let eligibility: EligibilityState = word(core, "eligibility_state");
    let public: PublicState = word(core, "public_state");
    let state: AttemptState = word(core, "attempt_state");
    let current = attempts.iter().find(|row| row.int("attempt_index") == core.int("attempt_index"));
    let outcome =
        current.filter(|row| row.text("outcome") != "-").map_or(TerminalOutcome::None, |row| {
            word::<AttemptOutcome>(row, "outcome").terminal_outcome()
        });
    let resumable = public == PublicState::Resumable;
    assert_eq!(public, derive_public_state(phase, eligibility, outcome, resumable), "{core:?}");
    assert!(!resumable || state == AttemptState::AttemptInterrupted, "{core:?}");

    let terminal = phase.is_terminal();
    let active = phase == LifecyclePhase::Active;
    assert_eq!(core.int("terminal_at_ms").is_some(), terminal, "{core:?}");
    let replays = usize::try_from(core.raw("replay_count").as_u64().unwrap_or(0)).unwrap();
    let ends = replays + usize::from(terminal);
    assert_eq!(completions, ends, "one completion event per end: {core:?}");
    assert_eq!(ownership == OwnershipState::Leased, active, "{core:?}");
    assert_eq!(state == AttemptState::RunningAttempt, active, "{core:?}");
    assert_eq!(state == AttemptState::AttemptTerminal, terminal, "{core:?}");
    let blocked = core.text("blocking_reason") != "-";
    assert_eq!(blocked, !active && !terminal, "{core:?}");
    if blocked {
        word::<BlockingReason>(core, "blocking_reason");
    }

    let since = core.int("claimable_since_ms");
    match eligibility {
        EligibilityState::EligibleNow => {
            assert_ne!(since, Some(0), "it says since when it can be claimed: {core:?}");
        }
        EligibilityState::NotEligibleUntilTime => {
            assert_eq!(since, core.int("eligible_at_ms"), "it says from when on: {core:?}");
        }
        _ => {}
    }
    assert_ne!(core.int("last_changed_at_ms"), Some(0), "every change says when: {core:?}");

    let mut epoch = 0;
    for attempt in attempts {
        let leased = active && attempt.int("attempt_index") == core.int("attempt_index");
        assert_eq!(attempt.text("worker_instance_id") != "-", leased, "{attempt:?}");
        assert_eq!(attempt.int("lease_expires_at_ms").is_some(), leased, "{attempt:?}");
        assert!(epoch <= attempt.int("lease_epoch").unwrap(), "epochs grow: {attempts:?}");
        epoch = attempt.int("lease_epoch").unwrap();
    }
}
