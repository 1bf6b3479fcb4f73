//! Handlers that run steps and complete their jobs in transactions of their own.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ff_core::EngineError;
use ff_core::engine_backend::EngineBackend;
use ff_core::state::PublicState;
use flowfabric_sql::{
    Client, Completed, Context, Failure, InTransaction, Job, JobError, Service, Submitted, Within,
};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

use super::steps::{places, revoke};
use super::{Own, on_both};
use crate::backends::{self, Bench};

/// An order, which its handler stores in a table of its own.
#[derive(Debug, Serialize, Deserialize)]
struct Order(i64);

impl Job for Order {
    const KIND: &'static str = "order";
    type Output = i64;
}

/// What the handlers share.
struct Shop {
    bench: Arc<Bench>,
    /// How often the work of a step ran, and the handler.
    work: AtomicU32,
    runs: AtomicU32,
    /// The task that a handler has left, and that returns its refusals.
    task: Mutex<Option<JoinHandle<[String; 2]>>>,
}

impl InTransaction for Own {
    fn within<'t>(&'t mut self, engine: &dyn EngineBackend) -> Result<Within<'t>, EngineError> {
        self.transaction().within(engine)
    }

    async fn commit(self) -> Result<(), Failure> {
        Ok(Self::commit(self).await?)
    }
}

impl Shop {
    fn open(bench: &Arc<Bench>) -> Arc<Self> {
        let (work, runs, task) = <_>::default();
        Arc::new(Self { bench: Arc::clone(bench), work, runs, task })
    }

    async fn submit(&self, order: i64, retries: u32) -> Submitted<Order> {
        let client = Client::new(Arc::clone(&self.bench.backend));
        client.submit(&Order(order)).retries(retries).await.unwrap()
    }

    fn counts(&self) -> (u32, u32) {
        (self.work.load(Ordering::SeqCst), self.runs.load(Ordering::SeqCst))
    }
}

/// Stores the order in a step, and its number.
async fn store(
    context: &Context<Arc<Shop>>,
    own: &mut Own,
    name: &str,
    order: i64,
) -> Result<i64, Failure> {
    let shop = Arc::clone(context.state());
    let stored = context.step_within(name, own, |own| {
        Box::pin(async move {
            shop.work.fetch_add(1, Ordering::SeqCst);
            own.order(order).await;
            Ok::<_, Failure>(order + 1)
        })
    });
    stored.await
}

/// Stores an order in a step, rolls back at first, and then runs once more behind the step.
async fn twice(job: Order, context: Context<Arc<Shop>>) -> Result<i64, Failure> {
    let shop = context.state();
    let run = shop.runs.fetch_add(1, Ordering::SeqCst);
    let mut own = Own::begin(&shop.bench).await;
    let number = store(&context, &mut own, "store", job.0).await?;
    match run {
        // A crash: it is dropped.
        0 => return Err(Failure::snooze(Duration::ZERO)),
        1 => own.rollback().await,
        _ => own.commit().await?,
    }

    if run < 3 {
        return Err(Failure::snooze(Duration::ZERO));
    }
    let after = context.step("after", || async { Ok::<_, Failure>(number * 10) }).await?;
    Ok(after)
}

/// Stores two orders in steps of one transaction, which it rolls back and repeats in the same run.
async fn repeated(job: Order, context: Context<Arc<Shop>>) -> Result<i64, Failure> {
    let shop = context.state();
    shop.runs.fetch_add(1, Ordering::SeqCst);
    for attempt in 0..3 {
        let mut own = Own::begin(&shop.bench).await;
        let first = store(&context, &mut own, "first", job.0).await?;
        let item = store(&context, &mut own, "item", job.0 + 1).await?;
        let other = store(&context, &mut own, "item", job.0 + 2).await?;
        if attempt < 2 {
            own.rollback().await;
            continue;
        }
        own.commit().await?;

        let mut own = Own::begin(&shop.bench).await;
        let last = store(&context, &mut own, "item", job.0 + 3).await?;
        own.commit().await?;
        let sum = first + item + other + last;
        return context.step("sum", || async move { Ok::<_, Failure>(sum) }).await;
    }
    unreachable!("the third attempt returns")
}

/// Leaves a task that loses the lease and stores the order nevertheless: the worker drops a handler
/// as soon as it notices, which may be between any two of its calls.
async fn without_lease(job: Order, context: Context<Arc<Shop>>) -> Result<i64, Failure> {
    let shop = Arc::clone(context.state());
    if shop.runs.fetch_add(1, Ordering::SeqCst) != 0 {
        return Ok(job.0);
    }
    let task = tokio::spawn(store_without_lease(job.0, context.clone()));
    *shop.task.lock().unwrap() = Some(task);
    context.over().await;
    Err(Failure::snooze(Duration::ZERO))
}

/// Revokes the lease, stores an order in a step and with the end of the job, and returns what it
/// was told.
async fn store_without_lease(order: i64, context: Context<Arc<Shop>>) -> [String; 2] {
    let shop = context.state();
    revoke(&shop.bench, &context.run().execution_id).await;
    let mut own = Own::begin(&shop.bench).await;
    let step = store(&context, &mut own, "store", order).await.unwrap_err();
    // The transaction is usable, and its owner decides.
    own.order(order + 1).await;
    own.rollback().await;
    let own = Own::begin(&shop.bench).await;
    let end = context.complete_within(own, 1_i64).await.unwrap_err();
    [format!("{step:?}"), format!("{end:?}")]
}

/// Completes the job together with the order.
async fn complete(job: Order, context: Context<Arc<Shop>>) -> Result<Completed<i64>, Failure> {
    let shop = context.state();
    shop.runs.fetch_add(1, Ordering::SeqCst);
    let mut own = Own::begin(&shop.bench).await;
    own.order(job.0).await;
    context.complete_within(own, job.0 * 2).await
}

/// Completes the job in a transaction of the handler by the engine's own operation.
async fn by_hand(job: Order, context: Context<Arc<Shop>>) -> Result<i64, Failure> {
    let shop = context.state();
    let commits = shop.runs.fetch_add(1, Ordering::SeqCst) == 0;
    let mut own = Own::begin(&shop.bench).await;
    own.order(job.0).await;
    own.within(&shop.bench).complete(&context.run().handle, Some(b"7".to_vec())).await?;
    if commits {
        own.commit().await?;
    } else {
        own.rollback().await;
    }
    Ok(job.0 * 3)
}

async fn run_all<A, F, R>(shop: &Arc<Shop>, handler: F)
where
    A: flowfabric_sql::Answer<i64> + Send + 'static,
    F: Fn(Order, Context<Arc<Shop>>) -> R + Send + Sync + 'static,
    R: Future<Output = Result<A, Failure>> + Send + 'static,
{
    let engine = Arc::clone(&shop.bench.backend);
    let service = Service::builder(engine, Arc::clone(shop)).handler(handler).scanners(None);
    // One at a time: a job whose lease is lost is claimed again once its handler has returned.
    service.concurrency(1).build().run_until_empty().await.unwrap();
}

on_both! {
    async fn a_step_runs_again_until_its_transaction_is_committed_and_then_no_more(bench) {
        bench.with_orders().await;
        let shop = Shop::open(&bench);
        let job = shop.submit(7, 0).await;
        run_all(&shop, twice).await;
        assert_eq!(job.result().await.unwrap(), 80);
        // A crash, a rollback, a commit, and a run that reads it back.
        assert_eq!(shop.counts(), (3, 4));
        assert_eq!(bench.orders().await, [7]);
        assert_eq!(places(&bench, job.id()).await, [0, 1]);
    }

    async fn a_transaction_that_is_repeated_in_the_same_run_gets_the_same_places(bench) {
        bench.with_orders().await;
        let shop = Shop::open(&bench);
        let job = shop.submit(10, 0).await;
        run_all(&shop, repeated).await;
        assert_eq!(job.result().await.unwrap(), 11 + 12 + 13 + 14);
        assert_eq!(shop.counts(), (10, 1));
        assert_eq!(bench.orders().await, [10, 11, 12, 13]);
        assert_eq!(places(&bench, job.id()).await, [0, 1, 2, 3, 4]);
    }

    async fn a_handler_without_its_lease_is_refused_and_stores_nothing(bench) {
        bench.with_orders().await;
        let shop = Shop::open(&bench);
        let job = shop.submit(7, 0).await;
        run_all(&shop, without_lease).await;
        assert_eq!(job.result().await.unwrap(), 7);
        let task = shop.task.lock().unwrap().take().unwrap();
        for refusal in task.await.unwrap() {
            // The job waits, or runs again under another lease, or has ended by that run.
            let refusals = ["ExecutionNotActive", "LeaseConflict"];
            assert!(refusals.iter().any(|one| refusal.contains(one)), "{refusal}");
        }
        assert_eq!(bench.orders().await, [] as [i64; 0]);
        assert_eq!(places(&bench, job.id()).await, [] as [u32; 0]);
    }

    async fn a_job_completes_with_the_rows_of_its_handler_or_not_at_all(bench) {
        bench.with_orders().await;
        let shop = Shop::open(&bench);
        let done = shop.submit(7, 0).await;
        run_all(&shop, complete).await;
        assert_eq!(done.result().await.unwrap(), 14);
        assert_eq!(bench.completions(done.id()).await, ["success"]);
        assert_eq!(bench.orders().await, [7]);

        // The order is there already, so its statement fails: so does the attempt.
        let again = shop.submit(7, 0).await;
        run_all(&shop, complete).await;
        assert!(matches!(again.result().await, Err(JobError::Failed { .. })));
        assert_eq!(bench.orders().await, [7]);
        assert_eq!(shop.counts(), (0, 2));
    }

    async fn a_completion_that_was_rolled_back_is_reported_like_any_other(bench) {
        bench.with_orders().await;
        let shop = Shop::open(&bench);
        let committed = shop.submit(1, 0).await;
        run_all(&shop, by_hand).await;
        let rolled_back = shop.submit(2, 0).await;
        run_all(&shop, by_hand).await;
        assert_eq!(committed.result().await.unwrap(), 7);
        assert_eq!(rolled_back.result().await.unwrap(), 6);
        assert_eq!(bench.orders().await, [1]);
        for job in [committed, rolled_back] {
            assert_eq!(job.status().await.unwrap(), PublicState::Completed);
            assert_eq!(bench.completions(job.id()).await, ["success"]);
        }
    }
}

/// Counts the operations that complete, and collects the warnings.
#[derive(Clone, Default)]
struct Watched(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    completions: u32,
    warnings: Vec<String>,
}

struct Words(Vec<(&'static str, String)>);

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.push((field.name(), format!("{value:?}")));
    }
}

impl<S: tracing::Subscriber + for<'s> LookupSpan<'s>> Layer<S> for Watched {
    fn on_new_span(
        &self,
        span: &tracing::span::Attributes<'_>,
        _: &tracing::span::Id,
        _: tracing_subscriber::layer::Context<'_, S>,
    ) {
        let mut words = Words(Vec::new());
        span.record(&mut words);
        let completes =
            |(field, word): &(&str, String)| *field == "operation" && word == "\"complete\"";
        self.0.lock().unwrap().completions += u32::from(words.0.iter().any(completes));
    }

    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        if *event.metadata().level() <= tracing::Level::WARN {
            let mut words = Words(Vec::new());
            event.record(&mut words);
            self.0.lock().unwrap().warnings.push(format!("{:?}", words.0));
        }
    }
}

/// One thread, to which the subscriber belongs.
#[tokio::test]
async fn a_completion_in_a_transaction_of_the_handler_is_one_operation_without_a_warning() {
    for bench in [backends::sqlite_file().await, backends::postgres_copy().await] {
        let bench = Arc::new(bench);
        bench.with_orders().await;
        let shop = Shop::open(&bench);
        for by_hand_of_the_handler in [false, true] {
            let job = shop.submit(i64::from(by_hand_of_the_handler), 0).await;
            shop.runs.store(0, Ordering::SeqCst);
            let watched = Watched::default();
            let layered = tracing_subscriber::registry().with(watched.clone());
            let subscribed = tracing::subscriber::set_default(layered);
            if by_hand_of_the_handler {
                run_all(&shop, by_hand).await;
            } else {
                run_all(&shop, complete).await;
            }
            drop(subscribed);

            // Without the proof, the service reports, and the refusal says that it is completed;
            // unless the worker notices the end before the handler returns.
            let seen = std::mem::take(&mut *watched.0.lock().unwrap());
            let expected = if by_hand_of_the_handler { 1..=2 } else { 1..=1 };
            assert!(expected.contains(&seen.completions), "{seen:?} of {job:?}");
            assert_eq!(seen.warnings, [] as [String; 0], "{job:?}");
            assert_eq!(bench.completions(job.id()).await, ["success"]);
        }
        drop(shop);
        Arc::into_inner(bench).unwrap().tear_down().await;
    }
}
