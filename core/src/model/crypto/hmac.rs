//! HMAC-SHA256 tokens of the form `<kid>:<64 lowercase hex digits>`.
//!
//! The signature covers the bytes of the kid, a colon, then the message, so a token cannot be moved
//! to another key id.

use hmac::digest::{Digest, Key, KeyInit};
use hmac::{Hmac, Mac};
use sha2::Sha256;

type HmacSha256 = Hmac<Sha256>;

/// The reason why a token was refused.
#[derive(Debug, thiserror::Error)]
pub enum HmacVerifyError {
    /// The token has no colon, or what follows it is not hex.
    #[error("token is not <kid>:<hex>")]
    Malformed,
    /// The token names another key than the one it is checked with.
    #[error("token is signed with kid {actual}, expected {expected}")]
    WrongKid {
        /// The kid of the key at hand.
        expected: String,
        /// The kid that the token names.
        actual: String,
    },
    /// The signature is not the one this key gives to this message.
    #[error("token signature does not match")]
    SignatureMismatch,
}

/// Signs `message` with `secret` (raw bytes of any length) under the key id `kid`.
#[must_use]
pub fn hmac_sign(secret: &[u8], kid: &str, message: &[u8]) -> String {
    let signature = mac(secret, kid, message).finalize().into_bytes();
    format!("{kid}:{}", hex::encode(signature))
}

/// Checks that `token` equals the result of [`hmac_sign`] for the same secret, kid and message. The
/// signatures are compared in constant time.
///
/// # Errors
/// In this order: [`HmacVerifyError::Malformed`] without a colon, [`HmacVerifyError::WrongKid`],
/// `Malformed` when the signature is not hex, [`HmacVerifyError::SignatureMismatch`].
pub fn hmac_verify(
    secret: &[u8],
    kid: &str,
    message: &[u8],
    token: &str,
) -> Result<(), HmacVerifyError> {
    let (token_kid, signature) = token.split_once(':').ok_or(HmacVerifyError::Malformed)?;
    if token_kid != kid {
        return Err(HmacVerifyError::WrongKid {
            expected: kid.to_owned(),
            actual: token_kid.to_owned(),
        });
    }

    let signature = hex::decode(signature).map_err(|_| HmacVerifyError::Malformed)?;
    mac(secret, kid, message)
        .verify_slice(&signature)
        .map_err(|_| HmacVerifyError::SignatureMismatch)
}

/// The keyed state after kid, colon and message. HMAC defines a key as one block: a longer secret
/// is hashed first, a shorter one is filled up with zeros. Doing that here leaves no length to
/// refuse.
fn mac(secret: &[u8], kid: &str, message: &[u8]) -> HmacSha256 {
    let mut key = Key::<HmacSha256>::default();

    if secret.len() <= key.len() {
        key.iter_mut().zip(secret).for_each(|(slot, byte)| *slot = *byte);
    } else {
        key.iter_mut().zip(Sha256::digest(secret)).for_each(|(slot, byte)| *slot = byte);
    }

    <HmacSha256 as KeyInit>::new(&key).chain_update(kid).chain_update(b":").chain_update(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &[u8] =
        b"{fp:42}:550e8400-e29b-41d4-a716-446655440000:11111111-1111-4111-8111-111111111111";
    const TOKEN: &str = "kid1:31e54108de579d23bd574cfb3dd06bc043a90c65665fe0073af9a71a56219ede";

    fn secret() -> Vec<u8> {
        hex::decode("00112233445566778899aabbccddeeff".repeat(2)).unwrap()
    }

    #[test]
    fn worked_vectors() {
        assert_eq!(hmac_sign(&secret(), "kid1", MESSAGE), TOKEN);
        assert_eq!(
            hmac_sign(b"s", "k", b"msg"),
            "k:4e46cd6cdb2b82ec0763be9f8cc406169608bbbef74ef20a925c29a68e1c7a7c"
        );
    }

    #[test]
    fn secrets_of_any_length_agree_with_the_library() {
        for length in [0, 1, 63, 64, 65, 131, 4096] {
            let secret = vec![0xaa; length];
            let theirs = <HmacSha256 as KeyInit>::new_from_slice(&secret).unwrap();
            let expected = theirs.chain_update(b"k:m").finalize().into_bytes();
            assert_eq!(hmac_sign(&secret, "k", b"m"), format!("k:{}", hex::encode(expected)));
        }
    }

    #[test]
    fn refusals_in_order() {
        let verify = |token: &str| hmac_verify(&secret(), "kid1", MESSAGE, token);
        assert!(verify(TOKEN).is_ok());
        let (kid, hex) = TOKEN.split_once(':').unwrap();
        assert!(verify(&format!("{kid}:{}", hex.to_uppercase())).is_ok());

        assert!(matches!(verify(""), Err(HmacVerifyError::Malformed)));
        assert!(matches!(verify("kid1"), Err(HmacVerifyError::Malformed)));
        assert!(matches!(
            verify("kid2:zz"),
            Err(HmacVerifyError::WrongKid { expected, actual })
                if expected == "kid1" && actual == "kid2"
        ));
        assert!(matches!(verify("kid1:zz"), Err(HmacVerifyError::Malformed)));
        assert!(matches!(verify("kid1:abc"), Err(HmacVerifyError::Malformed)));
        assert!(matches!(verify("kid1:"), Err(HmacVerifyError::SignatureMismatch)));
        assert!(matches!(
            verify(&TOKEN[..TOKEN.len() - 2]),
            Err(HmacVerifyError::SignatureMismatch)
        ));
        assert!(matches!(verify(&format!("{TOKEN}00")), Err(HmacVerifyError::SignatureMismatch)));
        assert!(hmac_verify(b"other", "kid1", MESSAGE, TOKEN).is_err());
        assert!(hmac_verify(&secret(), "kid1", b"other", TOKEN).is_err());
    }
}
