//! The next event in the life of an execution, in words: its end, the time of its next attempt, or
//! all that it waits for. The explanation is the only source.

use ff_core::contracts::{Explanation, NotRunning};
use ff_core::types::TimestampMs;

use super::clock::Times;
use super::explain::sentence;
use super::words::word;

/// True if nothing happens any more, unless an operator replays it.
pub(super) fn is_final(explanation: &Explanation) -> bool {
    explanation.reasons.iter().any(|reason| matches!(reason, NotRunning::Ended { .. }))
}

/// The time before which no attempt begins, if it waits for one.
pub(super) fn next_attempt_at(explanation: &Explanation) -> Option<TimestampMs> {
    explanation.reasons.iter().find_map(|reason| match reason {
        NotRunning::Delayed { until_ms, .. } => Some(*until_ms),
        _ => None,
    })
}

/// True if an execution waits because of this: it has neither ended, nor does it run.
pub(super) fn holds_up(reason: &NotRunning) -> bool {
    !matches!(reason, NotRunning::Ended { .. } | NotRunning::Running { .. })
}

/// The next event, a sentence for each thing that it depends on.
pub(super) fn in_words(explanation: &Explanation, times: Times) -> Vec<String> {
    let (id, lane) = (&explanation.execution_id, &explanation.lane_id);
    if explanation.reasons.is_empty() {
        return vec![format!("the next free worker of lane {lane} takes it")];
    }

    let next = |reason: &NotRunning| match reason {
        NotRunning::Ended { .. } => {
            format!("nothing, this is final; ff replay '{id}' lets it run again")
        }
        NotRunning::Delayed { until_ms, blocking_reason } => {
            let why = blocking_reason.map(|reason| format!(" ({})", word(&reason)));
            let at = times.format_in_sentence(*until_ms);
            format!("the next attempt, {at}{}", why.unwrap_or_default())
        }
        NotRunning::Running { .. } => sentence(reason, times),
        held_up => {
            let remedy = held_up.remedy(id);
            let command = remedy.command.map(|command| format!(" {command}")).unwrap_or_default();
            let until = remedy.sentence;
            format!("{}; ends when: {until}{command}", sentence(held_up, times))
        }
    };
    explanation.reasons.iter().map(next).collect()
}
