//! The contract of exit codes: what a command says about its execution when it ends. The help and
//! `docs/commands.md` repeat the table.

use std::process::ExitStatus;

/// The end of a command, as its exit code says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The execution is completed.
    Done,
    /// No other attempt would do better: the execution has failed.
    FailedForGood,
    /// It cannot be done now.
    Later,
    /// The execution waits for what the file says.
    Suspended,
    /// The attempt has failed.
    Failed,
}

impl Outcome {
    /// All of them, by their codes; any other code is the last.
    const ALL: [Self; 5] =
        [Self::Done, Self::FailedForGood, Self::Later, Self::Suspended, Self::Failed];

    /// The outcome that a process reports.
    pub(super) fn of(status: ExitStatus) -> Self {
        let has_code = |outcome: &Self| outcome.code().is_some_and(|of| status.code() == Some(of));
        Self::ALL.into_iter().find(has_code).unwrap_or(Self::Failed)
    }

    /// The code that stands for it. Those in the middle are `EX_DATAERR` and `EX_TEMPFAIL` of
    /// sysexits.h, and the first code above all of that file.
    const fn code(self) -> Option<i32> {
        match self {
            Self::Done => Some(0),
            Self::FailedForGood => Some(65),
            Self::Later => Some(75),
            Self::Suspended => Some(79),
            Self::Failed => None,
        }
    }

    /// The meaning of the code.
    const fn meaning(self) -> &'static str {
        match self {
            Self::Done => "completed; stdout is the result",
            Self::FailedForGood => "failed for good, whatever the policy says",
            Self::Later => "not now: runs again after --snooze; no retry is counted",
            Self::Suspended => "suspended until the condition in FF_SUSPEND_FILE holds",
            Self::Failed => "the attempt failed; the policy decides on another one",
        }
    }

    fn code_in_words(self) -> String {
        self.code().map_or_else(|| "other".to_owned(), |code| code.to_string())
    }
}

/// The codes and their meanings, for the help.
pub(crate) fn table() -> String {
    let line =
        |outcome: Outcome| format!("  {:>5}  {}", outcome.code_in_words(), outcome.meaning());
    format!("Exit codes of the command:\n{}", Outcome::ALL.map(line).join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_lists_the_codes() {
        let document = include_str!("../../../../docs/commands.md");
        for outcome in Outcome::ALL {
            let row = format!("| {} | {} |", outcome.code_in_words(), outcome.meaning());
            assert!(document.contains(&row), "{row}");
        }
    }
}
