//! The keys that sign tokens.

use ff_core::EngineError;
use ff_core::contracts::{
    RotateWaitpointHmacSecretAllArgs, RotateWaitpointHmacSecretOutcome, SeedOutcome,
    SeedWaitpointHmacSecretArgs,
};
use ff_core::crypto::hmac::hmac_verify;
use ff_core::plan::value::Value;

use crate::backends::{Bench, START, conformance};
use crate::bench::assert_refused;
use crate::suspended::{fresh, named, secret};

async fn seed(bench: &Bench, kid: &str, secret: &str) -> Result<SeedOutcome, EngineError> {
    let args = SeedWaitpointHmacSecretArgs::new(kid, secret);
    bench.backend.seed_waitpoint_hmac_secret(args).await
}

async fn rotate(
    bench: &Bench,
    kid: &str,
    secret: &str,
    grace_ms: u64,
) -> Result<RotateWaitpointHmacSecretOutcome, EngineError> {
    let args = RotateWaitpointHmacSecretAllArgs::new(kid, secret, grace_ms);
    let result = bench.backend.rotate_waitpoint_hmac_secret_all(args).await?;
    let [entry] = <[_; 1]>::try_from(result.entries).unwrap();
    assert_eq!(entry.partition, 0);
    entry.result
}

/// One byte longer than a name may be.
const LONG_KID: &str = match std::str::from_utf8(&[b'k'; 513]) {
    Ok(text) => text,
    Err(_) => "",
};

conformance! {
    async fn the_first_key_is_never_overwritten(bench) {
        let kid = || "kid1".to_owned();
        assert_eq!(seed(&bench, "kid1", &secret(1)).await.unwrap(), SeedOutcome::Seeded { kid: kid() });
        let before = bench.everything().await;
        let again = seed(&bench, "kid1", &secret(1)).await.unwrap();
        assert_eq!(again, SeedOutcome::AlreadySeeded { kid: kid(), same_secret: true });
        let other = seed(&bench, "kid1", &secret(2)).await.unwrap();
        assert_eq!(other, SeedOutcome::AlreadySeeded { kid: kid(), same_secret: false });
        let error = seed(&bench, "kid2", &secret(2)).await.unwrap_err().to_string();
        assert!(error.contains(r#"a different kid "kid1" is already active"#), "{error}");
        assert_eq!(bench.everything().await, before);
    }

    async fn a_rotation_signs_with_the_new_key(bench) {
        let rotated = |previous: Option<&str>, new: &str| RotateWaitpointHmacSecretOutcome::Rotated {
            previous_kid: previous.map(Into::into),
            new_kid: new.into(),
            gc_count: 0,
        };
        assert_eq!(rotate(&bench, "k1", &secret(1), 0).await.unwrap(), rotated(None, "k1"));
        assert_eq!(rotate(&bench, "k2", &secret(2), 0).await.unwrap(), rotated(Some("k1"), "k2"));
        let noop = rotate(&bench, "k1", &secret(1), 0).await.unwrap();
        assert_eq!(noop, RotateWaitpointHmacSecretOutcome::Noop { kid: "k1".into() });
        let clash = rotate(&bench, "k1", &secret(3), 0).await.unwrap_err().to_string();
        assert!(clash.contains("kid k1 already installed with a different secret"), "{clash}");
        let (id, handle) = bench.leased().await;
        let args = bench.wait(vec![fresh("a")], named("a", "go"));
        let target = bench.suspend(&id, &handle, args).await.remove(0);
        let message = format!("{id}:{}", target.id);
        hmac_verify(&[2; 32], "k2", message.as_bytes(), &target.token).unwrap();
        let rows = bench.plain.rows("ff_waitpoint_hmac").await;
        let active: Vec<_> = rows.iter().filter(|row| *row.value("active") == Value::Bool(true)).collect();
        assert_eq!(active.len(), 1);
        assert_eq!(active[0].text("kid"), "k2");
    }

    async fn an_old_key_verifies_until_its_grace_is_over(bench) {
        let (id, _, target) = bench.waiting(|args| args).await;
        rotate(&bench, "kid2", &secret(2), 1_000).await.unwrap();
        let retired = bench.plain.rows("ff_waitpoint_hmac").await;
        let retired = retired.iter().find(|row| row.text("kid") == "kid1").unwrap();
        assert_eq!(retired.int("verifies_until_ms"), Some(START + 1_000));
        bench.clock.advance(999);
        assert_eq!(bench.deliver(&target, "other").await.unwrap(), "appended_to_waitpoint");
        bench.clock.advance(1);
        let mut late = bench.signal(&target, "go");
        late.now.0 = START;
        let late = bench.backend.deliver_signal(late).await.unwrap_err().to_string();
        assert!(late.contains("kid kid1 was replaced and its grace is over"), "{late}");
        assert_eq!(bench.core(&id).await.text("public_state"), "suspended");
    }

    async fn an_invalid_key_is_refused(bench) {
        for (kid, hex, detail) in [
            ("", secret(1), "kid must be non-empty"),
            ("a:b", secret(1), "kid must not contain ':' (token wire shape is `<kid>:<hex>`)"),
            ("a\0", secret(1), "kid: must not contain NUL (at byte 1)"),
            (LONG_KID, secret(1), "kid: 513 bytes exceed 512"),
            ("a", "00".into(), "secret_hex must be 64 hex characters (256-bit secret)"),
            ("a", "zz".repeat(32), "secret_hex must be 64 hex characters (256-bit secret)"),
        ] {
            let expected = format!("validation: InvalidInput: {detail}");
            assert_refused(seed(&bench, kid, &hex).await, &expected);
            assert_refused(rotate(&bench, kid, &hex, 0).await, &expected);
        }
        assert!(bench.plain.rows("ff_waitpoint_hmac").await.is_empty());
    }

    async fn of_two_rotations_at_once_one_follows_the_other(bench) {
        rotate(&bench, "k0", &secret(9), 0).await.unwrap();
        let (hex_a, hex_b) = (secret(1), secret(2));
        let (a, b) = tokio::join!(
            rotate(&bench, "ka", &hex_a, 0),
            rotate(&bench, "kb", &hex_b, 0),
        );
        assert!(a.is_ok() && b.is_ok(), "{a:?} {b:?}");
        let rows = bench.plain.rows("ff_waitpoint_hmac").await;
        assert_eq!(rows.iter().filter(|row| *row.value("active") == Value::Bool(true)).count(), 1);
    }
}
