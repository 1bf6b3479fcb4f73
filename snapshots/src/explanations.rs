//! The situations in which an explanation is sampled: each topic asks for rows of its own.

use ff_core::contracts::{ClaimingWorker, ExplainExecutionArgs};
use ff_core::engine_backend::EngineBackend;
use ff_core::plan::value::Value;
use ff_core::rules::budget::token::{ESTIMATES, limit_token, token};
use ff_core::types::ExecutionId;
use serde_json::json;
use uuid::Uuid;

use super::fixtures::{capabilities, lane};
use super::money::budget;
use super::stage::{NOON, Scene};

fn id(number: u128) -> ExecutionId {
    ExecutionId::from_parts(7, Uuid::from_u128(number))
}

impl Scene {
    pub(super) fn explanations(&mut self) {
        self.explained(1, "for a worker", "runnable", "eligible_now", Vec::new());
        self.explained(2, "suspended", "suspended", "not_applicable", Vec::new());
        self.explained(
            3,
            "waiting for others",
            "runnable",
            "blocked_by_dependencies",
            vec![("flow_id", Value::Uuid(Uuid::from_u128(0xF)))],
        );
        let reserved = vec![("granted_until_ms", Value::Int(NOON + 1))];
        self.explained(4, "reserved", "runnable", "eligible_now", reserved);

        let budget_id = budget(1).to_string();
        let required = vec![token(&budget_id), token(ESTIMATES)];
        let policy = json!({ "budget_ids": [budget_id], "budget_estimate": { "cost": 1 } });
        let budgeted = vec![
            ("required_capabilities", Value::TextList(required)),
            ("policy", Value::Json(policy)),
        ];
        self.explained(5, "with an estimate", "runnable", "eligible_now", budgeted);

        let required = vec![limit_token("tenant/42")];
        let keyed = vec![("required_capabilities", Value::TextList(required))];
        self.explained(6, "with a key of a limit", "runnable", "eligible_now", keyed);

        let args = ExplainExecutionArgs::new(id(1));
        self.sample("explain_execution", "for any worker", async |b| {
            b.explain_execution(args).await
        });
    }

    /// Inserts an execution in that state by hand, and explains it to a worker.
    fn explained(
        &mut self,
        number: u128,
        case: &'static str,
        phase: &str,
        eligibility: &str,
        more: Vec<(&'static str, Value)>,
    ) {
        let text = |text: &str| Value::Text(text.to_owned());
        let mut cells = vec![
            ("partition_key", Value::Int(7)),
            ("execution_id", Value::Uuid(Uuid::from_u128(number))),
            ("lane_id", text(lane().as_str())),
            ("lifecycle_phase", text(phase)),
            ("ownership_state", text("unowned")),
            ("eligibility_state", text(eligibility)),
            ("public_state", text("waiting")),
            ("attempt_state", text("pending_first_attempt")),
            ("created_at_ms", Value::Int(NOON)),
        ];
        cells.extend(more);
        let _ = self.memory.insert_row("ff_exec_core", cells);

        let worker = ClaimingWorker::new(lane(), capabilities());
        let args = ExplainExecutionArgs::new(id(number)).for_worker(worker);
        self.sample("explain_execution", case, async |b| b.explain_execution(args).await);
    }
}
