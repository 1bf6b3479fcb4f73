//! Fields that are written alike in a line of executions and in a flow's node, and what they mean.

use ff_core::policy::ExecutionPolicy;
use ff_core::types::TimestampMs;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use serde_json::error::Category;
use serde_json::value::RawValue;

/// When something may begin at the earliest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub enum NotBefore {
    /// At this time.
    At(TimestampMs),
    /// So many milliseconds after it is submitted.
    In(i64),
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "delay_until: expected Unix milliseconds or a text such as \"+5s\"")]
enum Written {
    At(i64),
    In(String),
}

impl TryFrom<Written> for NotBefore {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        match written {
            Written::At(ms) => Ok(Self::At(TimestampMs(ms))),
            Written::In(text) => match text.strip_prefix('+').and_then(span_ms) {
                Some(ms) => Ok(Self::In(ms)),
                None => Err(format!(
                    "delay_until: {text:?} is not of the form +N with ms, s, m, h or d, such as \
                     \"+5s\""
                )),
            },
        }
    }
}

impl NotBefore {
    /// The time, for something that is submitted `now`.
    ///
    /// # Errors
    /// When it is too far away.
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
pub(crate) fn span_ms(text: &str) -> Option<i64> {
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

/// A JSON text as the text that it is; anything else as it was written, without the blanks between
/// tokens: numbers keep their digits and members their order.
pub(crate) fn payload(raw: &RawValue) -> Result<Vec<u8>, String> {
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

/// A policy whose every member is understood, since a misspelt one would silently do nothing, and that
/// makes sense.
pub(crate) fn policy(given: Json) -> Result<ExecutionPolicy, String> {
    let policy: ExecutionPolicy =
        serde_json::from_value(given.clone()).map_err(|error| format!("policy: {error}"))?;
    match not_understood(&given, &policy) {
        Some(member) => Err(format!("policy: unknown field `{member}`")),
        None => policy.check().map(|()| policy).map_err(|fault| fault.to_string()),
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

/// What is wrong with a JSON text, without the place that serde's own message ends with.
pub(crate) fn wrong_json(error: &serde_json::Error) -> String {
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
        assert_eq!(read("5").unwrap().at(now), Ok(TimestampMs(5)));
        assert_eq!(read(r#""+5s""#).unwrap().at(now), Ok(TimestampMs(6_000)));
        assert!(NotBefore::In(i64::MAX).at(now).unwrap_err().contains("too far away"));
        for bad in ["1.5", "true", r#""5s""#, r#""+5""#, r#""""#] {
            assert!(read(bad).unwrap_err().to_string().contains("delay_until: "), "{bad}");
        }
    }
}
