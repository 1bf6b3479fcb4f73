//! Tags: small texts that callers attach to an execution.

use serde_json::{Map, Value as Json};

use crate::contracts::{INSTANCE_TAG, validate_tag_key};
use crate::model::error::EngineError;
use crate::model::ids::{ExecutionId, TimestampMs};
use crate::model::state::InstanceTagEventType;
use crate::plan::Mutation;
use crate::plan::facts::Facts;
use crate::plan::value::Storable as _;
use crate::rules::changes::Changes;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Decided, Decision, Verdict};
use crate::rules::execution::change;
use crate::rules::input;
use crate::rules::key::ExecutionKey;
use crate::rules::outbox::{instance_tag, instance_tag_changed};
use crate::rules::premise::Premise;
use crate::schema::execution::exec_core;

/// Writes one namespaced tag, replacing its value. The instance tag announces that it was attached,
/// or, where its value is empty, which one was cleared.
#[derive(Clone, Debug)]
pub struct SetTag {
    key: ExecutionKey,
    name: String,
    value: String,
}

impl SetTag {
    /// Checks the arguments.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for a key that is no tag key or too long, or a value with NUL.
    pub fn new(id: &ExecutionId, name: &str, value: &str) -> Result<Self, EngineError> {
        validate_tag_key(name)?;
        input::name("key", name)?;
        input::text("value", value)?;
        Ok(Self { key: ExecutionKey::of(id)?, name: name.to_owned(), value: value.to_owned() })
    }
}

impl Decision for SetTag {
    type Outcome = ();

    const NAME: &'static str = "set_execution_tag";

    fn premises(&self, _: TimestampMs) -> Vec<Premise<()>> {
        vec![Premise::execution(&self.key, Vec::new())]
    }

    fn expects(&self) -> bool {
        true
    }

    fn decide(&self, _: &Facts, at: TimestampMs, _: &mut Ctx<'_>) -> Decided<()> {
        let member = Map::from_iter([(self.name.clone(), Json::from(self.value.as_str()))]);
        let tag = exec_core::raw_fields.merge_under("tags", member.into());
        let changes = Changes::of([change::edits([tag], at)]).and(self.announcement(at));
        Verdict::change(changes, ())
    }
}

impl SetTag {
    /// The event of an instance tag.
    fn announcement(&self, at: TimestampMs) -> Option<Mutation> {
        let (event, tag) = match self.value.as_str() {
            "" => (InstanceTagEventType::Cleared, instance_tag()),
            value => (InstanceTagEventType::Attached, Some(value.to_owned()).into_expr()),
        };
        (self.name == INSTANCE_TAG).then(|| instance_tag_changed(event, tag, at))
    }
}
