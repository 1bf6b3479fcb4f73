//! The situations in which durable steps are sampled.

use ff_core::contracts::{ForkExecutionArgs, NewStep};
use ff_core::engine_backend::EngineBackend;
use ff_core::types::ExecutionId;
use uuid::Uuid;

use super::stage::Scene;

impl Scene {
    pub(super) fn steps(&mut self) {
        let Some((id, handle)) = self.held(None) else { return };
        let step = |position, name: &str| NewStep::new(position, name, b"\"paid\"".to_vec());
        for (case, position, name) in
            [("new", 0, "charge"), ("found", 0, "charge"), ("the next", 1, "mail")]
        {
            let step = step(position, name);
            self.sample("record_step", case, async |b| b.record_step(&handle, step).await);
        }

        self.sample("list_steps", "all", async |b| b.list_steps(&id, None, 9).await);
        self.sample("list_steps", "after one", async |b| b.list_steps(&id, Some(0), 9).await);

        let fork = |number| {
            let forked = ExecutionId::from_parts(id.partition(), Uuid::from_u128(number));
            ForkExecutionArgs::new(id.clone(), forked, "operator")
        };
        let (all, some) = (fork(0xf001), fork(0xf002).from_step("mail"));
        self.sample("fork_execution", "all steps", async |b| b.fork_execution(all).await);
        self.sample("fork_execution", "from a step", async |b| b.fork_execution(some).await);
    }
}
