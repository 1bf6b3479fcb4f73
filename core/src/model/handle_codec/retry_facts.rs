//! The retry policy and count that a claim found, as a handle carries them.
//!
//! They let any process decide on another attempt without reading them. They are an expectation,
//! never a proof: an operation relies on them only while the fence of the same handle holds, and
//! neither policy nor count changes under a lease. An edited handle can at most give its own
//! execution another retry schedule, within the bounds of every policy. The holder of a lease may
//! do so anyway: a typed failure carries its own retry policy.

use serde_json::Value as Json;

use crate::model::policy::RetryPolicy;

/// The longest retry policy that a handle carries, in bytes of its JSON. It keeps handles small.
pub const POLICY_MAX_BYTES: usize = 1024;

/// The retry policy and count that a claim found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryFacts {
    // Invariant: neither empty nor longer than `POLICY_MAX_BYTES`.
    policy_json: Option<Box<str>>,
    retries: u32,
}

impl RetryFacts {
    /// The facts of an execution with that retry policy, as JSON, and that many retries so far.
    /// `None` where the policy is longer than [`POLICY_MAX_BYTES`]; an empty text is no policy.
    #[must_use]
    pub fn new(policy_json: Option<&str>, retries: u32) -> Option<Self> {
        let policy_json = policy_json.filter(|text| !text.is_empty());
        if policy_json.is_some_and(|text| POLICY_MAX_BYTES < text.len()) {
            return None;
        }
        Some(Self { policy_json: policy_json.map(Into::into), retries })
    }

    /// The execution's own retry policy as JSON, if it was submitted with one.
    #[must_use]
    pub fn policy_json(&self) -> Option<&str> {
        self.policy_json.as_deref()
    }

    /// The execution's own retry policy, if it was submitted with one. A value out of bounds counts
    /// as its nearest bound, as in a stored policy.
    ///
    /// # Errors
    /// When the text is no JSON.
    pub fn policy(&self) -> Result<Option<RetryPolicy>, serde_json::Error> {
        let stored = self.policy_json().map(serde_json::from_str::<Json>).transpose()?;
        Ok(stored.filter(Json::is_object).as_ref().map(RetryPolicy::of_stored))
    }

    /// The number of retries so far.
    #[must_use]
    pub const fn retries(&self) -> u32 {
        self.retries
    }
}
