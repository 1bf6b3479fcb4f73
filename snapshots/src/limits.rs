//! The situations in which limits by key are set, and executions with keys are claimed and stop.

use ff_core::contracts::{RateLimit, Scan, SetLimitArgs};
use ff_core::engine_backend::EngineBackend;
use ff_core::policy::ExecutionPolicy;
use ff_core::types::TimestampMs;

use super::fixtures::{capabilities, lane, worker};
use super::stage::{NOON, Scene};

const KEY: &str = "tenant/42";

fn keyed() -> ExecutionPolicy {
    ExecutionPolicy { limit_keys: vec![KEY.into()], ..ExecutionPolicy::default() }
}

impl Scene {
    pub(super) fn limits(&mut self) {
        let limit =
            SetLimitArgs::new(KEY, "operator").with_running(9).with_rate(RateLimit::new(10, 1_000));
        self.sample("set_limit", "both bounds", async |b| b.set_limit(limit).await);
        let mut args = self.args();
        args.policy = Some(keyed());
        self.sample("create_execution", "with a key of a limit", async |b| {
            b.create_execution(args).await
        });
        self.sample("has_claimable", "with a key of a limit", async |b| {
            b.has_claimable(&lane(), &capabilities()).await
        });
        self.sample("claim", "with a key of a limit", async |b| {
            b.claim(&lane(), &capabilities(), worker()).await
        });

        self.sample("read_limit", "one", async |b| b.read_limit(KEY).await);
        self.sample("list_limits", "first page", async |b| b.list_limits(None, 10).await);
        self.sample("list_limits", "next page", async |b| {
            b.list_limits(Some("a".into()), 10).await
        });

        if let Some((_, handle)) = self.held(Some(keyed())) {
            let later = TimestampMs(NOON + 100);
            self.sample("delay", "with a permit", async |b| b.delay(&handle, later).await);
        }
        self.pass(10_000);
        self.sample("scan", "limit cell expiry", async |b| {
            b.scan(Scan::LimitCellExpiry, 100).await
        });
        self.sample("remove_limit", "one", async |b| b.remove_limit(KEY).await);
    }
}
