//! Claims where some executions carry an estimate or have keys of limits: the best ones are listed,
//! and these are taken by plans of their own.
//!
//! Of the executions that reserve from one budget, the best comes first: while its estimate does
//! not fit, those behind it are not tried, so that small estimates never starve a large one.
//!
//! An execution with a full limit hides none behind it: the next list passes over the key.
//!
//! Claims of one process choose in turns. One that takes many lets the next choose meanwhile, so
//! that the database works for both.

use std::collections::{BTreeSet, HashMap};

use futures_util::future::try_join;

use super::combined::Callers;
use super::fair::{Turned, list_by_turns};
use super::in_flight::Passed;
use super::obstacles::Obstacles;
use super::remembered_limits::KnownLimits;
use super::taking::Receivers;
use super::turns::Turn;
use super::{Executor, run};
use crate::model::error::EngineError;
use crate::rules::budget::room::Room;
use crate::rules::budget::token::{ESTIMATES, limit_token, token};
use crate::rules::execution::candidates::{Candidate, Candidates, Found};
use crate::rules::execution::claim::{Claim, Searched};
use crate::rules::execution::reserve::Taken;
use crate::rules::key::ExecutionKey;
use crate::rules::limit::admit::Admission;
use crate::rules::limit::held::Holdings;

/// The most lists that one claim reads: others may take what it has listed.
const ROUNDS: usize = 16;

/// The executions of one list from which on a claim lets the next one choose while it takes them.
/// Claims of few are made together instead.
const MANY: usize = 32;

/// A claim, the room that it may offer, and what turned out to have too little.
pub(super) struct Reserving<'a> {
    pub(super) executor: &'a dyn Executor,
    room: Room,
    /// What the process knows of limits, while this claim has its turn.
    pub(super) known: KnownLimits,
    /// The budgets with too little room.
    pub(super) short: BTreeSet<String>,
    /// The keys of full limits, and whether more than these stand before what may be taken.
    pub(super) obstacles: Obstacles,
    /// The executions that turned out to be gone or locked, each in the version that was listed.
    pub(super) passed: HashMap<ExecutionKey, i64>,
    /// The number of lists of which other claims had taken parts of limits.
    pub(super) overtaken: u32,
}

/// What of one list may be taken, and the turns that it takes.
type Chosen = (Sorted, Option<Turned>);

/// The executions that one list names, by the way in which they are taken.
#[derive(Default)]
struct Sorted {
    /// The number of those that any claim takes.
    plain: u32,
    /// Those with an estimate or keys.
    attempts: Vec<(Candidate, Holdings)>,
    /// True if another list may name others.
    is_moving: bool,
}

impl Sorted {
    /// True if another list may bring more.
    fn may_have_more(&self) -> bool {
        self.is_moving || 0 < self.plain || !self.attempts.is_empty()
    }
}

/// The executions that come next, and the turns that they take.
struct Next {
    candidates: Vec<Candidate>,
    turned: Option<Turned>,
    is_by_list: bool,
}

/// Lists the executions that come next, by turns or by the order of the lane, but for those with
/// full keys.
async fn list(
    executor: &dyn Executor,
    claim: Claim,
    by_turns: bool,
    obstacles: &Obstacles,
    passed: Passed,
) -> Result<Next, EngineError> {
    let is_full = |key: &String| obstacles.refused.contains_key(key);
    let is_open = |candidate: &Candidate| {
        !candidate.limits.keys.iter().any(is_full) && !passed.contains(candidate)
    };
    if by_turns {
        let (candidates, turned) =
            list_by_turns(executor, claim, passed.of_one_key, is_open).await?;
        return Ok(Next { candidates, turned, is_by_list: false });
    }

    let most = claim.limit();
    let best = Candidates::best(claim.up_to(most.saturating_add(passed.count())));
    let best = if obstacles.behind_others_at.is_some() { best.by_list() } else { best };
    let Found { mut candidates, is_by_list } = run(executor, &best).await?;
    candidates.retain(is_open);
    candidates.truncate(most as usize);
    Ok(Next { candidates, turned: None, is_by_list })
}

/// Claims up to as many executions as the callers ask for, with estimates, keys of limits or
/// neither. They have their turn to choose.
///
/// # Errors
/// Those of the backend. What was claimed before is with the callers.
pub(super) async fn claim_reserving(
    executor: &dyn Executor,
    callers: &mut Callers,
    room: Room,
    turn: Turn<()>,
) -> Result<(), EngineError> {
    let Some(first) = callers.rest() else { return Ok(()) };
    let (searched, state) = (first.searched(), executor.process_state());
    let mut reserving = Reserving::new(executor, room, KnownLimits::none(executor));
    let mut turn = Some(turn);
    for round in 0..ROUNDS {
        let Some(rest) = callers.rest() else { break };
        let own = match turn.take() {
            Some(turn) => turn,
            None => state.wait_to_reserve().await,
        };
        reserving.known = state.limits.take(executor);
        if round == 0 {
            reserving.obstacles = reserving.known.obstacles.take(&searched, executor.now());
        }

        let offered = reserving.offered(rest);
        let chosen = reserving.choose_turns(&offered, round == 0).await?;
        let Some((sorted, turned)) = chosen else {
            reserving.put_back(&searched);
            turn = Some(own);
            continue;
        };
        let is_moving = sorted.may_have_more();
        let mut to = Receivers { callers: &mut *callers, turned };
        let Sorted { plain, attempts, .. } = sorted;
        let (estimated, others): (Vec<_>, Vec<_>) =
            attempts.into_iter().partition(|(candidate, _)| candidate.reserves);
        let reserved = reserving.claim_one_by_one(&offered, &estimated, &mut to).await;

        let taking = state.in_flight.take(&others);
        reserving.put_back(&searched);
        turn = (others.len() < MANY).then_some(own);
        let claimed = match reserved {
            Ok(()) => reserving.claim_chosen(&offered, (&others, taking), plain, &mut to).await,
            Err(error) => Err(error),
        };
        if let Some(turned) = to.turned {
            turned.give_back_the_rest(executor).await?;
        }
        claimed?;
        if !is_moving {
            break;
        }
    }
    Ok(())
}

/// Returns true if the claim would find an execution with an estimate that fits, or with limits
/// that have room.
pub(super) async fn some_fits(
    executor: &dyn Executor,
    claim: &Claim,
    room: Room,
) -> Result<bool, EngineError> {
    let mut reserving = Reserving::new(executor, room, KnownLimits::none(executor));
    for _ in 0..ROUNDS {
        let offered = reserving.offered(claim.clone());
        let (sorted, _) = reserving.choose(&offered, false).await?;
        if 0 < sorted.plain {
            return Ok(true);
        }

        let mut is_moving = sorted.is_moving;
        for (candidate, holdings) in sorted.attempts {
            if !candidate.reserves {
                return Ok(true);
            }
            match reserving.take(&offered, &candidate, &holdings, true).await? {
                Taken::Claimed(_) | Taken::Fits => return Ok(true),
                Taken::NoRoom(_) => is_moving = true,
                Taken::Gone | Taken::Overtaken => {}
            }
        }
        if !is_moving {
            break;
        }
    }
    Ok(false)
}

impl<'a> Reserving<'a> {
    fn new(executor: &'a dyn Executor, room: Room, known: KnownLimits) -> Self {
        let (short, obstacles, passed) = (BTreeSet::new(), Obstacles::default(), HashMap::new());
        Self { executor, room, known, short, obstacles, passed, overtaken: 0 }
    }

    /// The claim that offers all room but that of budgets with too little, and passes over full
    /// limits.
    fn offered(&self, claim: Claim) -> Claim {
        let short: BTreeSet<String> = self.short.iter().map(|budget| token(budget)).collect();
        let room = self.room.tokens.iter().filter(|token| !short.contains(*token)).cloned();
        claim.with_room(room.collect())
    }

    /// The claim of whatever it may take but for executions with a full limit.
    fn listing(&self, offered: &Claim) -> Claim {
        let claim = match self.room.has_estimates {
            true => offered.clone().with_room(vec![token(ESTIMATES)]),
            false => offered.clone(),
        };
        match self.room.has_limits || self.is_fair(offered) {
            true => {
                let full = self.obstacles.refused.keys().map(|key| limit_token(key));
                claim.within_limits(full.collect())
            }
            false => claim,
        }
    }

    /// Lists the executions that come next, and chooses what those that are not plain take of
    /// their limits.
    async fn choose(&mut self, offered: &Claim, is_recalled: bool) -> Result<Chosen, EngineError> {
        let (candidates, mut turned) = self.candidates(offered, is_recalled).await?;
        let admissions = self.known.admit(self.executor, &candidates).await?;

        let mut sorted = Sorted::default();
        for (candidate, admission) in candidates.into_iter().zip(admissions) {
            if let (Admission::Admitted(_), Some(turned)) = (&admission, &mut turned) {
                turned.start(&candidate);
            }
            if candidate.is_plain() {
                sorted.plain += 1;
                continue;
            }
            match admission {
                Admission::Admitted(holdings) => sorted.attempts.push((candidate, holdings)),
                Admission::Full(key) => {
                    self.obstacles.note(&key, &candidate.limits);
                    sorted.is_moving = true;
                }
            }
        }
        // Behind those that came next may be more.
        sorted.is_moving |= turned.is_some();
        Ok((sorted, turned))
    }

    /// Lists the executions that come next and have no full key. Of obstacles that come from the
    /// claim before, it is read meanwhile whether they still are some.
    async fn candidates(
        &mut self,
        offered: &Claim,
        is_recalled: bool,
    ) -> Result<(Vec<Candidate>, Option<Turned>), EngineError> {
        let (executor, by_turns) = (self.executor, self.is_fair(offered));
        if is_recalled && !self.obstacles.refused.is_empty() {
            let listing = self.listing(offered);
            let listed = list(executor, listing, by_turns, &self.obstacles, self.passed());
            let freed = self.known.freed(executor, &self.obstacles.refused);
            let (listed, freed) = try_join(listed, freed).await?;
            if freed.is_empty() {
                return Ok(self.noted(listed));
            }
            // What comes next is another list.
            self.obstacles.refused.retain(|key, _| !freed.contains(key));
        }

        let listing = self.listing(offered);
        let listed = list(executor, listing, by_turns, &self.obstacles, self.passed()).await?;
        Ok(self.noted(listed))
    }

    /// What was listed, once it is noted what stood before it.
    fn noted(&mut self, listed: Next) -> (Vec<Candidate>, Option<Turned>) {
        if listed.is_by_list {
            self.obstacles.behind_others_at.get_or_insert(self.executor.now());
        }
        (listed.candidates, listed.turned)
    }

    /// The executions that are being taken, and those that this claim could not take.
    fn passed(&self) -> Passed {
        self.executor.process_state().in_flight.and(&self.passed)
    }

    fn is_fair(&self, offered: &Claim) -> bool {
        self.room.fair_lanes.contains(offered.terms().lane())
    }

    /// Lists the executions that come next, and takes the turns of those that it chooses. `None`
    /// where another claim took these turns.
    async fn choose_turns(
        &mut self,
        offered: &Claim,
        is_recalled: bool,
    ) -> Result<Option<Chosen>, EngineError> {
        let (sorted, mut turned) = self.choose(offered, is_recalled).await?;
        let is_stored = match &mut turned {
            Some(turned) => turned.store(self.executor).await?,
            None => true,
        };
        if !is_stored {
            sorted.attempts.iter().for_each(|(_, holdings)| self.known.unlearn(holdings));
            return Ok(None);
        }
        Ok(Some((sorted, turned)))
    }

    /// Leaves what it knows to the next claim: its turn to choose is over.
    fn put_back(&mut self, searched: &Searched) {
        let next = KnownLimits::none(self.executor);
        let mut known = std::mem::replace(&mut self.known, next);
        known.obstacles.put_back(searched.clone(), self.obstacles.clone());
        self.executor.process_state().limits.put_back(known);
    }
}
