//! Applies a group of plans in one transaction.

use ff_codegen::Script;
use ff_core::engine::Commit;
use ff_core::plan::Bindings;

use crate::connection::{Failure, ScriptConnection};
use crate::plan_run::{apply, apply_behind_savepoint};

/// The result of a plan within its transaction. Any other failure breaks the transaction.
pub type Outcome<E> = Result<Commit, Failure<E>>;

/// A plan as it is applied: its script and its values.
pub type BoundPlan<'a> = (&'a Script, &'a Bindings);

/// Applies the plans in one transaction, and makes it durable if one of them has applied. The
/// outcomes are in the order of the plans.
///
/// A plan that does not apply is nearly always refused before its first write. So the plans have no
/// savepoints at first. If one of them leaves changes behind, the group begins again, with a
/// savepoint for each plan.
///
/// # Errors
/// The failure that broke the transaction. No plan has applied, unless the failure is that of the
/// commit: then its class says whether the outcome is known.
pub async fn apply_group<C: ScriptConnection>(
    connection: &mut C,
    plans: &[BoundPlan<'_>],
) -> Result<Vec<Outcome<C::Error>>, C::Error> {
    let outcomes = match together(connection, plans).await {
        Ok(Some(outcomes)) => Ok(outcomes),
        Ok(None) => {
            connection.roll_back().await;
            one_by_one(connection, plans).await
        }
        Err(error) => Err(error),
    };

    // Where no plan has applied, the transaction is open. After a failure it may be.
    let applied = outcomes.as_ref().is_ok_and(|outcomes| has_applied(outcomes));
    if !applied {
        connection.roll_back().await;
    }
    outcomes
}

/// The transaction without savepoints. `None` if a plan of several has left changes without having
/// applied, so that all changes must be undone.
async fn together<C: ScriptConnection>(
    connection: &mut C,
    plans: &[BoundPlan<'_>],
) -> Result<Option<Vec<Outcome<C::Error>>>, C::Error> {
    connection.control(connection.transaction_control().begin).await?;

    let mut outcomes = Vec::with_capacity(plans.len());
    for plan in plans {
        let end = apply(connection, *plan).await?;
        if end.leaves_changes && plans.len() != 1 {
            return Ok(None);
        }
        outcomes.push(end.outcome);
    }

    end(connection, outcomes).await.map(Some)
}

/// The transaction with a savepoint for each plan.
async fn one_by_one<C: ScriptConnection>(
    connection: &mut C,
    plans: &[BoundPlan<'_>],
) -> Result<Vec<Outcome<C::Error>>, C::Error> {
    connection.control(connection.transaction_control().begin).await?;

    let mut outcomes = Vec::with_capacity(plans.len());
    for plan in plans {
        outcomes.push(apply_behind_savepoint(connection, *plan).await?);
    }

    end(connection, outcomes).await
}

/// Confirms the outcomes, and makes the changes durable, if there are any.
async fn end<C: ScriptConnection>(
    connection: &mut C,
    outcomes: Vec<Outcome<C::Error>>,
) -> Result<Vec<Outcome<C::Error>>, C::Error> {
    connection.confirm().await?;
    if has_applied(&outcomes) {
        connection.control(connection.transaction_control().commit).await?;
    }
    Ok(outcomes)
}

fn has_applied<E>(outcomes: &[Outcome<E>]) -> bool {
    outcomes.iter().any(|outcome| matches!(outcome, Ok(Commit::Applied(_))))
}
