//! Submissions.

use ff_core::EngineError;
use ff_core::contracts::{CreateExecutionArgs, INSTANCE_TAG};
use ff_core::partition::{PartitionConfig, text_partition};
use ff_core::plan::facts::{Facts, Row};
use ff_core::plan::value::Value;
use ff_core::policy::{ExecutionPolicy, RoutingRequirements, TimeoutPolicy};
use ff_core::rules::execution::create::Create;
use ff_core::schema::execution::idempotency_key;
use ff_core::types::{ExecutionId, LaneId, Namespace, TimestampMs};
use serde_json::{Map, Value as Json};
use sha2::{Digest as _, Sha256};

use super::marks::{Marks, fault};
use super::{ClientCall, client_call};
use crate::Call;

/// The time for which a key is held where the submission says nothing: a day.
const KEY_WINDOW_MS: i64 = 86_400_000;

/// A case of a submission.
#[derive(Clone, Copy, Default)]
struct Case {
    delayed: bool,
    tagged: bool,
    keyed: bool,
    /// The key was taken, and is not held any more.
    taken_over: bool,
}

pub(super) fn calls() -> Result<Vec<ClientCall>, EngineError> {
    let mut calls = Vec::new();
    for (keyed, taken_over) in [(false, false), (true, false), (true, true)] {
        for (delayed, tagged) in [(false, false), (true, false), (false, true), (true, true)] {
            let case = Case { delayed, tagged, keyed, taken_over };
            calls.push(client_call(case.name(), case.summary(), |marks| case.plan(marks))?);
        }
    }

    let plain = "Reads what may have refused `submit`: an execution with that id, or the lane.";
    calls.push(client_call("submit.facts", plain, |marks| Case::default().query(marks))?);
    let keyed = "Reads what may have refused `submit.keyed`: the id, the lane, or the key.";
    let case = Case { keyed: true, ..Case::default() };
    calls.push(client_call("submit.keyed.facts", keyed, |marks| case.query(marks))?);
    Ok(calls)
}

impl Case {
    fn name(self) -> String {
        let parts = [
            (true, "submit"),
            (self.keyed, "keyed"),
            (self.taken_over, "taken_over"),
            (self.delayed, "delayed"),
            (self.tagged, "tagged"),
        ];
        let named = parts.into_iter().filter(|(is_it, _)| *is_it).map(|(_, name)| name);
        named.collect::<Vec<_>>().join(".")
    }

    fn summary(self) -> &'static str {
        match (self.keyed, self.taken_over) {
            (false, _) => "Adds an execution, unless its id is taken or its lane is closed.",
            (true, false) => {
                "Adds an execution under an idempotency key, unless a row of that key exists."
            }
            (true, true) => {
                "Adds an execution under an idempotency key that was read and is not held any more."
            }
        }
    }

    fn plan(self, marks: &mut Marks) -> Result<Call, EngineError> {
        let (create, now) = self.submission(marks)?;
        let facts = if self.taken_over {
            let taken = [("taken", taken(marks))];
            marks.facts(&create, now, &taken)?
        } else {
            Facts::default()
        };
        marks.plan(&create, &facts, now)
    }

    fn query(self, marks: &mut Marks) -> Result<Call, EngineError> {
        let (create, now) = self.submission(marks)?;
        // A row may have prevented it, so nothing is taken for granted.
        Ok(Call::Query(marks.query(&create, &Facts::after_prevention(1), now)?))
    }

    fn submission(self, marks: &mut Marks) -> Result<(Create, TimestampMs), EngineError> {
        let now = marks.time("now_ms");
        let policy = policy(marks)?;
        let id = ExecutionId::from_parts(marks.number("partition_key"), marks.uuid("execution_id"));
        let tags = [(marks.text("tag"), marks.text("tag_value"))];
        let instance = self.tagged.then(|| (INSTANCE_TAG.to_owned(), marks.text("instance_tag")));
        let tags: Vec<(String, String)> = tags.into_iter().chain(instance).collect();
        let document: Map<String, Json> =
            tags.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
        marks.note("tags", Value::Json(document.into()));

        let args = CreateExecutionArgs {
            execution_id: id,
            namespace: Namespace::new(marks.text("namespace")),
            lane_id: LaneId::new(marks.text("lane_id")),
            execution_kind: marks.text("execution_kind"),
            input_payload: marks.bytes("payload"),
            payload_encoding: None,
            priority: marks.number("priority").into(),
            creator_identity: marks.text("creator_identity"),
            idempotency_key: self.keyed.then(|| marks.text("idempotency_key")),
            tags: tags.into_iter().collect(),
            policy: Some(policy),
            delay_until: self.delayed.then(|| TimestampMs(now.0 + 1_000_000_000)),
            execution_deadline_at: Some(marks.time("deadline_at_ms")),
            partition_id: 0,
            now,
        };

        if let Some(until) = args.delay_until {
            marks.note("eligible_at_ms", Value::Int(until.0));
        }
        if let Some(key) = &args.idempotency_key {
            note_key(marks, &args, key);
        }
        Ok((Create::new(args, &PartitionConfig::default())?, now))
    }
}

fn policy(marks: &mut Marks) -> Result<ExecutionPolicy, EngineError> {
    let capability = marks.text("capability");
    let required = Value::TextList(vec![capability.clone()]);
    marks.note("required_capabilities", required);

    let policy = ExecutionPolicy {
        routing_requirements: Some(RoutingRequirements {
            required_capabilities: [capability].into(),
            ..RoutingRequirements::default()
        }),
        timeout_policy: Some(TimeoutPolicy {
            attempt_timeout_ms: Some(marks.number("attempt_timeout_ms").into()),
            execution_deadline_ms: None,
            max_reclaim_count: ExecutionPolicy::default().max_reclaim_count,
        }),
        ..ExecutionPolicy::default()
    };
    let stored = serde_json::to_value(&policy).map_err(|error| fault(&error.to_string()))?;
    marks.note("policy", Value::Json(stored));
    Ok(policy)
}

fn note_key(marks: &mut Marks, args: &CreateExecutionArgs, key: &str) {
    let digest = key_digest(args.namespace.as_str(), &args.execution_kind, key);
    let partition = text_partition(&digest, &PartitionConfig::default());
    marks.note("key_digest", Value::Text(digest));
    marks.note("key_partition", Value::Int(partition.into()));
    marks.note("key_expires_at_ms", Value::Int(args.now.0 + KEY_WINDOW_MS));
}

/// The digest of an idempotency key.
pub(super) fn key_digest(namespace: &str, kind: &str, key: &str) -> String {
    hex::encode(Sha256::digest([namespace, kind, key].join("\0")))
}

/// The row of a key that has expired.
fn taken(marks: &mut Marks) -> Row {
    Row::new(vec![
        (idempotency_key::execution_partition.column(), int(marks.number("taken_partition_key"))),
        (idempotency_key::execution_id.column(), Value::Uuid(marks.uuid("taken_execution_id"))),
        (idempotency_key::taken_at_ms.column(), Value::Int(marks.time("taken_at_ms").0)),
        (idempotency_key::expires_at_ms.column(), Value::Int(0)),
        (idempotency_key::held_by_execution.column(), Value::Null),
    ])
}

fn int(number: u16) -> Value {
    Value::Int(number.into())
}
