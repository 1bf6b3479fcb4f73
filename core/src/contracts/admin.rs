//! What administering a store takes and answers: preparing it, and the keys that sign waitpoints.

use std::fmt;

use crate::model::error::EngineError;

/// The text that replaces a secret in `Debug` output.
const REDACTED: &str = "<REDACTED>";

/// Replaces the signing key of one partition.
///
/// `Debug` hides the secret.
#[derive(Clone)]
pub struct RotateWaitpointHmacSecretArgs {
    /// The id of the new key.
    pub new_kid: String,
    /// The new key, in hex.
    pub new_secret_hex: String,
    /// The time for which tokens of the old key stay valid, in milliseconds.
    pub grace_ms: u64,
}

impl fmt::Debug for RotateWaitpointHmacSecretArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RotateWaitpointHmacSecretArgs")
            .field("new_kid", &self.new_kid)
            .field("new_secret_hex", &REDACTED)
            .field("grace_ms", &self.grace_ms)
            .finish()
    }
}

/// The outcome of replacing a signing key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RotateWaitpointHmacSecretOutcome {
    /// The new key signs from now on.
    Rotated {
        /// The key that signed before, if there was one.
        previous_kid: Option<String>,
        /// The key that signs now.
        new_kid: String,
        /// The number of expired keys that were removed.
        gc_count: u32,
    },
    /// The key was there already, with the same secret.
    Noop {
        /// The key.
        kid: String,
    },
}

/// Replaces the signing key everywhere.
///
/// `Debug` hides the secret.
#[derive(Clone)]
#[non_exhaustive]
pub struct RotateWaitpointHmacSecretAllArgs {
    /// The id of the new key.
    pub new_kid: String,
    /// The new key, in hex.
    pub new_secret_hex: String,
    /// The time for which tokens of the old key stay valid, in milliseconds.
    pub grace_ms: u64,
}

impl RotateWaitpointHmacSecretAllArgs {
    /// The new key with its id, and the grace of the old one.
    #[must_use]
    pub fn new(
        new_kid: impl Into<String>,
        new_secret_hex: impl Into<String>,
        grace_ms: u64,
    ) -> Self {
        Self { new_kid: new_kid.into(), new_secret_hex: new_secret_hex.into(), grace_ms }
    }
}

impl fmt::Debug for RotateWaitpointHmacSecretAllArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RotateWaitpointHmacSecretAllArgs")
            .field("new_kid", &self.new_kid)
            .field("new_secret_hex", &REDACTED)
            .field("grace_ms", &self.grace_ms)
            .finish()
    }
}

/// The outcome of replacing the signing key in one partition.
#[derive(Debug)]
#[non_exhaustive]
pub struct RotateWaitpointHmacSecretAllEntry {
    /// The partition.
    pub partition: u16,
    /// The outcome in that partition.
    pub result: Result<RotateWaitpointHmacSecretOutcome, EngineError>,
}

impl RotateWaitpointHmacSecretAllEntry {
    /// The result of one partition.
    #[must_use]
    pub fn new(
        partition: u16,
        result: Result<RotateWaitpointHmacSecretOutcome, EngineError>,
    ) -> Self {
        Self { partition, result }
    }
}

/// The outcome of replacing the signing key everywhere.
#[derive(Debug)]
#[non_exhaustive]
pub struct RotateWaitpointHmacSecretAllResult {
    /// One entry per partition.
    pub entries: Vec<RotateWaitpointHmacSecretAllEntry>,
}

impl RotateWaitpointHmacSecretAllResult {
    /// The results of all partitions.
    #[must_use]
    pub fn new(entries: Vec<RotateWaitpointHmacSecretAllEntry>) -> Self {
        Self { entries }
    }
}

/// Installs the first signing key.
///
/// `Debug` hides the secret.
#[derive(Clone)]
#[non_exhaustive]
pub struct SeedWaitpointHmacSecretArgs {
    /// The id of the key.
    pub kid: String,
    /// The key, in hex.
    pub secret_hex: String,
}

impl SeedWaitpointHmacSecretArgs {
    /// The key with its id.
    #[must_use]
    pub fn new(kid: impl Into<String>, secret_hex: impl Into<String>) -> Self {
        Self { kid: kid.into(), secret_hex: secret_hex.into() }
    }
}

impl fmt::Debug for SeedWaitpointHmacSecretArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeedWaitpointHmacSecretArgs")
            .field("kid", &self.kid)
            .field("secret_hex", &REDACTED)
            .finish()
    }
}

/// The outcome of installing the first signing key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SeedOutcome {
    /// The key signs from now on.
    Seeded {
        /// The key.
        kid: String,
    },
    /// A key of this id was there already.
    AlreadySeeded {
        /// The key.
        kid: String,
        /// True if the stored key has the same secret.
        same_secret: bool,
    },
}

/// Lists the keys that tokens are checked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListWaitpointHmacKidsArgs {}

/// The keys that tokens are checked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitpointHmacKids {
    /// The key that signs, if there is one.
    pub current_kid: Option<String>,
    /// The older keys that still verify tokens.
    pub verifying: Vec<VerifyingKid>,
}

/// An older key that still verifies tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyingKid {
    /// The key.
    pub kid: String,
    /// The time until which its tokens are valid, in Unix milliseconds.
    pub expires_at_ms: i64,
}

/// The outcome of preparing a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PrepareOutcome {
    /// Nothing had to be done.
    NoOp,
    /// A preparation was applied.
    Applied {
        /// The preparation, in words.
        description: String,
    },
}

impl PrepareOutcome {
    /// The outcome of a preparation that was applied.
    #[must_use]
    pub fn applied(description: impl Into<String>) -> Self {
        Self::Applied { description: description.into() }
    }
}
