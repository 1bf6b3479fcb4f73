//! The stage of a scene: a database in memory, a clock, and a record of the engine's calls.

use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use ff_backend_memory::MemoryBackend;
use ff_core::backend::Handle;
use ff_core::contracts::CreateExecutionArgs;
use ff_core::engine::Executor as _;
use ff_core::engine_backend::EngineBackend;
use ff_core::handle_codec;
use ff_core::partition::PartitionConfig;
use ff_core::plan::value::Value;
use ff_core::plan::{Expr, Plan};
use ff_core::policy::ExecutionPolicy;
use ff_core::rules;
use ff_core::schema::ColumnRef;
use ff_core::schema::execution::exec_core;
use ff_core::types::{ExecutionId, Namespace, TimestampMs};
use futures_util::FutureExt;
use uuid::Uuid;

use super::fixtures::{capabilities, lane, worker};
use super::{Recorder, Sample};

/// The time at which every scene begins.
pub(super) const NOON: i64 = 1_700_000_000_000;

/// A database of its own, with a clock that the scene moves.
pub(super) struct Scene {
    pub(super) backend: Recorder<MemoryBackend>,
    /// The same database, for rows inserted by hand.
    pub(super) memory: Arc<MemoryBackend>,
    clock: Arc<AtomicI64>,
    pub(super) samples: Vec<Sample>,
    submitted: u128,
    /// True if every execution is marked as one that may have open waitpoints.
    has_waitpoints: bool,
}

/// The output of a future of the in-memory backend, which never waits, so that it is ready at once.
pub(super) fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    future.now_or_never()
}

impl Scene {
    pub(super) fn new() -> Self {
        let clock = Arc::new(AtomicI64::new(NOON));
        let reads = Arc::clone(&clock);
        let clock_fn = Box::new(move || TimestampMs(reads.load(Ordering::Relaxed)));
        let memory = Arc::new(MemoryBackend::new().with_clock(clock_fn).with_seed(7));
        let backend = Recorder::new(Arc::clone(&memory));
        Self { backend, memory, clock, samples: Vec::new(), submitted: 0, has_waitpoints: false }
    }

    /// A scene in which every execution is marked as one that may have open waitpoints.
    pub(super) fn with_waitpoints() -> Self {
        Self { has_waitpoints: true, ..Self::new() }
    }

    /// Plays a scene, and hands over its samples.
    pub(super) fn played(mut self, scene: fn(&mut Self)) -> Vec<Sample> {
        scene(&mut self);
        self.samples
    }

    /// Plays one combination on a database of its own, and keeps its samples.
    pub(super) fn in_own_database(&mut self, play: impl FnOnce(&mut Scene)) {
        let mut scene = Scene { has_waitpoints: self.has_waitpoints, ..Scene::new() };
        play(&mut scene);
        self.samples.append(&mut scene.samples);
    }

    pub(super) fn at(&self) -> TimestampMs {
        TimestampMs(self.clock.load(Ordering::Relaxed))
    }

    pub(super) fn pass(&self, ms: i64) {
        self.clock.fetch_add(ms, Ordering::Relaxed);
    }

    /// Runs a call and keeps its reads and plans. Its outcome does not matter: a refusal reads,
    /// too.
    pub(super) fn sample<T>(
        &mut self,
        operation: &'static str,
        case: impl Into<Cow<'static, str>>,
        call: impl AsyncFnOnce(&Recorder<MemoryBackend>) -> T,
    ) -> Option<T> {
        if self.has_waitpoints {
            self.mark_waitpoints();
        }

        let backend = self.backend.clone();
        // The calls that prepared the scene are not part of the sample.
        let _ = backend.take();
        let outcome = now(call(&backend));
        let calls = backend.take();

        let case = match (case.into(), self.has_waitpoints) {
            (case, false) => case,
            (case, true) => format!("{case}, with waitpoints").into(),
        };

        let sample = |call| Sample { operation, case: case.clone(), call };
        self.samples.extend(calls.into_iter().map(sample));
        outcome
    }

    fn mark_waitpoints(&self) {
        for row in self.memory.rows(exec_core::TABLE.name) {
            let cell = |column: ColumnRef| {
                let value = row.get(column.name).cloned().unwrap_or(Value::Null);
                (column, Expr::Value(column.ty, vec![value]))
            };
            let key = exec_core::TABLE.key.iter().map(|column| cell(*column)).collect();
            let set = vec![exec_core::has_waitpoints.set(true)];
            let plan = Plan::new("by hand").update(exec_core::REF, key, set);
            let _ = now(self.memory.commit(plan));
        }
    }

    pub(super) fn args(&mut self) -> CreateExecutionArgs {
        self.submitted += 1;
        let uuid = Uuid::from_u128(self.submitted);
        CreateExecutionArgs {
            execution_id: ExecutionId::deterministic_solo(
                &lane(),
                &PartitionConfig::default(),
                uuid,
            ),
            namespace: Namespace::new("billing"),
            lane_id: lane(),
            execution_kind: "render-invoice".into(),
            input_payload: br#"{"invoice":17}"#.to_vec(),
            payload_encoding: None,
            priority: 0,
            creator_identity: "ff".into(),
            idempotency_key: None,
            tags: [("cairn.instance_id".to_owned(), "eu-1".to_owned())].into(),
            policy: None,
            delay_until: None,
            execution_deadline_at: None,
            partition_id: 0,
            now: self.at(),
        }
    }

    pub(super) fn submit(&mut self, change: impl FnOnce(&mut CreateExecutionArgs)) -> ExecutionId {
        let mut args = self.args();
        change(&mut args);
        let id = args.execution_id.clone();
        let _ = now(self.backend.create_execution(args));
        id
    }

    /// Submits and claims an execution, outside the samples.
    pub(super) fn held(
        &mut self,
        policy: Option<ExecutionPolicy>,
    ) -> Option<(ExecutionId, Handle)> {
        let submitted = self.submitted + 1;
        let id = self.submit(|args| {
            args.policy = policy;
            // Above everything submitted before, so that it is the one claimed.
            args.priority = i32::try_from(submitted).unwrap_or(i32::MAX);
        });

        let handle = now(self.backend.claim(&lane(), &capabilities(), worker()))?.ok()??;
        Some((id, handle))
    }

    /// The same, with a handle that carries no retry facts, as those of earlier versions.
    pub(super) fn claimed_without_retry_facts(
        &mut self,
        policy: ExecutionPolicy,
    ) -> Option<Handle> {
        let (_, handle) = self.held(Some(policy))?;
        let payload = handle_codec::decode(&handle.opaque).ok()?.payload.with_retry(None);
        Some(rules::handle::mint(handle.backend, handle.kind, &payload))
    }
}
