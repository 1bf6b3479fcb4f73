//! What the next operation of a history may depend on, as the rows in memory show it.

use ff_core::types::TimestampMs;

use super::generator::{Step, WORKERS};
use super::kind::Kind;
use super::operation::{Held, Side, Worker};
use crate::plain::Cells;

/// What the next operation may depend on.
pub(super) struct Situation<'a> {
    pub(super) now: TimestampMs,
    /// The leases that are held, lapsed ones among them.
    pub(super) held: &'a [Held],
    /// Every lease that ever was.
    pub(super) known: &'a [Held],
    /// What can be looked up.
    pub(super) rows: &'a Rows,
    /// What was done so far.
    pub(super) history: &'a [Step],
}

/// What the rows show.
pub(super) struct Rows {
    /// The grants that are stored.
    pub(super) granted: Vec<Granted>,
    /// The executions that wait for a worker.
    pub(super) waiting: Vec<usize>,
    /// The executions with a lease that has lapsed, and that no worker has taken over since.
    pub(super) lapsed: Vec<usize>,
    /// The executions that wait for a signal.
    pub(super) suspended: Vec<usize>,
    /// The suspended executions that a worker may take up again.
    pub(super) resumed: Vec<usize>,
    /// The executions that have ended.
    pub(super) ended: Vec<usize>,
}

impl Rows {
    /// Whether an operation of that kind can hardly come to anything.
    pub(super) fn make_futile(&self, kind: Kind) -> bool {
        let grants = |reclaims| self.granted.iter().any(|grant| grant.reclaims == reclaims);
        match kind {
            Kind::Claim | Kind::ClaimMany | Kind::Grant => self.waiting.is_empty(),
            Kind::Redeem => !grants(false),
            Kind::Reclaim => !grants(true),
            Kind::GrantReclaim => self.lapsed.is_empty(),
            Kind::Signal | Kind::Resume => self.suspended.is_empty(),
            Kind::ClaimResumed => self.resumed.is_empty(),
            Kind::Replay | Kind::Trim | Kind::Archive => self.ended.is_empty(),
            _ => false,
        }
    }
}

/// A stored grant.
#[derive(Clone, Copy)]
pub(super) struct Granted {
    pub(super) execution: usize,
    /// Whether it is to reclaim.
    pub(super) reclaims: bool,
    pub(super) worker: Worker,
}

impl Side {
    /// The leases that are held now, lapsed ones among them.
    pub(super) async fn leases(&self) -> Vec<Held> {
        let mut leases = Vec::new();
        for row in self.bench.plain.rows("ff_attempt").await {
            if row.int("lease_expires_at_ms").is_none() {
                continue;
            }
            let execution = self.number(&row);
            let attempt = u32::try_from(row.int("attempt_index").unwrap()).unwrap();
            let epoch = u64::try_from(row.int("lease_epoch").unwrap()).unwrap();
            leases.push(Held { execution, attempt, epoch });
        }
        leases.retain(|lease| self.knows(*lease));
        leases
    }

    /// The executions that have no row.
    pub(super) async fn gone(&self) -> Vec<usize> {
        let cores = self.bench.plain.rows("ff_exec_core").await;
        let there: Vec<usize> = cores.iter().filter_map(|row| self.number_if_any(row)).collect();
        (0..self.ids.len()).filter(|number| !there.contains(number)).collect()
    }

    pub(super) async fn situation(&self) -> Rows {
        let plain = &self.bench.plain;
        let cores = plain.rows("ff_exec_core").await;
        let now = self.bench.clock.now().0;
        let numbers = |holds: &dyn Fn(&Cells) -> bool| -> Vec<usize> {
            let known = cores.iter().filter(|row| holds(row));
            known.filter_map(|row| self.number_if_any(row)).collect()
        };
        let public = |state: &'static str| numbers(&|row| row.text("public_state") == state);
        let mut lapsed = Vec::new();
        for row in plain.rows("ff_attempt").await {
            let released = row.text("outcome") == "lease_expired_reclaimable";
            let due = row.int("lease_expires_at_ms").is_some_and(|expires| expires <= now);
            let is_lost = |core: &Cells| {
                let waits = core.text("eligibility_state") == "eligible_now"
                    && core.text("attempt_state") == "attempt_interrupted";
                core.uuid("execution_id") == row.uuid("execution_id")
                    && core.int("attempt_index") == row.int("attempt_index")
                    && ((released && waits) || (due && core.text("lifecycle_phase") == "active"))
            };
            if cores.iter().any(is_lost) {
                lapsed.push(self.number(&row));
            }
        }
        let mut granted = Vec::new();
        for row in plain.rows("ff_claim_grant").await {
            let named = |worker: &&Worker| worker.0 == row.text("worker_id");
            granted.push(Granted {
                execution: self.number(&row),
                reclaims: row.text("kind") == "reclaim",
                worker: *WORKERS.iter().find(named).unwrap(),
            });
        }
        Rows {
            waiting: numbers(&|row| row.text("eligibility_state") == "eligible_now"),
            granted,
            lapsed,
            suspended: public("suspended"),
            resumed: public("resumable"),
            ended: numbers(&|row| row.int("terminal_at_ms").is_some()),
        }
    }
}
