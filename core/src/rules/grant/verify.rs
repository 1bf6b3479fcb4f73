//! Verifying the text that names a grant to claim: it is signed by a key of the keyring, for the
//! worker that a stored grant of that execution is for, and it has not lapsed.

use crate::contracts::ClaimGrant;
use crate::model::error::EngineError;
use crate::model::ids::TimestampMs;
use crate::model::state::GrantKind;
use crate::plan::facts::{Facts, Row};
use crate::plan::{Expr, List, Query};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Transition};
use crate::rules::grant::key::message;
use crate::rules::grant::row::Grant;
use crate::rules::key::ExecutionKey;
use crate::rules::keystore::{KEY, TokenKey};
use crate::schema::execution::claim_grant;

/// The most grants of one execution that a text is compared with.
const COMPARED: i64 = 16;

/// The reason for not trusting the text of a grant, most important first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unverified {
    /// It is no such text, or names another execution.
    Malformed,
    /// It has lapsed.
    Expired,
    /// The key that it names is unknown, or verifies no longer.
    UnknownKid,
    /// No grant of the execution is stored.
    UnknownGrant,
    /// The signature is not the key's, or not for a worker that a stored grant is for.
    SignatureMismatch,
}

/// Verifies a grant to claim.
#[derive(Clone, Debug)]
pub struct VerifyGrant {
    key: ExecutionKey,
    until: TimestampMs,
    kid: String,
    signature: String,
    expires_at_ms: u64,
}

impl VerifyGrant {
    /// Takes the text apart.
    ///
    /// # Errors
    /// [`Unverified::Malformed`].
    pub fn new(grant: &ClaimGrant) -> Result<Self, Unverified> {
        let key = ExecutionKey::of(&grant.execution_id).map_err(|_| Unverified::Malformed)?;
        let mut parts = grant.grant_key.rsplitn(5, ':');
        let mut next = || parts.next().ok_or(Unverified::Malformed);
        let (signature, kid, until, uuid, place) = (next()?, next()?, next()?, next()?, next()?);

        let until = until.parse().map_err(|_| Unverified::Malformed)?;
        let named = place
            .split_once(':')
            .is_some_and(|(_, tag)| format!("{tag}:{uuid}") == key.id().to_string());
        if !named {
            return Err(Unverified::Malformed);
        }
        Ok(Self {
            key,
            until: TimestampMs(until),
            kid: kid.to_owned(),
            signature: format!("{kid}:{signature}"),
            expires_at_ms: grant.expires_at_ms,
        })
    }

    fn grants(&self) -> List {
        let grants = Grant::list("grants to verify by", GrantKind::Claim, &self.key);
        List {
            columns: vec![
                claim_grant::worker_id.column(),
                claim_grant::worker_instance_id.column(),
            ],
            limit: Expr::int(COMPARED),
            ..grants
        }
    }

    /// True if the key has signed the text for the worker of that grant.
    fn is_signed_for(&self, key: &TokenKey, grant: &Row) -> Result<bool, EngineError> {
        let worker = grant.read(claim_grant::worker_id)?;
        let instance = grant.read(claim_grant::worker_instance_id)?;
        let message = message(GrantKind::Claim, &self.key, [&worker, &instance], self.until);
        Ok(key.verify_text(&message, &self.signature).is_ok())
    }
}

impl Transition for VerifyGrant {
    type Outcome = Result<(), Unverified>;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        let unverified = |why| Ok(Step::Answer(Err(why)));
        let now = ctx.now.0.unsigned_abs();
        if self.until <= ctx.now || self.expires_at_ms <= now {
            return unverified(Unverified::Expired);
        }
        let Some(grants) = facts.list(&self.grants()) else {
            let key = Query::Lookup(vec![TokenKey::lookup(&self.kid)]);
            return Ok(Step::Read(vec![key, Query::List(self.grants())]));
        };

        let Ok(key) = TokenKey::verifying(facts.row(KEY), &self.kid, ctx.now) else {
            return unverified(Unverified::UnknownKid);
        };
        if grants.is_empty() {
            return unverified(Unverified::UnknownGrant);
        }
        for grant in grants {
            if self.is_signed_for(&key, grant)? {
                return Ok(Step::Answer(Ok(())));
            }
        }
        unverified(Unverified::SignatureMismatch)
    }
}

/// Reads the worker and the instance that the latest grant to claim an execution is for.
#[derive(Clone, Copy, Debug)]
pub struct ReadGrantee {
    /// The execution.
    pub key: ExecutionKey,
}

impl Transition for ReadGrantee {
    type Outcome = Option<(String, String)>;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        let grants = List {
            columns: vec![
                claim_grant::worker_id.column(),
                claim_grant::worker_instance_id.column(),
            ],
            ..Grant::list("the latest grant", GrantKind::Claim, &self.key)
        };
        let Some(rows) = facts.list(&grants) else {
            return Ok(Step::Read(vec![Query::List(grants)]));
        };
        let Some(row) = rows.first() else { return Ok(Step::Answer(None)) };
        let worker = row.read(claim_grant::worker_id)?;
        Ok(Step::Answer(Some((worker, row.read(claim_grant::worker_instance_id)?))))
    }
}
