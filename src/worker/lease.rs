//! Keeping a lease while its work runs.

use std::time::Duration;

use ff_core::backend::Handle;
use ff_core::engine_backend::EngineBackend;
use tokio::time::{Instant, sleep};

use super::may_pass;

/// Renews the lease at a third of its time, over and over; returns when it is lost: refused, or
/// lapsed before the database could be reached.
pub(super) async fn keep(
    backend: &dyn EngineBackend,
    handle: &Handle,
    ttl: Duration,
    leased_since: Instant,
) {
    let mut lapses = leased_since + ttl;
    let mut pause = ttl / 3;
    loop {
        sleep(pause).await;
        let asked = Instant::now();
        match backend.renew(handle).await {
            Ok(_) => (lapses, pause) = (asked + ttl, ttl / 3),
            Err(error) if may_pass(&error) && Instant::now() < lapses => {
                tracing::warn!(%error, "renewing a lease failed; trying again");
                pause = ttl / 10;
            }
            Err(error) => {
                tracing::warn!(%error, "a lease is lost");
                return;
            }
        }
    }
}
