//! What a tick submits: the same for every process, and for a backfill.

use std::collections::HashMap;

use crate::contracts::{CreateExecutionArgs, SCHEDULE_NAME_TAG, SCHEDULE_TICK_TAG, ScheduledWork};
use crate::model::ids::{Namespace, TimestampMs};
use crate::rules::schedule::calendar::Calendar;
use crate::rules::schedule::key::ScheduleKey;

/// The submission of the execution of a tick.
#[must_use]
pub fn submission(
    key: &ScheduleKey,
    work: &ScheduledWork,
    calendar: &Calendar,
    tick_ms: i64,
) -> CreateExecutionArgs {
    let execution_id = key.execution(tick_ms).id();
    let partition_id = execution_id.partition();

    let mut tags: HashMap<String, String> = work.tags.clone().into_iter().collect();
    tags.insert(SCHEDULE_NAME_TAG.into(), key.name.clone());
    tags.insert(SCHEDULE_TICK_TAG.into(), tick_ms.to_string());

    CreateExecutionArgs {
        execution_id,
        namespace: Namespace::new(key.namespace.as_str()),
        lane_id: work.lane_id.clone(),
        execution_kind: work.execution_kind.clone(),
        input_payload: payload(&work.input_payload, calendar, tick_ms),
        payload_encoding: work.payload_encoding.clone(),
        priority: work.priority,
        creator_identity: work.creator_identity.clone(),
        idempotency_key: None,
        tags,
        policy: work.policy.clone(),
        delay_until: None,
        execution_deadline_at: None,
        partition_id,
        now: TimestampMs(tick_ms),
    }
}

/// The payload of a tick: the template with the time in place of `{{tick}}` and `{{tick_ms}}`. Both
/// need no escape in JSON.
fn payload(template: &[u8], calendar: &Calendar, tick_ms: i64) -> Vec<u8> {
    let text = std::str::from_utf8(template).ok().filter(|text| text.contains("{{tick"));
    let Some(text) = text else { return template.to_vec() };

    let local = calendar.local_text(tick_ms).unwrap_or_default();
    let text = text.replace("{{tick}}", &local);
    text.replace("{{tick_ms}}", &tick_ms.to_string()).into_bytes()
}
