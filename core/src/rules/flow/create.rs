//! A new flow.

use serde_json::json;

use crate::contracts::{CreateFlowArgs, CreateFlowResult};
use crate::model::error::EngineError;
use crate::model::ids::TimestampMs;
use crate::model::partition::PartitionConfig;
use crate::model::state::PublicFlowState;
use crate::plan::facts::Facts;
use crate::plan::{Expr, Mutation, OnConflict};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Decided, Decision, Verdict};
use crate::rules::flow::key::Places;
use crate::rules::input;
use crate::rules::premise::Premise;
use crate::schema::ColumnRef;
use crate::schema::flow::flow_core;

/// Adds a flow. The first one of an id wins, wherever it is: the insert itself is the guard that
/// there was none at home, and databases of older engines get no more flows elsewhere.
#[derive(Clone, Debug)]
pub struct CreateFlow {
    places: Places,
    args: CreateFlowArgs,
}

impl CreateFlow {
    /// Checks the arguments.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` naming the field: text with NUL.
    pub fn new(args: CreateFlowArgs, partitions: &PartitionConfig) -> Result<Self, EngineError> {
        input::text("flow_kind", &args.flow_kind)?;
        input::name("namespace", args.namespace.as_str())?;
        Ok(Self { places: Places::of(&args.flow_id, partitions)?, args })
    }

    fn row(&self) -> Vec<(ColumnRef, Expr)> {
        let Self { places, args } = self;
        let mut row = places.home().row();
        row.push(flow_core::public_flow_state.with(PublicFlowState::Open));
        row.push(flow_core::created_at_ms.with(args.now.0));
        row.push(flow_core::raw_fields.with(json!({
            "flow_kind": args.flow_kind,
            "namespace": args.namespace.as_str(),
            "last_mutation_at_ms": args.now.0,
        })));
        row
    }
}

impl Decision for CreateFlow {
    type Outcome = CreateFlowResult;

    const NAME: &'static str = "create_flow";

    fn premises(&self, _: TimestampMs) -> Vec<Premise<CreateFlowResult>> {
        self.places.premises()
    }

    fn decide(&self, facts: &Facts, _: TimestampMs, _: &mut Ctx<'_>) -> Decided<CreateFlowResult> {
        let flow_id = self.args.flow_id.clone();
        if self.places.found(facts).is_some() {
            return Ok(Verdict::Answer(CreateFlowResult::AlreadySatisfied { flow_id }));
        }

        let flow = Mutation::insert(flow_core::REF, self.row(), OnConflict::Refuse);
        Verdict::change([flow], CreateFlowResult::Created { flow_id })
    }
}
