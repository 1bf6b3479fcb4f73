//! Decides if more frames may follow.

use ff_core::state::PublicState;
use ff_core::types::AttemptIndex;

/// The state of an execution at one look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// True if it has ended.
    pub(super) is_over: bool,
    /// Its latest attempt.
    pub(super) current_attempt: AttemptIndex,
}

/// The step after a read that found no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Wait for more.
    Wait,
    /// Read the frames written before the look, and stop.
    Drain,
}

/// The step after no frame of `attempt` came. An attempt that has not begun is waited for as long
/// as the execution has not ended.
pub(super) fn after(seen: Seen, attempt: AttemptIndex) -> Step {
    if seen.is_over || attempt < seen.current_attempt { Step::Drain } else { Step::Wait }
}

/// True if the execution has ended, so that no more frames are written.
pub(crate) fn is_over(state: PublicState) -> bool {
    use PublicState::{Cancelled, Completed, Expired, Failed, Skipped};
    matches!(state, Completed | Failed | Cancelled | Expired | Skipped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_suspended_is_not_over() {
        use PublicState::{Active, Cancelled, Completed, Delayed, Expired, Resumable, Suspended};
        for (state, expected) in [
            (Completed, true),
            (Cancelled, true),
            (Expired, true),
            (Suspended, false),
            (Resumable, false),
            (Delayed, false),
            (Active, false),
        ] {
            assert_eq!(is_over(state), expected, "{state}");
        }
    }

    #[test]
    fn an_attempt_is_waited_for_until_it_or_the_execution_is_over() {
        let after = |is_over, current, attempt| {
            let seen = Seen { is_over, current_attempt: AttemptIndex(current) };
            super::after(seen, AttemptIndex(attempt))
        };
        assert_eq!(after(false, 1, 1), Step::Wait);
        assert_eq!(after(false, 1, 2), Step::Wait, "it may still come");
        assert_eq!(after(false, 2, 1), Step::Drain);
        assert_eq!(after(true, 1, 1), Step::Drain);
        assert_eq!(after(true, 1, 2), Step::Drain, "it never comes");
    }
}
