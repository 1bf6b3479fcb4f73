//! The row of a grant: what is stored, which one a worker spends, and when it has lapsed.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use crate::model::error::EngineError;
use crate::model::ids::{LaneId, TimestampMs, WorkerId, WorkerInstanceId};
use crate::model::state::GrantKind;
use crate::plan::facts::Row;
use crate::plan::{Assign, Expr, Guard, List, Mutation, OnConflict, Predicate};
use crate::rules::budget::room::Room;
use crate::rules::budget::token::{self, requirement};
use crate::rules::execution::claim::covered;
use crate::rules::input;
use crate::rules::key::ExecutionKey;
use crate::schema::ColumnRef;
use crate::schema::Direction::{Ascending, Descending};
use crate::schema::execution::{claim_grant, exec_core};

/// The name that every plan gives a grant's row.
pub const GRANT: &str = "grant";

/// The worker that a grant is for, with what its issuer says of it.
#[derive(Clone, Debug)]
pub struct Grantee {
    /// The worker pool.
    pub worker_id: WorkerId,
    /// The running instance of it.
    pub worker_instance_id: WorkerInstanceId,
    /// The lane, where the issuer names one.
    pub lane_id: Option<LaneId>,
    /// The capabilities that the worker offers.
    pub capabilities: BTreeSet<String>,
    /// A digest of them.
    pub capability_hash: Option<String>,
    /// The issuer's routing record.
    pub route_snapshot_json: Option<String>,
    /// The issuer's admission record.
    pub admission_summary: Option<String>,
    /// The tokens of the budgets that have room. They are not stored.
    pub room: Vec<String>,
    /// The tokens of full limits, where executions with keys may be granted. They are not stored.
    pub full: Option<Vec<String>>,
    /// The life of the grant, ms.
    pub ttl_ms: i64,
}

impl Grantee {
    /// Checks the names and texts.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` naming the field: a lane that is no lane name, a name that is
    /// empty, too long or has NUL, another text with NUL.
    pub fn checked(self) -> Result<Self, EngineError> {
        self.lane_id.as_ref().map_or(Ok(()), input::lane)?;
        for (field, name) in [
            ("worker_id", self.worker_id.as_str()),
            ("worker_instance_id", self.worker_instance_id.as_str()),
        ] {
            input::name(field, name)?;
            if name.is_empty() {
                return Err(input::invalid(format!("{field}: must not be empty")));
            }
        }

        token::offered("worker_capabilities", &self.capabilities)?;
        for (field, given) in [
            ("capability_hash", &self.capability_hash),
            ("route_snapshot_json", &self.route_snapshot_json),
            ("admission_summary", &self.admission_summary),
        ] {
            given.as_deref().map_or(Ok(()), |text| input::text(field, text))?;
        }
        Ok(self)
    }

    /// The same worker, with that room. Whether a limit has room is decided once the worker starts.
    #[must_use]
    pub fn with_room(self, room: Room) -> Self {
        let full = room.has_keys().then(Vec::new);
        Self { room: room.tokens, full, ..self }
    }

    /// The executions that require no more than the capabilities of the worker, and the room.
    #[must_use]
    pub fn suffices(&self) -> Predicate {
        let capabilities = self.capabilities.iter().map(|capability| requirement(capability));
        let offered: Vec<String> = capabilities.chain(self.room.iter().cloned()).collect();
        covered(&offered, self.full.as_deref())
    }

    /// The time at which a grant that is issued at `at` lapses.
    #[must_use]
    pub fn until(&self, at: TimestampMs) -> TimestampMs {
        TimestampMs(at.0.saturating_add(self.ttl_ms))
    }

    /// The change that stores the grant. One that is issued twice at one moment is one grant.
    #[must_use]
    pub fn granted(
        &self,
        kind: GrantKind,
        key: &ExecutionKey,
        grant_id: Vec<u8>,
        at: TimestampMs,
    ) -> Mutation {
        let text = |id: &str| id.to_owned();
        let lane = self.lane_id.as_ref().map(|lane| text(lane.as_str()));
        let offered: Vec<Json> = self.capabilities.iter().cloned().map(Json::from).collect();

        let mut row = grant_key(key.partition, grant_id);
        row.extend([
            claim_grant::execution_id.with(key.uuid),
            claim_grant::kind.with(kind),
            claim_grant::worker_id.with(text(self.worker_id.as_str())),
            claim_grant::worker_instance_id.with(text(self.worker_instance_id.as_str())),
            claim_grant::lane_id.with(lane),
            claim_grant::capability_hash.with(self.capability_hash.clone()),
            claim_grant::worker_capabilities.with(offered.into()),
            claim_grant::route_snapshot_json.with(self.route_snapshot_json.clone()),
            claim_grant::admission_summary.with(self.admission_summary.clone()),
            claim_grant::grant_ttl_ms.with(self.ttl_ms),
            claim_grant::issued_at_ms.with(at.0),
            claim_grant::expires_at_ms.with(self.until(at).0),
        ]);
        Mutation::Insert { table: claim_grant::REF, row, on_conflict: OnConflict::Ignore }
    }
}

/// The key of a grant's row.
#[must_use]
pub fn grant_key(partition: i16, grant_id: Vec<u8>) -> Vec<(ColumnRef, Expr)> {
    vec![claim_grant::partition_key.with(partition), claim_grant::grant_id.with(grant_id)]
}

/// The columns of an execution that is reserved until then. It becomes claimable for others at that
/// time, and takes that place in the order of its lane: so claims need not pass over what is
/// reserved to find what is not.
#[must_use]
pub fn reserved(until: TimestampMs) -> [(ColumnRef, Assign); 2] {
    [exec_core::granted_until_ms.set(Some(until.0)), exec_core::claimable_since_ms.set(until.0)]
}

/// The grants that have lapsed at that time. One with an expiry of zero never does.
#[must_use]
pub fn lapsed(at: TimestampMs) -> Predicate {
    claim_grant::expires_at_ms.above(0).and(claim_grant::expires_at_ms.at_most(at.0))
}

/// The grants that hold at that time.
fn live(at: TimestampMs) -> Predicate {
    claim_grant::expires_at_ms.above(at.0).or(claim_grant::expires_at_ms.at_most(0))
}

/// A stored grant of an execution.
#[derive(Clone, Debug)]
pub struct Grant {
    key: ExecutionKey,
    kind: GrantKind,
    grant_id: Vec<u8>,
    /// The worker that it is for.
    pub worker_id: String,
    /// The digest of the worker's capabilities, where its issuer gave one.
    pub capability_hash: Option<String>,
    expires_at_ms: i64,
}

impl Grant {
    /// The query for the grants of an execution of that kind, the latest one first.
    #[must_use]
    pub fn list(name: &'static str, kind: GrantKind, key: &ExecutionKey) -> List {
        let (issued, id) = (claim_grant::issued_at_ms, claim_grant::grant_id);

        List {
            name: name.into(),
            table: claim_grant::REF,
            join: None,
            of_each: None,
            columns: vec![
                id.column(),
                claim_grant::worker_id.column(),
                claim_grant::capability_hash.column(),
                claim_grant::expires_at_ms.column(),
            ],
            predicate: claim_grant::partition_key
                .equals(key.partition)
                .and(claim_grant::execution_id.equals(key.uuid))
                .and(claim_grant::kind.is(kind)),
            order: vec![
                (issued.column(), Descending),
                (claim_grant::expires_at_ms.column(), Descending),
                (claim_grant::worker_instance_id.column(), Ascending),
                (id.column(), Ascending),
            ],
            limit: Expr::int(1),
        }
    }

    /// A listed grant.
    ///
    /// # Errors
    /// `Validation(Corruption)` for a column that holds what it must not.
    pub fn read(kind: GrantKind, key: &ExecutionKey, row: &Row) -> Result<Self, EngineError> {
        Ok(Self {
            key: *key,
            kind,
            grant_id: row.read(claim_grant::grant_id)?,
            worker_id: row.read(claim_grant::worker_id)?,
            capability_hash: row.read(claim_grant::capability_hash)?,
            expires_at_ms: row.read(claim_grant::expires_at_ms)?,
        })
    }

    /// True if the grant has lapsed at that time.
    #[must_use]
    pub fn has_lapsed(&self, at: TimestampMs) -> bool {
        (1..=at.0).contains(&self.expires_at_ms)
    }

    /// The guard that the grant is still there at that time, for that worker.
    #[must_use]
    pub fn held(&self, at: TimestampMs) -> Guard {
        let same = claim_grant::kind
            .is(self.kind)
            .and(claim_grant::worker_id.equals(self.worker_id.clone()))
            .and(live(at));
        let key = grant_key(self.key.partition, self.grant_id.clone());
        Guard::new(GRANT, claim_grant::REF, key, same)
    }

    /// The change that spends the grant.
    #[must_use]
    pub fn spent(&self) -> Mutation {
        Mutation::delete(claim_grant::REF, grant_key(self.key.partition, self.grant_id.clone()))
    }
}

/// The change that removes every grant of an execution that a worker leases.
#[must_use]
pub fn all_spent(key: &ExecutionKey) -> Mutation {
    let target = vec![
        claim_grant::partition_key.with(key.partition),
        claim_grant::execution_id.with(key.uuid),
    ];
    Mutation::delete(claim_grant::REF, target)
}
