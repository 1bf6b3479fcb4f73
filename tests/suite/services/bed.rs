//! The test bed that users get: a clock on hand, faults on order, decisions alone.

use std::time::Duration;

use ff_core::contracts::ReplayExecutionArgs;
use ff_core::rules::execution::replay::Replay;
use flowfabric_sql::testing::unit::{Rows, decide};
use flowfabric_sql::testing::{Fault, START, TestBed};
use flowfabric_sql::{Context, Failure, Job, PublicState, Service};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct Remind(u64);

impl Job for Remind {
    const KIND: &'static str = "remind";
    type Output = u64;
}

async fn remind(job: Remind, context: Context<()>) -> Result<u64, Failure> {
    context.sleep("an hour", Duration::from_secs(3_600)).await?;
    Ok(job.0)
}

#[tokio::test]
async fn a_bed_runs_what_can_run_at_its_time_whatever_fails() {
    let bed = TestBed::new(17);
    assert_eq!(bed.now(), START);
    let service = Service::builder(bed.engine(), ()).handler(remind).build();
    let job = bed.client().submit(&Remind(7)).await.unwrap();
    assert_eq!(bed.assert_enqueued::<Remind>(|job| job.0 == 7).await, *job.id());
    assert_eq!(bed.enqueued::<Remind>().await.unwrap().len(), 1);

    bed.drain(&service).await.unwrap();
    assert!(bed.enqueued::<Remind>().await.unwrap().is_empty(), "it sleeps");
    // No worker holds it, so nothing is lost.
    bed.lose_lease(job.id()).await.unwrap();
    bed.advance(Duration::from_secs(3_600));
    // The end is stored, and its answer is lost.
    bed.fail_next("complete", Fault::AfterCommit);
    bed.drain(&service).await.unwrap();
    assert_eq!(job.result().await.unwrap(), 7);
    assert_eq!(bed.memory().rows("ff_completion_event").len(), 1);
    assert_eq!(bed.scan().await.unwrap(), 0);

    let replay = ReplayExecutionArgs { execution_id: job.id().clone(), now: START };
    let refusal = decide(&Replay::new(&replay).unwrap(), &Rows::new(START)).unwrap_err();
    assert_eq!(refusal.to_string(), "not found: execution");
}

/// The clock of the bed is far behind the clock of this machine.
#[tokio::test]
async fn cancellations_and_signals_go_by_the_clock_of_the_engine() {
    async fn answered(_: Remind, context: Context<()>) -> Result<u64, Failure> {
        let hour = Duration::from_secs(3_600);
        context.wait_for_within("go", hour).await?.ok_or_else(|| Failure::fail("too late"))?.json()
    }

    let bed = TestBed::new(17);
    let service = Service::builder(bed.engine(), ()).handler(answered).build();
    let job = bed.client().submit(&Remind(7)).await.unwrap();
    let cancelled = bed.client().submit(&Remind(8)).await.unwrap();
    bed.drain(&service).await.unwrap();
    cancelled.cancel("enough").await.unwrap();
    let info = bed.engine().describe_execution(cancelled.id()).await.unwrap().unwrap();
    assert_eq!(info.last_mutation_at, START);

    job.signal("go", &9).await.unwrap();
    bed.drain(&service).await.unwrap();
    assert_eq!(job.result().await.unwrap(), 9);

    // A wait is over at its time, not before.
    let late = bed.client().submit(&Remind(9)).await.unwrap();
    bed.drain(&service).await.unwrap();
    bed.advance(Duration::from_millis(3_599_999));
    bed.drain(&service).await.unwrap();
    assert_eq!(late.status().await.unwrap(), PublicState::Suspended);
    bed.advance(Duration::from_millis(1));
    bed.drain(&service).await.unwrap();
    assert_eq!(late.result().await.unwrap_err().to_string(), "the job failed: too late");
}
