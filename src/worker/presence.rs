//! A worker in the registry: it registers, gives signs of life, and takes itself out at the end.
//!
//! Runs beside the claims and never delays one. A worker that cannot be registered works
//! nevertheless: its leases then lapse in their own time, if it dies.

use std::sync::Arc;
use std::time::Duration;

use ff_core::EngineError;
use ff_core::contracts::{
    HeartbeatWorkerArgs, HeartbeatWorkerOutcome, MarkWorkerDeadArgs, RegisterWorkerArgs,
};
use ff_core::engine_backend::EngineBackend;
use ff_core::types::Namespace;
use tokio::task::JoinSet;

use super::WorkerConfig;
use crate::clock::now;

/// The heartbeats in a time to live. The others may be late or get lost.
const HEARTBEATS: u32 = 3;

/// The longest time that a worker takes to take itself out.
const FAREWELL: Duration = Duration::from_secs(2);

/// The reason that a worker gives when it ends.
const ENDED: &str = "the worker has ended";

/// The entry of a worker, kept fresh until this is dropped.
pub(super) struct Presence {
    entry: Arc<Entry>,
    heartbeats: JoinSet<()>,
}

struct Entry {
    backend: Arc<dyn EngineBackend>,
    config: WorkerConfig,
}

impl Presence {
    /// Registers the worker beside the caller.
    pub(super) fn begin(backend: &Arc<dyn EngineBackend>, config: &WorkerConfig) -> Self {
        let entry = Arc::new(Entry { backend: Arc::clone(backend), config: config.clone() });
        let mut heartbeats = JoinSet::new();
        heartbeats.spawn(Arc::clone(&entry).keep_fresh());
        Self { entry, heartbeats }
    }

    /// Takes the worker out, so that it is not listed as lost.
    pub(super) async fn end(mut self) {
        self.heartbeats.shutdown().await;
        match tokio::time::timeout(FAREWELL, self.entry.remove()).await {
            Ok(Ok(()) | Err(EngineError::Unavailable { .. })) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "the worker stays listed until it counts as dead");
            }
            Err(_) => tracing::warn!("the worker stays listed until it counts as dead"),
        }
    }
}

impl Entry {
    async fn keep_fresh(self: Arc<Self>) {
        let mut registered = false;
        loop {
            let beat = if registered { self.heartbeat().await } else { self.register().await };
            match beat {
                Ok(known) => registered = known,
                // The backend keeps no registry.
                Err(EngineError::Unavailable { .. }) => return,
                Err(error) => tracing::warn!(%error, "no sign of life could be given"),
            }
            // One that was taken for dead registers again at once.
            if registered {
                tokio::time::sleep(self.config.liveness_ttl / HEARTBEATS).await;
            } else {
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
        }
    }

    async fn register(&self) -> Result<bool, EngineError> {
        let config = &self.config;
        let args = RegisterWorkerArgs::new(
            config.worker_id.clone(),
            config.worker_instance_id.clone(),
            [config.lane.clone()].into(),
            config.capabilities.tokens.iter().cloned().collect(),
            u64::try_from(config.liveness_ttl.as_millis()).unwrap_or(u64::MAX),
            self.namespace(),
            now(self.backend.as_ref()).await?,
        );
        let args = match &config.version {
            Some(version) => args.with_version(version.clone()),
            None => args,
        };
        self.backend.register_worker(args).await.map(|_| true)
    }

    /// Returns false if the worker has to register again.
    async fn heartbeat(&self) -> Result<bool, EngineError> {
        let instance = self.config.worker_instance_id.clone();
        let args =
            HeartbeatWorkerArgs::new(instance, self.namespace(), now(self.backend.as_ref()).await?);
        let outcome = self.backend.heartbeat_worker(args).await?;
        Ok(matches!(outcome, HeartbeatWorkerOutcome::Refreshed { .. }))
    }

    async fn remove(&self) -> Result<(), EngineError> {
        let instance = self.config.worker_instance_id.clone();
        let (namespace, now) = (self.namespace(), now(self.backend.as_ref()).await?);
        let args = MarkWorkerDeadArgs::new(instance, namespace, ENDED.into(), now);
        self.backend.mark_worker_dead(args).await.map(drop)
    }

    fn namespace(&self) -> Namespace {
        self.config.namespace.clone()
    }
}
