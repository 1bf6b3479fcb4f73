//! One line of a file of executions: its fields, and the execution that they describe.

use std::collections::HashMap;

use ff_core::contracts::CreateExecutionArgs;
use ff_core::partition::PartitionConfig;
use ff_core::types::{ExecutionId, LaneId, Namespace, TimestampMs};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::ids;
use flowfabric_sql::flow::{NotBefore, fields};
use flowfabric_sql::telemetry::Traceparent;

/// The values for every line of a file.
#[derive(Clone, Debug)]
pub(super) struct Defaults {
    /// The lane of lines that name none.
    pub(super) lane: LaneId,
    /// The namespace of all of them.
    pub(super) namespace: Namespace,
    /// The trace of lines that have none in their tags.
    pub(super) traceparent: Option<Traceparent>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct Line {
    kind: String,
    payload: Box<RawValue>,
    priority: Option<i32>,
    lane: Option<String>,
    delay_until: Option<NotBefore>,
    #[serde(default, deserialize_with = "fields::tags")]
    tags: HashMap<String, String>,
    policy: Option<fields::Unique>,
    id: Option<String>,
    idempotency_key: Option<String>,
}

/// An execution as a line describes it, before the time of its submission is known.
#[derive(Debug)]
pub(super) struct Request {
    args: CreateExecutionArgs,
    delay: Option<NotBefore>,
    /// True if the line names its execution or has an idempotency key, so that a repeated
    /// submission finds it.
    pub(super) is_repeatable: bool,
}

impl Request {
    /// The arguments to create it with, if it is submitted `now`.
    ///
    /// # Errors
    /// A description of the overflow, if the delay leads too far away.
    pub(super) fn at(&self, now: TimestampMs) -> Result<CreateExecutionArgs, String> {
        let delay_until = self.delay.map(|delay| delay.at(now)).transpose()?;
        Ok(CreateExecutionArgs { delay_until, now, ..self.args.clone() })
    }
}

/// Reads a line. The error names the field or the column.
pub(super) fn parse(line: &str, defaults: &Defaults) -> Result<Request, String> {
    let mut line: Line = serde_json::from_str(line).map_err(|error| wrong_json(&error))?;
    let lane_id = match line.lane {
        Some(name) => LaneId::try_new(name).map_err(|error| format!("lane: {error}"))?,
        None => defaults.lane.clone(),
    };

    let has_key = line.idempotency_key.as_ref().is_some_and(|key| !key.is_empty());
    let is_repeatable = line.id.is_some() || has_key;
    let execution_id = match line.id {
        Some(id) => ids::execution_id(&id, &lane_id)?,
        None => ExecutionId::solo(&lane_id, &PartitionConfig::default()),
    };

    if let Some(traceparent) = defaults.traceparent {
        traceparent.add_to(&mut line.tags);
    }
    let policy = line.policy.map(fields::policy).transpose()?;
    let of_policy = policy.as_ref().map_or(0, |policy| policy.priority);

    let args = CreateExecutionArgs {
        partition_id: execution_id.partition(),
        execution_id,
        namespace: defaults.namespace.clone(),
        lane_id,
        execution_kind: line.kind,
        input_payload: fields::payload(&line.payload)?,
        payload_encoding: None,
        priority: line.priority.unwrap_or(of_policy),
        creator_identity: "ff submit".to_owned(),
        idempotency_key: line.idempotency_key,
        tags: line.tags,
        policy,
        delay_until: None,
        execution_deadline_at: None,
        now: TimestampMs(0),
    };

    Ok(Request { args, delay: line.delay_until, is_repeatable })
}

/// The fault and its column. The line that serde counts is always 1, so it is left out.
fn wrong_json(error: &serde_json::Error) -> String {
    let reason = fields::wrong_json(error);
    match error.column() {
        0 => reason,
        column => format!("{reason} at column {column}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: TimestampMs = TimestampMs(1_000_000);

    fn read(line: &str) -> Result<CreateExecutionArgs, String> {
        let (lane, namespace) = (LaneId::new("default"), Namespace::new("default"));
        parse(line, &Defaults { lane, namespace, traceparent: None })?.at(NOW)
    }

    fn payload_of(json: &str) -> String {
        let args = read(&format!(r#"{{"kind":"k","payload":{json}}}"#)).unwrap();
        String::from_utf8(args.input_payload).unwrap()
    }

    #[test]
    fn little_is_needed() {
        let args = read(r#"{"kind":"k","payload":null}"#).unwrap();
        assert_eq!((args.execution_kind.as_str(), args.priority), ("k", 0));
        assert_eq!((args.lane_id.as_str(), args.partition_id), ("default", 86));
        assert_eq!((args.delay_until, args.policy, args.tags.len()), (None, None, 0));
        assert_eq!(args.execution_id.partition(), 86);
    }

    #[test]
    fn every_member_is_read() {
        let args = read(concat!(
            r#"{"kind":"k","payload":"p","priority":-3,"lane":"gpu","delay_until":978307200005,"#,
            r#""tags":{"a.b":"c"},"policy":{"priority":9,"retry_policy":{"max_retries":1,"#,
            r#""backoff":{"type":"fixed","delay_ms":300}}},"#,
            r#""id":"550e8400-e29b-41d4-a716-446655440000","idempotency_key":"once"}"#,
        ))
        .unwrap();
        assert_eq!(args.idempotency_key.as_deref(), Some("once"));
        assert_eq!(args.execution_id.as_str(), "{fp:144}:550e8400-e29b-41d4-a716-446655440000");
        assert_eq!((args.priority, args.delay_until), (-3, Some(TimestampMs(978_307_200_005))));
        assert_eq!(args.tags["a.b"], "c");
        assert_eq!(args.policy.unwrap().retry_policy.unwrap().max_retries, 1);

        let args = read(r#"{"kind":"k","payload":1,"policy":{"priority":9}}"#).unwrap();
        assert_eq!(args.priority, 9);
    }

    #[test]
    fn payloads_keep_what_was_written() {
        assert_eq!(payload_of(r#""a \"quoted\" line\n""#), "a \"quoted\" line\n");
        assert_eq!(payload_of("null"), "null");
        assert_eq!(payload_of("1.50e3"), "1.50e3");
        assert_eq!(payload_of("123456789012345678901234567890"), "123456789012345678901234567890");
        assert_eq!(
            payload_of(r#"{ "z" : [ 1 , 2.0 ] , "a" : " \" b \\" , "c" : true }"#),
            r#"{"z":[1,2.0],"a":" \" b \\","c":true}"#
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, reason) in [
            ("", "not JSON: EOF while parsing a value"),
            ("{nope}", "not JSON: key must be a string at column 2"),
            ("[]", "invalid"),
            (r#"{"payload":1}"#, "missing field `kind`"),
            (r#"{"kind":"k"}"#, "missing field `payload`"),
            (r#"{"kind":"k","payload":1,"more":1}"#, "unknown field `more`"),
            (r#"{"kind":"k","payload":1,"kind":"l"}"#, "duplicate field `kind`"),
            (r#"{"kind":"k","payload":1,"tags":{"a":"1","a":"2"}}"#, "duplicate field `a`"),
            (
                r#"{"kind":"k","payload":1,"policy":{"priority":1,"priority":2}}"#,
                "duplicate field `priority`",
            ),
            (r#"{"kind":"k","payload":1,"delay_until":1795700000}"#, "write 1795700000000"),
            (r#"{"kind":1,"payload":1}"#, "expected a string"),
            (r#"{"kind":"k","payload":1}x"#, "trailing"),
            (r#"{"kind":"k","payload":1,"lane":""}"#, "lane: lane id is empty"),
            (r#"{"kind":"k","payload":1,"id":"7"}"#, "neither {fp:N}:UUID nor a UUID"),
            (r#"{"kind":"k","payload":1,"delay_until":"5s"}"#, "+5s"),
            (r#"{"kind":"k","payload":1,"delay_until":1.5}"#, "delay_until: expected"),
            (r#"{"kind":"k","payload":1,"policy":{"retry":1}}"#, "policy: unknown field `retry`"),
            (
                r#"{"kind":"k","payload":1,"policy":{"retry_policy":{"backoff":{"type":"fixed","delay_ms":1,"delay":2}}}}"#,
                "unknown field `retry_policy.backoff.delay`",
            ),
            (
                r#"{"kind":"k","payload":1,"policy":{"max_replay_count":10001}}"#,
                "policy.max_replay_count: must be between 0 and 10000, got 10001",
            ),
        ] {
            let error = read(line).unwrap_err();
            assert!(error.contains(reason), "{line}: {error}");
        }
    }
}
