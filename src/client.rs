//! The client: submits typed jobs, and follows them to their results.

mod submission;
mod submitted;

use std::fmt;
use std::sync::Arc;

use ff_core::engine_backend::EngineBackend;
use ff_core::types::{ExecutionId, Namespace};

pub use submission::{Submission, SubmissionError};
pub use submitted::{JobError, Submitted};

use crate::Job;

/// Submits jobs to an engine, and follows them.
///
#[cfg_attr(feature = "sqlite", doc = "```")]
#[cfg_attr(not(feature = "sqlite"), doc = "```ignore")]
/// # use flowfabric_sql::{Client, Job};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize)]
/// # struct SendEmail { to: String }
/// # impl Job for SendEmail { const KIND: &'static str = "send_email"; type Output = (); }
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::new(flowfabric_sql::open("sqlite::memory:").await?);
/// let email = client
///     .submit(&SendEmail { to: "ada@example.com".into() })
///     .idempotency_key("welcome/ada")
///     .retries(5)
///     .await?;
/// println!("{} waits", email.id());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    engine: Arc<dyn EngineBackend>,
    namespace: Namespace,
    identity: String,
}

impl Client {
    /// A client of that engine, in the namespace `default`.
    #[must_use]
    pub fn new(engine: Arc<dyn EngineBackend>) -> Self {
        Self { engine, namespace: Namespace::new("default"), identity: "client".into() }
    }

    /// The same in that namespace.
    #[must_use]
    pub fn in_namespace(self, namespace: impl Into<Namespace>) -> Self {
        Self { namespace: namespace.into(), ..self }
    }

    /// The same under that name, which executions record as their creator.
    #[must_use]
    pub fn identified_as(self, identity: impl Into<String>) -> Self {
        Self { identity: identity.into(), ..self }
    }

    /// The engine.
    #[must_use]
    pub fn engine(&self) -> &Arc<dyn EngineBackend> {
        &self.engine
    }

    /// Submits a job, once the submission is awaited.
    pub fn submit<J: Job>(&self, job: &J) -> Submission<J> {
        Submission::new(self.clone(), job)
    }

    /// A job that was submitted before, also by another process.
    #[must_use]
    pub fn attach<J: Job>(&self, id: ExecutionId) -> Submitted<J> {
        Submitted::new(self.clone(), id, false)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Client");
        shown.field("namespace", &self.namespace).finish_non_exhaustive()
    }
}
