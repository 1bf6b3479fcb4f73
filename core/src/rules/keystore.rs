//! The keys that sign waitpoint tokens: installed, replaced, found for signing and for verifying.
//!
//! One key signs: the active one that was installed last. A key that was replaced verifies the
//! tokens it signed until its grace is over. Keys are never removed, so that no key id ever stands
//! for two secrets.
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
use crate::model::crypto::hmac::{HmacVerifyError, hmac_sign, hmac_verify};
use crate::model::error::{ConflictKind, EngineError};
use crate::model::ids::{ExecutionId, TimestampMs, WaitpointId};
use crate::plan::facts::{Facts, Row};
use crate::plan::value::Secret;
use crate::plan::{Expr, List, Lookup, OnConflict, Pairing, Plan, Query, Selection};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Then, Transition};
use crate::rules::input;
use crate::schema::Direction::{Ascending, Descending};
use crate::schema::admin::{waitpoint_hmac, waitpoint_keyring};

/// The name that plans and look-ups give a key's row.
pub const KEY: &str = "key";

/// The name that plans and look-ups give the keyring's row.
const RING: &str = "ring";

/// The name of the list of the key that signs.
const SIGNING: &str = "the key that signs";

/// The length of a secret in hex digits: 256 bits.
const SECRET_HEX_DIGITS: usize = 64;

/// A key that signs or verifies.
#[derive(Clone, Debug)]
pub struct TokenKey {
    kid: String,
    secret: Secret,
}

impl TokenKey {
    /// The query for the key that signs.
    #[must_use]
    pub fn signing() -> List {
        List {
            name: SIGNING.into(),
            table: waitpoint_hmac::REF,
            join: None,
            columns: waitpoint_hmac::REF.columns.to_vec(),
            predicate: waitpoint_hmac::active.equals(true),
            order: vec![
                (waitpoint_hmac::rotated_at_ms.column(), Descending),
                (waitpoint_hmac::kid.column(), Ascending),
            ],
            limit: Expr::int(1),
        }
    }

    /// The key that signs, where [`Self::signing`] has been asked.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` when no key is installed; `Validation(Corruption)` for a stored
    /// value of another type.
    pub fn of_signing(facts: &Facts, operation: &str) -> Result<Self, EngineError> {
        let row = active_row(facts).ok_or_else(|| {
            input::invalid(format!("ff_waitpoint_hmac empty — seed a kid before {operation}"))
        })?;
        Self::read(row)
    }

    /// The look-up of the key that a token names.
    #[must_use]
    pub fn lookup(kid: &str) -> Lookup {
        Lookup {
            row: KEY.into(),
            table: waitpoint_hmac::REF,
            key: vec![waitpoint_hmac::kid.with(kid.to_owned())],
            columns: waitpoint_hmac::REF.columns.to_vec(),
        }
    }

    /// The key of a stored row, if it still verifies at that time.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` without a row, or after its grace.
    pub fn verifying(row: Option<&Row>, kid: &str, at: TimestampMs) -> Result<Self, EngineError> {
        let missing = || input::invalid(format!("kid {kid} missing from keystore"));
        let row = row.ok_or_else(missing)?;

        let until = row.read(waitpoint_hmac::verifies_until_ms)?;
        if !row.read(waitpoint_hmac::active)? && until.is_some_and(|until| until <= at.0) {
            return Err(input::invalid(format!("kid {kid} was replaced and its grace is over")));
        }
        Self::read(row)
    }

    fn read(row: &Row) -> Result<Self, EngineError> {
        Ok(Self { kid: row.read(waitpoint_hmac::kid)?, secret: row.read(waitpoint_hmac::secret)? })
    }

    /// Its id.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The id and the bytes of the secret, for a caller that signs or verifies by itself.
    #[must_use]
    pub fn into_parts(self) -> (String, Vec<u8>) {
        (self.kid, self.secret.0)
    }

    /// The token of a waitpoint.
    #[must_use]
    pub fn sign(&self, execution: &ExecutionId, waitpoint: &WaitpointId) -> String {
        hmac_sign(&self.secret.0, &self.kid, message(execution, waitpoint).as_bytes())
    }

    /// Checks that the token is this key's for that waitpoint.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` saying in which way it is not, without the token.
    pub fn verify(
        &self,
        execution: &ExecutionId,
        waitpoint: &WaitpointId,
        token: &str,
    ) -> Result<(), EngineError> {
        let message = message(execution, waitpoint);
        hmac_verify(&self.secret.0, &self.kid, message.as_bytes(), token)
            .map_err(|error| refused(&error))
    }
}

/// The row of the key that signs, where [`TokenKey::signing`] has been asked.
fn active_row(facts: &Facts) -> Option<&Row> {
    facts.list_named(SIGNING).and_then(<[Row]>::first)
}

/// Reads the key that signs; `None` while no key is installed.
#[derive(Clone, Copy, Debug)]
pub struct ReadSigningKey;

impl Transition for ReadSigningKey {
    type Outcome = Option<TokenKey>;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        let Some(rows) = facts.list(&TokenKey::signing()) else {
            return Ok(Step::Read(vec![Query::List(TokenKey::signing())]));
        };
        Ok(Step::Answer(rows.first().map(TokenKey::read).transpose()?))
    }
}

/// Reads the key of that id, whether or not it still verifies; `None` for an unknown id.
#[derive(Clone, Debug)]
pub struct ReadKey {
    /// The id.
    pub kid: String,
}

impl Transition for ReadKey {
    type Outcome = Option<TokenKey>;

    fn step(&self, facts: &Facts, _: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        if !facts.have_rows() {
            return Ok(Step::Read(vec![Query::Lookup(vec![TokenKey::lookup(&self.kid)])]));
        }
        let row = facts.row(KEY);
        Ok(Step::Answer(row.map(TokenKey::read).transpose()?))
    }
}

/// The refusal of a token, without the token.
#[must_use]
pub fn refused(error: &HmacVerifyError) -> EngineError {
    input::invalid(format!("waitpoint_token verify: {error}"))
}

fn message(execution: &ExecutionId, waitpoint: &WaitpointId) -> String {
    format!("{execution}:{waitpoint}")
}

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

    /// Adds the key to the set of keys, which is still the one that was read.
    fn installed(&self, plan: Plan, ring: &Ring, at: TimestampMs) -> Plan {
        let row = vec![
            waitpoint_hmac::kid.with(self.kid.clone()),
            waitpoint_hmac::secret.with(self.secret.clone()),
            waitpoint_hmac::rotated_at_ms.with(at.0),
            waitpoint_hmac::active.with(true),
        ];
        ring.moved_on(plan).insert(waitpoint_hmac::REF, row, OnConflict::Refuse)
    }
}

fn keys(new: &NewKey) -> Vec<Query> {
    let ring = Lookup {
        row: RING.into(),
        table: waitpoint_keyring::REF,
        key: vec![waitpoint_keyring::singleton_lock.with(true)],
        columns: waitpoint_keyring::REF.columns.to_vec(),
    };
    vec![Query::Lookup(vec![TokenKey::lookup(&new.kid), ring]), Query::List(TokenKey::signing())]
}

/// The set of keys as it was read.
struct Ring {
    /// `None` before its first change.
    version: Option<i64>,
}

impl Ring {
    fn read(row: Option<&Row>) -> Result<Self, EngineError> {
        Ok(Self { version: row.map(|row| row.read(waitpoint_keyring::version)).transpose()? })
    }

    /// Guards the set of keys: a plan that changes it applies only to the one that was read.
    fn guarded(&self, plan: Plan) -> Plan {
        let Some(version) = self.version else { return plan };
        let key = vec![waitpoint_keyring::singleton_lock.with(true)];
        let unmoved = waitpoint_keyring::version.equals(version);
        plan.guard(RING, waitpoint_keyring::REF, key, unmoved)
    }

    fn moved_on(&self, plan: Plan) -> Plan {
        let key = waitpoint_keyring::singleton_lock;
        match self.version {
            Some(_) => {
                let held = vec![key.with_expr(key.of(RING))];
                let grown = vec![waitpoint_keyring::version.grow(1)];
                plan.update(waitpoint_keyring::REF, held, grown)
            }
            None => {
                let first = vec![key.with(true), waitpoint_keyring::version.with(1)];
                plan.insert(waitpoint_keyring::REF, first, OnConflict::Refuse)
            }
        }
    }
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

impl Transition for Seed {
    type Outcome = SeedOutcome;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<SeedOutcome>, EngineError> {
        let Some(active) = facts.list(&TokenKey::signing()) else {
            return Ok(Step::Read(keys(&self.0)));
        };

        let kid = self.0.kid.clone();
        if let Some(row) = facts.row(KEY) {
            let same_secret = self.0.is_secret_of(row)?;
            return Ok(Step::Answer(SeedOutcome::AlreadySeeded { kid, same_secret }));
        }

        if let Some(row) = active.first() {
            let active_kid = row.read(waitpoint_hmac::kid)?;
            return Err(input::invalid(format!(
                "seed_waitpoint_hmac_secret: a different kid {active_kid:?} is already active; \
                 use rotate_waitpoint_hmac_secret_all to change kid"
            )));
        }

        let ring = Ring::read(facts.row(RING))?;
        let plan = ring.guarded(Plan::new("seed_waitpoint_hmac_secret"));
        let plan = self.0.installed(plan, &ring, ctx.now);
        Ok(Step::Commit(plan, Then::Answer(SeedOutcome::Seeded { kid })))
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

    fn plan(&self, ring: &Ring, previous: Option<&str>, at: TimestampMs) -> Plan {
        let mut plan = ring.guarded(Plan::new("rotate_waitpoint_hmac_secret_all"));

        if let Some(previous) = previous {
            // Plain SQL may have retired it without growing the keyring's version.
            let key = vec![waitpoint_hmac::kid.with(previous.to_owned())];
            let active = waitpoint_hmac::active.equals(true);
            plan = plan.guard("previous", waitpoint_hmac::REF, key, active.clone());

            plan.selection = Some(Selection {
                row: KEY.into(),
                table: waitpoint_hmac::REF,
                predicate: active,
                order: vec![(waitpoint_hmac::kid.column(), Ascending)],
                pairing: Pairing::Every,
            });

            let retired = vec![waitpoint_hmac::kid.with_expr(waitpoint_hmac::kid.of(KEY))];
            plan = plan.update(
                waitpoint_hmac::REF,
                retired,
                vec![
                    waitpoint_hmac::active.set(false),
                    waitpoint_hmac::verifies_until_ms.set(Some(at.0.saturating_add(self.grace_ms))),
                ],
            );
        }

        self.new.installed(plan, ring, at)
    }
}

impl Transition for Rotate {
    type Outcome = RotateWaitpointHmacSecretAllResult;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        let Some(active) = facts.list(&TokenKey::signing()) else {
            return Ok(Step::Read(keys(&self.new)));
        };

        let kid = self.new.kid.clone();
        if let Some(row) = facts.row(KEY) {
            let result = if self.new.is_secret_of(row)? {
                Ok(RotateWaitpointHmacSecretOutcome::Noop { kid })
            } else {
                let clash = format!("kid {kid} already installed with a different secret");
                Err(EngineError::Conflict(ConflictKind::RotationConflict(clash)))
            };
            return Ok(Step::Answer(everywhere(result)));
        }

        let previous_kid = active.first().map(|row| row.read(waitpoint_hmac::kid)).transpose()?;
        let plan = self.plan(&Ring::read(facts.row(RING))?, previous_kid.as_deref(), ctx.now);
        let rotated =
            RotateWaitpointHmacSecretOutcome::Rotated { previous_kid, new_kid: kid, gc_count: 0 };
        Ok(Step::Commit(plan, Then::Answer(everywhere(Ok(rotated)))))
    }
}

/// The keystore is one for all partitions: one entry, for partition 0.
fn everywhere(
    result: Result<RotateWaitpointHmacSecretOutcome, EngineError>,
) -> RotateWaitpointHmacSecretAllResult {
    RotateWaitpointHmacSecretAllResult::new(vec![RotateWaitpointHmacSecretAllEntry::new(0, result)])
}

/// A fingerprint that tells tokens apart without revealing one: the id of the key that signed it
/// and the first 16 hex digits of the signature; empty for a text that is no token.
#[must_use]
pub fn fingerprint(token: &str) -> (String, String) {
    match token.split_once(':') {
        Some((kid, signature)) if !kid.is_empty() && !signature.is_empty() => {
            (kid.to_owned(), signature.chars().take(16).collect())
        }
        Some(_) | None => (String::new(), String::new()),
    }
}

/// The kid that a token names; `None` for what is no token.
#[must_use]
pub fn kid_of(token: &str) -> Option<&str> {
    token.split_once(':').map(|(kid, _)| kid)
}
