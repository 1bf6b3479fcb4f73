//! The tokens by which executions require room in their budgets, and in the limits of their keys.
//!
//! An execution with budgets has, beside the capabilities that it requires, one token per budget. A
//! claim offers the tokens of the budgets that have room, so it passes over executions with a
//! full budget as it passes over those that need another worker. One with keys of limits has one
//! token per key, and a claim offers all of them but those of full limits. So it is with fairness
//! keys, which keeps the executions of each together in the index of claims. Tokens begin with a
//! mark. A capability that begins with it is stored with the mark twice, so none can be a token.

use std::collections::BTreeSet;

use crate::model::error::EngineError;
use crate::model::policy::ExecutionPolicy;
use crate::rules::input;

/// The character that every token begins with.
const MARK: char = '\u{1}';

/// The part of a token between its mark and its budget.
const BUDGET: &str = "budget:";

/// The part of a token between its mark and its key of a limit.
const LIMIT: &str = "limit:";

/// The name that stands for all executions with keys of limits, beside the budgets in use.
pub const LIMITED: &str = "limited";

/// The beginning of the tokens of all keys of limits.
#[must_use]
pub fn limit_tokens() -> String {
    format!("{MARK}{LIMIT}")
}

/// The token of a key of a limit.
#[must_use]
pub fn limit_token(key: &str) -> String {
    format!("{MARK}{LIMIT}{key}")
}

/// The keys of limits among stored requirements.
pub fn limit_keys_in(requirements: &[String]) -> impl Iterator<Item = &str> {
    opened_in(requirements).filter(|key| !key.starts_with(MARK))
}

/// The token of a fairness key. It begins as those of keys of limits do, so a claim that opens
/// these opens it, too. No key of a limit begins with the mark.
#[must_use]
pub fn fairness_token(key: &str) -> String {
    format!("{MARK}{LIMIT}{MARK}{key}")
}

/// The fairness key among stored requirements, if there is one.
#[must_use]
pub fn fairness_key_in(requirements: &[String]) -> Option<&str> {
    opened_in(requirements).find_map(|key| key.strip_prefix(MARK))
}

fn opened_in(requirements: &[String]) -> impl Iterator<Item = &str> {
    let marked = requirements.iter().filter_map(|token| token.strip_prefix(MARK));
    marked.filter_map(|marked| marked.strip_prefix(LIMIT))
}

/// The beginning of the names that stand for lanes with fairness keys, beside the budgets in use.
const FAIR: &str = "fair:";

/// The name that stands for a lane with fairness keys.
#[must_use]
pub fn fair_lane(lane: &str) -> String {
    format!("{FAIR}{lane}")
}

/// The lane that such a name stands for.
#[must_use]
pub fn lane_of_fair(name: &str) -> Option<&str> {
    name.strip_prefix(FAIR)
}

/// The name that stands for a budget of all executions with an estimate. Only a claim that reserves
/// offers its token.
pub const ESTIMATES: &str = "estimates";

/// The token of a budget.
#[must_use]
pub fn token(budget: &str) -> String {
    format!("{MARK}{BUDGET}{budget}")
}

/// The requirements of an execution: these capabilities, room in these budgets, where it may
/// reserve some, in the limits of these keys, and a turn of its fairness key; sorted, each once.
#[must_use]
pub fn requirements(
    capabilities: impl IntoIterator<Item = String>,
    policy: &ExecutionPolicy,
) -> Vec<String> {
    let tokens = policy.budget_ids.iter().map(|budget| token(&budget.to_string()));
    let reserves = (!policy.budget_estimate.is_empty()).then(|| token(ESTIMATES));
    let limits = policy.limit_keys.iter().map(|key| limit_token(key));
    let limits = limits.chain(policy.fairness_key.iter().map(|key| fairness_token(key)));
    let capabilities = capabilities.into_iter().map(|capability| requirement(&capability));
    let tokens = tokens.chain(reserves).chain(limits);
    let all: BTreeSet<String> = capabilities.chain(tokens).collect();
    all.into_iter().collect()
}

/// The budgets among stored requirements.
pub fn budgets_in(requirements: &[String]) -> impl Iterator<Item = &str> {
    let marked = requirements.iter().filter_map(|token| token.strip_prefix(MARK));
    let named = marked.filter_map(|marked| marked.strip_prefix(BUDGET));
    named.filter(|budget| *budget != ESTIMATES)
}

/// A capability as it is stored among requirements.
#[must_use]
pub fn requirement(capability: &str) -> String {
    if capability.starts_with(MARK) { format!("{MARK}{capability}") } else { capability.to_owned() }
}

/// The capabilities among stored requirements.
#[must_use]
pub fn capabilities_of(requirements: Vec<String>) -> Vec<String> {
    let capability = |stored: String| match stored.strip_prefix(MARK) {
        Some(marked) if marked.starts_with(MARK) => Some(marked.to_owned()),
        Some(marked) if marked.starts_with(BUDGET) || marked.starts_with(LIMIT) => None,
        Some(_) | None => Some(stored),
    };
    requirements.into_iter().filter_map(capability).collect()
}

/// The requirements that a worker with these capabilities meets; `field` names them.
///
/// # Errors
/// `Validation(InvalidInput)` for a capability with NUL.
pub fn offered<'a>(
    field: &'static str,
    capabilities: impl IntoIterator<Item = &'a String>,
) -> Result<Vec<String>, EngineError> {
    let mut offered = Vec::new();
    for capability in capabilities {
        input::text(field, capability)?;
        offered.push(requirement(capability));
    }
    Ok(offered)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::BudgetId;

    #[test]
    fn no_capability_is_a_token() {
        let budget = BudgetId::from_uuid(uuid::Uuid::from_u128(7));
        let budgets = [budget.clone(), budget.clone()];
        let room = token(&budget.to_string());
        let (keys, limited) = (["tenant/7".to_owned()], limit_token("tenant/7"));
        let capabilities =
            ["gpu", "avx", &room, &token(ESTIMATES), "budget:7", "\u{1}", "\u{1}\u{1}x", &limited]
                .map(str::to_owned);
        let policy = ExecutionPolicy {
            budget_ids: budgets.to_vec(),
            budget_estimate: [("cost".to_owned(), 1)].into(),
            limit_keys: keys.to_vec(),
            fairness_key: Some("tenant/8".into()),
            ..ExecutionPolicy::default()
        };
        let required = requirements(capabilities.clone(), &policy);
        assert!(required.contains(&room));
        assert_eq!(fairness_key_in(&required), Some("tenant/8"));
        assert_eq!(limit_keys_in(&required).collect::<Vec<_>>(), ["tenant/7"]);
        assert!(required.contains(&limited) && limited.starts_with(&limit_tokens()));
        assert_eq!(budgets_in(&required).collect::<Vec<_>>(), [budget.to_string()]);

        let offered = offered("capabilities", &capabilities).unwrap();
        assert!(!offered.contains(&room));
        let unmet: Vec<_> = required.iter().filter(|token| !offered.contains(token)).collect();
        let fair = fairness_token("tenant/8");
        assert_eq!(unmet, [&room, &token(ESTIMATES), &fair, &limited]);

        let back: BTreeSet<String> = capabilities_of(required).into_iter().collect();
        assert_eq!(back, BTreeSet::from(capabilities));
        assert_eq!(capabilities_of(vec!["\u{1}by hand".into()]), ["\u{1}by hand"]);
    }
}
