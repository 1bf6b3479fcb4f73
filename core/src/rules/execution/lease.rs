//! While a worker holds an execution: renewing the lease, reporting progress.

use serde_json::{Map, Value as Json};

use crate::model::ids::TimestampMs;
use crate::plan::facts::Facts;
use crate::rules::changes::Changes;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Decided, Decision, Verdict};
use crate::rules::execution::change;
use crate::rules::fence::{Fence, OpenLease};
use crate::rules::outbox;
use crate::rules::premise::Premise;
use crate::schema::execution::{attempt, exec_core};

/// Pushes the lease's expiry out to `ttl_ms` from now. There is no upper bound on renewals; a lease
/// that has lapsed cannot be renewed.
#[derive(Clone, Debug)]
pub struct Renew {
    /// The fence of the worker that renews.
    pub fence: Fence,
    /// The lifetime of the renewed lease from now, ms.
    pub ttl_ms: i64,
}

impl Decision for Renew {
    /// The new expiry.
    type Outcome = TimestampMs;

    const NAME: &'static str = "renew";

    fn premises(&self, at: TimestampMs) -> Vec<Premise<TimestampMs>> {
        self.fence.premises(at, OpenLease::Lapsed)
    }

    fn expects(&self) -> bool {
        true
    }

    fn decide(&self, _: &Facts, at: TimestampMs, _: &mut Ctx<'_>) -> Decided<TimestampMs> {
        let expires = TimestampMs(at.0.saturating_add(self.ttl_ms));
        let changes = Changes::of([
            change::attempt(vec![attempt::lease_expires_at_ms.set(Some(expires.0))]),
            outbox::lease_renewed(at),
        ]);
        Verdict::change(changes, expires)
    }
}

/// Overwrites the percentage and message that callers see; what is not given stays.
#[derive(Clone, Debug)]
pub struct Progress {
    /// The fence of the worker that reports.
    pub fence: Fence,
    /// The percentage, 0 to 100.
    pub percent: Option<u8>,
    /// The message, as free text.
    pub message: Option<String>,
}

impl Decision for Progress {
    type Outcome = ();

    const NAME: &'static str = "progress";

    fn premises(&self, at: TimestampMs) -> Vec<Premise<()>> {
        self.fence.premises(at, OpenLease::Live)
    }

    fn expects(&self) -> bool {
        true
    }

    fn decide(&self, _: &Facts, at: TimestampMs, _: &mut Ctx<'_>) -> Decided<()> {
        let percent = self.percent.map(|percent| ("progress_pct", Json::from(percent)));
        let message = self.message.clone().map(|text| ("progress_message", Json::from(text)));
        let members: Map<String, Json> =
            percent.into_iter().chain(message).map(|(name, value)| (name.into(), value)).collect();

        let reported = exec_core::raw_fields.merge(members.into());
        Verdict::change([change::edits([reported], at)], ())
    }
}
