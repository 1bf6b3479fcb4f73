//! Children: jobs that a handler submits once, and waits for.

use std::fmt;
use std::time::Duration;

use ff_core::types::ExecutionId;
use uuid::Uuid;

use super::{Context, Failure};
use crate::Job;
use crate::client::{Client, JobError, Submitted};

/// The time for which a handler keeps its place while it waits for a child.
const PATIENCE: Duration = Duration::from_millis(50);

/// A job that a handler has submitted.
pub struct Child<S, J> {
    context: Context<S>,
    name: String,
    submitted: Submitted<J>,
}

impl<S> Context<S> {
    /// Submits a job once: its id is recorded as a step, and a second submission of an id changes
    /// nothing.
    ///
    /// # Errors
    /// As [`Context::step`]; [`Failure::Fail`] for a job without a JSON form.
    pub async fn submit_child<J: Job>(&self, name: &str, job: &J) -> Result<Child<S, J>, Failure> {
        // A wait asks for the same partition.
        let partition = self.run().execution_id.partition();
        let new_id = async { Ok::<_, Failure>(ExecutionId::from_parts(partition, Uuid::new_v4())) };
        let id: ExecutionId = self.step(&format!("{name}: submitted"), || new_id).await?;

        let own = &self.run().execution_id;
        let client = Client::new(self.engine().clone()).identified_as(own.to_string());
        let client = match self.engine().get_execution_namespace(own).await? {
            Some(namespace) => client.in_namespace(namespace),
            None => client,
        };
        let submitted = client.submit(job).id(id).await?;
        Ok(Child { context: self.clone(), name: name.to_owned(), submitted })
    }
}

impl<S, J: Job> Child<S, J> {
    /// The job.
    #[must_use]
    pub fn submitted(&self) -> &Submitted<J> {
        &self.submitted
    }

    /// Its result, recorded as a step. Until it has ended, the job waits, and holds no place of the
    /// service; the end of the child is what makes it run again.
    ///
    /// # Errors
    /// [`Failure::WaitFor`], to be returned by the handler, while the child has not ended;
    /// [`Failure::Fail`] with the reason why it has no result; as [`Context::step`].
    pub async fn result(&self) -> Result<J::Output, Failure> {
        let ended = async {
            match self.submitted.result_within(PATIENCE).await {
                Ok(output) => Ok(output),
                Err(JobError::StillRunning(_)) => {
                    Err(Failure::WaitFor(self.submitted.id().clone()))
                }
                Err(JobError::Engine(error)) => Err(error.into()),
                Err(error) => Err(Failure::fail(format!("child {:?}: {error}", self.name))),
            }
        };
        self.context.step(&format!("{}: result", self.name), || ended).await
    }
}

impl<S, J> fmt::Debug for Child<S, J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child").field("name", &self.name).finish_non_exhaustive()
    }
}
