//! Jobs: typed work, as the code that submits it and its handler see it.

use std::fmt;

use ff_core::policy::ExecutionPolicy;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Work of one kind: its input is the value itself, as JSON.
///
/// ```
/// use flowfabric_sql::Job;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct SendEmail {
///     to: String,
/// }
///
/// impl Job for SendEmail {
///     const KIND: &'static str = "send_email";
///     const LANE: &'static str = "mail";
///     type Output = ();
/// }
/// ```
pub trait Job: Serialize + DeserializeOwned + Send + 'static {
    /// The kind, by which a worker finds the handler. It is stored with each execution, so a
    /// changed kind is another one.
    const KIND: &'static str;

    /// The lane that the job waits in, unless the submission names another.
    const LANE: &'static str = "default";

    /// The result of a handler, as JSON.
    type Output: Serialize + DeserializeOwned + Send + 'static;

    /// The policy that submissions begin with: retries, timeouts, routing and limits.
    #[must_use]
    fn policy() -> ExecutionPolicy {
        ExecutionPolicy::default()
    }
}

/// A stored input or result that is not what its type says. It tells the place, and nothing of the
/// content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    kind: &'static str,
    part: &'static str,
    line: usize,
    column: usize,
}

impl Unreadable {
    fn new(kind: &'static str, part: &'static str, error: &serde_json::Error) -> Self {
        Self { kind, part, line: error.line(), column: error.column() }
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, part, line, column } = self;
        write!(f, "the {part} is not that of {kind}, at line {line}, column {column}")
    }
}

impl std::error::Error for Unreadable {}

/// The input of a job, as it is stored.
pub(crate) fn read_input<J: Job>(payload: &[u8]) -> Result<J, Unreadable> {
    serde_json::from_slice(payload).map_err(|error| Unreadable::new(J::KIND, "input", &error))
}

/// The result of a job, as it is stored. Where nothing is, the result is `()`.
pub(crate) fn read_output<J: Job>(result: Option<&[u8]>) -> Result<J::Output, Unreadable> {
    serde_json::from_slice(result.unwrap_or(b"null"))
        .map_err(|error| Unreadable::new(J::KIND, "result", &error))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Charge {
        cents: u64,
    }

    impl Job for Charge {
        const KIND: &'static str = "charge";
        type Output = ();
    }

    #[test]
    fn what_cannot_be_read_tells_nothing_of_its_content() {
        assert_eq!(read_input::<Charge>(br#"{"cents":7}"#), Ok(Charge { cents: 7 }));
        assert_eq!(read_output::<Charge>(None), Ok(()));
        let error = read_input::<Charge>(br#"{"cents":"s3cret"}"#).unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(text.contains("the input is not that of charge, at line 1"), "{text}");
        assert!(!text.contains("s3cret"), "{text}");
    }
}
