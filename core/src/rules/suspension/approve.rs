//! Approving: an operator answers a wait with the stored token, which the caller never sees.

use crate::contracts::{DeliverApprovalSignalArgs, DeliverSignalArgs};
use crate::model::error::EngineError;
use crate::model::ids::{SignalId, TimestampMs, WaitpointToken};
use crate::plan::facts::Facts;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Decided, Decision, Verdict};
use crate::rules::input;
use crate::rules::key::{CORE, ExecutionKey};
use crate::rules::premise::{
    Condition, Otherwise, Premise, execution_row, existing, lookup, refuse,
};
use crate::rules::suspension::dedup::{dedup_row, first_signal};
use crate::rules::suspension::repeat::REPEATED;
use crate::rules::suspension::row::WAITPOINT;
use crate::rules::suspension::waitpoint::waitpoint_key;
use crate::schema::execution::exec_core;
use crate::schema::suspension::waitpoint_pending;

/// Delivers an operator's approval or rejection with the stored token, which the caller never sees.
#[derive(Clone, Debug)]
pub struct Approve {
    args: DeliverApprovalSignalArgs,
    key: ExecutionKey,
}

/// The decision on an approval.
pub enum Approval {
    /// This signal is to be delivered.
    Deliver(Box<DeliverSignalArgs>),
    /// It was given before.
    Repeated(SignalId),
}

impl Approve {
    /// Checks the arguments.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for text with NUL.
    pub fn new(args: DeliverApprovalSignalArgs) -> Result<Self, EngineError> {
        input::text("signal_name", &args.signal_name)?;
        input::text("idempotency_suffix", &args.idempotency_suffix)?;
        let approve = Self { key: ExecutionKey::of(&args.execution_id)?, args };
        input::name("signal_name and idempotency_suffix", &approve.idempotency_key())?;
        Ok(approve)
    }

    fn idempotency_key(&self) -> String {
        format!("approval:{}:{}", self.args.signal_name, self.args.idempotency_suffix)
    }
}

impl Decision for Approve {
    type Outcome = Approval;

    const NAME: &'static str = "deliver_approval_signal";

    fn premises(&self, _: TimestampMs) -> Vec<Premise<Approval>> {
        let given = self.args.lane_id.as_str().to_owned();
        let same_lane = exec_core::lane_id.equals(given.clone());
        let lane = execution_row(&self.key, vec![exec_core::lane_id.column()]);
        let waitpoint = waitpoint_key(self.key.partition, &self.args.waitpoint_id);

        vec![
            Premise::read(CORE, lane)
                .or_if_absent(refuse(|_| EngineError::NotFound { entity: "execution" }))
                .guarded_by(vec![Condition::new(same_lane, another_lane(given))]),
            Premise::read(WAITPOINT, lookup(WAITPOINT, waitpoint_pending::REF, waitpoint)),
            Premise::read(REPEATED, dedup_row(&self.key, &self.idempotency_key())),
        ]
    }

    fn decide(&self, facts: &Facts, at: TimestampMs, ctx: &mut Ctx<'_>) -> Decided<Approval> {
        let waitpoint = facts.row(WAITPOINT);
        let token = waitpoint.map(|row| row.read(waitpoint_pending::token)).transpose()?;

        let Some(token) = token.filter(|token| !token.is_empty()) else {
            return match first_signal(facts.row(REPEATED), at)? {
                Some(first) => Ok(Verdict::Answer(Approval::Repeated(first))),
                None => Err(EngineError::NotFound { entity: "waitpoint" }),
            };
        };

        let args = self.args.clone();
        Ok(Verdict::Answer(Approval::Deliver(Box::new(DeliverSignalArgs {
            execution_id: args.execution_id,
            waitpoint_id: args.waitpoint_id,
            signal_id: SignalId::from_uuid(ctx.uuid()),
            signal_name: args.signal_name,
            signal_category: "approval".into(),
            source_type: "operator".into(),
            source_identity: String::new(),
            payload: None,
            payload_encoding: None,
            correlation_id: None,
            idempotency_key: Some(self.idempotency_key()),
            target_scope: "execution".into(),
            created_at: Some(at),
            dedup_ttl_ms: Some(args.signal_dedup_ttl_ms),
            resume_delay_ms: None,
            max_signals_per_execution: args.max_signals_per_execution,
            signal_maxlen: args.maxlen,
            waitpoint_token: WaitpointToken::new(token),
            now: at,
        }))))
    }
}

/// Refuses an approval for another lane than that of the execution.
fn another_lane(given: String) -> Otherwise<Approval> {
    Box::new(move |facts| {
        let stored = existing(facts)?.read(exec_core::lane_id)?;
        Err(input::invalid(format!(
            "lane_mismatch: args.lane_id={given} exec_core.lane_id={stored}"
        )))
    })
}
