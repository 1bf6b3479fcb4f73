//! The W3C trace context that a submission carries to its run, as a tag of the execution.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

/// The tag that holds the traceparent of the submitter.
pub const TRACEPARENT_TAG: &str = "traceparent";

/// A `traceparent` of the W3C: the trace and the span that an execution continues. It holds no
/// secret, and grants nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Traceparent {
    // Invariant: neither id is zero.
    trace_id: u128,
    parent_id: u64,
    flags: u8,
}

impl Traceparent {
    /// The context of a span.
    ///
    /// # Errors
    /// [`TraceparentError`] if an id is zero.
    pub fn new(trace_id: u128, parent_id: u64, is_sampled: bool) -> Result<Self, TraceparentError> {
        if trace_id == 0 || parent_id == 0 {
            return Err(TraceparentError("an id is zero"));
        }
        Ok(Self { trace_id, parent_id, flags: u8::from(is_sampled) })
    }

    /// The context in the tags of an execution. As the W3C asks, one that is malformed counts as
    /// none.
    #[must_use]
    pub fn of_tags(tags: &HashMap<String, String>) -> Option<Self> {
        tags.get(TRACEPARENT_TAG)?.parse().ok()
    }

    /// Adds the context to the tags of a submission, unless they have one.
    pub fn add_to(self, tags: &mut HashMap<String, String>) {
        tags.entry(TRACEPARENT_TAG.to_owned()).or_insert_with(|| self.to_string());
    }

    /// The trace.
    #[must_use]
    pub const fn trace_id(self) -> u128 {
        self.trace_id
    }

    /// The span that continues.
    #[must_use]
    pub const fn parent_id(self) -> u64 {
        self.parent_id
    }

    /// True if the submitter records the trace.
    #[must_use]
    pub const fn is_sampled(self) -> bool {
        self.flags & 1 == 1
    }
}

impl FromStr for Traceparent {
    type Err = TraceparentError;

    /// Reads `00-TRACE-PARENT-FLAGS`. A later version may have more behind it.
    fn from_str(text: &str) -> Result<Self, TraceparentError> {
        let mut fields = text.split('-');
        let mut field = |name, digits| hex(fields.next().unwrap_or_default(), name, digits);
        let version = field("the version is not two lower-case hexadecimal digits", 2)?;
        let trace_id = field("the trace id is not 32 lower-case hexadecimal digits", 32)?;
        let parent_id = field("the parent id is not 16 lower-case hexadecimal digits", 16)?;
        let flags = field("the flags are not two lower-case hexadecimal digits", 2)?;

        if version == 0xff {
            return Err(TraceparentError("the version is ff"));
        }
        if version == 0 && fields.next().is_some() {
            return Err(TraceparentError("something follows the flags"));
        }
        let narrow = |_| TraceparentError("a number is too large");
        let parent_id = u64::try_from(parent_id).map_err(narrow)?;
        Self::new(trace_id, parent_id, flags & 1 == 1)
    }
}

fn hex(text: &str, wrong: &'static str, digits: usize) -> Result<u128, TraceparentError> {
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if text.len() != digits || !text.bytes().all(is_hex) {
        return Err(TraceparentError(wrong));
    }
    u128::from_str_radix(text, 16).map_err(|_| TraceparentError(wrong))
}

impl fmt::Display for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.parent_id, self.flags)
    }
}

impl fmt::Debug for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The rule of `traceparent` that a text breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("traceparent: {0}")]
pub struct TraceparentError(&'static str);

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_is_read_and_written() {
        let read: Traceparent = TEXT.parse().unwrap();
        assert_eq!(read.to_string(), TEXT);
        assert_eq!(read.parent_id(), 0x00f0_67aa_0ba9_02b7);
        assert!(read.is_sampled());
        let later = "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00-more";
        assert!(!later.parse::<Traceparent>().unwrap().is_sampled());
        assert_eq!(Traceparent::new(read.trace_id(), read.parent_id(), true), Ok(read));
    }

    #[test]
    fn what_is_malformed_is_named() {
        for (text, wrong) in [
            ("", "version"),
            ("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "ff"),
            ("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", "trace id"),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b-01", "parent id"),
            ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", "zero"),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", "zero"),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7", "flags"),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x", "follows"),
        ] {
            let error = text.parse::<Traceparent>().unwrap_err().to_string();
            assert!(error.contains(wrong), "{text}: {error}");
        }
    }

    #[test]
    fn tags_carry_it_and_a_malformed_one_counts_as_none() {
        let mut tags = HashMap::new();
        assert_eq!(Traceparent::of_tags(&tags), None);
        let read: Traceparent = TEXT.parse().unwrap();
        read.add_to(&mut tags);
        assert_eq!(Traceparent::of_tags(&tags), Some(read));

        let mut own = HashMap::from([(TRACEPARENT_TAG.to_owned(), "mine".to_owned())]);
        read.add_to(&mut own);
        assert_eq!((own[TRACEPARENT_TAG].as_str(), Traceparent::of_tags(&own)), ("mine", None));
    }
}
