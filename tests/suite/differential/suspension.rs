//! Suspensions, signals and resumes of a history: what is drawn, and what they come to.

use ff_core::contracts::{
    DeliverSignalArgs, ResumeCondition, ResumeExecutionArgs, ResumePolicy, SignalMatcher,
    SuspendArgs, SuspensionReasonCode, TimeoutBehavior, WaitpointBinding,
};
use ff_core::types::{SignalId, SuspensionId, TimestampMs, WaitpointId, WaitpointToken};
use uuid::Uuid;

use super::drawn::is_drawn;
use super::generator::Generator;
use super::operation::{Held, Operation, Side};

/// A signal before it is known where it goes in.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    signal_id: Uuid,
    name: &'static str,
    /// Which of the execution's waitpoints, as far as it has any.
    target: usize,
    key: Option<&'static str>,
    most: Option<u64>,
    keep: Option<u64>,
    delay: Option<u64>,
    now: TimestampMs,
}

impl Generator {
    pub(super) fn suspension(&mut self, held: Held, now: TimestampMs) -> Operation {
        let keys = ["a", "b", "käse"];
        let waitpoints = (0..self.pick(&[1, 1, 1, 1, 2, 3, 0])).map(|at: usize| {
            let waitpoint_id = WaitpointId::from_uuid(self.draw());
            WaitpointBinding::Fresh { waitpoint_id, waitpoint_key: keys[at].into() }
        });
        let waitpoints: Vec<_> = waitpoints.collect();
        let go = SignalMatcher::ByName("go".into());
        let any =
            ResumeCondition::Single { waitpoint_key: "a".into(), matcher: SignalMatcher::Wildcard };
        // Most waits end by one signal, so that what comes after it is seen, too.
        let conditions = [
            any.clone(),
            any.clone(),
            any.clone(),
            any.clone(),
            any,
            ResumeCondition::Single { waitpoint_key: "a".into(), matcher: go },
            ResumeCondition::all_of_waitpoints(["a", "b"]),
            ResumeCondition::OperatorOnly,
            ResumeCondition::TimeoutOnly,
        ];
        let mut policy = ResumePolicy::new();
        policy.consume_matched_signals = self.chance(70);
        policy.retain_signal_buffer_until_closed = self.chance(50);
        policy.resume_delay_ms = self.pick(&[None, None, Some(0), Some(500)]);
        policy.close_waitpoint_on_resume = self.chance(60);
        let suspension = SuspensionId::from_uuid(self.draw());
        let reasons = [SuspensionReasonCode::WaitingForSignal, SuspensionReasonCode::ManualPause];
        let (condition, reason) = (self.pick(&conditions), self.pick(&reasons));
        let target = WaitpointBinding::fresh_with(WaitpointId::from_uuid(Uuid::nil()));
        let args = SuspendArgs::new(suspension, target, condition, policy, reason, now);
        let mut args = args.with_waitpoints(waitpoints);
        if let Some(ms) = self.pick(&[None, Some(500), Some(5_000), Some(-1)]) {
            let behavior = self.pick(&[
                TimeoutBehavior::Fail,
                TimeoutBehavior::Cancel,
                TimeoutBehavior::Expire,
                TimeoutBehavior::Escalate,
            ]);
            args = args.with_timeout(TimestampMs(now.0 + ms), behavior);
        }
        Operation::Suspend(held, Box::new(args))
    }

    pub(super) fn signal(&mut self, execution: usize, now: TimestampMs) -> Operation {
        let sent = Sent {
            signal_id: self.draw(),
            name: self.pick(&["go", "go", "stop", "approved"]),
            target: self.pick(&[0, 0, 1, 2]),
            key: self.pick(&[None, None, Some("once"), Some("it's \\ twice")]),
            most: self.pick(&[None, None, Some(2)]),
            keep: self.pick(&[None, None, None, None, Some(1), Some(1), Some(0)]),
            delay: self.pick(&[None, None, Some(0), Some(500)]),
            now,
        };
        Operation::Signal(execution, Box::new(sent))
    }
}

impl Side {
    pub(super) async fn suspend(&self, held: Held, args: &SuspendArgs) -> String {
        let outcome = self.bench.backend.suspend(self.handle(held), args.clone()).await;
        // The handle holds ids that each backend draws for itself.
        self.answer(outcome.map(|outcome| outcome.details().clone()))
    }

    pub(super) async fn signal(&self, execution: usize, sent: &Sent) -> String {
        let id = &self.ids[execution];
        let mut targets = self.bench.of("ff_waitpoint_pending", id).await;
        // The order of drawn ids differs.
        targets
            .sort_by_key(|row| (is_drawn(row), row.int("created_at_ms"), row.uuid("waitpoint_id")));
        let target = targets.get(sent.target % targets.len().max(1));
        let (waitpoint_id, token) = match target {
            Some(target) => (target.uuid("waitpoint_id").unwrap(), target.text("token").to_owned()),
            None => (sent.signal_id, "kid1:00".into()),
        };
        let args = DeliverSignalArgs {
            signal_category: "c".into(),
            source_type: "person".into(),
            source_identity: "ada".into(),
            payload: Some(vec![0, 255]),
            idempotency_key: sent.key.map(Into::into),
            dedup_ttl_ms: Some(5_000),
            resume_delay_ms: sent.delay,
            max_signals_per_execution: sent.most,
            signal_maxlen: sent.keep,
            ..DeliverSignalArgs::new(
                id.clone(),
                WaitpointId::from_uuid(waitpoint_id),
                SignalId::from_uuid(sent.signal_id),
                sent.name,
                WaitpointToken::new(token),
                sent.now,
            )
        };
        self.answer(self.bench.backend.deliver_signal(args).await)
    }

    pub(super) async fn resume(&self, execution: usize, resume_delay_ms: u64) -> String {
        let (execution_id, trigger_type) = (self.ids[execution].clone(), "operator".into());
        let args = ResumeExecutionArgs { execution_id, trigger_type, resume_delay_ms };
        self.answer(self.bench.backend.resume_execution(args).await)
    }
}
