//! Words for values: states, counts, missing values.

use serde::Serialize;

/// The operator that changes by the program record.
pub(super) const OPERATOR: &str = "operator";

/// A number with its noun, in the plural if need be: `1 execution`, `2 executions`.
pub(super) fn count(number: impl TryInto<u64>, of: &str) -> String {
    let number = number.try_into().unwrap_or(u64::MAX);
    match (number, of.strip_suffix('y')) {
        (1, _) => format!("1 {of}"),
        (_, Some(stem)) => format!("{number} {stem}ies"),
        (_, None) => format!("{number} {of}s"),
    }
}

/// Text or a dash.
pub(super) fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// The word of a value that is a string in JSON.
pub(super) fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        Ok(other) => other.to_string(),
        Err(_) => "?".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_singular() {
        assert_eq!(count(0_u32, "execution"), "0 executions");
        assert_eq!(count(1_usize, "execution"), "1 execution");
        assert_eq!(count(2_u64, "dependency"), "2 dependencies");
        assert_eq!(count(1_u64, "dependency"), "1 dependency");
    }
}
