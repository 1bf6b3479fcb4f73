//! Fields that a line of executions and a flow's node share, and their meaning.

use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;

use ff_core::policy::ExecutionPolicy;
use ff_core::types::TimestampMs;
use jiff::Timestamp;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::error::Category;
use serde_json::value::RawValue;
use serde_json::{Number, Value as Json};

/// The first millisecond of 2001. An earlier time was most likely written in seconds.
const PLAUSIBLE_FROM_MS: i64 = 978_307_200_000;

/// The earliest time at which an execution may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub enum NotBefore {
    /// At this time.
    At(TimestampMs),
    /// This many milliseconds after the submission.
    In(i64),
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "delay_until: expected Unix milliseconds, a time such as \"2026-01-31T12:00:00Z\", \
                 or a span such as \"+5s\""
)]
enum Written {
    Ms(i64),
    Text(String),
}

impl TryFrom<Written> for NotBefore {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        match written {
            Written::Ms(ms) => Ok(Self::At(plausible(ms)?)),
            Written::Text(text) => match text.strip_prefix('+') {
                Some(span) => span_ms(span).map(Self::In).ok_or_else(|| {
                    format!("delay_until: {text:?} is not + and a number with ms, s, m, h or d")
                }),
                None => Ok(Self::At(time(&text)?)),
            },
        }
    }
}

/// A time in Unix milliseconds, unless it was probably meant in seconds.
fn plausible(ms: i64) -> Result<TimestampMs, String> {
    if PLAUSIBLE_FROM_MS <= ms {
        return Ok(TimestampMs(ms));
    }

    let hint = match ms.checked_mul(1_000) {
        Some(of_seconds) if PLAUSIBLE_FROM_MS <= of_seconds => {
            format!("if it is in seconds, write {of_seconds}")
        }
        Some(_) | None => "write a time such as \"2026-01-31T12:00:00Z\"".to_owned(),
    };
    Err(format!("delay_until: {ms} is a time before 2001 in Unix milliseconds; {hint}"))
}

/// A time in RFC 3339, with its offset.
fn time(text: &str) -> Result<TimestampMs, String> {
    let time: Timestamp = text.parse().map_err(|_| {
        format!(
            "delay_until: {text:?} is neither a time such as \"2026-01-31T12:00:00Z\" nor a span \
             such as \"+5s\""
        )
    })?;
    plausible(time.as_millisecond())
}

impl NotBefore {
    /// The time, for something that is submitted `now`.
    ///
    /// # Errors
    /// A description of the overflow, if the time is too far away.
    pub fn at(self, now: TimestampMs) -> Result<TimestampMs, String> {
        match self {
            Self::At(at) => Ok(at),
            Self::In(ms) => {
                let at = now.0.checked_add(ms).map(TimestampMs);
                at.ok_or_else(|| format!("delay_until: {ms} ms from now is too far away"))
            }
        }
    }
}

/// A span such as `500ms`, `5s`, `2m`, `1h` or `3d`, in milliseconds.
pub fn span_ms(text: &str) -> Option<i64> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.parse::<i64>().ok()?.checked_mul(ms)
}

/// The payload of a JSON value: a string's text, or any other value as written, without the blanks
/// between tokens. Numbers keep their digits and members their order.
pub fn payload(raw: &RawValue) -> Result<Vec<u8>, String> {
    let raw = raw.get();
    if raw.starts_with('"') {
        let text: String =
            serde_json::from_str(raw).map_err(|error| format!("payload: {error}"))?;
        return Ok(text.into_bytes());
    }

    let (mut in_text, mut escaped) = (false, false);
    // Parsing would lose digits, so the bytes are filtered instead.
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

/// Reads and checks a policy. Every member must be known, since a misspelt one would have no effect
/// and no error.
pub fn policy(Unique(given): Unique) -> Result<ExecutionPolicy, String> {
    let policy: ExecutionPolicy =
        serde_json::from_value(given.clone()).map_err(|error| format!("policy: {error}"))?;

    match not_understood(&given, &policy) {
        Some(member) => Err(format!("policy: unknown field `{member}`")),
        None => policy.check().map(|()| policy).map_err(|fault| fault.to_string()),
    }
}

/// A JSON value in which no object names a member twice: of two, the reader could only guess which
/// is meant.
#[derive(Clone, Debug, PartialEq)]
pub struct Unique(pub Json);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue).map(Self)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Number::from_f64(value).map_or(Json::Null, Json::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut array = Vec::new();
        while let Some(Unique(item)) = items.next_element()? {
            array.push(item);
        }
        Ok(Json::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Json, A::Error> {
        let members = Members::<Unique>(PhantomData).visit_map(members)?;
        Ok(Json::Object(members.into_iter().map(|(name, Unique(value))| (name, value)).collect()))
    }
}

/// Reads tags, none of them named twice.
pub fn tags<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<HashMap<String, String>, D::Error> {
    deserializer.deserialize_map(Members::<String>(PhantomData))
}

/// The members of an object, none of them named twice.
struct Members<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for Members<V> {
    type Value = HashMap<String, V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut given: A) -> Result<Self::Value, A::Error> {
        let mut members = HashMap::new();
        while let Some((name, value)) = given.next_entry::<String, V>()? {
            if members.contains_key(&name) {
                return Err(A::Error::custom(format_args!("duplicate field `{name}`")));
            }
            members.insert(name, value);
        }
        Ok(members)
    }
}

/// The first member of `given` that the policy does not know. Serde skips unknown members, so the
/// policy is serialized again and compared.
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

/// The fault of a JSON text, without the place at the end of serde's message.
pub fn wrong_json(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let reason = text.strip_suffix(&place).unwrap_or(&text);

    match error.classify() {
        Category::Syntax | Category::Eof => format!("not JSON: {reason}"),
        Category::Data | Category::Io => reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_numbers_with_a_unit() {
        for (text, ms) in
            [("0s", 0), ("500ms", 500), ("5s", 5_000), ("2m", 120_000), ("1h", 3_600_000)]
        {
            assert_eq!(span_ms(text), Some(ms), "{text}");
        }
        for text in ["", "s", "5", "+5s", "-5s", "5w", "9223372036854775807d", "1.5s", "5 s"] {
            assert_eq!(span_ms(text), None, "{text}");
        }
    }

    #[test]
    fn times_are_given_or_counted_from_the_submission() {
        let read = |json| serde_json::from_str::<NotBefore>(json);
        let now = TimestampMs(1_000);
        let noon = TimestampMs(1_767_268_800_000);
        assert_eq!(read("1767268800000").unwrap().at(now), Ok(noon));
        assert_eq!(read(r#""+5s""#).unwrap().at(now), Ok(TimestampMs(6_000)));
        for text in
            ["2026-01-01T12:00:00Z", "2026-01-01T14:00:00+02:00", "2026-01-01t12:00:00.0004z"]
        {
            let written = format!("{text:?}");
            let read = serde_json::from_str::<NotBefore>(&written);
            assert_eq!(read.unwrap(), NotBefore::At(noon), "{text}");
        }

        assert!(NotBefore::In(i64::MAX).at(now).unwrap_err().contains("too far away"));
        for (bad, reason) in [
            ("1.5", "expected"),
            ("true", "expected"),
            (r#""5s""#, "+5s"),
            (r#""+5""#, "a number with"),
            (r#""""#, "neither a time"),
            (r#""2026-01-01T12:00:00""#, "neither a time"),
            (r#""2026-13-01T12:00:00Z""#, "neither a time"),
            (r#""1970-01-01T00:00:05Z""#, "before 2001"),
            ("1767268800", "if it is in seconds, write 1767268800000"),
            ("-1", "write a time such as"),
            ("0", "write a time such as"),
        ] {
            let error = read(bad).unwrap_err().to_string();
            assert!(error.contains("delay_until: ") && error.contains(reason), "{bad}: {error}");
        }
    }

    #[test]
    fn no_member_is_named_twice_at_any_depth() {
        let read = serde_json::from_str::<Unique>;
        let json = r#"{"a":[1,-2,1.5,"x",null,true,{"b":{}}],"c":18446744073709551615}"#;
        assert_eq!(read(json).unwrap().0, serde_json::from_str::<Json>(json).unwrap());
        for (json, name) in [
            (r#"{"a":1,"a":1}"#, "a"),
            (r#"{"retry_policy":{"max_retries":1,"max_retries":2}}"#, "max_retries"),
            (r#"[{"b":{"c":1,"d":2,"c":3}}]"#, "c"),
        ] {
            let error = read(json).unwrap_err().to_string();
            assert!(error.starts_with(&format!("duplicate field `{name}`")), "{json}: {error}");
        }
    }
}
