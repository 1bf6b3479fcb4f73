//! Claims where some executions carry an estimate: the best ones are listed, and those that reserve
//! are taken one by one.
//!
//! Of the executions that reserve from one budget, the best comes first: while its estimate does
//! not fit, those behind it are not tried, so that small estimates never starve a large one.

use std::collections::BTreeSet;

use super::places::{claim_up_to, take};
use super::{Executor, run};
use crate::model::error::EngineError;
use crate::model::handle::Handle;
use crate::rules::budget::room::Room;
use crate::rules::budget::token::{ESTIMATES, token};
use crate::rules::execution::claim::Claim;
use crate::rules::execution::reserve::{Candidate, Candidates, ClaimReserving, Taken};

/// The most lists that one claim reads: others may take what it has listed.
const ROUNDS: usize = 16;

/// A claim, the room that it may offer, and the budgets that turned out to have too little.
struct Reserving<'a, E: ?Sized> {
    executor: &'a E,
    room: Room,
    short: BTreeSet<String>,
}

/// Claims up to as many executions as the claim asks for, with estimates or without.
pub(super) async fn claim_reserving<E: Executor + ?Sized>(
    executor: &E,
    claim: &Claim,
    room: Room,
) -> Result<Vec<Handle>, EngineError> {
    let mut reserving = Reserving { executor, room, short: BTreeSet::new() };
    let mut handles = Vec::new();
    for _ in 0..ROUNDS {
        let Some(rest) = claim.rest(handles.len()) else { break };
        let offered = reserving.offered(rest);
        let more = reserving.claim_listed(&offered, &mut handles).await;
        match more {
            Ok(true) => {}
            Ok(false) => break,
            // What is claimed already must reach the worker.
            Err(error) => {
                take(&mut handles, Err(error))?;
                break;
            }
        }
    }
    Ok(handles)
}

/// Returns true if the claim would find an execution with an estimate that fits.
pub(super) async fn some_fits<E: Executor + ?Sized>(
    executor: &E,
    claim: &Claim,
    room: Room,
) -> Result<bool, EngineError> {
    let mut reserving = Reserving { executor, room, short: BTreeSet::new() };
    for _ in 0..ROUNDS {
        let offered = reserving.offered(claim.clone());
        let candidates = run(executor, &Candidates(reserving_too(&offered))).await?;
        let known = reserving.short.len();
        for candidate in &candidates {
            if !candidate.reserves {
                return Ok(true);
            }
            match reserving.take(&offered, candidate, true).await? {
                Taken::Claimed(_) | Taken::Fits => return Ok(true),
                Taken::NoRoom(_) | Taken::Gone => {}
            }
        }
        if reserving.short.len() == known {
            break;
        }
    }
    Ok(false)
}

impl<E: Executor + ?Sized> Reserving<'_, E> {
    /// The claim that offers all room but that of budgets with too little.
    fn offered(&self, claim: Claim) -> Claim {
        let short: BTreeSet<String> = self.short.iter().map(|budget| token(budget)).collect();
        let room = self.room.tokens.iter().filter(|token| !short.contains(*token)).cloned();
        claim.with_room(room.collect())
    }

    /// Claims what one list names. Returns true if another list may bring more.
    async fn claim_listed(
        &mut self,
        offered: &Claim,
        handles: &mut Vec<Handle>,
    ) -> Result<bool, EngineError> {
        let candidates = run(self.executor, &Candidates(reserving_too(offered))).await?;
        let mut plain = 0;
        for candidate in &candidates {
            if !candidate.reserves {
                plain += 1;
                continue;
            }
            if let Taken::Claimed(handle) = self.take(offered, candidate, false).await? {
                handles.push(handle);
            }
        }

        // A claim that does not offer to reserve takes the others as ever.
        if 0 < plain {
            let claim = offered.clone().up_to(plain);
            handles.extend(claim_up_to(self.executor, &claim).await?);
        }
        Ok(!candidates.is_empty())
    }

    /// Takes one execution with an estimate, if its budgets are not known to have too little room.
    async fn take(
        &mut self,
        claim: &Claim,
        candidate: &Candidate,
        only_asks: bool,
    ) -> Result<Taken, EngineError> {
        let known = candidate.budgets.iter().find(|budget| self.short.contains(*budget));
        if let Some(budget) = known {
            return Ok(Taken::NoRoom(budget.clone()));
        }

        let (claim, key) = (reserving_too(claim), candidate.key);
        let taken = run(self.executor, &ClaimReserving { claim, key, only_asks }).await?;
        if let Taken::NoRoom(budget) = &taken {
            self.short.insert(budget.clone());
        }
        Ok(taken)
    }
}

/// The same claim, which also offers to reserve.
fn reserving_too(claim: &Claim) -> Claim {
    claim.clone().with_room(vec![token(ESTIMATES)])
}
