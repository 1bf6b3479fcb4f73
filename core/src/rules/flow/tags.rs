//! Tags of flows: flat members of the open bag, under dotted names that nothing else has.

use serde_json::{Map, Value as Json};

use crate::contracts::validate_tag_key;
use crate::model::error::EngineError;
use crate::model::ids::{FlowId, TimestampMs};
use crate::model::partition::PartitionConfig;
use crate::plan::facts::Facts;
use crate::plan::{Mutation, Predicate, Query};
use crate::rules::changes::Changes;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Decided, Decision, Step, Transition, Verdict};
use crate::rules::execution::read::text;
use crate::rules::flow::key::{FlowKey, Places, held_flow};
use crate::rules::input;
use crate::rules::premise::Premise;
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

    /// The flow: where it was found, or at home, where the first try expects it.
    fn flow(&self, facts: &Facts) -> Result<FlowKey, EngineError> {
        if !facts.have_rows() {
            return Ok(self.places.home());
        }
        let found = self.places.found(facts).map(|(flow, _)| flow);
        found.ok_or(EngineError::NotFound { entity: "flow" })
    }
}

impl Decision for SetFlowTag {
    type Outcome = ();

    const NAME: &'static str = "set_flow_tag";

    fn premises(&self, _: TimestampMs) -> Vec<Premise<()>> {
        self.places.premises()
    }

    fn expects(&self) -> bool {
        true
    }

    fn decide(&self, facts: &Facts, _: TimestampMs, _: &mut Ctx<'_>) -> Decided<()> {
        let flow = self.flow(facts)?;
        let member = Map::from_iter([(self.name.clone(), Json::from(self.value.as_str()))]);
        let set = vec![flow_core::raw_fields.merge(Json::Object(member))];

        let changes = Changes::of([Mutation::update(flow_core::REF, held_flow(), set)])
            .holding([flow.guard(Predicate::Always)]);
        Verdict::change(changes, ())
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
