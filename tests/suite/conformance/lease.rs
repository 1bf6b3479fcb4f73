//! While a worker holds an execution: renewing, reporting progress.

use ff_core::contracts::RenewLeaseResult;
use ff_core::types::TimestampMs;
use serde_json::json;

use crate::backends::{START, conformance};
use crate::bench::{ACTIVE, TTL, assert_refused, payload_of};
use crate::conformance::fence::renew_args;

conformance! {
    async fn a_renewal_pushes_the_expiry_out(bench) {
        let (id, handle) = bench.leased().await;
        bench.clock.advance(100);
        let core = bench.core(&id).await;
        let renewal = bench.backend.renew(&handle).await.unwrap();
        assert_eq!(renewal.expires_at_ms, u64::try_from(START + 100 + TTL).unwrap());
        assert_eq!(renewal.lease_epoch, 1);
        let attempt = bench.attempt(&id, 0).await;
        assert_eq!(attempt.int("lease_expires_at_ms"), Some(START + 100 + TTL));
        assert_eq!(attempt.int("lease_epoch"), Some(1));
        assert_eq!(bench.core(&id).await, core, "the execution itself is untouched");
        assert_eq!(bench.lease_events(&id).await, ["acquired", "renewed"]);
        let event = bench.of("ff_lease_event", &id).await.swap_remove(1);
        assert_eq!(event.text("lease_id"), payload_of(&handle).lease_id.to_string());
        assert_eq!(event.int("occurred_at_ms"), Some(START + 100));
    }

    async fn renewals_have_no_end(bench) {
        let (id, handle) = bench.leased().await;
        for _ in 0..30 {
            bench.clock.advance(TTL - 1);
            bench.backend.renew(&handle).await.unwrap();
        }
        assert_eq!(bench.core(&id).await.states(), ACTIVE);
        assert_eq!(bench.lease_events(&id).await.len(), 31);
    }

    async fn a_typed_renewal_takes_its_own_length(bench) {
        let (id, handle) = bench.leased().await;
        let mut args = renew_args(&handle);
        args.lease_ttl_ms = 7;
        let renewed = bench.backend.renew_lease(args.clone()).await.unwrap();
        assert_eq!(renewed, RenewLeaseResult::Renewed { expires_at: TimestampMs(START + 7) });
        assert_eq!(bench.attempt(&id, 0).await.int("lease_expires_at_ms"), Some(START + 7));
        args.lease_ttl_ms = u64::try_from(i64::MAX).unwrap();
        let renewed = bench.backend.renew_lease(args.clone()).await.unwrap();
        assert_eq!(renewed, RenewLeaseResult::Renewed { expires_at: TimestampMs(i64::MAX) });
        args.lease_ttl_ms = 0;
        assert_refused(
            bench.backend.renew_lease(args.clone()).await,
            "validation: InvalidInput: lease_ttl_ms: must be positive",
        );
        args.lease_ttl_ms = u64::MAX;
        assert_refused(
            bench.backend.renew_lease(args.clone()).await,
            "validation: InvalidInput: lease_ttl_ms: 18446744073709551615 exceeds 9223372036854775807",
        );
        args.lease_ttl_ms = 1;
        args.fence = None;
        assert_refused(
            bench.backend.renew_lease(args).await,
            "validation: InvalidInput: fence_required",
        );
    }

    async fn progress_overwrites_what_is_given(bench) {
        let (id, handle) = bench.leased().await;
        let attempt = bench.attempt(&id, 0).await;
        bench.backend.progress(&handle, None, None).await.unwrap();
        let core = bench.core(&id).await;
        assert_eq!((core.raw("progress_pct"), core.raw("progress_message")), (json!(null), json!(null)));
        bench.backend.progress(&handle, Some(0), Some("a".into())).await.unwrap();
        bench.backend.progress(&handle, Some(100), None).await.unwrap();
        let core = bench.core(&id).await;
        assert_eq!((core.raw("progress_pct"), core.raw("progress_message")), (json!(100), json!("a")));
        bench.backend.progress(&handle, None, Some(String::new())).await.unwrap();
        let core = bench.core(&id).await;
        assert_eq!((core.raw("progress_pct"), core.raw("progress_message")), (json!(100), json!("")));
        assert_eq!(core.states(), ACTIVE);
        assert_eq!(core.raw("namespace"), crate::bench::NAMESPACE);
        assert_eq!(bench.attempt(&id, 0).await, attempt);
        assert_eq!(bench.lease_events(&id).await, ["acquired"]);
    }

    async fn progress_is_a_percentage(bench) {
        let (_, handle) = bench.leased().await;
        let before = bench.everything().await;
        assert_refused(
            bench.backend.progress(&handle, Some(101), None).await,
            "validation: InvalidInput: percent: 101 is not in 0..=100",
        );
        assert_refused(
            bench.backend.progress(&handle, None, Some("\0".into())).await,
            "validation: InvalidInput: message: must not contain NUL (at byte 0)",
        );
        assert_eq!(bench.everything().await, before);
    }
}
