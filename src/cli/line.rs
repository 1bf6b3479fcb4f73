//! One line of a file of executions: what may stand there, and what it asks for.

use std::collections::HashMap;

use ff_core::contracts::CreateExecutionArgs;
use ff_core::partition::PartitionConfig;
use ff_core::policy::ExecutionPolicy;
use ff_core::types::{ExecutionId, LaneId, Namespace, TimestampMs};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::ids;

/// What is the same for every line of a file.
#[derive(Clone, Debug)]
pub(super) struct Defaults {
    /// The lane of lines that name none.
    pub(super) lane: LaneId,
    /// The tenant.
    pub(super) namespace: Namespace,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct Line {
    kind: String,
    payload: Box<RawValue>,
    priority: Option<i32>,
    lane: Option<String>,
    delay_until: Option<When>,
    #[serde(default)]
    tags: HashMap<String, String>,
    policy: Option<Json>,
    id: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "delay_until: expected Unix milliseconds or a text such as \"+5s\"")]
enum When {
    At(i64),
    After(String),
}

/// Reads a line; the error says what is wrong with it.
pub(super) fn parse(
    line: &str,
    defaults: &Defaults,
    now: TimestampMs,
) -> Result<CreateExecutionArgs, String> {
    let line: Line = serde_json::from_str(line).map_err(|error| wrong_json(&error))?;
    let lane_id = match line.lane {
        Some(name) => LaneId::try_new(name).map_err(|error| format!("lane: {error}"))?,
        None => defaults.lane.clone(),
    };
    let execution_id = match line.id {
        Some(id) => ids::execution_id(&id, &lane_id)?,
        None => ExecutionId::solo(&lane_id, &PartitionConfig::default()),
    };
    let policy = line.policy.map(policy).transpose()?;
    let delay_until = match line.delay_until {
        Some(When::At(ms)) => Some(TimestampMs(ms)),
        Some(When::After(text)) => Some(later(now, &text)?),
        None => None,
    };
    let of_policy = policy.as_ref().map_or(0, |policy| policy.priority);
    Ok(CreateExecutionArgs {
        partition_id: execution_id.partition(),
        execution_id,
        namespace: defaults.namespace.clone(),
        lane_id,
        execution_kind: line.kind,
        input_payload: payload(&line.payload)?,
        payload_encoding: None,
        priority: line.priority.unwrap_or(of_policy),
        creator_identity: "ff submit".to_owned(),
        idempotency_key: None,
        tags: line.tags,
        policy,
        delay_until,
        execution_deadline_at: None,
        now,
    })
}

/// What is wrong, and in which column: that it is in line 1 of the line helps nobody.
fn wrong_json(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let reason = text.strip_suffix(&place).unwrap_or(&text);
    let column = match error.column() {
        0 => String::new(),
        column => format!(" at column {column}"),
    };
    match error.classify() {
        Category::Syntax | Category::Eof => format!("not JSON: {reason}{column}"),
        Category::Data | Category::Io => format!("{reason}{column}"),
    }
}

/// A JSON text as the text that it is; anything else as it was written, without the blanks between
/// tokens: numbers keep their digits and members their order.
fn payload(raw: &RawValue) -> Result<Vec<u8>, String> {
    let raw = raw.get();
    if raw.starts_with('"') {
        let text: String =
            serde_json::from_str(raw).map_err(|error| format!("payload: {error}"))?;
        return Ok(text.into_bytes());
    }
    let (mut in_text, mut escaped) = (false, false);
    let kept = raw.bytes().filter(|byte| {
        let blank = !in_text && byte.is_ascii_whitespace();
        if escaped {
            escaped = false;
        } else if in_text && *byte == b'\\' {
            escaped = true;
        } else if *byte == b'"' {
            in_text = !in_text;
        }
        !blank
    });
    Ok(kept.collect())
}

/// A policy whose every member is understood: a misspelt one would silently do nothing.
fn policy(given: Json) -> Result<ExecutionPolicy, String> {
    let policy: ExecutionPolicy =
        serde_json::from_value(given.clone()).map_err(|error| format!("policy: {error}"))?;
    match not_understood(&given, &policy) {
        Some(member) => Err(format!("policy: unknown field `{member}`")),
        None => Ok(policy),
    }
}

fn not_understood(given: &Json, policy: &impl Serialize) -> Option<String> {
    fn missing(given: &Json, kept: &Json) -> Option<String> {
        given.as_object()?.iter().filter(|(_, value)| !value.is_null()).find_map(|(name, value)| {
            match kept.get(name) {
                None => Some(name.clone()),
                Some(kept) => missing(value, kept).map(|inner| format!("{name}.{inner}")),
            }
        })
    }
    missing(given, &serde_json::to_value(policy).ok()?)
}

/// `now` and the time of a text such as `+5s`.
fn later(now: TimestampMs, text: &str) -> Result<TimestampMs, String> {
    let wrong = || {
        format!(
            "delay_until: {text:?} is not of the form +N with ms, s, m, h or d, such as \"+5s\""
        )
    };
    let rest = text.strip_prefix('+').ok_or_else(wrong)?;
    let unit_at = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = rest.split_at(unit_at);
    let ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    let number: i64 = number.parse().map_err(|_| wrong())?;
    let at = number.checked_mul(ms).and_then(|ms| now.0.checked_add(ms));
    at.map(TimestampMs).ok_or_else(|| format!("delay_until: {text:?} is too far away"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: TimestampMs = TimestampMs(1_000_000);

    fn read(line: &str) -> Result<CreateExecutionArgs, String> {
        let (lane, namespace) = (LaneId::new("default"), Namespace::new("default"));
        parse(line, &Defaults { lane, namespace }, NOW)
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
    fn everything_can_be_said() {
        let args = read(concat!(
            r#"{"kind":"k","payload":"p","priority":-3,"lane":"gpu","delay_until":5,"#,
            r#""tags":{"a.b":"c"},"policy":{"priority":9,"retry_policy":{"max_retries":1,"#,
            r#""backoff":{"type":"fixed","delay_ms":300}}},"#,
            r#""id":"550e8400-e29b-41d4-a716-446655440000"}"#,
        ))
        .unwrap();
        assert_eq!(args.execution_id.as_str(), "{fp:144}:550e8400-e29b-41d4-a716-446655440000");
        assert_eq!((args.priority, args.delay_until), (-3, Some(TimestampMs(5))));
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
        ] {
            let error = read(line).unwrap_err();
            assert!(error.contains(reason), "{line}: {error}");
        }
    }

    #[test]
    fn delays_are_added_to_now() {
        for (text, ms) in
            [("+0s", 0), ("+500ms", 500), ("+5s", 5_000), ("+2m", 120_000), ("+1h", 3_600_000)]
        {
            assert_eq!(later(NOW, text), Ok(TimestampMs(NOW.0 + ms)), "{text}");
        }
        for text in ["", "+", "+s", "+5", "5s", "+-5s", "+5w", "+9223372036854775807d", "+1.5s"] {
            assert!(later(NOW, text).is_err(), "{text}");
        }
    }
}
