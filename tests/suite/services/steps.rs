//! Durable steps, sleeps, waits and children of handlers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ff_core::contracts::SeedWaitpointHmacSecretArgs;
use ff_core::engine_backend::EngineBackend;
use ff_core::policy::BackoffStrategy;
use flowfabric_sql::{
    Client, Context, Failure, Job, JobError, OnChangedSteps, Service, ServiceBuilder, Submitted,
};
use serde::{Deserialize, Serialize};

use super::on_each;

#[derive(Debug, Serialize, Deserialize)]
struct Order {
    cents: u64,
}

impl Job for Order {
    const KIND: &'static str = "order";
    type Output = String;
}

#[derive(Debug, Serialize, Deserialize)]
struct Label(String);

impl Job for Label {
    const KIND: &'static str = "label";
    const LANE: &'static str = "labels";
    type Output = String;
}

/// How often the handlers did what.
#[derive(Default)]
struct Done {
    charges: AtomicU32,
    mails: AtomicU32,
}

impl Done {
    fn counts(&self) -> (u32, u32) {
        (self.charges.load(Ordering::SeqCst), self.mails.load(Ordering::SeqCst))
    }
}

type Shared = Arc<Done>;

async fn charge(done: &Done) -> Result<u32, Failure> {
    Ok(done.charges.fetch_add(1, Ordering::SeqCst) + 1)
}

/// Charges once, and fails behind it at the first attempt.
async fn order(job: Order, context: Context<Shared>) -> Result<String, Failure> {
    let receipt = context.step("charge", || charge(context.state())).await?;
    if context.run().attempt_index.0 == 0 {
        return Err(Failure::retry("the mail server is away"));
    }
    context
        .step("mail", || async {
            context.state().mails.fetch_add(1, Ordering::SeqCst);
            Ok::<_, Failure>(())
        })
        .await?;
    Ok(format!("{} cents, receipt {receipt}", job.cents))
}

/// What became of the order's handler: it mails first.
async fn changed(_: Order, context: Context<Shared>) -> Result<String, Failure> {
    context
        .step("mail", || async {
            context.state().mails.fetch_add(1, Ordering::SeqCst);
            Ok::<_, Failure>(())
        })
        .await?;
    let receipt = context.step("charge", || charge(context.state())).await?;
    Ok(format!("receipt {receipt}"))
}

/// Charges, and goes on later.
async fn pause(_: Order, context: Context<Shared>) -> Result<String, Failure> {
    context.step("charge", || charge(context.state())).await?;
    Err(Failure::snooze(Duration::from_millis(20)))
}

fn builder(engine: &Arc<dyn EngineBackend>, done: &Shared) -> ServiceBuilder<Shared> {
    Service::builder(Arc::clone(engine), Arc::clone(done))
}

async fn submit(engine: &Arc<dyn EngineBackend>, retries: u32) -> Submitted<Order> {
    let soon = BackoffStrategy::Fixed { delay_ms: 10 };
    let client = Client::new(Arc::clone(engine));
    client.submit(&Order { cents: 700 }).retries(retries).backoff(soon).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_runs_once_whatever_comes_after_it() {
    on_each(|engine| async move {
        let done = Shared::default();
        let job = submit(&engine, 1).await;
        builder(&engine, &done).handler(order).build().run_until_empty().await.unwrap();
        assert_eq!(job.result().await.unwrap(), "700 cents, receipt 1");
        assert_eq!(done.counts(), (1, 1));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_code_is_noticed_and_a_fork_goes_on_from_a_step() {
    on_each(|engine| async move {
        let done = Shared::default();
        let failed = submit(&engine, 0).await;
        builder(&engine, &done).handler(order).build().run_until_empty().await.unwrap();
        assert!(matches!(failed.result().await, Err(JobError::Failed { .. })));

        // A fork behind the first step of a code that asks for another one.
        let error = failed.fork(Some("ship")).await.unwrap_err().to_string();
        assert!(error.contains("has no step \"ship\"; it has charge"), "{error}");
        let anew = failed.fork(Some("charge")).await.unwrap();
        builder(&engine, &done).handler(changed).build().run_until_empty().await.unwrap();
        assert_eq!(anew.result().await.unwrap(), "receipt 2");
        assert_eq!(done.counts(), (2, 1));

        // The same execution under changed code: refused, or gone on with by name.
        for treatment in [OnChangedSteps::Fail, OnChangedSteps::Continue] {
            let job = submit(&engine, 0).await;
            let recorded = async {
                while engine.list_steps(job.id(), None, 1).await.unwrap().is_empty() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            builder(&engine, &done).handler(pause).build().run_until(recorded).await.unwrap();
            let charges = done.counts().0;

            let second = builder(&engine, &done).handler(changed).on_changed_steps(treatment);
            second.build().run_until_empty().await.unwrap();
            match (treatment, job.result().await) {
                (OnChangedSteps::Continue, Ok(result)) => {
                    assert_eq!(result, format!("receipt {charges}"));
                }
                (OnChangedSteps::Fail, Err(JobError::Failed { message, .. })) => {
                    let reason =
                        "step 0 is recorded as \"charge\", and the handler asks for \"mail\"";
                    assert!(message.contains(reason), "{message}");
                }
                (_, other) => panic!("{treatment:?}: {other:?}"),
            }
            assert_eq!(done.counts().0, charges);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sleep_ends_the_run_and_is_slept_once() {
    async fn nap(_: Order, context: Context<Shared>) -> Result<String, Failure> {
        context.state().charges.fetch_add(1, Ordering::SeqCst);
        context.sleep("cool down", Duration::from_millis(300)).await?;
        context.state().mails.fetch_add(1, Ordering::SeqCst);
        Ok("rested".into())
    }

    on_each(|engine| async move {
        let done = Shared::default();
        let job = submit(&engine, 0).await;
        let begun = std::time::Instant::now();
        builder(&engine, &done).handler(nap).build().run_until_empty().await.unwrap();
        assert_eq!(job.result().await.unwrap(), "rested");
        assert!(Duration::from_millis(290) <= begun.elapsed());
        assert_eq!(done.counts(), (2, 1));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_wait_takes_a_signal_of_its_own_or_ends_in_time() {
    async fn ask(_: Order, context: Context<Shared>) -> Result<String, Failure> {
        let first: String = context.wait_for("approve").await?.json()?;
        let second: String = context.wait_for("approve").await?.json()?;
        let third = context.wait_for_within("approve", Duration::from_millis(30)).await?;
        Ok(format!("{first}, {second}, {}", third.is_none()))
    }

    on_each(|engine| async move {
        // The service goes on with the key that an operator installed.
        let key = SeedWaitpointHmacSecretArgs::new("operator", "0b".repeat(32));
        engine.seed_waitpoint_hmac_secret(key).await.unwrap();

        let done = Shared::default();
        let job = submit(&engine, 0).await;
        let signalled = job.signal("approve", &"early").await;
        assert!(matches!(signalled, Err(JobError::NotWaiting { .. })), "{signalled:?}");

        let service = builder(&engine, &done).handler(ask).build();
        let answered = job.clone();
        let answers = async move {
            for answer in ["ada", "bob"] {
                while answered.signal("approve", &answer).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
            answered.result().await
        };
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let running = tokio::spawn(service.run_until(async move { stopped.await.unwrap() }));
        assert_eq!(answers.await.unwrap(), "ada, bob, true");
        stop.send(()).unwrap();
        running.await.unwrap().unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_is_submitted_once_and_its_result_comes_back() {
    async fn label(job: Label, _: Context<Shared>) -> Result<String, Failure> {
        if job.0.is_empty() {
            return Err(Failure::fail("a label needs a text"));
        }
        Ok(format!("[{}]", job.0))
    }
    async fn ship(job: Order, context: Context<Shared>) -> Result<String, Failure> {
        let text = if job.cents == 0 { String::new() } else { "ada".into() };
        let child = context.submit_child("label", &Label(text)).await?;
        context.state().charges.fetch_add(1, Ordering::SeqCst);
        child.result().await
    }

    on_each(|engine| async move {
        let done = Shared::default();
        let client = Client::new(Arc::clone(&engine)).in_namespace("shop");
        let shipped = client.submit(&Order { cents: 1 }).await.unwrap();
        let refused = client.submit(&Order { cents: 0 }).await.unwrap();
        // One at a time: a parent that waits holds no place.
        let service = builder(&engine, &done).handler(ship).handler(label).concurrency(1).build();
        let both = async { (shipped.result().await, refused.result().await) };
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let running = tokio::spawn(service.run_until(async move { stopped.await.unwrap() }));
        let (shipped, refused) = both.await;
        assert_eq!(shipped.unwrap(), "[ada]");
        let error = refused.unwrap_err().to_string();
        assert!(error.contains("child \"label\": the job failed: a label needs a text"), "{error}");
        stop.send(()).unwrap();
        running.await.unwrap().unwrap();
    })
    .await;
}
