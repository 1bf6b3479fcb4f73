//! Applies a group of plans in one transaction.

use ff_codegen::ScriptRuns;
use ff_codegen::runs::Isolation;
use ff_core::engine::Commit;
use ff_core::plan::Bindings;

use crate::connection::{Failure, ScriptConnection};
use crate::plan_run::apply;

/// The result of a plan within its transaction. Any other failure breaks the transaction.
pub type Outcome<E> = Result<Commit, Failure<E>>;

/// Applies the plans in one transaction, and makes it durable if one of them has applied. The
/// outcomes are in the order of the plans.
///
/// # Errors
/// The failure that broke the transaction. No plan has applied, unless the failure is that of the
/// commit: then its class says whether the outcome is known.
pub async fn apply_group<C: ScriptConnection>(
    connection: &mut C,
    plans: &[(&ScriptRuns, &Bindings)],
) -> Result<Vec<Outcome<C::Error>>, C::Error> {
    let outcomes = transaction(connection, plans).await;

    // A plan that was alone and did not apply has left changes. After a failure of the database,
    // the transaction may still be open.
    let applied = outcomes.as_ref().is_ok_and(|outcomes| has_applied(outcomes));
    if !applied {
        connection.roll_back().await;
    }
    outcomes
}

/// The transaction but for its roll-back.
async fn transaction<C: ScriptConnection>(
    connection: &mut C,
    plans: &[(&ScriptRuns, &Bindings)],
) -> Result<Vec<Outcome<C::Error>>, C::Error> {
    let control = connection.transaction_control();
    let isolation = if plans.len() == 1 { Isolation::Alone } else { Isolation::Grouped };
    connection.control(control.begin).await?;

    let mut outcomes = Vec::with_capacity(plans.len());
    for (runs, bindings) in plans {
        outcomes.push(apply(connection, runs, bindings, isolation).await?);
    }

    if has_applied(&outcomes) {
        connection.control(control.commit).await?;
    }
    Ok(outcomes)
}

fn has_applied<E>(outcomes: &[Outcome<E>]) -> bool {
    outcomes.iter().any(|outcome| matches!(outcome, Ok(Commit::Applied(_))))
}
