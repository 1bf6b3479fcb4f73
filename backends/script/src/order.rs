//! Plans that wait for the writer, and its answers.

use std::sync::Arc;

use ff_core::EngineError;
use ff_core::engine::{Bell, Commit, Topics};
use ff_core::plan::Bindings;
use tokio::sync::oneshot;

use crate::group::{BoundPlan, Outcome};
use crate::statements::PlanScript;

/// A plan that a caller waits for.
pub struct Order {
    /// Its statements.
    pub plan: Arc<PlanScript>,
    /// Its values.
    pub bindings: Bindings,
    /// The place of its outcome.
    pub answer: oneshot::Sender<Result<Commit, EngineError>>,
}

/// The plans of the orders.
#[must_use]
pub fn plans_of(orders: &[Order]) -> Vec<BoundPlan<'_>> {
    orders.iter().map(|order| (&order.plan.script, &order.bindings)).collect()
}

/// Rings for the plans that have become durable, and answers every order.
pub fn settle<E: Clone + Into<EngineError>>(
    orders: Vec<Order>,
    applied: Result<Vec<Outcome<E>>, E>,
    bell: &Bell,
) {
    // An answer that is not received was given up by the caller.
    match applied {
        Ok(outcomes) => {
            bell.ring_each(topics(&orders, &outcomes));
            for (order, outcome) in orders.into_iter().zip(outcomes) {
                let _ = order.answer.send(outcome.map_err(Into::into));
            }
        }
        Err(error) => {
            for order in orders {
                let _ = order.answer.send(Err(error.clone().into()));
            }
        }
    }
}

fn topics<E>(orders: &[Order], outcomes: &[Outcome<E>]) -> Topics {
    let applied = orders.iter().zip(outcomes).map(|(order, outcome)| match outcome {
        Ok(commit) => order.plan.rings.after(commit),
        Err(_) => Topics::NONE,
    });
    applied.fold(Topics::NONE, Topics::and)
}
