//! What the end of a suspension's time means.

use serde::{Deserialize, Serialize};

/// The action when a suspension times out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum TimeoutBehavior {
    /// The execution fails.
    Fail,
    /// The execution is cancelled.
    Cancel,
    /// The execution expires.
    Expire,
    /// The execution resumes, with a signal that reports the timeout.
    AutoResumeWithTimeoutSignal,
    /// The execution stays suspended and an operator has to decide.
    Escalate,
}

impl TimeoutBehavior {
    /// The name as it is stored and sent.
    #[must_use]
    pub fn as_wire_str(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Cancel => "cancel",
            Self::Expire => "expire",
            Self::AutoResumeWithTimeoutSignal => "auto_resume_with_timeout_signal",
            Self::Escalate => "escalate",
        }
    }

    /// The behavior of a stored name; anything unknown, and nothing, is [`Self::Fail`].
    #[must_use]
    pub fn of_word(word: &str) -> Self {
        match word {
            "cancel" => Self::Cancel,
            "expire" => Self::Expire,
            "auto_resume_with_timeout_signal" => Self::AutoResumeWithTimeoutSignal,
            "escalate" => Self::Escalate,
            _ => Self::Fail,
        }
    }
}
