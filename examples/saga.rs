//! A trip of three bookings: if one is refused, those before it are undone, last first.
//!
//! `cargo run --example saga` works in memory, `… -- sqlite:saga.db` in a file.

use std::error::Error;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use flowfabric_sql::{BackoffStrategy, Client, Context, Failure, Job, JobError, Service};
use serde::{Deserialize, Serialize};

const PARTS: [&str; 3] = ["flight", "hotel", "car"];

#[derive(Serialize, Deserialize)]
struct Trip {
    traveller: String,
}

impl Job for Trip {
    const KIND: &'static str = "trip";
    type Output = Vec<String>;
}

/// The answer of a seller: a booking, or a refusal that no repetition changes.
type Answer = Result<String, String>;

/// A travel agency that writes down what it did.
#[derive(Default)]
struct Agency {
    calls: AtomicU32,
    journal: Mutex<Vec<String>>,
}

impl Agency {
    fn note(&self, line: String) -> Result<(), std::io::Error> {
        let journal = self.journal.lock();
        journal.map_err(|_| std::io::Error::other("the journal is lost"))?.push(line);
        Ok(())
    }

    /// Books a part. The outer error is a seller that was not reached: asking again may help.
    async fn book(&self, part: &str, traveller: &str) -> Result<Answer, std::io::Error> {
        if part == "car" {
            return Ok(Err("there is no car left".into()));
        }
        self.note(format!("booked {part}"))?;
        Ok(Ok(format!("{part} of {traveller}")))
    }

    /// Undoes a booking. The first call does not reach the seller.
    async fn undo(&self, booking: &str) -> Result<(), std::io::Error> {
        if self.calls.fetch_add(1, Ordering::SeqCst) == 0 {
            return Err(std::io::Error::other("the line is busy"));
        }
        self.note(format!("undid {booking}"))
    }
}

async fn travel(trip: Trip, context: Context<Arc<Agency>>) -> Result<Vec<String>, Failure> {
    let agency = context.state();
    let mut bookings = Vec::new();
    for part in PARTS {
        // A refusal is an answer, too: it is recorded, and every later run undoes the same parts.
        let answer = context.step(part, || agency.book(part, &trip.traveller)).await?;
        match answer {
            Ok(booking) => bookings.push(booking),
            Err(refusal) => {
                for booking in bookings.iter().rev() {
                    let name = format!("undo {booking}");
                    context.step(&name, || agency.undo(booking)).await?;
                }
                return Err(Failure::fail(refusal));
            }
        }
    }
    Ok(bookings)
}

/// Books a trip that gets no car, and returns the agency's journal.
pub(crate) async fn run(url: &str) -> Result<Vec<String>, Box<dyn Error>> {
    let engine = flowfabric_sql::open(url).await?;
    let soon = BackoffStrategy::Fixed { delay_ms: 20 };
    let trip = Trip { traveller: "Ada".into() };
    let trip = Client::new(engine.clone()).submit(&trip).retries(5).backoff(soon).await?;

    let agency = Arc::new(Agency::default());
    let builder = Service::builder(engine, Arc::clone(&agency));
    builder.handler(travel).build().run_until_empty().await?;

    match trip.result().await {
        Err(JobError::Failed { message, .. }) => assert_eq!(message, "there is no car left"),
        other => return Err(format!("the trip ended as {other:?}").into()),
    }
    let journal = agency.journal.lock().map_err(|_| "the journal is lost")?.clone();
    let undone = ["undid hotel of Ada", "undid flight of Ada"];
    assert_eq!(journal, [&["booked flight", "booked hotel"][..], &undone].concat());
    Ok(journal)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "sqlite::memory:".into());
    println!("{}", run(&url).await?.join("\n"));
    Ok(())
}
