//! The situations in which claims take executions of some partitions only.

use ff_core::backend::{BackendTag, CapabilitySet, ClaimPolicy};
use ff_core::contracts::{ClaimScope, PartitionSet, SetLimitArgs};
use ff_core::engine::run;
use ff_core::engine_backend::EngineBackend;
use ff_core::policy::{ExecutionPolicy, RoutingRequirements};
use ff_core::rules::execution::claim::{Claim, Place};
use ff_core::types::{ExecutionId, LaneId};

use super::fixtures::worker;
use super::stage::{NOON, Scene, now};

/// The partition of all executions of these situations.
const PARTITION: u16 = 7;

const GPU: &[&str] = &["gpu"];

/// The terms of a claim from these partitions.
fn from<const N: usize>(partitions: [u16; N]) -> ClaimPolicy {
    let scope = PartitionSet::new(partitions).map(ClaimScope::Of);
    worker().in_scope(scope.unwrap_or_default())
}

/// A lane for each kind of executions.
fn of_kind(kind: &str) -> LaneId {
    LaneId::new(format!("split-{kind}"))
}

fn limited(key: &str) -> ExecutionPolicy {
    ExecutionPolicy { limit_keys: vec![key.into()], ..ExecutionPolicy::default() }
}

fn fair(key: &str) -> ExecutionPolicy {
    ExecutionPolicy { fairness_key: Some(key.into()), ..ExecutionPolicy::default() }
}

impl Scene {
    fn submit_split(&mut self, lane: &LaneId, policy: Option<ExecutionPolicy>) {
        self.submit(|args| {
            args.execution_id = ExecutionId::from_parts(PARTITION, args.execution_id.uuid());
            (args.lane_id, args.policy) = (lane.clone(), policy);
        });
    }

    /// Claims more than there is, so that the claim looks for what is due, too.
    fn claim_split(&mut self, case: &'static str, lane: &LaneId, scope: ClaimPolicy, all: &[&str]) {
        let (lane, offered) = (lane.clone(), CapabilitySet::new(all.iter().copied()));
        self.sample("claim", case, async |b| b.claim_many(&lane, &offered, scope, 9).await);
    }

    pub(super) fn scopes(&mut self) {
        let lane = of_kind("plain");
        self.submit_split(&lane, None);
        self.claim_split("of one partition", &lane, from([PARTITION]), &[]);
        self.claim_split("of one partition, with capabilities", &lane, from([PARTITION]), GPU);
        self.claim_split("of some partitions", &lane, from([3, PARTITION]), GPU);

        let offered = CapabilitySet::default();
        self.sample("claim", "of one partition, from a place", async |b| {
            let policy = from([PARTITION]);
            let claim = Claim::new(BackendTag::Memory, &lane, &offered, policy, 1)?;
            run(b, &claim.from(Place::of(0, NOON))).await
        });
        self.claimed_with_keys_of_a_scope();
        self.claimed_by_turns_of_a_scope();
    }

    /// Claims of executions with keys of limits, also behind more that need something else than a
    /// claim looks at.
    fn claimed_with_keys_of_a_scope(&mut self) {
        let limit = SetLimitArgs::new("split", "operator").with_running(90);
        let _ = now(self.backend.set_limit(limit));
        let lane = of_kind("limited");
        for (case, offered) in [
            ("of one partition, with a key of a limit", &[][..]),
            ("of one partition, with a key of a limit, with capabilities", GPU),
        ] {
            self.submit_split(&lane, Some(limited("split")));
            self.claim_split(case, &lane, from([PARTITION]), offered);
        }

        for _ in 0..80 {
            let mut routing = RoutingRequirements::default();
            routing.required_capabilities.insert("tpu".into());
            let routing_requirements = Some(routing);
            let policy = ExecutionPolicy { routing_requirements, ..limited("split") };
            self.submit_split(&lane, Some(policy));
        }
        self.submit_split(&lane, Some(limited("split")));
        let case = "of one partition, behind many that need something else";
        self.claim_split(case, &lane, from([PARTITION]), GPU);
    }

    fn claimed_by_turns_of_a_scope(&mut self) {
        let lane = of_kind("shared");
        for key in ["tenant/1", "tenant/2"] {
            for _ in 0..3 {
                self.submit_split(&lane, Some(fair(key)));
            }
        }
        self.claim_split("of one partition, by turns", &lane, from([PARTITION]), &[]);
    }
}
