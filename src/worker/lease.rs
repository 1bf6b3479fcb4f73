//! Renews a lease while its work runs.

use std::pin::pin;
use std::time::Duration;

use ff_core::EngineError;
use ff_core::backend::Handle;
use ff_core::engine::Topic;
use ff_core::engine_backend::EngineBackend;
use ff_core::state::PublicState;
use ff_core::types::ExecutionId;
use tokio::time::{Instant, sleep, sleep_until};

use super::is_database_failure;

/// The longest time between two renewals. A run that is no longer wanted goes on for as long at
/// most if no ring says so.
const RENEWAL_MAX: Duration = Duration::from_secs(5);

/// The shortest time between two reads of one execution, however often the bell rings.
const CHECK_GAP: Duration = Duration::from_millis(200);

/// Renews the lease at a third of its time, over and over. Returns when it is lost: refused, or
/// lapsed while the database could not be reached. A ring brings the renewal forward, so that a
/// cancellation is seen at once.
pub(super) async fn renew_until_lost(
    backend: &dyn EngineBackend,
    handle: &Handle,
    id: &ExecutionId,
    ttl: Duration,
    leased_since: Instant,
) -> EngineError {
    let regular = (ttl / 3).min(RENEWAL_MAX);
    let mut lapses = leased_since + ttl;
    let mut pause = regular;
    let mut interruption = pin!(wait_for_interruption(backend, id));

    loop {
        tokio::select! {
            () = sleep(pause) => {}
            // The renewal's answer says what has happened.
            () = &mut interruption => interruption.set(wait_for_interruption(backend, id)),
        }

        let requested_at = Instant::now();
        match backend.renew(handle).await {
            Ok(_) => (lapses, pause) = (requested_at + ttl, regular),
            // Also an error that seems permanent: a lost run costs more than a few retries.
            Err(error) if is_database_failure(&error) && Instant::now() < lapses => {
                tracing::warn!(execution_id = %id, %error, "renewing a lease failed; trying again");
                // Short enough for several tries before the lease lapses.
                pause = ttl / 10;
            }
            Err(error) => return error,
        }
    }
}

/// Returns when the execution is no longer active. It looks only after a ring.
async fn wait_for_interruption(backend: &dyn EngineBackend, id: &ExecutionId) {
    let mut checked_at = None;
    let mut rung = backend.listen(Topic::Interruptions);
    loop {
        rung.await;
        // Before the read, so that a change during it rings again.
        rung = backend.listen(Topic::Interruptions);

        if let Some(checked_at) = checked_at {
            sleep_until(checked_at + CHECK_GAP).await;
        }

        checked_at = Some(Instant::now());
        match backend.read_execution_state(id).await {
            // A database that cannot be reached is the renewal's concern.
            Ok(Some(PublicState::Active)) | Err(_) => {}
            Ok(_) => return,
        }
    }
}
