//! The demo's worker processes: this program again.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use ff_core::contracts::ExecutionQuery;
use ff_core::engine_backend::EngineBackend;
use ff_core::state::PublicState;
use ff_core::types::ExecutionId;
use tokio::process::{Child, Command};

use super::LANE;
use crate::cli::failure::Failure;
use crate::cli::ls::pages;

/// How many commands each worker runs at once.
pub(super) const CONCURRENCY: u32 = 4;

/// How long the workers' leases last without renewal.
pub(super) const LEASE_TTL: Duration = Duration::from_secs(2);

/// A worker process; killed when this is dropped.
pub(super) struct WorkerProcess {
    pub(super) name: &'static str,
    pub(super) child: Child,
}

impl WorkerProcess {
    /// Starts `ff work` on the database at `url`.
    pub(super) fn start(name: &'static str, url: &str) -> Result<Self, Failure> {
        let failed = |error| Failure::new(format!("starting {name}: {error}"));
        let program = std::env::current_exe().map_err(failed)?;
        let child = Command::new(&program)
            .args(["--db", url, "work", "--until-empty", "--name", name, "--lane", LANE])
            .args(["--concurrency", &CONCURRENCY.to_string()])
            .args(["--lease-ttl-ms", &LEASE_TTL.as_millis().to_string()])
            .arg("--")
            .arg(&program)
            .arg("demo-task")
            .env_remove("FF_SCHEMA")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            // Flaky tasks complain there; what matters of it is stored.
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        Ok(Self { name, child })
    }

    /// The process's number.
    pub(super) fn pid(&self) -> u32 {
        self.child.id().unwrap_or(0)
    }

    /// Kills the process with SIGKILL: it gets no chance to say goodbye.
    pub(super) async fn kill(&mut self) -> Result<(), Failure> {
        let killed = self.child.kill().await;
        killed.map_err(|error| Failure::new(format!("killing {}: {error}", self.name)))
    }

    /// The executions that this process holds.
    pub(super) async fn holds(
        &self,
        engine: &Arc<dyn EngineBackend>,
    ) -> Result<Vec<ExecutionId>, Failure> {
        let query =
            ExecutionQuery::new(0).with_lane_id(LANE.into()).with_public_state(PublicState::Active);
        let prefix = format!("{}-", self.name);
        let mut held = Vec::new();
        for row in pages(engine, query, u32::MAX).await?.0 {
            let id = row.execution_id;
            let described = engine.describe_execution(&id).await;
            let described =
                described.map_err(|error| Failure::engine("reading a lease", &error))?;
            let lease = described.and_then(|execution| execution.current_lease);
            if lease.is_some_and(|lease| lease.worker_instance_id.as_str().starts_with(&prefix)) {
                held.push(id);
            }
        }
        Ok(held)
    }
}
