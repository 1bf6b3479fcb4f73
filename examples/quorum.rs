//! A flow that asks five shops for a price, and goes on as soon as three have answered.
//!
//! `cargo run --example quorum` works in memory, `… -- sqlite:quorum.db` in a file.

use std::error::Error;
use std::time::Duration;

use flowfabric_sql::core::types::ExecutionId;
use flowfabric_sql::{
    Client, Context, Failure, FlowSpec, Job, PublicState, Service, TimestampMs, flow,
};
use serde::{Deserialize, Serialize};

const FLOW: &str = r#"{ "kind": "best price", "nodes": [
    { "name": "north", "kind": "ask", "payload": { "price": 30 } },
    { "name": "south", "kind": "ask", "payload": { "price": 20 } },
    { "name": "east", "kind": "ask", "payload": { "price": 25 } },
    { "name": "closed", "kind": "ask", "payload": { "price": 0 } },
    { "name": "slow", "kind": "ask", "payload": { "price": 999 } },
    { "name": "choose", "kind": "choose", "payload": {},
      "after": ["north", "south", "east", "closed", "slow"],
      "needs": { "quorum": 3 }, "on_satisfied": "cancel_remaining" }
] }"#;

/// Asks one shop. A real one has an address; this one says what it answers.
#[derive(Serialize, Deserialize)]
struct Ask {
    price: u64,
}

impl Job for Ask {
    const KIND: &'static str = "ask";
    type Output = u64;
}

/// Chooses the lowest price.
#[derive(Serialize, Deserialize)]
struct Choose {}

impl Job for Choose {
    const KIND: &'static str = "choose";
    type Output = u64;
}

async fn ask(shop: Ask, _: Context<()>) -> Result<u64, Failure> {
    match shop.price {
        0 => Err(Failure::fail("the shop is closed")),
        999 => {
            tokio::time::sleep(Duration::from_secs(600)).await;
            Ok(999)
        }
        price => Ok(price),
    }
}

async fn choose(_: Choose, context: Context<()>) -> Result<u64, Failure> {
    let mut prices = Vec::new();
    for shop in ["north", "south", "east", "closed", "slow"] {
        match context.upstream::<Ask>(shop).await {
            Ok(price) => prices.push(price),
            // It has no result: the quorum was reached without it.
            Err(Failure::Fail(_)) => {}
            Err(other) => return Err(other),
        }
    }
    prices.into_iter().min().ok_or_else(|| Failure::fail("no shop has a price"))
}

/// Runs the flow, and returns the chosen price.
pub(crate) async fn run(url: &str) -> Result<u64, Box<dyn Error>> {
    let engine = flowfabric_sql::open(url).await?;
    let spec = FlowSpec::parse(FLOW)?;
    let submitted = flow::submit(engine.as_ref(), &spec, TimestampMs::now()).await?;

    let builder = Service::builder(engine.clone(), ());
    builder.handler(ask).handler(choose).build().run_until_empty().await?;

    let client = Client::new(engine);
    let node = |name: &str| -> Option<ExecutionId> {
        let (_, id) = submitted.executions.iter().find(|(node, _)| node.as_str() == name)?;
        Some(id.clone())
    };
    let slow = client.attach::<Ask>(node("slow").ok_or("no such node")?);
    assert_eq!(slow.status().await?, PublicState::Cancelled, "the others were enough");
    let price = client.attach::<Choose>(node("choose").ok_or("no such node")?).result().await?;
    assert_eq!(price, 20);
    Ok(price)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "sqlite::memory:".into());
    println!("the lowest of three prices is {}", run(&url).await?);
    Ok(())
}
