//! What must hold once the faults are over, read through every engine.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use flowfabric_sql::{ExecutionId, PublicState};
use futures_util::{StreamExt as _, stream};

use crate::Soak;
use crate::events::Seen;
use crate::ledger::Known;

/// The reads at once.
const AT_ONCE: usize = 16;

/// The findings, by what they violate.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    executions: usize,
    lost: Vec<String>,
    doubled: Vec<String>,
    endless: Vec<String>,
    missed: Vec<String>,
    /// Ends without an acknowledgement that were applied.
    resolved: usize,
}

impl Verdict {
    pub(crate) fn is_clean(&self) -> bool {
        [&self.lost, &self.doubled, &self.endless, &self.missed]
            .iter()
            .all(|found| found.is_empty())
    }

    pub(crate) fn print(&self) {
        println!(
            "soak: {} executions: {} acknowledged changes lost, {} double ends, {} without an end, \
             {} events missed or repeated; {} ends applied without an acknowledgement",
            self.executions,
            self.lost.len(),
            self.doubled.len(),
            self.endless.len(),
            self.missed.len(),
            self.resolved,
        );
        let all = [&self.lost, &self.doubled, &self.endless, &self.missed];
        for finding in all.into_iter().flatten().take(40) {
            println!("soak: VIOLATION: {finding}");
        }
    }
}

/// True if an execution in that state has ended.
pub(crate) fn is_end(state: PublicState) -> bool {
    use PublicState::{Cancelled, Completed, Expired, Failed, Skipped};
    matches!(state, Completed | Failed | Cancelled | Expired | Skipped)
}

/// Waits until all executions have ended, for a bounded time. Returns the time that it took.
pub(crate) async fn drain(soak: &Soak, bound: Duration) -> Duration {
    let started = Instant::now();
    while started.elapsed() < bound {
        let mut open = 0;
        for (id, known) in soak.ledger.executions() {
            if known.has_ended() {
                continue;
            }
            let state = soak.engine(0, 1).read_execution_state(&id).await;
            let ended = matches!(&state, Ok(Some(state)) if is_end(*state));
            let never_was = matches!(&state, Ok(None)) && known.submission.is_none();
            open += usize::from(!ended && !never_was);
        }
        if open == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    started.elapsed()
}

pub(crate) async fn judge(soak: &Soak, seen: &[Seen]) -> Verdict {
    let mut verdict = Verdict { doubled: soak.ledger.violations(), ..Verdict::default() };
    let executions = soak.ledger.executions();
    verdict.executions = executions.len();
    for own in 0..soak.engines.len() {
        let read = stream::iter(&executions).map(|(id, known)| stored(soak, own, id, known));
        let read: Vec<_> = read.buffer_unordered(AT_ONCE).collect().await;
        for (id, known, found) in read {
            verdict.compare(own, id, known, found);
        }
    }
    // Counted once, not once for each engine.
    verdict.resolved /= soak.engines.len();

    for (own, seen) in seen.iter().enumerate() {
        verdict.count(own, &executions, seen);
    }
    verdict
}

/// The state and the result, as that engine reads them.
async fn stored<'a>(
    soak: &Soak,
    own: usize,
    id: &'a ExecutionId,
    known: &'a Known,
) -> (&'a ExecutionId, &'a Known, Option<(PublicState, Option<Vec<u8>>)>) {
    let engine = &soak.engines[own];
    let state = engine.read_execution_state(id).await.unwrap();
    let found = match state {
        Some(state) => Some((state, engine.get_execution_result(id).await.unwrap())),
        None => None,
    };
    (id, known, found)
}

impl Verdict {
    fn compare(
        &mut self,
        own: usize,
        id: &ExecutionId,
        known: &Known,
        found: Option<(PublicState, Option<Vec<u8>>)>,
    ) {
        let Some((state, result)) = found else {
            if let Some(answer) = &known.submission {
                self.lost.push(format!("{id}: submitted, and not there (engine {own}): {answer}"));
            }
            return;
        };
        if !is_end(state) {
            self.endless.push(format!("{id}: is {state:?} (engine {own})"));
        }

        let result = result.unwrap_or_default();
        for end in known.ends.iter().filter(|end| end.result != result) {
            let Some(answer) = &end.acknowledgement else { continue };
            let expected = String::from_utf8_lossy(&end.result);
            let result = String::from_utf8_lossy(&result);
            self.lost
                .push(format!("{id}: {expected} was acknowledged, {result} is stored: {answer}"));
        }
        if !known.has_ended() && known.ends.iter().any(|end| end.result == result) {
            self.resolved += 1;
        } else if !known.has_ended() && is_end(state) {
            self.doubled.push(format!("{id}: is {state:?}, and no worker ended it so"));
        }
    }

    /// Every execution has one event of its end, for each subscriber.
    fn count(&mut self, own: usize, executions: &HashMap<ExecutionId, Known>, seen: &Seen) {
        for id in executions.keys().filter(|id| executions[*id].submission.is_some()) {
            let times = seen.ends.get(id).copied().unwrap_or_default();
            if times != 1 {
                self.missed.push(format!("{id}: subscriber {own} got {times} events of its end"));
            }
        }
        if seen.disorder != 0 {
            self.missed.push(format!("subscriber {own}: {} numbers in disorder", seen.disorder));
        }
        println!(
            "soak: subscriber {own}: {} events, resumed {} times",
            seen.ends.len(),
            seen.resumed
        );
    }
}
