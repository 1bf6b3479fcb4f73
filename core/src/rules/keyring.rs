//! The set of keys that sign waitpoint tokens: the first is installed, others replace it.
//!
//! A key that was replaced verifies the tokens it signed until its grace is over. Keys are never
//! removed, so that no key id ever stands for two secrets.
//!
//! The absence of a key is no row that a plan could guard. So every change to the set of keys grows
//! the keyring's version. The first change inserts the keyring's row, which refuses any other first
//! change.

use crate::contracts::{
    RotateWaitpointHmacSecretAllArgs, RotateWaitpointHmacSecretAllEntry,
    RotateWaitpointHmacSecretAllResult, RotateWaitpointHmacSecretOutcome, SeedOutcome,
    SeedWaitpointHmacSecretArgs,
};
use crate::model::crypto::constant_time_eq;
use crate::model::error::{ConflictKind, EngineError};
use crate::model::ids::TimestampMs;
use crate::plan::facts::{Facts, Row};
use crate::plan::value::Secret;
use crate::plan::{Guard, List, Lookup, Mutation, OnConflict, Pairing, Selection};
use crate::rules::changes::Changes;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Decided, Decision, Verdict};
use crate::rules::input;
use crate::rules::keystore::{KEY, TokenKey, active_row};
use crate::rules::premise::Premise;
use crate::schema::Direction::Ascending;
use crate::schema::admin::{waitpoint_hmac, waitpoint_keyring};

/// The name that plans and look-ups give the keyring's row.
const RING: &str = "ring";

/// The length of a secret in hex digits: 256 bits.
const SECRET_HEX_DIGITS: usize = 64;

/// A new key, checked.
#[derive(Clone, Debug)]
struct NewKey {
    kid: String,
    secret: Secret,
}

impl NewKey {
    fn new(kid: String, secret_hex: &str) -> Result<Self, EngineError> {
        if kid.is_empty() {
            return Err(input::invalid("kid must be non-empty"));
        }
        if kid.contains(':') {
            let shape = "token wire shape is `<kid>:<hex>`";
            return Err(input::invalid(format!("kid must not contain ':' ({shape})")));
        }

        input::name("kid", &kid)?;
        let wrong = || input::invalid("secret_hex must be 64 hex characters (256-bit secret)");
        if secret_hex.len() != SECRET_HEX_DIGITS {
            return Err(wrong());
        }

        let secret = hex::decode(secret_hex).map_err(|_| wrong())?;
        Ok(Self { kid, secret: Secret(secret) })
    }

    fn is_secret_of(&self, row: &Row) -> Result<bool, EngineError> {
        Ok(constant_time_eq(&row.read(waitpoint_hmac::secret)?.0, &self.secret.0))
    }

    /// The row of the key and that of the keyring, which is pinned: a change of the set of keys
    /// applies only to the set that was read.
    fn premises<O>(&self) -> Vec<Premise<O>> {
        let ring = Lookup {
            row: RING.into(),
            table: waitpoint_keyring::REF,
            key: vec![waitpoint_keyring::singleton_lock.with(true)],
            columns: waitpoint_keyring::REF.columns.to_vec(),
        };
        vec![
            Premise::read(KEY, TokenKey::lookup(&self.kid)),
            Premise::read(RING, ring).pinned_to(waitpoint_keyring::version),
        ]
    }

    /// The changes that add the key to the set of keys.
    fn install(&self, facts: &Facts, at: TimestampMs) -> [Mutation; 2] {
        let row = vec![
            waitpoint_hmac::kid.with(self.kid.clone()),
            waitpoint_hmac::secret.with(self.secret.clone()),
            waitpoint_hmac::rotated_at_ms.with(at.0),
            waitpoint_hmac::active.with(true),
        ];
        let ring = match facts.row(RING) {
            Some(_) => grow_keyring(),
            None => begin_keyring(),
        };
        [ring, Mutation::insert(waitpoint_hmac::REF, row, OnConflict::Refuse)]
    }
}

fn grow_keyring() -> Mutation {
    let key = waitpoint_keyring::singleton_lock;
    let held = vec![key.with_expr(key.of(RING))];
    Mutation::update(waitpoint_keyring::REF, held, vec![waitpoint_keyring::version.grow(1)])
}

fn begin_keyring() -> Mutation {
    let key = waitpoint_keyring::singleton_lock;
    let first = vec![key.with(true), waitpoint_keyring::version.with(1)];
    Mutation::insert(waitpoint_keyring::REF, first, OnConflict::Refuse)
}

/// Installs the first key; never overwrites one.
#[derive(Clone, Debug)]
pub struct Seed(NewKey);

impl Seed {
    /// Checks the arguments.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for a kid that is empty or holds a colon, or a secret that is not
    /// 64 hex digits.
    pub fn new(args: SeedWaitpointHmacSecretArgs) -> Result<Self, EngineError> {
        Ok(Self(NewKey::new(args.kid, &args.secret_hex)?))
    }
}

impl Decision for Seed {
    type Outcome = SeedOutcome;

    const NAME: &'static str = "seed_waitpoint_hmac_secret";

    fn premises(&self, _: TimestampMs) -> Vec<Premise<SeedOutcome>> {
        self.0.premises()
    }

    fn lists(&self, _: u32) -> Vec<List> {
        vec![TokenKey::signing()]
    }

    fn repeated(&self, facts: &Facts, _: &Ctx<'_>) -> Result<Option<SeedOutcome>, EngineError> {
        let Some(row) = facts.row(KEY) else { return Ok(None) };
        let same_secret = self.0.is_secret_of(row)?;
        Ok(Some(SeedOutcome::AlreadySeeded { kid: self.0.kid.clone(), same_secret }))
    }

    fn decide(&self, facts: &Facts, at: TimestampMs, _: &mut Ctx<'_>) -> Decided<SeedOutcome> {
        if let Some(row) = active_row(facts) {
            let active_kid = row.read(waitpoint_hmac::kid)?;
            return Err(input::invalid(format!(
                "seed_waitpoint_hmac_secret: a different kid {active_kid:?} is already active; \
                 use rotate_waitpoint_hmac_secret_all to change kid"
            )));
        }

        let seeded = SeedOutcome::Seeded { kid: self.0.kid.clone() };
        Verdict::change(self.0.install(facts, at), seeded)
    }
}

/// Installs another key, which signs from now on; the one before verifies for a grace period.
#[derive(Clone, Debug)]
pub struct Rotate {
    new: NewKey,
    grace_ms: i64,
}

impl Rotate {
    /// Checks the arguments.
    ///
    /// # Errors
    /// As [`Seed::new`].
    pub fn new(args: RotateWaitpointHmacSecretAllArgs) -> Result<Self, EngineError> {
        let new = NewKey::new(args.new_kid, &args.new_secret_hex)?;
        Ok(Self { new, grace_ms: input::span_ms(args.grace_ms) })
    }

    /// The changes that retire the active keys: they verify until the grace is over.
    fn retire(&self, previous: &str, at: TimestampMs) -> Changes {
        let until = at.0.saturating_add(self.grace_ms);
        let retired = Mutation::update(
            waitpoint_hmac::REF,
            vec![waitpoint_hmac::kid.with_expr(waitpoint_hmac::kid.of(KEY))],
            vec![
                waitpoint_hmac::active.set(false),
                waitpoint_hmac::verifies_until_ms.set(Some(until)),
            ],
        );

        // Plain SQL may have retired it without growing the keyring's version.
        let key = vec![waitpoint_hmac::kid.with(previous.to_owned())];
        let active = waitpoint_hmac::active.equals(true);
        let still_active = Guard::new("previous", waitpoint_hmac::REF, key, active.clone());

        let all = Selection {
            row: KEY.into(),
            table: waitpoint_hmac::REF,
            predicate: active,
            order: vec![(waitpoint_hmac::kid.column(), Ascending)],
            pairing: Pairing::Every,
        };
        Changes::of([retired]).holding([still_active]).picking(all)
    }
}

impl Decision for Rotate {
    type Outcome = RotateWaitpointHmacSecretAllResult;

    const NAME: &'static str = "rotate_waitpoint_hmac_secret_all";

    fn premises(&self, _: TimestampMs) -> Vec<Premise<Self::Outcome>> {
        self.new.premises()
    }

    fn lists(&self, _: u32) -> Vec<List> {
        vec![TokenKey::signing()]
    }

    fn repeated(&self, facts: &Facts, _: &Ctx<'_>) -> Result<Option<Self::Outcome>, EngineError> {
        let Some(row) = facts.row(KEY) else { return Ok(None) };
        let kid = self.new.kid.clone();
        let result = if self.new.is_secret_of(row)? {
            Ok(RotateWaitpointHmacSecretOutcome::Noop { kid })
        } else {
            let clash = format!("kid {kid} already installed with a different secret");
            Err(EngineError::Conflict(ConflictKind::RotationConflict(clash)))
        };
        Ok(Some(everywhere(result)))
    }

    fn decide(&self, facts: &Facts, at: TimestampMs, _: &mut Ctx<'_>) -> Decided<Self::Outcome> {
        let active = active_row(facts);
        let previous_kid = active.map(|row| row.read(waitpoint_hmac::kid)).transpose()?;
        let retired = previous_kid.as_deref().map(|previous| self.retire(previous, at));
        let changes = retired.unwrap_or_default().and(self.new.install(facts, at));

        let new_kid = self.new.kid.clone();
        let rotated =
            RotateWaitpointHmacSecretOutcome::Rotated { previous_kid, new_kid, gc_count: 0 };
        Verdict::change(changes, everywhere(Ok(rotated)))
    }
}

/// The keystore is one for all partitions: one entry, for partition 0.
fn everywhere(
    result: Result<RotateWaitpointHmacSecretOutcome, EngineError>,
) -> RotateWaitpointHmacSecretAllResult {
    RotateWaitpointHmacSecretAllResult::new(vec![RotateWaitpointHmacSecretAllEntry::new(0, result)])
}
