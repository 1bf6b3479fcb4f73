//! Services and clients: typed jobs from their submission to their result.

mod bed;
mod children;
mod killed;
mod steps;
mod traces;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ff_backend_memory::MemoryBackend;
use ff_backend_sqlite::SqliteBackend;
use ff_core::backend::FailureClass;
use ff_core::contracts::ResumeCondition;
use ff_core::engine_backend::EngineBackend;
use ff_core::policy::BackoffStrategy;
use ff_core::state::PublicState;
use flowfabric_sql::{Client, Context, Failure, Job, JobError, Service, WorkerError};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::backends;
use crate::victims::Place;

/// The time after which a test gives up.
const BOUND: Duration = Duration::from_secs(20);

#[derive(Debug, Serialize, Deserialize)]
struct Add {
    numbers: Vec<u64>,
}

impl Job for Add {
    const KIND: &'static str = "add";
    const LANE: &'static str = "sums";
    type Output = u64;
}

#[derive(Debug, Serialize, Deserialize)]
struct Charge {
    cents: u64,
}

impl Job for Charge {
    const KIND: &'static str = "charge";
    type Output = ();
}

/// What the handlers share.
#[derive(Default)]
struct App {
    charges: AtomicU32,
    begun: Notify,
}

async fn add(job: Add, _: Context<App>) -> Result<u64, Failure> {
    let sum = job.numbers.iter().try_fold(0_u64, |sum, number| sum.checked_add(*number));
    sum.ok_or_else(|| Failure::fail("the sum is too large"))
}

/// Fails at the first attempt.
async fn charge(job: Charge, context: Context<App>) -> Result<(), Failure> {
    context.state().charges.fetch_add(1, Ordering::SeqCst);
    context.progress(50, "calling the bank").await?;
    context.emit(b"ringing".to_vec()).await?;
    if context.run().attempt_index.0 == 0 {
        let cents = u8::try_from(job.cents + 256)?;
        unreachable!("{cents} are too many");
    }
    Ok(())
}

/// Each of the databases, with a clock that goes.
async fn on_each<F>(test: impl Fn(Arc<dyn EngineBackend>) -> F)
where
    F: Future<Output = ()>,
{
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("flow.db");
    let sqlite = SqliteBackend::new(file.to_str().unwrap()).await.unwrap();
    let bench = backends::postgres().await;
    let postgres = Place::of(&bench).engine().await;
    for engine in [Arc::new(MemoryBackend::new()) as Arc<dyn EngineBackend>, sqlite, postgres] {
        tokio::time::timeout(BOUND, test(engine)).await.expect("ends in time");
    }
    bench.tear_down().await;
}

fn service(engine: &Arc<dyn EngineBackend>) -> Service {
    let builder = Service::builder(Arc::clone(engine), App::default());
    builder.handler(add).handler(charge).build()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_runs_by_its_handler_and_its_result_comes_back() {
    on_each(|engine| async move {
        let client = Client::new(Arc::clone(&engine)).identified_as("tests");
        let sum = client.submit(&Add { numbers: vec![1, 2, 39] }).priority(3).await.unwrap();
        assert!(sum.is_new());
        assert_eq!(sum.status().await.unwrap(), PublicState::Waiting);
        let early = sum.result_within(Duration::from_millis(20)).await;
        assert!(matches!(early, Err(JobError::StillRunning(_))), "{early:?}");

        let (result, worked) = tokio::join!(sum.result(), service(&engine).run_until_empty());
        assert_eq!((result.unwrap(), worked.unwrap()), (42, ()));
        let again = client.attach::<Add>(sum.id().clone());
        assert_eq!(again.result().await.unwrap(), 42);

        let too_large =
            client.submit(&Add { numbers: vec![u64::MAX, 1] }).retries(5).await.unwrap();
        service(&engine).run_until_empty().await.unwrap();
        match too_large.result().await.unwrap_err() {
            JobError::Failed { message, class } => {
                assert_eq!(message, "the sum is too large");
                assert_eq!(class, Some(FailureClass::Permanent));
            }
            other => panic!("{other:?}"),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_is_tried_again_as_the_submission_says() {
    on_each(|engine| async move {
        let client = Client::new(Arc::clone(&engine));
        let soon = BackoffStrategy::Fixed { delay_ms: 10 };
        let paid = client.submit(&Charge { cents: 700 }).retries(1).backoff(soon).await.unwrap();
        let refused = client.submit(&Charge { cents: 700 }).retries(0).await.unwrap();
        service(&engine).run_until_empty().await.unwrap();
        paid.result().await.unwrap();

        let error = refused.result().await.unwrap_err().to_string();
        assert!(error.contains("out of range"), "{error}");
        let attempts = engine.execution_timeline(paid.id()).await.unwrap().attempts;
        assert_eq!(attempts.len(), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_makes_a_repeat_the_first_job() {
    on_each(|engine| async move {
        let client = Client::new(Arc::clone(&engine)).in_namespace("shop");
        let submit = || client.submit(&Charge { cents: 1 }).idempotency_key("order/7");
        let first = submit().await.unwrap();
        let again = submit().delay(Duration::from_secs(60)).await.unwrap();
        assert!(first.is_new() && !again.is_new());
        assert_eq!(first.id(), again.id());

        // Bad input names its field, and changes nothing.
        let wrong = submit().unique_for(Duration::ZERO).await.unwrap_err().to_string();
        assert!(wrong.contains("policy.dedup_window_ms"), "{wrong}");
        first.cancel("a change of mind").await.unwrap();
        assert!(matches!(again.result().await, Err(JobError::Cancelled)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn input_of_another_type_is_a_failure_that_tells_nothing_of_it() {
    #[derive(Serialize, Deserialize)]
    struct Secret {
        cents: String,
    }
    impl Job for Secret {
        const KIND: &'static str = Charge::KIND;
        type Output = ();
    }

    on_each(|engine| async move {
        let client = Client::new(Arc::clone(&engine));
        let secret = Secret { cents: "s3cret".into() };
        let submitted = client.submit(&secret).retries(9).await.unwrap();
        service(&engine).run_until_empty().await.unwrap();
        let error = submitted.result().await.unwrap_err().to_string();
        assert!(error.contains("the input is not that of charge"), "{error}");
        assert!(!error.contains("s3cret"), "{error}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kind_without_a_handler_ends_the_service_with_the_reason() {
    on_each(|engine| async move {
        let client = Client::new(Arc::clone(&engine));
        client.submit(&Charge { cents: 1 }).lane("sums").await.unwrap();
        let builder = Service::builder(Arc::clone(&engine), App::default());
        let ended = builder.handler(add).build().run_until_empty().await.unwrap_err();
        assert!(matches!(ended, WorkerError::Unable { .. }), "{ended:?}");
        assert!(ended.to_string().contains("no handler for jobs of kind \"charge\""), "{ended}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_job_drops_its_handler_and_a_stopped_service_drains() {
    async fn wait(_: Charge, context: Context<App>) -> Result<(), Failure> {
        context.state().begun.notify_one();
        std::future::pending().await
    }

    on_each(|engine| async move {
        let client = Client::new(Arc::clone(&engine));
        let (begun, stopped) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let stop = Arc::clone(&stopped);
        let builder = Service::builder(Arc::clone(&engine), App::default());
        let service = builder.handler(wait).grace(Duration::from_secs(5)).build();
        let running = tokio::spawn(service.run_until(async move { stop.notified().await }));

        let job = client.submit(&Charge { cents: 1 }).await.unwrap();
        while job.status().await.unwrap() != PublicState::Active {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(begun);
        job.cancel("enough").await.unwrap();
        assert!(matches!(job.result().await, Err(JobError::Cancelled)));
        stopped.notify_one();
        running.await.unwrap().unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snoozed_job_runs_again_and_counts_no_failure() {
    async fn later(_: Charge, context: Context<App>) -> Result<(), Failure> {
        if context.state().charges.fetch_add(1, Ordering::SeqCst) == 0 {
            return Err(Failure::snooze(Duration::from_millis(20)));
        }
        Ok(())
    }

    on_each(|engine| async move {
        let client = Client::new(Arc::clone(&engine));
        let job = client.submit(&Charge { cents: 1 }).retries(0).await.unwrap();
        let builder = Service::builder(Arc::clone(&engine), App::default());
        builder.handler(later).build().run_until_empty().await.unwrap();
        job.result().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_names_its_own_pause() {
    async fn busy(_: Charge, context: Context<App>) -> Result<(), Failure> {
        if context.state().charges.fetch_add(1, Ordering::SeqCst) == 0 {
            return Err(Failure::retry_after(Duration::from_millis(20), "429 Too Many Requests"));
        }
        Ok(())
    }

    on_each(|engine| async move {
        let client = Client::new(Arc::clone(&engine));
        let never = BackoffStrategy::Fixed { delay_ms: 86_400_000 };
        let job = client.submit(&Charge { cents: 1 }).retries(1).backoff(never).await.unwrap();
        let refused = client.submit(&Charge { cents: 1 }).retries(0).lane("refused").await.unwrap();
        let service = |lane| {
            let builder = Service::builder(Arc::clone(&engine), App::default());
            builder.handler(busy).lane(lane).build()
        };
        service("default").run_until_empty().await.unwrap();
        job.result().await.unwrap();
        service("refused").run_until_empty().await.unwrap();
        let error = refused.result().await.unwrap_err().to_string();
        assert_eq!(error, "the job failed: 429 Too Many Requests");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_waits_for_two_of_three_answers() {
    async fn count(_: Charge, context: Context<App>) -> Result<(), Failure> {
        let votes = context.signals().await?;
        if votes.len() < 2 {
            let two_of_three = ResumeCondition::signals_at(2, ["ada", "grace", "edsger"]);
            return Err(Failure::suspend_for(two_of_three));
        }
        let names: Vec<_> = votes.iter().map(|vote| vote.name.as_str()).collect();
        assert_eq!(names, ["ada", "edsger"]);
        Ok(())
    }

    on_each(|engine| async move {
        let client = Client::new(Arc::clone(&engine));
        let job = client.submit(&Charge { cents: 1 }).retries(0).await.unwrap();
        let service = || {
            let builder = Service::builder(Arc::clone(&engine), App::default());
            builder.handler(count).build().run_until_empty()
        };
        service().await.unwrap();
        assert_eq!(job.status().await.unwrap(), PublicState::Suspended);
        job.signal("edsger", &true).await.unwrap();
        assert_eq!(job.status().await.unwrap(), PublicState::Suspended);
        job.signal("ada", &true).await.unwrap();
        service().await.unwrap();
        job.result().await.unwrap();
    })
    .await;
}
