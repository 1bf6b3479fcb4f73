//! The keys that sign waitpoint tokens: found for signing and for verifying.
//!
//! One key signs: the active one that was installed last. One that was replaced verifies the tokens
//! it signed until its grace is over.

use crate::model::crypto::hmac::{HmacVerifyError, hmac_sign, hmac_verify};
use crate::model::error::EngineError;
use crate::model::ids::{ExecutionId, TimestampMs, WaitpointId};
use crate::plan::facts::{Facts, Row};
use crate::plan::value::Secret;
use crate::plan::{Expr, List, Lookup, Query};
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Transition};
use crate::rules::input;
use crate::schema::Direction::{Ascending, Descending};
use crate::schema::admin::waitpoint_hmac;

/// The name that plans and look-ups give a key's row.
pub const KEY: &str = "key";

/// The name of the list of the key that signs.
const SIGNING: &str = "the key that signs";

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
            of_each: None,
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

    /// The key that signs, where [`Self::signing`] has been asked; `None` while there is none.
    ///
    /// # Errors
    /// `Validation(Corruption)` for a stored value of another type.
    pub fn signing_if_any(facts: &Facts) -> Result<Option<Self>, EngineError> {
        active_row(facts).map(Self::read).transpose()
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
        self.sign_text(&message(execution, waitpoint))
    }

    /// This key's signature of a text, behind its id.
    #[must_use]
    pub fn sign_text(&self, text: &str) -> String {
        hmac_sign(&self.secret.0, &self.kid, text.as_bytes())
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
        self.verify_text(&message, token).map_err(|error| refused(&error))
    }

    /// Checks that the signature is this key's of that text.
    ///
    /// # Errors
    /// The way in which it is not.
    pub fn verify_text(&self, text: &str, signature: &str) -> Result<(), HmacVerifyError> {
        hmac_verify(&self.secret.0, &self.kid, text.as_bytes(), signature)
    }
}

/// The row of the key that signs, where [`TokenKey::signing`] has been asked.
#[must_use]
pub fn active_row(facts: &Facts) -> Option<&Row> {
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
