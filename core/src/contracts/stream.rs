//! The frames that an attempt writes, and reads of them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::model::hidden::Hidden;
use crate::model::ids::TimestampMs;

/// The most frames that one read returns.
pub const STREAM_READ_HARD_CAP: u64 = 10_000;

/// A place in a frame stream.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum StreamCursor {
    /// Before the first frame.
    Start,
    /// After the last frame.
    End,
    /// At the frame of this id, `<ms>` or `<ms>-<seq>`.
    At(String),
}

impl StreamCursor {
    /// At the id below all others, to tail a stream from its first frame.
    #[must_use]
    pub fn from_beginning() -> Self {
        Self::At("0-0".to_owned())
    }

    /// Before the first frame.
    #[must_use]
    pub fn start() -> Self {
        Self::Start
    }

    /// After the last frame.
    #[must_use]
    pub fn end() -> Self {
        Self::End
    }

    /// The same as [`Self::from_beginning`].
    #[must_use]
    pub fn beginning() -> Self {
        Self::from_beginning()
    }

    /// The marker that range reads take: `-`, `+` or the id.
    #[doc(hidden)]
    #[must_use]
    pub fn to_wire(&self) -> &str {
        match self {
            Self::Start => "-",
            Self::End => "+",
            Self::At(id) => id,
        }
    }

    /// As [`Self::to_wire`], without a copy of the id.
    #[doc(hidden)]
    #[must_use]
    pub fn into_wire_string(self) -> String {
        match self {
            Self::Start => "-".to_owned(),
            Self::End => "+".to_owned(),
            Self::At(id) => id,
        }
    }

    /// Returns true if the cursor names a frame rather than an end of the stream.
    #[must_use]
    pub fn is_concrete(&self) -> bool {
        match self {
            Self::Start | Self::End => false,
            Self::At(_) => true,
        }
    }
}

impl fmt::Display for StreamCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start => "start",
            Self::End => "end",
            Self::At(id) => id,
        })
    }
}

impl From<StreamCursor> for String {
    fn from(cursor: StreamCursor) -> Self {
        match cursor {
            StreamCursor::At(id) => id,
            StreamCursor::Start | StreamCursor::End => cursor.to_string(),
        }
    }
}

impl TryFrom<String> for StreamCursor {
    type Error = StreamCursorParseError;

    fn try_from(text: String) -> Result<Self, StreamCursorParseError> {
        match text.as_str() {
            "" => Err(StreamCursorParseError::Empty),
            "start" => Ok(Self::Start),
            "end" => Ok(Self::End),
            "-" | "+" => Err(StreamCursorParseError::BareMarkerRejected(text)),
            id if is_frame_id(id) => Ok(Self::At(text)),
            _ => Err(StreamCursorParseError::Malformed(text)),
        }
    }
}

impl FromStr for StreamCursor {
    type Err = StreamCursorParseError;

    fn from_str(text: &str) -> Result<Self, StreamCursorParseError> {
        Self::try_from(text.to_owned())
    }
}

/// Returns true if `text` reads `<digits>` or `<digits>-<digits>`.
fn is_frame_id(text: &str) -> bool {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    match text.split_once('-') {
        Some((ms, seq)) => is_number(ms) && is_number(seq),
        None => is_number(text),
    }
}

/// The reason why a text is no stream cursor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamCursorParseError {
    /// The text is empty.
    #[error("stream cursor is empty")]
    Empty,
    /// The text is `-` or `+`; carries it.
    #[error("stream cursor is the bare marker {0:?}, write \"start\" or \"end\"")]
    BareMarkerRejected(String),
    /// The text is anything else; carries it.
    #[error("stream cursor is neither start, end, <ms> nor <ms>-<seq>: {0:?}")]
    Malformed(String),
}

/// A frame as it is read.
#[derive(Clone, derive_more::Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamFrame {
    /// The id of the frame, `<ms>-<seq>`.
    pub id: String,
    /// The stored fields by name.
    #[debug("{}", Hidden(fields))]
    pub fields: BTreeMap<String, String>,
}

/// Frames read, and whether more can follow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamFrames {
    /// The frames, oldest first.
    pub frames: Vec<StreamFrame>,
    /// The time at which the stream was closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_at: Option<TimestampMs>,
    /// The reason why the stream was closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_reason: Option<String>,
}

impl StreamFrames {
    /// No frames of a stream that is still open.
    #[must_use]
    pub fn empty_open() -> Self {
        Self { frames: Vec::new(), closed_at: None, closed_reason: None }
    }

    /// Returns true if the stream is closed: no frame will follow.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed_at.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn cursors_are_read_and_written_alike() {
        for (text, cursor, wire) in [
            ("start", StreamCursor::start(), "-"),
            ("end", StreamCursor::end(), "+"),
            ("0-0", StreamCursor::from_beginning(), "0-0"),
            ("0-0", StreamCursor::beginning(), "0-0"),
            ("17", StreamCursor::At("17".to_owned()), "17"),
            ("17-3", StreamCursor::At("17-3".to_owned()), "17-3"),
        ] {
            assert_eq!(text.parse(), Ok(cursor.clone()));
            assert_eq!(cursor.to_string(), text);
            assert_eq!(String::from(cursor.clone()), text);
            assert_eq!(serde_json::to_value(&cursor).unwrap(), json!(text));
            assert_eq!(serde_json::from_value::<StreamCursor>(json!(text)).unwrap(), cursor);
            assert_eq!(cursor.is_concrete(), wire == text);
            assert_eq!(cursor.to_wire(), wire);
            assert_eq!(cursor.into_wire_string(), wire);
        }
    }

    #[test]
    fn other_texts_are_no_cursors() {
        use StreamCursorParseError::{BareMarkerRejected, Empty, Malformed};

        let read = str::parse::<StreamCursor>;
        assert_eq!(read(""), Err(Empty));
        for marker in ["-", "+"] {
            assert_eq!(read(marker), Err(BareMarkerRejected(marker.to_owned())));
        }

        for text in [
            "Start", "END", "1-", "-1", "1-2-3", "--", "+1", "1-+2", " 1", "1 ", "a", "1-a", "$",
            "*", "١",
        ] {
            assert_eq!(read(text), Err(Malformed(text.to_owned())));
            assert!(serde_json::from_value::<StreamCursor>(json!(text)).is_err());
        }
    }

    #[test]
    fn open_streams_leave_out_their_end() {
        let mut frames = StreamFrames::empty_open();
        assert!(!frames.is_closed());
        assert_eq!(serde_json::to_value(&frames).unwrap(), json!({"frames": []}));
        frames.closed_at = Some(TimestampMs(1));
        assert!(frames.is_closed());
    }
}
