//! The life of executions with marked content wherever an operation takes some.

use std::sync::Arc;
use std::time::Duration;

use ff_core::backend::{
    CapabilitySet, Frame, FrameKind, Handle, ScannerFilter, StreamMode, TailVisibility,
};
use ff_core::contracts::{
    ArchivePass, CreateScheduleArgs, ExplainExecutionArgs, ForkExecutionArgs,
    ListPendingWaitpointsArgs, NewStep, RotateWaitpointHmacSecretAllArgs, ScheduleId, ScheduleSpec,
    ScheduledWork, SeedWaitpointHmacSecretArgs, StreamCursor,
};
use ff_core::engine_backend::Scan;
use ff_core::policy::BackoffStrategy;
use ff_core::rules::archive::record::Record;
use ff_core::types::{AttemptIndex, ExecutionId, LaneId};
use flowfabric_sql::{Client, Context, Failure, Job, Service};
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};

use super::{MARK, Said};
use crate::backends::Bench;
use crate::bench::{NAMESPACE, id, worker};
use crate::conformance::fence::complete_args;
use crate::plain::PlainSql;
use crate::subscriptions::beginning;
use crate::suspended::{Target, fresh, named, secret, targets};
use crate::transactions::Own;

fn content() -> Vec<u8> {
    MARK.as_bytes().to_vec()
}

/// Content that is a document, too.
fn document() -> Vec<u8> {
    format!(r#"{{"a":"{MARK}"}}"#).into_bytes()
}

impl Bench {
    /// Does everything that takes content. Returns the tokens that came about.
    pub(super) async fn observe(&self, said: &Said) -> Vec<Vec<u8>> {
        self.submit_and_work(said).await;
        self.archive_all(said).await;
        // A service installs the first key.
        self.serve(said).await;
        self.change_keys(said).await;
        let tokens = self.wait_for_signals(said).await;
        self.tick(said).await;
        if !matches!(self.plain, PlainSql::Memory(_)) {
            self.work_within_transactions(said).await;
        }
        tokens
    }

    async fn submit_and_work(&self, said: &Said) {
        let backend = &self.backend;
        let mut args = self.args(&id());
        args.input_payload = content();
        said.note(&args);
        let id = args.execution_id.clone();
        said.answer(backend.create_execution(args.clone()).await).unwrap();
        said.note(backend.create_executions(vec![args]).await);
        let handle = self.claim().await;
        said.note(&handle);

        for mode in [
            StreamMode::durable(),
            StreamMode::durable_summary(),
            StreamMode::best_effort_live(10_000),
        ] {
            let frame = Frame::new(document(), FrameKind::Stdout).with_mode(mode);
            said.note(&frame);
            said.answer(backend.append_frame(&handle, frame).await).unwrap();
        }
        let no_patch = Frame::new(content(), FrameKind::Stdout);
        let no_patch = no_patch.with_mode(StreamMode::durable_summary());
        said.refusal(backend.append_frame(&handle, no_patch).await);

        for name in ["charge", "mail"] {
            let step = NewStep::new(0, name, content());
            said.note(&step);
            said.answer(backend.record_step(&handle, step).await).unwrap();
        }
        let fork = ForkExecutionArgs::new(id.clone(), crate::bench::id(), "ada");
        said.answer(backend.fork_execution(fork).await).unwrap();

        let mut args = complete_args(self, &handle);
        args.result_payload = Some(content());
        said.note(&args);
        said.answer(backend.complete_execution(args.clone()).await).unwrap();
        said.refusal(backend.complete_execution(args).await);
        said.refusal(backend.complete(&handle, Some(content())).await);
        self.read_all(&id, said).await;
    }

    /// Reads everything that can be read of an execution.
    async fn read_all(&self, id: &ExecutionId, said: &Said) {
        let backend = &self.backend;
        said.answer(backend.read_execution_context(id).await).unwrap();
        said.answer(backend.describe_execution(id).await).unwrap();
        said.answer(backend.read_execution_info(id).await).unwrap();
        said.answer(backend.execution_timeline(id).await).unwrap();
        said.answer(backend.explain_execution(ExplainExecutionArgs::new(id.clone())).await)
            .unwrap();
        said.answer(backend.list_steps(id, None, 100).await).unwrap();

        let (first, from, to) = (AttemptIndex(0), StreamCursor::Start, StreamCursor::End);
        said.answer(backend.read_stream(id, first, from, to, 100).await).unwrap();
        let (after, all) = (StreamCursor::from_beginning(), TailVisibility::All);
        said.answer(backend.tail_stream(id, first, after, 0, 100, all).await).unwrap();
        said.answer(backend.read_summary(id, first).await).unwrap();

        let any = ScannerFilter::default();
        let mut ends = backend.subscribe_completion(beginning(), &any).await.unwrap();
        said.answer(ends.next().await.expect("an end")).unwrap();
    }

    /// Waits for a signal with content, after ones with tokens that are not its own.
    async fn wait_for_signals(&self, said: &Said) -> Vec<Vec<u8>> {
        let (backend, (id, handle)) = (&self.backend, self.leased_anew().await);
        let pending = backend.create_waitpoint(&handle, "b", Duration::from_secs(60)).await;
        let pending = said.answer(pending).unwrap();
        let args = self.wait(vec![fresh("a")], named("a", "go"));
        said.note(&args);
        let outcome = said.answer(backend.suspend(&handle, args).await).unwrap();
        let target = targets(&id, &outcome).remove(0);

        let forged = Target { token: format!("kid1:{MARK}"), ..target.clone() };
        let mut forged = self.signal(&forged, "go");
        forged.payload = Some(content());
        said.note(&forged);
        said.refusal(backend.deliver_signal(forged).await);
        let mut args = self.signal(&target, "go");
        args.payload = Some(content());
        said.note(&args);
        said.answer(backend.deliver_signal(args).await).unwrap();

        said.note(backend.observe_signals(&handle).await);
        let args = ListPendingWaitpointsArgs::new(id.clone());
        said.answer(backend.list_pending_waitpoints(args).await).unwrap();
        said.answer(backend.describe_execution(&id).await).unwrap();
        vec![target.token.into_bytes(), pending.hmac_token.as_str().as_bytes().to_vec()]
    }

    /// An execution above all others, in a worker's hands.
    async fn leased_anew(&self) -> (ExecutionId, Handle) {
        self.leased_with(&|args| args.priority = 9).await
    }

    async fn change_keys(&self, said: &Said) {
        let backend = &self.backend;
        let args = SeedWaitpointHmacSecretArgs::new("kid1", secret(2));
        said.note(&args);
        said.refusal(backend.seed_waitpoint_hmac_secret(args).await);
        for (kid, key) in [("kid2", secret(2)), ("kid3", MARK.to_owned())] {
            let args = RotateWaitpointHmacSecretAllArgs::new(kid, key, 1_000);
            said.note(&args);
            let _ = said.answer(backend.rotate_waitpoint_hmac_secret_all(args).await);
        }
    }

    async fn tick(&self, said: &Said) {
        let mut work = ScheduledWork::new(LaneId::new("cron"), "kind");
        work.input_payload = [&document()[..], b"{{tick}}"].concat();
        let spec = ScheduleSpec::new("* * * * *", work);
        let args = CreateScheduleArgs { id: ScheduleId::new(NAMESPACE, "nightly"), spec };
        said.note(&args);
        said.answer(self.backend.create_schedule(args.clone()).await).unwrap();
        said.answer(self.backend.get_schedule(&args.id).await).unwrap();
        self.clock.advance(60_000);
        said.answer(self.backend.scan(Scan::Schedules, 100).await).unwrap();
    }

    async fn archive_all(&self, said: &Said) {
        let mut pass = ArchivePass::after(0);
        while !pass.is_done() {
            let step = said.answer(self.backend.archive_step(pass).await).unwrap();
            for line in &step.lines {
                assert!(line.contains(MARK), "{line}");
                said.note(Record::read(line).unwrap());
                said.note(Record::read(&line[..line.len() - 1]).unwrap_err());
            }
            pass = step.pass;
        }
    }

    /// Submits a typed job, and runs it in a service. Its first attempt fails.
    async fn serve(&self, said: &Said) {
        let client = Client::new(Arc::clone(&self.backend));
        let submission = client.submit(&Kept { text: MARK.into() });
        said.note(&submission);
        let at_once = BackoffStrategy::Fixed { delay_ms: 0 };
        let submitted = submission.retries(1).backoff(at_once).await.unwrap();
        let unreadable = client.submit(&Unread { text: MARK.into() }).await.unwrap();

        let service = Service::builder(Arc::clone(&self.backend), said.clone()).handler(keep);
        service.scanners(None).build().run_until_empty().await.unwrap();
        submitted.result().await.unwrap();
        said.note(unreadable.result().await.unwrap_err());
    }

    async fn work_within_transactions(&self, said: &Said) {
        let mut args = self.args(&id());
        args.input_payload = content();
        args.lane_id = LaneId::new("within");
        let mut own = Own::begin(self).await;
        said.answer(own.within(self).create_execution(args).await).unwrap();
        own.commit().await.unwrap();

        let (lane, none) = (LaneId::new("within"), CapabilitySet::default());
        let claimed = self.backend.claim(&lane, &none, worker("w")).await.unwrap();
        let handle = claimed.expect("the execution waits");
        let mut own = Own::begin(self).await;
        said.answer(own.within(self).complete(&handle, Some(content())).await).unwrap();
        said.refusal(own.within(self).complete(&handle, Some(content())).await);
        own.commit().await.unwrap();
    }
}

#[derive(Serialize, Deserialize)]
struct Kept {
    text: String,
}

impl Job for Kept {
    const KIND: &'static str = "kept";
    const LANE: &'static str = "kept";
    type Output = String;
}

/// A job of the same kind, which its handler cannot read.
#[derive(Serialize, Deserialize)]
struct Unread {
    #[serde(rename = "words")]
    text: String,
}

impl Job for Unread {
    const KIND: &'static str = "kept";
    const LANE: &'static str = "kept";
    type Output = String;
}

async fn keep(job: Kept, context: Context<Said>) -> Result<String, Failure> {
    let said = context.state();
    said.note(&context);
    said.note(context.run());
    let text = context.step("read", || async move { Ok::<_, Failure>(job.text) }).await?;
    if context.run().attempt_index.0 == 0 {
        return Err(Failure::retry("once more"));
    }
    Ok(text)
}
