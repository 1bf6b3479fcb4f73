//! The form of a tag's key.

use crate::model::error::{EngineError, ValidationKind};

/// The execution tag that names the instance that an execution belongs to.
pub const INSTANCE_TAG: &str = "cairn.instance_id";

/// Returns true if `k` starts like a tag: a lowercase letter, then lowercase letters, digits and
/// underscores, then a dot.
pub(crate) fn is_namespaced_tag_key(k: &str) -> bool {
    k.split_once('.').is_some_and(|(prefix, _)| {
        prefix.starts_with(|first: char| first.is_ascii_lowercase())
            && prefix.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
    })
}

/// Checks a tag's key: `^[a-z][a-z0-9_]*\.[a-z0-9_][a-z0-9_.]*$`.
///
/// # Errors
/// Invalid input, when the key has another shape.
pub fn validate_tag_key(key: &str) -> Result<(), EngineError> {
    let name_byte = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
    let valid_name = |(_, name): (&str, &str)| {
        name.bytes().next().is_some_and(name_byte)
            && name.bytes().all(|byte| byte == b'.' || name_byte(byte))
    };

    if is_namespaced_tag_key(key) && key.split_once('.').is_some_and(valid_name) {
        return Ok(());
    }

    Err(EngineError::Validation {
        kind: ValidationKind::InvalidInput,
        detail: format!("invalid tag key: {key:?} is not of the form <namespace>.<name>"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tag_keys_have_a_lowercase_prefix_and_a_dot() {
        for key in ["a.b", "app_1.", "a..b"] {
            assert!(is_namespaced_tag_key(key), "{key}");
        }
        for key in ["", ".", "a", ".a", "1a.b", "_a.b", "A.b", "a-b.c", "é.b"] {
            assert!(!is_namespaced_tag_key(key), "{key}");
        }
    }

    #[test]
    fn tag_keys_are_namespace_dot_name() {
        for key in ["a.b", "app.tenant_id", "a1_.0", "a._", "a.b.c", "a.b.", "a.b..c"] {
            assert!(validate_tag_key(key).is_ok(), "{key}");
        }

        for key in [
            "", ".", "a", "a.", "a..b", ".a", "1a.b", "_a.b", "A.b", "a.B", "a-b.c", "a.b-c",
            "a.b c", "a.b\n", " a.b", "é.b", "a.é",
        ] {
            let Err(EngineError::Validation { kind, detail }) = validate_tag_key(key) else {
                panic!("{key:?} was accepted");
            };
            assert_eq!(kind, ValidationKind::InvalidInput);
            assert!(detail.starts_with("invalid tag key: "), "{detail}");
        }
    }
}
