//! An order service: charges a card, waits for the warehouse, and writes an email.
//!
//! `cargo run --example order_service` works in memory, `… -- sqlite:orders.db` in a file.

use std::error::Error;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use flowfabric_sql::{BackoffStrategy, Client, Context, Failure, Job, Service};
use serde::{Deserialize, Serialize};

// The business: it knows nothing of jobs.

#[derive(Serialize, Deserialize)]
struct Order {
    number: u64,
    cents: u64,
    email: String,
}

/// The bank and the post of the shop.
#[derive(Default)]
struct Shop {
    charges: AtomicU32,
    emails: AtomicU32,
}

impl Shop {
    /// Charges a card. The bank knows a repeated call by its key. It is away at the first call.
    async fn charge(&self, key: &str, cents: u64) -> Result<String, std::io::Error> {
        if self.charges.fetch_add(1, Ordering::SeqCst) == 0 {
            return Err(std::io::Error::other("the bank is away"));
        }
        Ok(format!("{cents} cents for {key}"))
    }

    async fn email(&self, to: &str, text: &str) -> Result<(), std::io::Error> {
        self.emails.fetch_add(1, Ordering::SeqCst);
        println!("to {to}: {text}");
        Ok(())
    }
}

// What this library adds.

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

/// Places an order, ships it, and returns the text of the email.
pub(crate) async fn run(url: &str) -> Result<String, Box<dyn Error>> {
    let engine = flowfabric_sql::open(url).await?;
    let client = Client::new(engine.clone());
    let order = Order { number: 7, cents: 4200, email: "ada@example.com".into() };
    let soon = BackoffStrategy::Fixed { delay_ms: 20 };
    let submit = || {
        let submission = client.submit(&order).idempotency_key("order/7").retries(5);
        submission.backoff(soon.clone()).delay(Duration::from_millis(20))
    };
    let placed = submit().await?;
    assert!(!submit().await?.is_new(), "a repeat is the order that was placed");

    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let service = Service::builder(engine, Shop::default()).handler(fulfil).build();
    let running = tokio::spawn(service.run_until(async {
        let _ = stopped.await;
    }));

    // The warehouse. It may be another process, and days later.
    while placed.signal("shipped", &"DE-17").await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let text = placed.result_within(Duration::from_secs(20)).await?;
    drop(stop);
    running.await??;
    assert_eq!(text, "4200 cents for order/7, parcel DE-17");
    Ok(text)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "sqlite::memory:".into());
    run(&url).await?;
    Ok(())
}
