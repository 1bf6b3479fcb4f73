//! What this library adds: an order is a job, submitted in the transaction that stores the order.

use std::error::Error;
use std::time::Duration;

use flowfabric_sql::{
    BackoffStrategy, Client, Context, ExecutionId, Failure, Job, JobError, Service, Submitted,
};

use super::shop::{Order, Orders, Shop, Writing, on};

/// What can go wrong in a request, as the web server gets it.
pub(crate) type Failed = Box<dyn Error + Send + Sync>;

impl Job for Order {
    const KIND: &'static str = "order";
    type Output = String;
}

async fn fulfil(order: Order, context: Context<Shop>) -> Result<String, Failure> {
    let (shop, key) = (context.state(), format!("order/{}", order.number));
    let receipt = context.step("charge", || shop.charge(&key, order.cents)).await?;
    let parcel: String = context.wait_for("shipped").await?.json()?;

    let text = format!("{receipt}, parcel {parcel}");
    context.step("email", || shop.email(&order.email, &text)).await?;
    Ok(text)
}

#[derive(Clone)]
pub(crate) struct App {
    pub(crate) client: Client,
    orders: Orders,
}

impl App {
    pub(crate) async fn open(url: &str) -> Result<Self, Failed> {
        let client = Client::new(flowfabric_sql::open(url).await?);
        Ok(Self { client, orders: Orders::open(url).await? })
    }

    /// Stores an order and submits its job, both or neither. Returns the number of the order that
    /// has the key, and if it is this one.
    pub(crate) async fn place(&self, order: &Order, key: &str) -> Result<(String, bool), Failed> {
        let submission = self.client.submit(order).idempotency_key(key).retries(5);
        let submission = submission.backoff(BackoffStrategy::Fixed { delay_ms: 20 });
        let submission = submission.delay(Duration::from_millis(20));

        let mut tx = self.orders.begin().await?;
        let job = on!(Writing: &mut tx, tx => submission.within(tx).await)?;
        let id = job.id().to_string();
        if !job.is_new() {
            return Ok((tx.number(&id).await?, false));
        }
        tx.insert(order, &id).await?;
        tx.commit().await?;
        Ok((order.number.clone(), true))
    }

    /// The job of an order: its result, its state, its signals.
    pub(crate) async fn job(&self, number: &str) -> Result<Submitted<Order>, Failed> {
        let id = self.orders.job(number).await?.ok_or(JobError::NotFound)?;
        Ok(self.client.attach(ExecutionId::parse(&id)?))
    }

    /// Works on orders until that future is ready, and what runs has ended.
    pub(crate) async fn work(&self, stopped: impl Future<Output = ()>) -> Result<(), Failed> {
        let service = Service::builder(self.client.engine().clone(), Shop).handler(fulfil).build();
        Ok(service.run_until(stopped).await?)
    }
}
