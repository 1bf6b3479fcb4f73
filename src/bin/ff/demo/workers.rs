//! The demo's worker processes: this program again.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use ff_core::contracts::ExecutionQuery;
use ff_core::engine_backend::EngineBackend;
use ff_core::state::PublicState;
use ff_core::types::ExecutionId;
use tokio::process::{Child, Command};

use super::LANE;
use crate::failure::Failure;
use crate::ids::DEFAULT_LANE;
use crate::ls::pages;

/// The number of commands that each worker runs at once.
pub(super) const CONCURRENCY: u32 = 4;

/// The duration of the workers' leases without renewal.
pub(super) const LEASE_TTL: Duration = Duration::from_secs(2);

/// The number of commands of the flow that run at once.
pub(super) const FLOW_CONCURRENCY: u32 = 8;

/// The duration of the leases in the second act. They are renewed at a third of that, when a
/// cancelled command is killed at the latest.
const FLOW_LEASE_TTL: Duration = Duration::from_millis(1_500);

/// A worker process; it is killed when this is dropped.
pub(super) struct WorkerProcess {
    pub(super) name: &'static str,
    child: Child,
}

impl WorkerProcess {
    /// Starts `ff work` on the database at `url`, for the work of the first act.
    pub(super) fn start(name: &'static str, url: &str) -> Result<Self, Failure> {
        let program = program(name)?;
        let command = [program.as_os_str(), "demo-task".as_ref()];
        Self::spawn(name, url, LANE, (CONCURRENCY, LEASE_TTL), &command)
    }

    /// Starts `ff work` on the database at `url`, for payloads that are shell scripts.
    pub(super) fn start_shell(name: &'static str, url: &str) -> Result<Self, Failure> {
        let how = (FLOW_CONCURRENCY, FLOW_LEASE_TTL);
        Self::spawn(name, url, DEFAULT_LANE, how, &["sh".as_ref()])
    }

    fn spawn(
        name: &'static str,
        url: &str,
        lane: &str,
        (concurrency, lease_ttl): (u32, Duration),
        command: &[&OsStr],
    ) -> Result<Self, Failure> {
        let child = Command::new(program(name)?)
            .args(["--db", url, "work", "--until-empty", "--name", name, "--lane", lane])
            .args(["--concurrency", &concurrency.to_string()])
            .args(["--lease-ttl-ms", &lease_ttl.as_millis().to_string()])
            .arg("--")
            .args(command)
            .env_remove("FF_SCHEMA")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            // Flaky tasks print their errors there; the engine stores the messages anyway.
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| Failure::new(format!("starting {name}: {error}")))?;
        Ok(Self { name, child })
    }

    /// The process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id().unwrap_or(0)
    }

    /// Kills the process with SIGKILL, so that it cannot give anything back.
    pub(super) async fn kill(&mut self) -> Result<(), Failure> {
        let killed = self.child.kill().await;
        killed.map_err(|error| Failure::new(format!("killing {}: {error}", self.name)))
    }

    /// True if the process has ended with success, or does so within that time.
    pub(super) async fn ended_within(&mut self, time: Duration) -> Result<bool, Failure> {
        match tokio::time::timeout(time, self.child.wait()).await {
            Err(_) => Ok(false),
            Ok(Ok(status)) if status.success() => Ok(true),
            Ok(Ok(status)) => Err(Failure::new(format!("{} ended with {status}", self.name))),
            Ok(Err(error)) => Err(Failure::new(format!("waiting for {}: {error}", self.name))),
        }
    }

    /// The executions that this process holds a lease on.
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

/// This program.
fn program(name: &str) -> Result<PathBuf, Failure> {
    let program = std::env::current_exe();
    program.map_err(|error| Failure::new(format!("starting {name}: {error}")))
}
