//! The tokens by which executions require room in their budgets.
//!
//! An execution with budgets has, beside the capabilities that it requires, one token per budget. A
//! claim offers the tokens of the budgets that have room, so it passes over executions with a
//! full budget as it passes over those that need another worker. No capability can be such a token:
//! it begins with a character that capabilities must not contain.

use crate::model::error::EngineError;
use crate::model::ids::BudgetId;
use crate::model::policy::RESERVED_IN_CAPABILITIES;
use crate::rules::input;

/// The token of a budget.
#[must_use]
pub fn token(budget: &str) -> String {
    format!("{RESERVED_IN_CAPABILITIES}budget:{budget}")
}

/// The requirements of an execution: these capabilities, and room in these budgets; sorted, each
/// once.
#[must_use]
pub fn requirements(
    capabilities: impl IntoIterator<Item = String>,
    budgets: &[BudgetId],
) -> Vec<String> {
    let tokens = budgets.iter().map(|budget| token(&budget.to_string()));
    let all: std::collections::BTreeSet<String> = capabilities.into_iter().chain(tokens).collect();
    all.into_iter().collect()
}

/// The capabilities among stored requirements.
#[must_use]
pub fn capabilities_of(requirements: Vec<String>) -> Vec<String> {
    let is_capability = |token: &String| !token.starts_with(RESERVED_IN_CAPABILITIES);
    requirements.into_iter().filter(is_capability).collect()
}

/// Checks the capabilities that a worker offers.
///
/// # Errors
/// `Validation(InvalidInput)` for a token with NUL, or with the character of budgets.
pub fn offered(capabilities: &[String]) -> Result<(), EngineError> {
    for token in capabilities {
        input::text("capabilities", token)?;
        if token.contains(RESERVED_IN_CAPABILITIES) {
            let problem = "capabilities: a token must not contain the control character U+0001";
            return Err(input::invalid(problem));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_capability_is_a_token() {
        let budget = BudgetId::from_uuid(uuid::Uuid::from_u128(7));
        let budgets = [budget.clone(), budget.clone()];
        let required = requirements(["gpu".to_owned(), "avx".to_owned()], &budgets);
        assert_eq!(required, [token(&budget.to_string()), "avx".into(), "gpu".into()]);
        assert!(offered(&required).is_err());
        assert!(offered(&["gpu".into(), "budget:7".into()]).is_ok());
        assert_eq!(capabilities_of(required), ["avx", "gpu"]);
    }
}
