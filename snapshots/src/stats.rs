//! The situations in which counts are read and folded.

use ff_core::contracts::StatsArgs;
use ff_core::engine::run;
use ff_core::engine_backend::{EngineBackend, Scan};
use ff_core::rules::count::fold::{Fold, Group};

use super::fixtures::lane;
use super::stage::Scene;

impl Scene {
    pub(super) fn stats(&mut self) {
        self.submit(|_| ());
        let all = StatsArgs::new();
        for (case, args) in [
            ("all", all.clone()),
            ("of a lane", all.clone().with_lane(lane())),
            ("of a kind", all.clone().with_kind("invoice")),
            ("of a lane and a kind", all.with_lane(lane()).with_kind("invoice")),
        ] {
            self.sample("stats", case, async |b| b.stats(args).await);
        }

        let _ = self.held(None);
        self.sample("scan", "counts", async |b| b.scan(Scan::CountFold, 100).await);
        self.sample("scan", "counts of nothing", async |b| {
            run(b, &Fold::Nothing { rows: vec![1, 2] }).await
        });
        let into = Group {
            lane_id: lane().as_str().to_owned(),
            execution_kind: "invoice".into(),
            public_state: "active".into(),
            failure_class: String::new(),
            ended_minute: 0,
        };
        self.sample("scan", "counts of a group", async |b| {
            run(b, &Fold::Sum { into, rows: vec![1, 2] }).await
        });
    }
}
