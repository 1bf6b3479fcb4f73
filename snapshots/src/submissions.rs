//! The situations in which submissions are sampled.

use ff_core::contracts::CreateExecutionArgs;
use ff_core::engine_backend::{EngineBackend, Scan};
use ff_core::policy::ExecutionPolicy;
use ff_core::types::TimestampMs;

use super::money::budget;
use super::stage::{NOON, Scene, now};

/// A day, ms.
const DAY: i64 = 86_400_000;

impl Scene {
    pub(super) fn submissions(&mut self) {
        let args = self.args();
        let again = args.clone();
        self.sample("create_execution", "new", async |b| b.create_execution(args).await);
        self.sample("create_execution", "repeated", async |b| b.create_execution(again).await);

        for is_late in [false, true] {
            for is_tagged in [true, false] {
                self.submission(is_late, is_tagged);
            }
        }
        self.keyed_submissions();
    }

    fn submission(&mut self, is_late: bool, is_tagged: bool) {
        let mut args = self.args();
        args.delay_until = is_late.then_some(TimestampMs(NOON + 60_000));
        if !is_tagged {
            args.tags.clear();
        }

        let case = [
            if is_late { "put off" } else { "new" },
            if is_tagged { "" } else { ", without an instance tag" },
        ];
        self.sample("create_execution", case.concat(), async |b| b.create_execution(args).await);
    }

    /// Submissions with an idempotency key: a new one, and one that was taken before, for a day or
    /// until an end.
    fn keyed_submissions(&mut self) {
        for is_late in [false, true] {
            for is_tagged in [true, false] {
                for is_budgeted in [false, true] {
                    let kind = Keyed { is_late, is_tagged, is_budgeted };
                    self.key_for_a_day(kind);
                    self.key_until_an_end(kind);
                }
            }
        }

        self.pass(2 * DAY);
        self.sample("scan", "idempotency key expiry", async |b| {
            b.scan(Scan::IdempotencyKeyExpiry, 100).await
        });
    }

    fn key_for_a_day(&mut self, kind: Keyed) {
        let [first, again] = [false; 2].map(|active| self.keyed(kind, active));
        let case = kind.case("with a key");
        self.sample("create_execution", case, async |b| b.create_execution(first).await);
        let case = kind.case("with a key that is held");
        self.sample("create_execution", case, async |b| b.create_execution(again).await);
        self.pass(2 * DAY);
        // It is put off from now on.
        let anew = self.keyed(kind, false);
        let case = kind.case("with a key that has expired");
        self.sample("create_execution", case, async |b| b.create_execution(anew).await);
    }

    fn key_until_an_end(&mut self, kind: Keyed) {
        let [first, anew] = [true; 2].map(|active| self.keyed(kind, active));
        let id = first.execution_id.clone();
        let _ = now(self.backend.create_execution(first));
        self.cancel_one(&id);
        let case = kind.case("with a key of one that has ended");
        self.sample("create_execution", case, async |b| b.create_execution(anew).await);
    }

    fn keyed(&mut self, kind: Keyed, dedup_while_active: bool) -> CreateExecutionArgs {
        let mut args = self.args();
        args.idempotency_key = Some(format!("{kind:?} {dedup_while_active}"));
        args.delay_until = kind.is_late.then_some(TimestampMs(self.at().0 + 60_000));
        let budget_ids = if kind.is_budgeted { vec![budget(1)] } else { Vec::new() };
        let policy = ExecutionPolicy { budget_ids, dedup_while_active, ..Default::default() };
        args.policy = Some(policy);
        if !kind.is_tagged {
            args.tags.clear();
        }
        args
    }
}

/// A kind of submission with an idempotency key.
#[derive(Clone, Copy, Debug)]
struct Keyed {
    is_late: bool,
    is_tagged: bool,
    is_budgeted: bool,
}

impl Keyed {
    fn case(self, what: &str) -> String {
        let late = if self.is_late { ", put off" } else { "" };
        let tagged = if self.is_tagged { "" } else { ", without an instance tag" };
        let budgeted = if self.is_budgeted { ", with a budget" } else { "" };
        format!("{what}{late}{tagged}{budgeted}")
    }
}
