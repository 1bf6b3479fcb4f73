//! Decides if more frames may follow.

use ff_core::state::PublicState;
use ff_core::types::AttemptIndex;

/// The state of an execution when it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Observed {
    /// True if it has ended.
    pub(super) is_over: bool,
    /// Its latest attempt.
    pub(super) current_attempt: AttemptIndex,
}

/// The next step after a read that found no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WhenEmpty {
    /// Wait for more.
    Wait,
    /// Read the frames written before the state was read, and stop.
    Drain,
}

/// The next step after no frame of `attempt` came. An attempt that has not begun is waited for as
/// long as the execution has not ended.
pub(super) fn when_empty(observed: Observed, attempt: AttemptIndex) -> WhenEmpty {
    if observed.is_over || attempt < observed.current_attempt {
        WhenEmpty::Drain
    } else {
        WhenEmpty::Wait
    }
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
        let when_empty = |is_over, current, attempt| {
            let observed = Observed { is_over, current_attempt: AttemptIndex(current) };
            super::when_empty(observed, AttemptIndex(attempt))
        };
        assert_eq!(when_empty(false, 1, 1), WhenEmpty::Wait);
        assert_eq!(when_empty(false, 1, 2), WhenEmpty::Wait, "it may still come");
        assert_eq!(when_empty(false, 2, 1), WhenEmpty::Drain);
        assert_eq!(when_empty(true, 1, 1), WhenEmpty::Drain);
        assert_eq!(when_empty(true, 1, 2), WhenEmpty::Drain, "it never comes");
    }
}
