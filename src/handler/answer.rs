//! The answers of handlers that succeed.

use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;

use super::Failure;
use crate::worker::Ending;

/// The proof that a handler has completed its job itself, with an output of that type:
/// [`Context::complete_within`](super::Context::complete_within) has committed it.
#[must_use = "a handler returns it, so that the service reports no second completion"]
pub struct Completed<T>(PhantomData<fn() -> T>);

impl<T> Completed<T> {
    pub(super) const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T> fmt::Debug for Completed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Completed")
    }
}

/// What a handler of jobs with that output may return for success: the output, which the service
/// then reports, or the proof that the job is completed with one.
#[diagnostic::on_unimplemented(
    message = "the handler returns `{Self}`, and the output of its job is `{T}`",
    note = "a handler returns `Job::Output`, or `Completed<Job::Output>`"
)]
pub trait Answer<T>: sealed::Sealed<T> {}

impl<T: Serialize> Answer<T> for T {}
impl<T: Serialize> Answer<T> for Completed<T> {}

/// A result as it is stored. Without a JSON form the job has failed for good: no attempt could
/// store it.
pub(super) fn stored<T: Serialize>(
    value: &T,
    what: fmt::Arguments<'_>,
) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(value).map_err(|_| Failure::fail(format!("{what} has no JSON form")))
}

pub(super) mod sealed {
    use super::{Completed, Ending, Failure, Serialize, stored};

    pub trait Sealed<T> {
        /// The ending of the run.
        fn ending(self, kind: &str) -> Result<Ending, Failure>;
    }

    impl<T: Serialize> Sealed<T> for T {
        fn ending(self, kind: &str) -> Result<Ending, Failure> {
            let output = stored(&self, format_args!("the result of {kind}"))?;
            Ok(Ending::Completed(Some(output)))
        }
    }

    impl<T: Serialize> Sealed<T> for Completed<T> {
        fn ending(self, _: &str) -> Result<Ending, Failure> {
            Ok(Ending::CompletedByRunner)
        }
    }
}
