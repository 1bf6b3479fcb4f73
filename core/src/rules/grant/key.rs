//! The text that names a grant: it says for which execution and until when, and the active key of
//! the keyring signs it.
//!
//! The signature also covers the worker. The permission itself is the stored row; the text lets a
//! third party check, with the keyring, that the row was issued by an engine.

use sha2::{Digest as _, Sha256};

use crate::model::crypto::hmac::hmac_sign;
use crate::model::handle::BackendTag;
use crate::model::ids::TimestampMs;
use crate::model::partition::{Partition, PartitionFamily, PartitionKey};
use crate::model::state::GrantKind;
use crate::rules::grant::row::Grantee;
use crate::rules::key::ExecutionKey;
use crate::rules::keystore::TokenKey;

/// The name of a grant that is issued.
#[derive(Clone, Debug)]
pub struct GrantName {
    /// The text that the worker gets.
    pub text: String,
    /// The id of the stored row: the SHA-256 digest of the text.
    pub id: Vec<u8>,
}

impl GrantName {
    /// The name of a grant to that worker, which lapses then. Without a key in the keyring it is
    /// signed with none: it then proves nothing, and does not verify.
    #[must_use]
    pub fn new(
        family: BackendTag,
        kind: GrantKind,
        key: &ExecutionKey,
        grantee: &Grantee,
        until: TimestampMs,
        signing: Option<&TokenKey>,
    ) -> Self {
        let worker = [grantee.worker_id.as_str(), grantee.worker_instance_id.as_str()];
        let message = message(kind, key, worker, until);
        let signature = match signing {
            Some(key) => key.sign_text(&message),
            None => hmac_sign(&[], "", message.as_bytes()),
        };

        let family = family.word();
        let (tag, uuid, until) = (partition(key), key.uuid, until.0);
        let text = match kind {
            GrantKind::Claim => format!("{family}:{tag}:{uuid}:{until}:{signature}"),
            GrantKind::Reclaim => format!("{family}:reclaim:{tag}:{uuid}:{until}:{signature}"),
        };
        let id = grant_id(&text);
        Self { text, id }
    }
}

/// The text that the signature of a grant covers; the worker is its pool and its instance.
#[must_use]
pub fn message(
    kind: GrantKind,
    key: &ExecutionKey,
    [worker, instance]: [&str; 2],
    until: TimestampMs,
) -> String {
    let (tag, uuid, until) = (partition(key), key.uuid, until.0);
    match kind {
        GrantKind::Claim => format!("{tag}|{uuid}|{worker}|{instance}|{until}"),
        GrantKind::Reclaim => format!("{tag}|{uuid}|{worker}|{instance}|{until}|reclaim"),
    }
}

/// The id of the row of the grant with that name.
#[must_use]
pub fn grant_id(text: &str) -> Vec<u8> {
    Sha256::digest(text).to_vec()
}

/// The partition of an execution, as grants name it.
#[must_use]
pub fn partition(key: &ExecutionKey) -> PartitionKey {
    let index = key.partition.unsigned_abs();
    Partition { family: PartitionFamily::Execution, index }.into()
}
