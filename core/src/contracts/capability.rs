//! A backend's description of itself: its identity and the operations it offers.

/// One flag for each operation that not every backend offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Supports {
    /// Operator cancellation of one execution.
    pub cancel_execution: bool,
    /// Changing the priority of an eligible execution.
    pub change_priority: bool,
    /// Running a finished execution again.
    pub replay_execution: bool,
    /// Operator revocation of a lease.
    pub revoke_lease: bool,
    /// Reading the public state of an execution.
    pub read_execution_state: bool,
    /// Reading the full state vector of an execution.
    pub read_execution_info: bool,
    /// Reading the stored result of an execution.
    pub get_execution_result: bool,
    /// Creating, resetting and reporting budgets.
    pub budget_admin: bool,
    /// Creating quota policies.
    pub quota_admin: bool,
    /// Rotating the secret that signs waitpoint tokens.
    pub rotate_waitpoint_hmac_secret_all: bool,
    /// Installing the first secret that signs waitpoint tokens.
    pub seed_waitpoint_hmac_secret: bool,
    /// Listing the open waitpoints of an execution.
    pub list_pending_waitpoints: bool,
    /// Cancelling a flow and listing the members still to be cancelled.
    pub cancel_flow_header: bool,
    /// Waiting for a flow cancellation with a bound.
    pub cancel_flow_wait_timeout: bool,
    /// Waiting for a flow cancellation without a bound.
    pub cancel_flow_wait_indefinite: bool,
    /// Acknowledging the cancellation of one flow member.
    pub ack_cancel_member: bool,
    /// Granting the next fitting execution to a named worker.
    pub claim_for_worker: bool,
    /// Granting a lapsed execution for reclaim.
    pub issue_reclaim_grant: bool,
    /// Preparing the store before first use.
    pub prepare: bool,
    /// Subscribing to lease events.
    pub subscribe_lease_history: bool,
    /// Subscribing to completion events.
    pub subscribe_completion: bool,
    /// Subscribing to signal deliveries.
    pub subscribe_signal_delivery: bool,
    /// Subscribing to instance tag changes.
    pub subscribe_instance_tags: bool,
    /// Frames that merge into a durable summary document.
    pub stream_durable_summary: bool,
    /// Frames that are trimmed to a recent window.
    pub stream_best_effort_live: bool,
    /// Registering a worker.
    pub register_worker: bool,
    /// Keeping a registered worker alive.
    pub heartbeat_worker: bool,
    /// Declaring a worker dead.
    pub mark_worker_dead: bool,
    /// Listing leases that lapsed.
    pub list_expired_leases: bool,
    /// Listing registered workers.
    pub list_workers: bool,
    /// Releasing an admission.
    pub release_admission: bool,
    /// Reading the limits of a quota policy.
    pub read_quota_policy_limits: bool,
    /// Blocking an execution that was not admitted.
    pub block_execution_for_admission: bool,
    /// Reading usage and limits of a budget.
    pub read_budget_usage_and_limits: bool,
}

impl Supports {
    /// Nothing supported; set the flags that apply.
    #[must_use]
    pub const fn new() -> Self {
        Self::none()
    }

    /// Nothing supported.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            cancel_execution: false,
            change_priority: false,
            replay_execution: false,
            revoke_lease: false,
            read_execution_state: false,
            read_execution_info: false,
            get_execution_result: false,
            budget_admin: false,
            quota_admin: false,
            rotate_waitpoint_hmac_secret_all: false,
            seed_waitpoint_hmac_secret: false,
            list_pending_waitpoints: false,
            cancel_flow_header: false,
            cancel_flow_wait_timeout: false,
            cancel_flow_wait_indefinite: false,
            ack_cancel_member: false,
            claim_for_worker: false,
            issue_reclaim_grant: false,
            prepare: false,
            subscribe_lease_history: false,
            subscribe_completion: false,
            subscribe_signal_delivery: false,
            subscribe_instance_tags: false,
            stream_durable_summary: false,
            stream_best_effort_live: false,
            register_worker: false,
            heartbeat_worker: false,
            mark_worker_dead: false,
            list_expired_leases: false,
            list_workers: false,
            release_admission: false,
            read_quota_policy_limits: false,
            block_execution_for_admission: false,
            read_budget_usage_and_limits: false,
        }
    }
}

/// A version, ordered by major, then minor, then patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct Version {
    /// Grows with incompatible changes.
    pub major: u32,
    /// Grows with additions.
    pub minor: u32,
    /// Grows with fixes.
    pub patch: u32,
}

impl Version {
    /// The version `major.minor.patch`.
    #[must_use]
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self { major, minor, patch }
    }
}

/// The identity of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackendIdentity {
    /// The kind of store, such as `postgres`; `unknown` when the backend does not say.
    pub family: &'static str,
    /// The version of the backend's code.
    pub version: Version,
    /// The stage up to which the backend follows the common contract.
    pub rfc017_stage: &'static str,
}

impl BackendIdentity {
    /// The identity of the backend `family`.
    #[must_use]
    pub const fn new(family: &'static str, version: Version, rfc017_stage: &'static str) -> Self {
        Self { family, version, rfc017_stage }
    }
}

/// A backend's identity and what it supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// The identity of a backend.
    pub identity: BackendIdentity,
    /// The operations that the backend offers.
    pub supports: Supports,
}

impl Capabilities {
    /// The capabilities of the backend `identity`.
    #[must_use]
    pub const fn new(identity: BackendIdentity, supports: Supports) -> Self {
        Self { identity, supports }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_supported_by_default() {
        assert_eq!(Supports::new(), Supports::default());
        assert_eq!(Supports::none(), Supports::default());
        assert!(!format!("{:?}", Supports::none()).contains("true"));
    }

    #[test]
    fn versions_order_by_major_then_minor_then_patch() {
        let ascending = [
            Version::new(0, 9, 9),
            Version::new(0, 10, 0),
            Version::new(0, 10, 1),
            Version::new(1, 0, 0),
        ];
        assert!(ascending.is_sorted());
    }
}
