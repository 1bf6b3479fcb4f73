//! The helpers of cases about suspensions: install a key, suspend, signal.

use ff_core::EngineError;
use ff_core::backend::Handle;
use ff_core::contracts::{
    CancelExecutionArgs, DeliverSignalArgs, DeliverSignalResult, ResumeCondition, ResumePolicy,
    SeedWaitpointHmacSecretArgs, SignalMatcher, SuspendArgs, SuspendOutcome, SuspensionReasonCode,
    WaitpointBinding,
};
use ff_core::types::{
    CancelSource, ExecutionId, SignalId, SuspensionId, WaitpointId, WaitpointToken,
};
use uuid::Uuid;

use crate::backends::Bench;
use crate::bench::NAMESPACE;
use crate::plain::Cells;

/// The states of a suspended execution, in the order of `Cells::states`.
pub(crate) const SUSPENDED: &str =
    "suspended unowned not_applicable suspended attempt_interrupted waiting_for_signal";
/// The states of an execution whose condition is met.
pub(crate) const RESUMABLE: &str =
    "runnable unowned eligible_now resumable attempt_interrupted waiting_for_worker";

/// A secret, in hex.
pub(crate) fn secret(byte: u8) -> String {
    format!("{byte:02x}").repeat(32)
}

/// A waitpoint of that key, under an id of its own.
pub(crate) fn fresh(key: &str) -> WaitpointBinding {
    let waitpoint_id = WaitpointId::from_uuid(Uuid::new_v4());
    WaitpointBinding::Fresh { waitpoint_id, waitpoint_key: key.to_owned() }
}

/// Holds with one signal of that name at that waitpoint.
pub(crate) fn named(key: &str, name: &str) -> ResumeCondition {
    let matcher = SignalMatcher::ByName(name.to_owned());
    ResumeCondition::Single { waitpoint_key: key.to_owned(), matcher }
}

/// An open waitpoint with its token: the target of a signal.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) execution: ExecutionId,
    pub(crate) id: WaitpointId,
    pub(crate) token: String,
}

impl Bench {
    pub(crate) async fn seed(&self) {
        let args = SeedWaitpointHmacSecretArgs::new("kid1", secret(1));
        self.backend.seed_waitpoint_hmac_secret(args).await.unwrap();
    }

    /// A suspension at those waitpoints.
    pub(crate) fn wait(
        &self,
        waitpoints: Vec<WaitpointBinding>,
        condition: ResumeCondition,
    ) -> SuspendArgs {
        let suspension_id = SuspensionId::from_uuid(Uuid::new_v4());
        let reason = SuspensionReasonCode::WaitingForSignal;
        let (policy, now) = (ResumePolicy::new(), self.clock.now());
        SuspendArgs::new(suspension_id, fresh("unused"), condition, policy, reason, now)
            .with_waitpoints(waitpoints)
    }

    /// Suspends. Returns the targets of signals, in the order of the waitpoints.
    pub(crate) async fn suspend(
        &self,
        id: &ExecutionId,
        handle: &Handle,
        args: SuspendArgs,
    ) -> Vec<Target> {
        let outcome = self.backend.suspend(handle, args).await.unwrap();
        assert!(matches!(outcome, SuspendOutcome::Suspended { .. }), "{outcome:?}");
        targets(id, &outcome)
    }

    /// An execution that waits for `go` at the waitpoint `a`.
    pub(crate) async fn waiting(
        &self,
        change: impl FnOnce(SuspendArgs) -> SuspendArgs,
    ) -> (ExecutionId, Handle, Target) {
        self.seed().await;
        let (id, handle) = self.leased().await;
        let args = change(self.wait(vec![fresh("a")], named("a", "go")));
        let target = self.suspend(&id, &handle, args).await.remove(0);
        (id, handle, target)
    }

    pub(crate) fn signal(&self, target: &Target, name: &str) -> DeliverSignalArgs {
        DeliverSignalArgs {
            signal_category: "test".into(),
            source_type: "person".into(),
            source_identity: "ada".into(),
            payload: Some(b"\x00payload".to_vec()),
            correlation_id: Some("c-1".into()),
            ..DeliverSignalArgs::new(
                target.execution.clone(),
                target.id.clone(),
                SignalId::from_uuid(Uuid::new_v4()),
                name,
                WaitpointToken::new(target.token.clone()),
                self.clock.now(),
            )
        }
    }

    /// An execution that is not suspended has no open waitpoint, and one that is over none at all;
    /// only what is suspended times out.
    pub(crate) async fn assert_nothing_outlives_its_wait(&self, cores: &[Cells]) {
        let waitpoints = self.plain.rows("ff_waitpoint_pending").await;
        let suspensions = self.plain.rows("ff_suspension_current").await;
        for core in cores.iter().filter(|core| core.raw("namespace") == NAMESPACE) {
            let own = |row: &&Cells| row.uuid("execution_id") == core.uuid("execution_id");
            let phase = core.text("lifecycle_phase");
            let waits = phase == "suspended";
            let over = matches!(phase, "terminal" | "cancelled");
            for waitpoint in waitpoints.iter().filter(own) {
                assert!(!over, "{core:?} leaves {waitpoint:?}");
                assert!(waits || waitpoint.text("state") != "active", "{core:?} has {waitpoint:?}");
                assert!(core.flag("has_waitpoints"), "{core:?} denies {waitpoint:?}");
            }
            for suspension in suspensions.iter().filter(own) {
                assert!(waits || suspension.int("timeout_at_ms").is_none(), "{core:?}");
            }
        }
    }

    /// Delivers a signal. Returns its effect.
    pub(crate) async fn deliver(&self, target: &Target, name: &str) -> Result<String, EngineError> {
        match self.backend.deliver_signal(self.signal(target, name)).await? {
            DeliverSignalResult::Accepted { effect, .. } => Ok(effect),
            DeliverSignalResult::Duplicate { existing_signal_id } => {
                Ok(format!("duplicate of {existing_signal_id}"))
            }
        }
    }
}

/// The arguments with which an operator cancels an execution.
pub(crate) fn cancellation(bench: &Bench, id: &ExecutionId) -> CancelExecutionArgs {
    CancelExecutionArgs {
        execution_id: id.clone(),
        reason: "enough".into(),
        source: CancelSource::OperatorOverride,
        lease_id: None,
        lease_epoch: None,
        attempt_id: None,
        now: bench.clock.now(),
    }
}

/// The targets of signals, in the order of the waitpoints.
pub(crate) fn targets(id: &ExecutionId, outcome: &SuspendOutcome) -> Vec<Target> {
    let details = outcome.details();
    let target = |waitpoint: &WaitpointId, token: &str| Target {
        execution: id.clone(),
        id: waitpoint.clone(),
        token: token.to_owned(),
    };
    let mut targets = vec![target(&details.waitpoint_id, details.waitpoint_token.as_str())];
    for extra in &details.additional_waitpoints {
        targets.push(target(&extra.waitpoint_id, extra.waitpoint_token.as_str()));
    }
    targets
}
