//! The situations in which the operations on lanes are sampled.

use ff_core::contracts::SetLaneStateArgs;
use ff_core::engine_backend::EngineBackend;
use ff_core::state::{ClosedSet as _, LaneState};

use super::fixtures::lane;
use super::stage::{Scene, now};

impl Scene {
    pub(super) fn lanes(&mut self) {
        for state in LaneState::all() {
            let args = SetLaneStateArgs::new(lane(), state, "operator").with_reason("repairs");
            self.sample("set_lane_state", state.as_str(), async |b| b.set_lane_state(args).await);
        }
        self.sample("read_lane", "one", async |b| b.read_lane(&lane()).await);

        let draining = SetLaneStateArgs::new(lane(), LaneState::Draining, "operator");
        let _ = now(self.backend.set_lane_state(draining));
        let args = self.args();
        self.sample("create_execution", "refused by its lane", async |b| {
            b.create_execution(args).await
        });
    }
}
