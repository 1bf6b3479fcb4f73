//! `ff steps`: lists the durable steps that an execution has recorded.

use ff_core::contracts::StepRecord;
use serde::Serialize;

use super::Global;
use super::clock::now;
use super::failure::Failure;
use super::ids::IdArguments;
use super::pages::all_pages;
use super::table::{Column, Table};

/// The steps in one read.
const PAGE: u32 = 1_000;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    id: IdArguments,
}

/// The steps as programs read them.
#[derive(Serialize)]
struct StepsView<'a> {
    steps: Vec<StepView<'a>>,
}

#[derive(Serialize)]
struct StepView<'a> {
    position: u32,
    name: &'a str,
    value_bytes: usize,
    attempt_index: u32,
    recorded_at_ms: i64,
}

impl<'a> StepView<'a> {
    fn of(step: &'a StepRecord) -> Self {
        Self {
            position: step.position,
            name: &step.name,
            value_bytes: step.value.len(),
            attempt_index: step.attempt_index.0,
            recorded_at_ms: step.recorded_at.0,
        }
    }
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    let name = arguments.id.name()?;
    let engine = global.open().await?;
    let id = name.find(&engine).await?;
    let steps: Vec<StepRecord> = all_pages(|after| {
        let (engine, id) = (&engine, &id);
        async move {
            let page = engine.list_steps(id, after, PAGE).await;
            let page =
                page.map_err(|error| Failure::engine(&format!("the steps of {id}"), &error))?;
            let is_full = u32::try_from(page.len()).is_ok_and(|length| PAGE <= length);
            let next = page.last().map(|step| step.position).filter(|_| is_full);
            Ok((page, next))
        }
    })
    .await?;

    let output = global.output();
    if output.is_json() {
        let steps = steps.iter().map(StepView::of).collect();
        return Ok(output.json(&StepsView { steps })?);
    }
    if steps.is_empty() {
        return Ok(output.line(format!("{id} has recorded no step"))?);
    }

    let times = output.times(now(&engine).await?);
    let mut table = Table::new([
        Column::whole("step", 0),
        Column::cut("name", 0),
        Column::whole("attempt", 1),
        Column::whole("bytes", 1),
        Column::whole("recorded", 0),
    ]);
    for step in &steps {
        table.row([
            step.position.to_string(),
            step.name.clone(),
            step.attempt_index.0.to_string(),
            step.value.len().to_string(),
            times.format(step.recorded_at),
        ]);
    }
    Ok(output.table(&table)?)
}
