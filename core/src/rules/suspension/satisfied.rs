//! The decision if the signals so far end the wait: one pure function of the condition and of the
//! collected signals, evaluated anew at every delivery.

use std::collections::BTreeSet;

use crate::contracts::{CompositeBody, CountKind, ResumeCondition, ResumeSignal, SignalMatcher};
use crate::model::error::EngineError;
use crate::rules::input;
use crate::rules::suspension::collected::ByKey;

/// The signal name that a waitpoint asks for when only an operator ends the wait.
const OPERATOR_ONLY: &str = "__operator_only__";
/// The signal name that a waitpoint asks for when only the timeout ends the wait.
const TIMEOUT_ONLY: &str = "__timeout_only__";

/// Returns true if the condition holds.
#[must_use]
pub fn satisfied(condition: &ResumeCondition, signals: &ByKey) -> bool {
    match condition {
        ResumeCondition::Single { waitpoint_key, matcher } => {
            let mut here = signals.get(waitpoint_key).into_iter().flatten();
            here.any(|signal| matches(matcher, signal))
        }
        ResumeCondition::OperatorOnly | ResumeCondition::TimeoutOnly => false,
        ResumeCondition::Composite(CompositeBody::AllOf { members }) => {
            !members.is_empty() && members.iter().all(|member| satisfied(member, signals))
        }
        ResumeCondition::Composite(CompositeBody::Count { n, count_kind, matcher, waitpoints }) => {
            let distinct = distinct(*count_kind, matcher.as_ref(), waitpoints, signals);
            usize::try_from(*n).is_ok_and(|n| n <= distinct)
        }
    }
}

fn distinct(
    kind: CountKind,
    matcher: Option<&SignalMatcher>,
    waitpoints: &[String],
    signals: &ByKey,
) -> usize {
    let counts = |signal: &&ResumeSignal| matcher.is_none_or(|matcher| matches(matcher, signal));
    let here = waitpoints.iter().flat_map(|key| {
        let signals = signals.get(key).into_iter().flatten();
        signals.filter(counts).map(move |signal| (key, signal))
    });

    match kind {
        CountKind::DistinctWaitpoints => here.map(|(key, _)| key).collect::<BTreeSet<_>>().len(),
        CountKind::DistinctSignals => {
            here.map(|(_, signal)| &signal.signal_id).collect::<BTreeSet<_>>().len()
        }
        CountKind::DistinctSources => here
            .map(|(_, signal)| (&signal.source_type, &signal.source_identity))
            .collect::<BTreeSet<_>>()
            .len(),
    }
}

fn matches(matcher: &SignalMatcher, signal: &ResumeSignal) -> bool {
    match matcher {
        SignalMatcher::ByName(name) => *name == signal.signal_name,
        SignalMatcher::Wildcard => true,
    }
}

/// Returns true if a signal under that key counts anywhere in the condition.
#[must_use]
pub fn counts(condition: &ResumeCondition, key: &str, signal: &ResumeSignal) -> bool {
    match condition {
        ResumeCondition::Single { waitpoint_key, matcher } => {
            waitpoint_key == key && matches(matcher, signal)
        }
        ResumeCondition::OperatorOnly | ResumeCondition::TimeoutOnly => false,
        ResumeCondition::Composite(CompositeBody::AllOf { members }) => {
            members.iter().any(|member| counts(member, key, signal))
        }
        ResumeCondition::Composite(CompositeBody::Count { matcher, waitpoints, .. }) => {
            waitpoints.iter().any(|waitpoint| waitpoint == key)
                && matcher.as_ref().is_none_or(|matcher| matches(matcher, signal))
        }
    }
}

/// The signal names that the condition asks for at one waitpoint, each once, in order of mention;
/// empty when any name will do.
#[must_use]
pub fn required_names(condition: &ResumeCondition, key: &str) -> Vec<String> {
    let mut names = Vec::new();
    mention(condition, key, &mut names);

    let mut seen = BTreeSet::new();
    names.retain(|name: &String| !name.is_empty() && seen.insert(name.clone()));
    names
}

fn mention(condition: &ResumeCondition, key: &str, names: &mut Vec<String>) {
    match condition {
        ResumeCondition::Single { waitpoint_key, matcher: SignalMatcher::ByName(name) }
            if waitpoint_key == key =>
        {
            names.push(name.clone());
        }
        ResumeCondition::Single { .. } => {}
        ResumeCondition::OperatorOnly => names.push(OPERATOR_ONLY.into()),
        ResumeCondition::TimeoutOnly => names.push(TIMEOUT_ONLY.into()),
        ResumeCondition::Composite(CompositeBody::AllOf { members }) => {
            members.iter().for_each(|member| mention(member, key, names));
        }
        ResumeCondition::Composite(CompositeBody::Count { matcher, waitpoints, .. }) => {
            if let Some(SignalMatcher::ByName(name)) = matcher
                && waitpoints.iter().any(|waitpoint| waitpoint == key)
            {
                names.push(name.clone());
            }
        }
    }
}

/// Checks that the condition can hold, or that something else ends the wait.
///
/// # Errors
/// `Validation(InvalidInput)`: what [`ResumeCondition::validate_composite`] refuses; a signal name
/// that is empty; a wait for the timeout only, without one.
pub fn check(condition: &ResumeCondition, times_out: bool) -> Result<(), EngineError> {
    condition
        .validate_composite()
        .map_err(|error| input::invalid(format!("resume_condition: {}", error.detail)))?;

    if *condition == ResumeCondition::TimeoutOnly && !times_out {
        return Err(input::invalid("resume_condition: timeout_only_without_deadline"));
    }

    check_names(condition)
}

fn check_names(condition: &ResumeCondition) -> Result<(), EngineError> {
    match condition {
        ResumeCondition::Single { waitpoint_key, matcher } => {
            input::text("resume_condition", waitpoint_key)?;
            check_matcher(matcher)
        }
        ResumeCondition::OperatorOnly | ResumeCondition::TimeoutOnly => Ok(()),
        ResumeCondition::Composite(CompositeBody::AllOf { members }) => {
            members.iter().try_for_each(check_names)
        }
        ResumeCondition::Composite(CompositeBody::Count { matcher, waitpoints, .. }) => {
            waitpoints.iter().try_for_each(|key| input::text("resume_condition", key))?;
            matcher.as_ref().map_or(Ok(()), check_matcher)
        }
    }
}

fn check_matcher(matcher: &SignalMatcher) -> Result<(), EngineError> {
    match matcher {
        SignalMatcher::ByName(name) if name.is_empty() => {
            Err(input::invalid("resume_condition: a signal name must not be empty"))
        }
        SignalMatcher::ByName(name) => input::text("resume_condition", name),
        SignalMatcher::Wildcard => Ok(()),
    }
}
