//! The situations in which fairness keys share a lane.

use ff_core::contracts::SetFairnessWeightArgs;
use ff_core::engine_backend::EngineBackend;
use ff_core::policy::ExecutionPolicy;
use ff_core::types::LaneId;

use super::fixtures::{capabilities, worker};
use super::stage::Scene;

fn keyed(key: &str) -> ExecutionPolicy {
    ExecutionPolicy { fairness_key: Some(key.into()), ..ExecutionPolicy::default() }
}

/// A lane of their own, so that other claims share nothing.
fn shared() -> LaneId {
    LaneId::new("shared")
}

impl Scene {
    pub(super) fn fairness(&mut self) {
        for key in ["tenant/1", "tenant/2"] {
            for _ in 0..3 {
                self.submit(|args| {
                    args.lane_id = shared();
                    args.policy = Some(keyed(key));
                });
            }
        }
        let mut args = self.args();
        (args.lane_id, args.policy) = (shared(), Some(keyed("tenant/1")));
        self.sample("create_execution", "with a fairness key", async |b| {
            b.create_execution(args).await
        });
        let weight = SetFairnessWeightArgs::new(shared(), "tenant/1", 3, "operator");
        self.sample("set_fairness_weight", "one", async |b| b.set_fairness_weight(weight).await);

        self.sample("claim", "with fairness keys, the first time", async |b| {
            b.claim(&shared(), &capabilities(), worker()).await
        });
        self.sample("claim", "with fairness keys", async |b| {
            b.claim(&shared(), &capabilities(), worker()).await
        });
        self.sample("claim_many", "with fairness keys, all that waits", async |b| {
            b.claim_many(&shared(), &capabilities(), worker(), 100).await
        });
        self.sample("has_claimable", "with fairness keys", async |b| {
            b.has_claimable(&shared(), &capabilities()).await
        });
        self.sample("list_fairness_weights", "first page", async |b| {
            b.list_fairness_weights(&shared(), None, 10).await
        });
        self.sample("list_fairness_weights", "next page", async |b| {
            b.list_fairness_weights(&shared(), Some("a".into()), 10).await
        });
        self.sample("remove_fairness_weight", "one", async |b| {
            b.remove_fairness_weight(&shared(), "tenant/1").await
        });
        self.sample("remove_fairness_weight", "none", async |b| {
            b.remove_fairness_weight(&shared(), "tenant/1").await
        });
    }
}
