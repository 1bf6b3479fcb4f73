//! Resume conditions: every small one over every small history is judged as a naive evaluator does.

use std::collections::HashSet;

use ff_core::backend::ResumeSignal;
use ff_core::contracts::{CompositeBody, CountKind, ResumeCondition, SignalMatcher};
use ff_core::rules::suspension::collected::{ByKey, Collected};
use ff_core::rules::suspension::satisfied::{check, required_names, satisfied};
use ff_core::types::{SignalId, TimestampMs};
use serde_json::json;
use uuid::Uuid;

const KEYS: [&str; 4] = ["a", "b", "c", "d"];

/// A signal in a nutshell: at which waitpoint, of which name, from whom, under which id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Sent {
    key: usize,
    name: usize,
    source: usize,
    id: u128,
}

fn by_key(history: &[Sent]) -> ByKey {
    let mut collected = Collected::default();
    for sent in history {
        let signal = ResumeSignal {
            signal_id: SignalId::from_uuid(Uuid::from_u128(sent.id)),
            signal_name: format!("n{}", sent.name),
            signal_category: String::new(),
            source_type: "s".into(),
            source_identity: format!("{}", sent.source),
            correlation_id: String::new(),
            accepted_at: TimestampMs(0),
            payload: None,
        };
        collected.add(KEYS[sent.key], &signal, None).unwrap();
    }
    collected.by_key()
}

/// Written from the definition alone: which signals count, and how many are different.
fn naive(condition: &ResumeCondition, history: &[Sent]) -> bool {
    let passes = |matcher: &SignalMatcher, sent: &Sent| match matcher {
        SignalMatcher::ByName(name) => *name == format!("n{}", sent.name),
        SignalMatcher::Wildcard => true,
        other => panic!("{other:?}"),
    };
    match condition {
        ResumeCondition::Single { waitpoint_key, matcher } => {
            history.iter().any(|sent| KEYS[sent.key] == waitpoint_key && passes(matcher, sent))
        }
        ResumeCondition::Composite(CompositeBody::AllOf { members }) => {
            let mut all = !members.is_empty();
            for member in members {
                all &= naive(member, history);
            }
            all
        }
        ResumeCondition::Composite(CompositeBody::Count { n, count_kind, matcher, waitpoints }) => {
            let mut different = HashSet::new();
            for sent in history {
                let here = waitpoints.iter().any(|key| key == KEYS[sent.key]);
                if here && matcher.as_ref().is_none_or(|matcher| passes(matcher, sent)) {
                    different.insert(match count_kind {
                        CountKind::DistinctWaitpoints => sent.key as u128,
                        CountKind::DistinctSignals => sent.id,
                        CountKind::DistinctSources => sent.source as u128,
                        other => panic!("{other:?}"),
                    });
                }
            }
            *n as usize <= different.len()
        }
        ResumeCondition::OperatorOnly | ResumeCondition::TimeoutOnly => false,
        other => panic!("{other:?}"),
    }
}

/// Every condition on up to four waitpoints: each alone, each pair of these together, every count
/// of every kind over every set of waitpoints, and counts beside single ones.
fn conditions() -> Vec<ResumeCondition> {
    let matchers = [SignalMatcher::Wildcard, SignalMatcher::ByName("n0".into())];
    let mut simple = vec![ResumeCondition::OperatorOnly, ResumeCondition::TimeoutOnly];
    for key in KEYS {
        for matcher in &matchers {
            let (waitpoint_key, matcher) = (key.to_owned(), matcher.clone());
            simple.push(ResumeCondition::Single { waitpoint_key, matcher });
        }
    }
    let mut counts = Vec::new();
    for set in 1..16_u32 {
        let keys = (0..4).filter(|bit| set & (1 << bit) != 0).map(|bit| KEYS[bit].to_owned());
        let keys: Vec<String> = keys.collect();
        for kind in
            [CountKind::DistinctWaitpoints, CountKind::DistinctSignals, CountKind::DistinctSources]
        {
            for matcher in [None, Some(SignalMatcher::ByName("n0".into()))] {
                for n in 1..=4 {
                    let body = CompositeBody::count(n, kind, matcher.clone(), keys.clone());
                    counts.push(ResumeCondition::Composite(body));
                }
            }
        }
    }
    let all =
        |members: Vec<ResumeCondition>| ResumeCondition::Composite(CompositeBody::all_of(members));
    let mut conditions = vec![all(vec![])];
    for one in &simple {
        for other in &simple {
            conditions.push(all(vec![one.clone(), other.clone()]));
        }
        for count in counts.iter().step_by(11) {
            conditions.push(all(vec![all(vec![one.clone()]), count.clone()]));
        }
    }
    conditions.extend(simple);
    conditions.extend(counts);
    conditions
}

/// Every history of up to five signals: at each of four waitpoints, of two names, from two sources,
/// up to the order, which must not matter; ids are new, or those of the first one again.
fn histories() -> Vec<Vec<Sent>> {
    let mut kinds = Vec::new();
    for key in 0..4 {
        for (name, source) in [(0, 0), (0, 1), (1, 0)] {
            kinds.push((key, name, source));
        }
    }
    let mut histories = vec![vec![]];
    let mut longer = vec![vec![]];
    for length in 1..=5_u128 {
        let mut next = Vec::new();
        for history in &longer {
            let from = history.last().map_or(0, |(index, _): &(usize, Sent)| *index);
            for (index, (key, name, source)) in kinds.iter().enumerate().skip(from) {
                let id = if length == 4 { 1 } else { length };
                let sent = Sent { key: *key, name: *name, source: *source, id };
                let mut history: Vec<(usize, Sent)> = history.clone();
                history.push((index, sent));
                next.push(history);
            }
        }
        histories.extend(
            next.iter().map(|history| history.iter().map(|(_, sent)| *sent).collect::<Vec<_>>()),
        );
        longer = next;
    }
    histories
}

#[test]
fn every_small_condition_is_judged_as_its_definition_says() {
    let conditions = conditions();
    let (mut judged, mut held) = (0_u64, 0_u64);
    for history in histories() {
        let signals = by_key(&history);
        for condition in &conditions {
            let expected = naive(condition, &history);
            assert_eq!(satisfied(condition, &signals), expected, "{condition:?} {history:?}");
            judged += 1;
            held += u64::from(expected);
        }
    }
    assert!(judged > 1_000_000 && judged / 20 < held, "{judged} {held}");
}

#[test]
fn more_signals_never_undo_a_condition() {
    let conditions = conditions();
    for history in histories().iter().step_by(11) {
        let prefixes: Vec<ByKey> = (0..=history.len()).map(|end| by_key(&history[..end])).collect();
        for condition in &conditions {
            let held = prefixes.iter().map(|signals| satisfied(condition, signals));
            assert!(held.is_sorted(), "{condition:?} {history:?}");
        }
    }
}

#[test]
fn what_is_stored_but_is_no_signal_is_passed_by() {
    let stored = json!({
        "a": [{"signal_id": "x", "signal_name": "n0"}, {"signal_name": "n0"}, 5, null,
              {"signal_id": Uuid::nil().to_string(), "signal_name": "n0", "payload_hex": "zz"}],
        "b": {"status": "never_committed"},
    });
    let collected = Collected::of(stored.clone()).unwrap();
    assert_eq!(collected.all().len(), 1);
    assert_eq!(collected.all()[0].payload, None);
    assert_eq!(collected.stored(), stored, "what is not understood is kept");
    assert!(Collected::of(json!([])).unwrap_err().to_string().contains("not a JSON object"));
}

#[test]
fn a_waitpoint_asks_for_the_names_that_count_there() {
    let by_name = |key: &str, name: &str| ResumeCondition::Single {
        waitpoint_key: key.into(),
        matcher: SignalMatcher::ByName(name.into()),
    };
    let matcher = Some(SignalMatcher::ByName("vote".into()));
    let keys = ["a".to_owned(), "b".to_owned()];
    let count = CompositeBody::count(1, CountKind::DistinctSignals, matcher, keys);
    let condition = ResumeCondition::Composite(CompositeBody::all_of([
        by_name("a", "go"),
        by_name("b", "stop"),
        by_name("a", "go"),
        ResumeCondition::Composite(count),
    ]));
    assert_eq!(required_names(&condition, "a"), ["go", "vote"]);
    assert_eq!(required_names(&condition, "b"), ["stop", "vote"]);
    assert!(required_names(&condition, "c").is_empty());
    assert_eq!(required_names(&ResumeCondition::OperatorOnly, "a"), ["__operator_only__"]);
    assert_eq!(required_names(&ResumeCondition::TimeoutOnly, "a"), ["__timeout_only__"]);
}

#[test]
fn a_condition_that_cannot_hold_is_refused() {
    let nested = (0..5).fold(ResumeCondition::OperatorOnly, |inner, _| {
        ResumeCondition::Composite(CompositeBody::all_of([inner]))
    });
    assert!(check(&nested, true).unwrap_err().to_string().contains("exceeds cap 4"));
    assert!(check(&ResumeCondition::TimeoutOnly, true).is_ok());
    assert!(check(&ResumeCondition::TimeoutOnly, false).is_err());
    let waitpoint_key = "a\0".to_owned();
    let nul = ResumeCondition::Single { waitpoint_key, matcher: SignalMatcher::Wildcard };
    assert!(check(&nul, false).unwrap_err().to_string().contains("NUL"));
}
