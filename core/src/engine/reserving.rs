//! Claims where some executions carry an estimate or have keys of limits: the best ones are listed,
//! and these are taken by plans of their own.
//!
//! Of the executions that reserve from one budget, the best comes first: while its estimate does
//! not fit, those behind it are not tried, so that small estimates never starve a large one.
//!
//! An execution with a full limit hides none behind it: the next list passes over the key.

use std::collections::{BTreeSet, HashMap, HashSet};

use futures_util::future::{join_all, try_join};

use super::combined::Callers;
use super::fair::{Turned, list_by_turns};
use super::obstacles::Obstacles;
use super::places::claim_up_to;
use super::remembered_limits::KnownLimits;
use super::{Executor, run};
use crate::model::error::EngineError;
use crate::model::handle::Handle;
use crate::rules::budget::room::Room;
use crate::rules::budget::token::{ESTIMATES, limit_token, token};
use crate::rules::execution::candidates::{Candidate, Candidates, Found};
use crate::rules::execution::claim::Claim;
use crate::rules::execution::listed::{ClaimListed, Listed};
use crate::rules::execution::reserve::{ClaimReserving, Taken};
use crate::rules::key::ExecutionKey;
use crate::rules::limit::admit::Admission;
use crate::rules::limit::held::Holdings;

/// The most lists that one claim reads: others may take what it has listed.
const ROUNDS: usize = 16;

/// The lists of which other claims took parts of limits, after which a claim takes its executions
/// one by one: some of them may still be taken, and what these take is read again each time.
const ONE_BY_ONE_AFTER: u32 = 2;

/// A claim, the room that it may offer, and what turned out to have too little.
struct Reserving<'a> {
    executor: &'a dyn Executor,
    room: Room,
    known: KnownLimits,
    /// The budgets with too little room.
    short: BTreeSet<String>,
    /// The keys of full limits, and whether more than these stand before what may be taken.
    obstacles: Obstacles,
    /// The executions that turned out to be gone or locked, each in the version that was listed.
    passed: HashSet<(ExecutionKey, i64)>,
    /// The number of lists of which other claims had taken parts of limits.
    overtaken: u32,
}

/// What of one list may be taken, and the turns that it takes.
type Chosen = (Sorted, Option<Turned>);

/// The callers that claimed executions go to, and the turns that they use up.
struct Receivers<'a> {
    callers: &'a mut Callers,
    turned: Option<Turned>,
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
    passed: &HashSet<(ExecutionKey, i64)>,
) -> Result<Next, EngineError> {
    let is_full = |key: &String| obstacles.refused.contains_key(key);
    let is_open = |candidate: &Candidate| {
        !candidate.limits.keys.iter().any(is_full)
            && !passed.contains(&(candidate.key, candidate.version))
    };
    if by_turns {
        let (candidates, turned) = list_by_turns(executor, claim, is_open).await?;
        return Ok(Next { candidates, turned, is_by_list: false });
    }

    let most = claim.limit();
    let behind = u32::try_from(passed.len()).unwrap_or(u32::MAX);
    let best = Candidates::best(claim.up_to(most.saturating_add(behind)));
    let best = if obstacles.behind_others_at.is_some() { best.by_list() } else { best };
    let Found { mut candidates, is_by_list } = run(executor, &best).await?;
    candidates.retain(is_open);
    candidates.truncate(most as usize);
    Ok(Next { candidates, turned: None, is_by_list })
}

/// Claims up to as many executions as the callers ask for, with estimates, keys of limits or
/// neither, when they have their turn.
///
/// # Errors
/// Those of the backend. What was claimed before is with the callers.
pub(super) async fn claim_reserving(
    executor: &dyn Executor,
    callers: &mut Callers,
    room: Room,
) -> Result<(), EngineError> {
    let Some(first) = callers.rest() else { return Ok(()) };
    let (searched, limits) = (first.searched(), &executor.process_state().limits);
    let mut reserving = Reserving::new(executor, room, limits.take(executor));
    reserving.obstacles = reserving.known.obstacles.take(&searched, executor.now());
    for round in 0..ROUNDS {
        let Some(rest) = callers.rest() else { break };
        let offered = reserving.offered(rest);
        if !reserving.claim_listed(&offered, callers, round == 0).await? {
            break;
        }
    }

    let Reserving { mut known, obstacles, .. } = reserving;
    known.obstacles.put_back(searched, obstacles);
    limits.put_back(known);
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
        let (short, obstacles, passed) = (BTreeSet::new(), Obstacles::default(), HashSet::new());
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
            let listed = list(executor, listing, by_turns, &self.obstacles, &self.passed);
            let freed = self.known.freed(executor, &self.obstacles.refused);
            let (listed, freed) = try_join(listed, freed).await?;
            if freed.is_empty() {
                return Ok(self.noted(listed));
            }
            // What comes next is another list.
            self.obstacles.refused.retain(|key, _| !freed.contains(key));
        }

        let listing = self.listing(offered);
        let listed = list(executor, listing, by_turns, &self.obstacles, &self.passed).await?;
        Ok(self.noted(listed))
    }

    /// What was listed, once it is noted what stood before it.
    fn noted(&mut self, listed: Next) -> (Vec<Candidate>, Option<Turned>) {
        if listed.is_by_list {
            self.obstacles.behind_others_at.get_or_insert(self.executor.now());
        }
        (listed.candidates, listed.turned)
    }

    fn is_fair(&self, offered: &Claim) -> bool {
        self.room.fair_lanes.contains(offered.terms().lane())
    }

    /// Claims what one list names. Returns true if another list may bring more.
    async fn claim_listed(
        &mut self,
        offered: &Claim,
        callers: &mut Callers,
        is_recalled: bool,
    ) -> Result<bool, EngineError> {
        let (sorted, mut turned) = self.choose(offered, is_recalled).await?;
        let is_stored = match &mut turned {
            Some(turned) => turned.store(self.executor).await?,
            None => true,
        };
        if !is_stored {
            // Another claim took these turns.
            sorted.attempts.iter().for_each(|(_, holdings)| self.known.unlearn(holdings));
            return Ok(true);
        }

        let mut to = Receivers { callers, turned };
        let claimed = self.claim_sorted(offered, sorted, &mut to).await;
        if let Some(turned) = to.turned {
            turned.give_back_the_rest(self.executor).await?;
        }
        claimed
    }

    /// Claims what one list names, each execution with its turn.
    async fn claim_sorted(
        &mut self,
        offered: &Claim,
        sorted: Sorted,
        to: &mut Receivers<'_>,
    ) -> Result<bool, EngineError> {
        let Sorted { plain, attempts, is_moving } = sorted;
        let is_moving = is_moving || 0 < plain || !attempts.is_empty();
        let (estimated, others): (Vec<_>, Vec<_>) =
            attempts.into_iter().partition(|(candidate, _)| candidate.reserves);

        self.claim_one_by_one(offered, &estimated, to).await?;
        self.claim_side_by_side(offered, &others, to).await?;
        self.claim_plain(offered, plain, to).await?;
        Ok(is_moving)
    }

    /// Claims executions with estimates: what one reserves decides what is left for the next.
    async fn claim_one_by_one(
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

    /// Claims executions with keys: those of each caller in one plan, or one by one where other
    /// claims keep taking parts of their limits.
    async fn claim_side_by_side(
        &mut self,
        offered: &Claim,
        attempts: &[(Candidate, Holdings)],
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
        for (caller, (candidate, holdings)) in dealt {
            match taken.remove(&candidate.key) {
                Some(Taken::Claimed(handle)) => to.give(caller, handle, candidate.turn_key()),
                Some(Taken::Overtaken) => {
                    self.known.forget(holdings, self.executor.now());
                    overtaken = true;
                }
                Some(Taken::Gone) => {
                    self.known.unlearn(holdings);
                    self.passed.insert((candidate.key, candidate.version));
                    lost = true;
                }
                Some(Taken::Fits | Taken::NoRoom(_)) | None => {}
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
        if ONE_BY_ONE_AFTER <= self.overtaken {
            let each = dealt.iter().map(async |(_, (candidate, holdings))| {
                let taken = self.claim_one(&own, candidate, holdings, false).await;
                Done::of(taken.map(|taken| HashMap::from([(candidate.key, taken)])))
            });
            return join_all(each).await.into_iter().reduce(Done::and).unwrap_or_default();
        }

        let listed = |(_, (candidate, holdings)): &Dealt<'_>| Listed {
            key: candidate.key,
            version: candidate.version,
            holdings: holdings.clone(),
        };
        let listed = dealt.iter().map(listed).collect();
        let claims = ClaimListed::of(own.tag(), own.terms(), listed);
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
    async fn take(
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

        let taken = self.claim_one(offered, candidate, holdings, only_asks).await?;
        if let Taken::NoRoom(budget) = &taken {
            self.short.insert(budget.clone());
        }
        Ok(taken)
    }

    async fn claim_one(
        &self,
        offered: &Claim,
        candidate: &Candidate,
        holdings: &Holdings,
        only_asks: bool,
    ) -> Result<Taken, EngineError> {
        let decision = ClaimReserving {
            tag: offered.tag(),
            terms: offered.terms().clone(),
            key: candidate.key,
            version: candidate.version,
            reserves: candidate.reserves,
            holdings: holdings.clone(),
            only_asks,
        };
        run(self.executor, &decision).await
    }
}
