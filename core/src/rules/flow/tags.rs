//! Tags of flows: flat members of the open bag, under dotted names that nothing else has.

use serde_json::{Map, Value as Json};

use crate::contracts::validate_tag_key;
use crate::model::error::EngineError;
use crate::model::ids::FlowId;
use crate::model::partition::PartitionConfig;
use crate::plan::facts::Facts;
use crate::plan::{Plan, Predicate, Query};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Then, Transition};
use crate::rules::execution::read::text;
use crate::rules::flow::key::{FLOW, FlowKey, Places, held_flow};
use crate::rules::input;
use crate::schema::flow::flow_core;

/// Writes one tag of a flow, replacing its value.
#[derive(Clone, Debug)]
pub struct SetFlowTag {
    places: Places,
    name: String,
    value: String,
}

impl SetFlowTag {
    /// Checks the arguments.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for a key that is no tag key or too long, or a value with NUL.
    pub fn new(
        flow: &FlowId,
        name: &str,
        value: &str,
        partitions: &PartitionConfig,
    ) -> Result<Self, EngineError> {
        validate_tag_key(name)?;
        input::name("key", name)?;
        input::text("value", value)?;
        let places = Places::of(flow, partitions)?;
        Ok(Self { places, name: name.to_owned(), value: value.to_owned() })
    }

    fn plan(&self, flow: FlowKey) -> Plan {
        let member = Map::from_iter([(self.name.clone(), Json::from(self.value.as_str()))]);
        Plan::new("set_flow_tag").guard(FLOW, flow_core::REF, flow.row(), Predicate::Always).update(
            flow_core::REF,
            held_flow(),
            vec![flow_core::raw_fields.merge(Json::Object(member))],
        )
    }
}

impl Transition for SetFlowTag {
    type Outcome = ();

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<()>, EngineError> {
        // The first try expects the flow at home.
        if facts.refusals() == 0 {
            return Ok(Step::Commit(self.plan(self.places.home()), Then::Answer(())));
        }

        if !facts.have_rows() {
            return Ok(Step::Read(vec![Query::Lookup(self.places.lookups())]));
        }
        match self.places.found(facts) {
            Some((flow, _)) => Ok(Step::Commit(self.plan(flow), Then::Answer(()))),
            None => Err(EngineError::NotFound { entity: "flow" }),
        }
    }
}

/// Reads one tag of a flow; `None` for an unknown flow or tag.
#[derive(Clone, Debug)]
pub struct FlowTag {
    places: Places,
    name: String,
}

impl FlowTag {
    /// Checks the arguments.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for a key that is no tag key.
    pub fn new(
        flow: &FlowId,
        name: &str,
        partitions: &PartitionConfig,
    ) -> Result<Self, EngineError> {
        validate_tag_key(name)?;
        Ok(Self { places: Places::of(flow, partitions)?, name: name.to_owned() })
    }
}

impl Transition for FlowTag {
    type Outcome = Option<String>;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        if !facts.have_rows() {
            return Ok(Step::Read(vec![Query::Lookup(self.places.lookups())]));
        }
        let raw = self.places.found(facts).map(|(_, row)| row.read(flow_core::raw_fields));
        Ok(Step::Answer(raw.transpose()?.and_then(|raw| text(&raw, &self.name))))
    }
}
