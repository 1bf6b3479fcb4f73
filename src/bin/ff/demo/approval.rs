//! The demo's third act: an execution asks a person, and continues with the answer.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use ff_core::EngineError;
use ff_core::backend::{FailureClass, Frame, FrameKind};
use ff_core::contracts::{
    CreateExecutionArgs, DeliverSignalArgs, ExecutionTimeline, ListPendingWaitpointsArgs,
    PendingWaitpointInfo, ResumeCondition, SeedWaitpointHmacSecretArgs, StreamCursor, SuspendArgs,
    SuspensionReasonCode,
};
use ff_core::engine_backend::EngineBackend;
use ff_core::partition::{Partition, PartitionConfig, PartitionFamily};
use ff_core::state::PublicState;
use ff_core::types::{
    AttemptIndex, ExecutionId, LaneId, Namespace, SignalId, TimestampMs, WaitpointToken,
};
use serde::Serialize;
use tokio::sync::watch;

use super::{Demo, ms};
use crate::clock::now;
use crate::failure::Failure;
use crate::keys::random_secret;
use crate::show::print_timeline;
use crate::tail::frame_lines;
use crate::view::{HistoryView, WaitpointView};
use crate::waitpoints::{only_one, open_waitpoints, waitpoint_table};
use flowfabric_sql::worker::{Ending, Run, Runner, Stop, Until, Worker, WorkerConfig};

/// The lane of this act.
const LANE: &str = "demo-approval";

/// The name of the signal that approves.
const APPROVED: &str = "approved";

/// A runner that prepares a release, asks for approval, and publishes it once approved.
struct Publisher {
    engine: Arc<dyn EngineBackend>,
}

#[async_trait]
impl Runner for Publisher {
    async fn run(&self, job: Arc<Run>) -> Ending {
        match self.publish(&job).await {
            Ok(ending) => ending,
            Err(error) => {
                Ending::Failed { message: error.to_string(), class: FailureClass::Transient }
            }
        }
    }
}

impl Publisher {
    async fn publish(&self, job: &Run) -> Result<Ending, EngineError> {
        let signals = self.engine.observe_signals(&job.handle).await?;
        if let Some(approval) = signals.iter().find(|signal| signal.signal_name == APPROVED) {
            let by = &approval.source_identity;
            self.say(job, &format!("approved by {by}; publishing")).await?;
            return Ok(Ending::Completed(Some(format!("published, approved by {by}").into())));
        }

        self.say(job, "built 3 packages").await?;
        self.say(job, "checksums are fine; asking for approval").await?;
        Ok(Ending::Suspended(ask(TimestampMs::now())))
    }

    async fn say(&self, job: &Run, text: &str) -> Result<(), EngineError> {
        let frame = Frame::new(text.as_bytes().to_vec(), FrameKind::Stdout);
        self.engine.append_frame(&job.handle, frame).await.map(drop)
    }
}

/// Suspends until one signal of the right name comes.
fn ask(now: TimestampMs) -> SuspendArgs {
    let mut args = SuspendArgs::until(ResumeCondition::signal(APPROVED), now);
    args.reason_code = SuspensionReasonCode::WaitingForApproval;
    args
}

/// The results of the third act.
pub(super) struct Approved {
    id: ExecutionId,
    waitpoint: PendingWaitpointInfo,
    frames: Vec<String>,
    result: String,
    timeline: ExecutionTimeline,
    elapsed: Duration,
}

/// The results as programs read them.
#[derive(Serialize)]
pub(super) struct ApprovalView<'a> {
    execution_id: &'a ExecutionId,
    waitpoint: WaitpointView<'a>,
    frames: &'a [String],
    result: &'a str,
    timeline: HistoryView<'a>,
    elapsed_ms: u64,
}

impl<'a> From<&'a Approved> for ApprovalView<'a> {
    fn from(approved: &'a Approved) -> Self {
        Self {
            execution_id: &approved.id,
            waitpoint: (&approved.waitpoint).into(),
            frames: &approved.frames,
            result: &approved.result,
            timeline: (&approved.timeline).into(),
            elapsed_ms: ms(approved.elapsed),
        }
    }
}

impl Demo {
    /// The third act: runs an execution up to its question, answers it, and reports its end.
    pub(super) async fn third_act(&self) -> Result<Approved, Failure> {
        let begun = Instant::now();
        self.narrate(
            "\nThe third act waits for a person: nothing runs, and nothing is forgotten.\n",
        )?;

        self.seed_key().await?;
        let id = self.submit_release().await?;
        self.work().await?;
        self.expect(&id, PublicState::Suspended).await?;

        self.narrate(
            "8. A worker prepares a release, writes frames about it, and suspends the execution\n   \
             until a person approves. Lease and worker are gone. So far it wrote:\n",
        )?;

        let asked = self.print_frames(&id, 0).await?;
        let waitpoint = only_one(&id, open_waitpoints(&self.engine, &id).await?)?;
        self.narrate(
            "\n9. Where it waits can be listed, with the key that has signed the waitpoint's token and\n   \
             the token's fingerprint. The token itself is only for the person who shall answer.\n",
        )?;
        if !self.output.is_json() {
            let now = now(&self.engine).await?;
            self.output.table(&waitpoint_table(
                std::slice::from_ref(&waitpoint),
                self.output,
                now,
            ))?;
        }

        self.approve(&waitpoint).await?;
        self.expect(&id, PublicState::Resumable).await?;
        self.work().await?;
        self.expect(&id, PublicState::Completed).await?;

        self.narrate(format!(
            "\n10. The answer came with the token: the execution resumed, another worker claimed it,\n    \
             saw the approval and completed, as the same attempt, after {:.1} s. It added:\n",
            begun.elapsed().as_secs_f64()
        ))?;

        self.print_frames(&id, asked).await?;
        self.conclude_approval(id, waitpoint, begun).await
    }

    /// Installs a key, which a suspension needs.
    async fn seed_key(&self) -> Result<(), Failure> {
        let args = SeedWaitpointHmacSecretArgs::new("demo", random_secret()?);
        let seeded = self.engine.seed_waitpoint_hmac_secret(args).await;
        seeded.map(drop).map_err(|error| Failure::engine("seeding a key", &error))
    }

    async fn submit_release(&self) -> Result<ExecutionId, Failure> {
        let lane_id = LaneId::new(LANE);
        let execution_id = ExecutionId::solo(&lane_id, &PartitionConfig::default());
        let args = CreateExecutionArgs {
            partition_id: execution_id.partition(),
            execution_id: execution_id.clone(),
            namespace: Namespace::new("demo"),
            lane_id,
            execution_kind: "release".to_owned(),
            input_payload: Vec::new(),
            payload_encoding: None,
            priority: 0,
            creator_identity: "ff demo".to_owned(),
            idempotency_key: None,
            tags: HashMap::new(),
            policy: None,
            delay_until: None,
            execution_deadline_at: None,
            now: now(&self.engine).await?,
        };

        let created = self.engine.create_execution(args).await;
        created.map_err(|error| Failure::engine("submitting", &error))?;
        Ok(execution_id)
    }

    /// Runs a worker that ends when there is nothing to do.
    async fn work(&self) -> Result<(), Failure> {
        let runner = Publisher { engine: Arc::clone(&self.engine) };
        let mut config = WorkerConfig::new(LANE.into(), "worker-d".into(), "worker-d-1".into());
        config.until = Until::Empty;

        let worker = Worker::new(Arc::clone(&self.engine), Arc::new(runner), config);
        let stop = watch::Sender::new(Stop::Not);
        let worked = worker.run(stop.subscribe()).await;
        worked.map(drop).map_err(|error| Failure::new(format!("working: {error}")))
    }

    async fn approve(&self, waitpoint: &PendingWaitpointInfo) -> Result<(), Failure> {
        let failed = |error| Failure::engine("approving", &error);

        let index = waitpoint.execution_id.partition();
        let partition = Partition { family: PartitionFamily::Execution, index };
        let token = self.engine.read_waitpoint_token(partition.into(), &waitpoint.waitpoint_id);
        let token = token.await.map_err(failed)?;
        let token = token.ok_or_else(|| Failure::new("the waitpoint is gone"))?;

        let now = now(&self.engine).await?;
        let args = DeliverSignalArgs {
            execution_id: waitpoint.execution_id.clone(),
            waitpoint_id: waitpoint.waitpoint_id.clone(),
            signal_id: SignalId::new(),
            signal_name: APPROVED.to_owned(),
            signal_category: "approval".to_owned(),
            source_type: "person".to_owned(),
            source_identity: "Ada".to_owned(),
            payload: None,
            payload_encoding: None,
            correlation_id: None,
            idempotency_key: None,
            target_scope: "waitpoint".to_owned(),
            created_at: None,
            dedup_ttl_ms: None,
            resume_delay_ms: None,
            max_signals_per_execution: None,
            signal_maxlen: None,
            waitpoint_token: WaitpointToken::new(token),
            now,
        };

        self.engine.deliver_signal(args).await.map(drop).map_err(failed)
    }

    async fn expect(&self, id: &ExecutionId, expected: PublicState) -> Result<(), Failure> {
        let state = self.engine.read_execution_state(id).await;
        match state.map_err(|error| Failure::engine("reading", &error))? {
            Some(state) if state == expected => Ok(()),
            found => {
                let found = found.map_or("missing", PublicState::as_str);
                Err(Failure::new(format!("{id} should be {expected} and is {found}")))
            }
        }
    }

    /// Prints the frames after the first `known` ones. Returns how many there are.
    async fn print_frames(&self, id: &ExecutionId, known: usize) -> Result<usize, Failure> {
        let frames = self.frames(id).await?;
        for line in frames.iter().skip(known) {
            self.narrate(format!("   {line}"))?;
        }
        Ok(frames.len())
    }

    async fn frames(&self, id: &ExecutionId) -> Result<Vec<String>, Failure> {
        let (start, end) = (StreamCursor::start(), StreamCursor::end());
        let read = self.engine.read_stream(id, AttemptIndex(0), start, end, 100).await;
        let read = read.map_err(|error| Failure::engine("reading frames", &error))?;
        Ok(read.frames.iter().flat_map(frame_lines).collect())
    }

    async fn conclude_approval(
        &self,
        id: ExecutionId,
        waitpoint: PendingWaitpointInfo,
        begun: Instant,
    ) -> Result<Approved, Failure> {
        let failed = |error| Failure::engine("reading", &error);
        let result = self.engine.get_execution_result(&id).await.map_err(failed)?;
        let result = String::from_utf8_lossy(&result.unwrap_or_default()).into_owned();
        if !result.ends_with("approved by Ada") {
            return Err(Failure::new(format!("the result should name who approved: {result:?}")));
        }

        let args = ListPendingWaitpointsArgs::new(id.clone());
        let left = self.engine.list_pending_waitpoints(args).await.map_err(failed)?;
        if !left.entries.is_empty() {
            return Err(Failure::new("a waitpoint is left open"));
        }

        let timeline = self.engine.execution_timeline(&id).await.map_err(failed)?;
        if !self.output.is_json() {
            self.output.lines(&format!("\nIts result: {result}"))?;
            print_timeline(self.output, self.created(&id).await?, &timeline)?;
        }

        let frames = self.frames(&id).await?;
        Ok(Approved { id, waitpoint, frames, result, timeline, elapsed: begun.elapsed() })
    }
}
