//! Takes the executions that a claim has chosen: those with estimates one by one, those with keys
//! of limits or fairness in one plan for each caller, and the others as the database picks them.

use std::collections::HashMap;

use futures_util::future::join_all;

use super::combined::Callers;
use super::fair::Turned;
use super::in_flight::Taking;
use super::places::claim_up_to;
use super::reserving::Reserving;
use super::run;
use crate::model::error::EngineError;
use crate::model::handle::Handle;
use crate::rules::execution::candidates::Candidate;
use crate::rules::execution::claim::Claim;
use crate::rules::execution::listed::{ClaimListed, Listed};
use crate::rules::execution::reserve::{ClaimReserving, Taken};
use crate::rules::key::ExecutionKey;
use crate::rules::limit::held::Holdings;

/// The lists of which other claims took parts of limits, after which a claim takes its executions
/// one by one: some of them may still be taken.
const ONE_BY_ONE_AFTER: u32 = 2;

/// The callers that claimed executions go to, and the turns that they use up.
pub(super) struct Receivers<'a> {
    pub(super) callers: &'a mut Callers,
    pub(super) turned: Option<Turned>,
}

impl Receivers<'_> {
    /// Hands an execution that had a turn of that key to a caller.
    fn give(&mut self, caller: usize, handle: Handle, key: &str) {
        self.callers.give(caller, handle);
        if let Some(turned) = &mut self.turned {
            turned.started(key);
        }
    }
}

/// A caller, and an execution that it gets with what that takes of limits.
type Dealt<'a> = (usize, &'a (Candidate, Holdings));

/// What came of executions, and the last failure, if one failed.
#[derive(Default)]
struct Done {
    taken: HashMap<ExecutionKey, Taken>,
    failed: Option<EngineError>,
}

impl Done {
    fn of(taken: Result<HashMap<ExecutionKey, Taken>, EngineError>) -> Self {
        match taken {
            Ok(taken) => Self { taken, failed: None },
            Err(error) => Self { taken: HashMap::new(), failed: Some(error) },
        }
    }

    fn and(mut self, other: Self) -> Self {
        self.taken.extend(other.taken);
        Self { failed: other.failed.or(self.failed), ..self }
    }
}

impl Reserving<'_> {
    /// Claims executions with estimates: what one reserves decides what is left for the next.
    pub(super) async fn claim_one_by_one(
        &mut self,
        offered: &Claim,
        attempts: &[(Candidate, Holdings)],
        to: &mut Receivers<'_>,
    ) -> Result<(), EngineError> {
        for (candidate, holdings) in attempts {
            let Some(caller) = to.callers.next().next() else { break };
            let own = to.callers.on_terms_of(caller, offered);
            match self.take(&own, candidate, holdings, false).await? {
                Taken::Claimed(handle) => to.give(caller, handle, candidate.turn_key()),
                Taken::Overtaken => self.known.forget(holdings, self.executor.now()),
                Taken::Fits | Taken::NoRoom(_) | Taken::Gone => self.known.unlearn(holdings),
            }
        }
        Ok(())
    }

    /// Claims the executions without estimates that one list names. This claim need not have its
    /// turn.
    ///
    /// # Errors
    /// Those of the backend. What was claimed before is with the callers.
    pub(super) async fn claim_chosen(
        &mut self,
        offered: &Claim,
        (attempts, taking): (&[(Candidate, Holdings)], Taking<'_>),
        plain: u32,
        to: &mut Receivers<'_>,
    ) -> Result<(), EngineError> {
        self.claim_side_by_side(offered, attempts, taking, to).await?;
        self.claim_plain(offered, plain, to).await
    }

    /// Claims executions with keys: those of each caller in one plan, or one by one where other
    /// claims keep taking parts of their limits.
    async fn claim_side_by_side(
        &mut self,
        offered: &Claim,
        attempts: &[(Candidate, Holdings)],
        mut taking: Taking<'_>,
        to: &mut Receivers<'_>,
    ) -> Result<(), EngineError> {
        let places: Vec<usize> = to.callers.next().collect();
        let dealt: Vec<Dealt<'_>> = places.into_iter().zip(attempts).collect();
        let of_callers = dealt.chunk_by(|(one, _), (other, _)| one == other).map(|dealt| {
            let caller = dealt.first().map_or(0, |(caller, _)| *caller);
            self.claim_for(to.callers.on_terms_of(caller, offered), dealt)
        });
        let done = join_all(of_callers).await.into_iter().reduce(Done::and).unwrap_or_default();

        let Done { mut taken, failed } = done;
        let (mut lost, mut overtaken) = (false, false);
        for (caller, (candidate, _)) in dealt {
            let Some(taken) = taken.remove(&candidate.key) else { continue };
            taking.settle(&candidate.key, &taken);
            match taken {
                Taken::Claimed(handle) => to.give(caller, handle, candidate.turn_key()),
                Taken::Overtaken => overtaken = true,
                Taken::Gone => {
                    self.passed.insert(candidate.key, candidate.version);
                    lost = true;
                }
                Taken::Fits | Taken::NoRoom(_) => {}
            }
        }
        if lost || overtaken {
            // A key may have counted as full only for what was not taken after all.
            self.obstacles.refused.clear();
        }
        self.overtaken += u32::from(overtaken);
        failed.map_or(Ok(()), Err)
    }

    /// Claims executions for one caller.
    async fn claim_for(&self, own: Claim, dealt: &[Dealt<'_>]) -> Done {
        let listed = |(_, (candidate, holdings)): &Dealt<'_>| Listed {
            key: candidate.key,
            version: candidate.version,
            holdings: holdings.clone(),
        };
        let together = if ONE_BY_ONE_AFTER <= self.overtaken { 1 } else { dealt.len().max(1) };
        let claims: Vec<ClaimListed> = dealt
            .chunks(together)
            .map(|some| some.iter().map(listed).collect())
            .flat_map(|some| ClaimListed::of(own.tag(), own.terms(), some))
            .collect();
        let each = claims.iter().map(async |claim| Done::of(run(self.executor, claim).await));
        join_all(each).await.into_iter().reduce(Done::and).unwrap_or_default()
    }

    /// Claims so many of the others as ever: the database picks them.
    async fn claim_plain(
        &self,
        offered: &Claim,
        mut plain: u32,
        to: &mut Receivers<'_>,
    ) -> Result<(), EngineError> {
        while 0 < plain {
            let Some(caller) = to.callers.next().next() else { break };
            let most = to.callers.next().take_while(|next| *next == caller).count();
            let most = u32::try_from(most).unwrap_or(u32::MAX).min(plain);
            let claim = to.callers.on_terms_of(caller, offered).up_to(most);

            let claimed = claim_up_to(self.executor, &claim).await?;
            plain = if claimed.len() < most as usize { 0 } else { plain - most };
            for handle in claimed {
                to.give(caller, handle, "");
            }
        }
        Ok(())
    }

    /// Takes one execution with an estimate, if its budgets are not known to have too little room.
    pub(super) async fn take(
        &mut self,
        offered: &Claim,
        candidate: &Candidate,
        holdings: &Holdings,
        only_asks: bool,
    ) -> Result<Taken, EngineError> {
        let known = candidate.budgets.iter().find(|budget| self.short.contains(*budget));
        if let Some(budget) = known {
            return Ok(Taken::NoRoom(budget.clone()));
        }

        let decision = ClaimReserving {
            tag: offered.tag(),
            terms: offered.terms().clone(),
            key: candidate.key,
            version: candidate.version,
            holdings: holdings.clone(),
            only_asks,
        };
        let taken = run(self.executor, &decision).await?;
        if let Taken::NoRoom(budget) = &taken {
            self.short.insert(budget.clone());
        }
        Ok(taken)
    }
}
