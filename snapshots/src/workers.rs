//! The situations in which the operations on workers and their leases are sampled.

use ff_core::contracts::{
    HeartbeatWorkerArgs, LeaseCursor, ListLeasesArgs, ListWorkersArgs, MarkWorkerDeadArgs,
    RegisterWorkerArgs,
};
use ff_core::engine::run;
use ff_core::engine_backend::{EngineBackend, Scan};
use ff_core::policy::ExecutionPolicy;
use ff_core::rules::key::ExecutionKey;
use ff_core::rules::scan::DueRow;
use ff_core::rules::worker::lost::{LeasesOfLost, LostLease, LostWorker};
use ff_core::rules::worker::row::{Liveness, WorkerKey};
use ff_core::types::{Namespace, WorkerId, WorkerInstanceId};
use uuid::Uuid;

use super::fixtures::lane;
use super::stage::{NOON, Scene, now};

/// The instance that claims in every scene.
const INSTANCE: &str = "renderer-1";

/// A worker that a scan passed over.
pub(super) fn stuck_worker() -> DueRow {
    let key = WorkerKey { partition: 7, namespace: "billing".into(), instance: INSTANCE.into() };
    DueRow::Worker(key, Liveness { last_ms: NOON, ttl_ms: 15_000, swept_at_ms: None })
}

impl Scene {
    fn registration(&self) -> RegisterWorkerArgs {
        RegisterWorkerArgs::new(
            WorkerId::new("renderer"),
            WorkerInstanceId::new(INSTANCE),
            [lane()].into(),
            ["gpu".to_owned()].into(),
            15_000,
            Namespace::new("billing"),
            self.at(),
        )
        .with_version("1.0.0")
    }

    pub(super) fn registry(&mut self) {
        let args = self.registration();
        let again = args.clone();
        self.sample("register_worker", "new", async |b| b.register_worker(args).await);
        self.sample("register_worker", "again", async |b| b.register_worker(again).await);

        let instance = || WorkerInstanceId::new(INSTANCE);
        let beat = HeartbeatWorkerArgs::new(instance(), Namespace::new("billing"), self.at());
        self.sample("heartbeat_worker", "alive", async |b| b.heartbeat_worker(beat).await);

        let mut list = ListWorkersArgs::new();
        for (case, namespace, after) in [
            ("all", false, false),
            ("namespace", true, false),
            ("after", false, true),
            ("namespace, after", true, true),
        ] {
            list.namespace = namespace.then(|| Namespace::new("billing"));
            list.after = after.then(instance);
            let args = list.clone();
            self.sample("list_workers", case, async |b| b.list_workers(args).await);
        }
    }

    pub(super) fn lost_workers_of_the_registry(&mut self) {
        for case in ["holds one", "holds none"] {
            let _ = now(self.backend.register_worker(self.registration()));
            if case == "holds one" {
                self.held(None);
            }
            let instance = WorkerInstanceId::new(INSTANCE);
            let namespace = Namespace::new("billing");
            let dead = MarkWorkerDeadArgs::new(instance, namespace, "power cut".into(), self.at());
            self.sample("mark_worker_dead", case, async |b| b.mark_worker_dead(dead).await);
        }

        let never_again =
            || Some(ExecutionPolicy { max_reclaim_count: 0, ..ExecutionPolicy::default() });
        let _ = now(self.backend.register_worker(self.registration()));
        self.held(never_again());
        let instance = WorkerInstanceId::new(INSTANCE);
        let namespace = Namespace::new("billing");
        let dead = MarkWorkerDeadArgs::new(instance, namespace, "power cut".into(), self.at());
        self.sample("mark_worker_dead", "one loss too many", async |b| {
            b.mark_worker_dead(dead).await
        });

        let past = LostLease {
            key: ExecutionKey { partition: 7, uuid: Uuid::from_u128(1) },
            namespace: None,
            losses: None,
            expires_at_ms: Some(NOON),
        };
        let DueRow::Worker(key, liveness) = stuck_worker() else { return };
        for (operation, worker) in [
            ("mark_worker_dead", LostWorker::Dead(key.clone(), self.at())),
            ("scan", LostWorker::Silent(key, liveness)),
        ] {
            let list = LeasesOfLost { worker, limit: 500, after: Some(past.clone()) };
            self.sample(operation, "the next leases of a lost worker", async |b| {
                run(b, &list).await
            });
        }

        for is_dead in [true, false] {
            self.loses_a_namesake(is_dead, "of another namespace", None);
            let case = "of another namespace, one loss too many";
            self.loses_a_namesake(is_dead, case, never_again());
        }

        let _ = now(self.backend.register_worker(self.registration()));
        self.held(None);
        self.held(never_again());
        self.pass(20_000);
        self.sample("scan", "worker ttl", async |b| b.scan(Scan::WorkerTtl, 10).await);
        let anew = self.registration();
        self.sample("register_worker", "after a sweep", async |b| b.register_worker(anew).await);
        self.pass(20_000);
        self.sample("scan", "worker ttl, holds none", async |b| b.scan(Scan::WorkerTtl, 10).await);
        self.pass(3_600_000);
        self.sample("scan", "worker ttl, swept long ago", async |b| {
            b.scan(Scan::WorkerTtl, 10).await
        });
        self.pass(8 * 86_400_000);
        self.sample("scan", "worker ttl, old events", async |b| b.scan(Scan::WorkerTtl, 10).await);
    }

    /// An instance of another namespace is lost, whose name is that of the instance here.
    fn loses_a_namesake(
        &mut self,
        is_dead: bool,
        case: &'static str,
        policy: Option<ExecutionPolicy>,
    ) {
        let mut elsewhere = self.registration();
        elsewhere.namespace = Namespace::new("elsewhere");
        let _ = now(self.backend.register_worker(elsewhere.clone()));
        self.held(policy);
        if is_dead {
            let (instance, namespace) = (elsewhere.worker_instance_id, elsewhere.namespace);
            let dead = MarkWorkerDeadArgs::new(instance, namespace, "power cut".into(), self.at());
            self.sample("mark_worker_dead", case, async |b| b.mark_worker_dead(dead).await);
        } else {
            self.pass(20_000);
            self.sample("scan", case, async |b| b.scan(Scan::WorkerTtl, 10).await);
        }
    }

    pub(super) fn leases_of_workers(&mut self) {
        let Some((id, _)) = self.held(None) else { return };
        for chosen in 0..8_u8 {
            let filter = |bit: u8| chosen & bit != 0;
            let mut args = ListLeasesArgs::new(10);
            args.worker_instance_id = filter(1).then(|| WorkerInstanceId::new(INSTANCE));
            args.expired_by = filter(2).then(|| self.at());
            let after = LeaseCursor { expires_at: self.at(), execution_id: id.clone() };
            args.after = filter(4).then_some(after);
            let names = ["worker", "expired", "after"];
            let bits = names.iter().enumerate().filter(|(bit, _)| filter(1 << bit));
            let case = bits.map(|(_, name)| *name).collect::<Vec<_>>().join(", ");
            let case = if case.is_empty() { "all".to_owned() } else { case };
            self.sample("list_leases", case, async |b| b.list_leases(args).await);
        }
    }
}
