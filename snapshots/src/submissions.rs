//! The situations in which submissions are sampled.

use ff_core::engine_backend::{EngineBackend, Scan};
use ff_core::policy::ExecutionPolicy;
use ff_core::types::TimestampMs;

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

    /// Submissions with an idempotency key: a new one, and one that was taken before, for a day or
    /// until an end.
    fn keyed_submissions(&mut self) {
        for is_late in [false, true] {
            for is_tagged in [true, false] {
                for dedup_while_active in [false, true] {
                    self.keyed_submission(is_late, is_tagged, dedup_while_active);
                }
            }
        }

        self.pass(2 * DAY);
        self.sample("scan", "idempotency key expiry", async |b| {
            b.scan(Scan::IdempotencyKeyExpiry, 100).await
        });
    }

    fn keyed_submission(&mut self, is_late: bool, is_tagged: bool, dedup_while_active: bool) {
        let policy = ExecutionPolicy { dedup_while_active, ..ExecutionPolicy::default() };
        let mut submission = || {
            let mut args = self.args();
            let delay = TimestampMs(args.now.0 + 60_000);
            args.idempotency_key = Some(format!("{is_late} {is_tagged} {dedup_while_active}"));
            args.delay_until = is_late.then_some(delay);
            args.policy = Some(policy.clone());
            if !is_tagged {
                args.tags.clear();
            }
            args
        };
        let (first, again, anew) = (submission(), submission(), submission());
        let id = first.execution_id.clone();
        let how = [
            if is_late { ", put off" } else { "" },
            if is_tagged { "" } else { ", without an instance tag" },
        ]
        .concat();

        if !dedup_while_active {
            let case = format!("with a key{how}");
            self.sample("create_execution", case, async |b| b.create_execution(first).await);
            self.sample("create_execution", format!("with a key that is held{how}"), async |b| {
                b.create_execution(again).await
            });
            self.pass(2 * DAY);
        } else {
            let _ = now(self.backend.create_execution(first));
            self.cancel_one(&id);
        }
        let why = if dedup_while_active { "its execution has ended" } else { "it has expired" };
        let case = format!("with a key that is free: {why}{how}");
        self.sample("create_execution", case, async |b| b.create_execution(anew).await);
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
}
