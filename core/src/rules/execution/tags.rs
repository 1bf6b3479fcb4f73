//! Tags: small texts that callers attach to an execution.

use serde_json::{Map, Value as Json};

use crate::contracts::{INSTANCE_TAG, validate_tag_key};
use crate::model::error::EngineError;
use crate::model::ids::{ExecutionId, TimestampMs};
use crate::model::state::InstanceTagEventType;
use crate::plan::Plan;
use crate::plan::value::Storable as _;
use crate::rules::ctx::Ctx;
use crate::rules::input;
use crate::rules::key::{ExecutionKey, held_core};
use crate::rules::outbox::{instance_tag, instance_tag_changed};
use crate::rules::premise::{Guarded, Known, Premise};
use crate::rules::status::changed;
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

impl Guarded for SetTag {
    type Outcome = ();

    fn name(&self) -> &'static str {
        "set_execution_tag"
    }

    fn premises(&self, _: TimestampMs) -> Vec<Premise> {
        vec![Premise::execution(&self.key, Vec::new())]
    }

    fn effects(
        &self,
        _: &Known,
        plan: Plan,
        now: TimestampMs,
        _: &mut Ctx<'_>,
    ) -> Result<(Plan, ()), EngineError> {
        let member = Map::from_iter([(self.name.clone(), Json::from(self.value.as_str()))]);
        let mut set = vec![exec_core::raw_fields.merge_under("tags", member.into())];
        set.extend(changed(now));
        let plan = plan.update(exec_core::REF, held_core(), set);

        if self.name != INSTANCE_TAG {
            return Ok((plan, ()));
        }

        Ok((
            if self.value.is_empty() {
                instance_tag_changed(plan, InstanceTagEventType::Cleared, instance_tag(), now)
            } else {
                let tag = Some(self.value.clone()).into_expr();
                instance_tag_changed(plan, InstanceTagEventType::Attached, tag, now)
            },
            (),
        ))
    }
}
