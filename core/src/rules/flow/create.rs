//! A new flow.

use serde_json::json;

use crate::EngineError;
use crate::contracts::{CreateFlowArgs, CreateFlowResult};
use crate::ctx::Ctx;
use crate::engine::{Step, Then, Transition};
use crate::facts::Facts;
use crate::partition::PartitionConfig;
use crate::plan::{OnConflict, Plan};
use crate::rules::flow::key::{FlowKey, Places};
use crate::rules::input;
use crate::schema::flow::flow_core;
use crate::state::PublicFlowState;

/// Adds a flow. The first one of an id wins: the insert itself is the guard that there was none.
#[derive(Clone, Debug)]
pub struct CreateFlow {
    key: FlowKey,
    args: CreateFlowArgs,
}

impl CreateFlow {
    /// Checks the arguments.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` naming the field: text with NUL.
    pub fn new(args: CreateFlowArgs, partitions: &PartitionConfig) -> Result<Self, EngineError> {
        input::text("flow_kind", &args.flow_kind)?;
        input::text("namespace", args.namespace.as_str())?;
        Ok(Self { key: Places::of(&args.flow_id, partitions)?.home(), args })
    }

    fn plan(&self) -> Plan {
        let Self { key, args } = self;
        let mut row = key.row();
        row.push(flow_core::public_flow_state.put(PublicFlowState::Open));
        row.push(flow_core::created_at_ms.put(args.now.0));
        row.push(flow_core::raw_fields.put(json!({
            "flow_kind": args.flow_kind,
            "namespace": args.namespace.as_str(),
            "last_mutation_at_ms": args.now.0,
        })));
        Plan::new("create_flow").insert(flow_core::REF, row, OnConflict::Refuse)
    }
}

impl Transition for CreateFlow {
    type Outcome = CreateFlowResult;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        let flow_id = self.args.flow_id.clone();
        if facts.refusals() != 0 {
            return Ok(Step::Answer(CreateFlowResult::AlreadySatisfied { flow_id }));
        }
        Ok(Step::Commit(self.plan(), Then::Answer(CreateFlowResult::Created { flow_id })))
    }
}
