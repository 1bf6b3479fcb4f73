//! One measurement after the other: the engine and the ceiling in turns, on one database.

mod session;
mod steps;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use async_trait::async_trait;
use ff_core::engine_backend::EngineBackend;

use crate::error::BenchError;
use crate::live::Live;
use crate::place::Place;
use crate::report::{Measured, Report};
use crate::scenario::Scenario;
use session::Session;

/// The opener of engines.
#[async_trait]
pub trait Engines: Send + Sync {
    /// Opens an engine with this many callers on the place, and makes its tables if they are not
    /// there.
    ///
    /// # Errors
    /// `Open`, naming the reason.
    async fn open(
        &self,
        place: &Place,
        callers: usize,
    ) -> Result<Arc<dyn EngineBackend>, BenchError>;
}

/// The extent of a measurement.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The loads.
    pub scenarios: Vec<Scenario>,
    /// The callers at once; each load's own number if absent.
    pub callers: Option<usize>,
    /// The bytes of each execution's payload.
    pub payload_bytes: usize,
    /// The executions in one call of `submit` and `batches`, from 1 to 1,000.
    pub batch: usize,
    /// The time for each side of a scenario.
    pub time: Duration,
    /// SQL that alters the new tables before anything is measured.
    pub alteration: Option<String>,
}

/// Measures on the place, and leaves it behind for the caller to remove.
///
/// # Errors
/// Those of the engine, the database and the disk.
pub async fn measure(
    place: &Place,
    engines: &dyn Engines,
    settings: &Settings,
    live: &Arc<Live>,
) -> Result<Report, BenchError> {
    let disk = place.disk()?;
    let session = Session { place, engines, settings, live, largest_log: AtomicU64::new(0) };
    session.make_tables().await?;

    let mut scenarios = Vec::new();
    for scenario in &settings.scenarios {
        scenarios.push(measured(&session, *scenario).await?);
    }

    let steps = steps::measured(&session).await?;
    Ok(Report {
        database: place.family(),
        version: place.version().await?,
        schema: place.schema().map(str::to_owned),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        payload_bytes: settings.payload_bytes,
        batch: settings.batch,
        alteration: settings.alteration.clone(),
        disk,
        scenarios,
        steps,
        size: session.size().await?,
    })
}

/// The turns of each side. The machine's noise meets both.
const TURNS: u32 = 2;

async fn measured(session: &Session<'_>, scenario: Scenario) -> Result<Measured, BenchError> {
    let callers = session.settings.callers.unwrap_or(scenario.callers());
    let [mut engine, mut ceiling] = session.sides(scenario, callers);
    let time = session.settings.time / TURNS;
    for _ in 0..TURNS {
        ceiling.take_turn(time).await?;
        engine.take_turn(time).await?;
    }

    let (engine, ceiling) = (engine.finish(), ceiling.finish());
    let ratio = Some(engine.per_s / ceiling.per_s).filter(|ratio| ratio.is_finite());
    Ok(Measured { scenario, callers, engine, ceiling, ratio })
}
