//! `ff sql`: prints the plan and the SQL of an operation.

use std::collections::BTreeMap;

use ff_codegen::dialect::CommitStrategy;
use ff_codegen::{Dialect, Postgres, RenderError, Script, ScriptStep, Sqlite};
use serde::Serialize;

use super::Global;
use super::failure::Failure;
use ff_catalogue::{Call, Sample, samples};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The operation, such as claim; without one, all of them are listed.
    #[arg(value_name = "OPERATION")]
    operation: Option<String>,
}

pub(super) fn run(global: &Global, arguments: &Arguments) -> Result<(), Failure> {
    let samples = samples();
    let output = global.output();
    let mut operations: Vec<&str> = samples.iter().map(|sample| sample.operation).collect();
    operations.sort_unstable();
    operations.dedup();

    let Some(operation) = &arguments.operation else {
        if output.is_json() {
            output.json(&operations)?;
        } else {
            output.lines(&operations.join("\n"))?;
        }
        return Ok(());
    };

    let samples: Vec<&Sample> =
        samples.iter().filter(|sample| sample.operation == *operation).collect();
    if samples.is_empty() {
        let known = operations.join(", ");
        return Err(Failure::usage(format!("there is no operation {operation:?}; try {known}")));
    }

    if output.is_json() {
        let described: Vec<_> = samples.iter().map(|sample| described(sample)).collect();
        output.json(&described)?;
        return Ok(());
    }

    for sample in samples {
        output.lines(&format!("-- {}: {}\n\n{}", sample.operation, sample.case, sample.call))?;
        for (dialect, sql) in rendered(&sample.call) {
            output.lines(&format!("\n-- {dialect}\n{sql}"))?;
        }
        output.line("")?;
    }
    Ok(())
}

/// A sample with its plan and SQL, as programs read it.
#[derive(Debug, Serialize)]
struct SampleView<'a> {
    operation: &'a str,
    case: &'a str,
    asked: String,
    sql: BTreeMap<&'static str, String>,
}

fn described(sample: &Sample) -> SampleView<'_> {
    SampleView {
        operation: sample.operation,
        case: &sample.case,
        asked: sample.call.to_string(),
        sql: rendered(&sample.call).into_iter().collect(),
    }
}

/// The SQL by dialect. If the generator refuses, a comment with its reason takes the place.
fn rendered(call: &Call) -> [(&'static str, String); 2] {
    let dialects: [(&str, &dyn Dialect); 2] = [("postgres", &Postgres), ("sqlite", &Sqlite)];
    dialects.map(|(name, dialect)| {
        let sql = sql(call, dialect).unwrap_or_else(|error| format!("-- not rendered: {error}"));
        (name, sql)
    })
}

fn sql(call: &Call, dialect: &dyn Dialect) -> Result<String, RenderError> {
    match call {
        Call::Query(query) => {
            Ok(ended(ff_codegen::query(dialect, &query.clone().into_shape().0)?.sql))
        }
        Call::Plan(plan) => match dialect.commit_strategy() {
            CommitStrategy::Fused => Ok(ended(ff_codegen::fused(dialect, &plan.shape())?.sql)),
            CommitStrategy::Script => {
                let Script { once, each, .. } = ff_codegen::script(dialect, &plan.shape())?;
                let mut lines = vec!["BEGIN IMMEDIATE;".to_owned()];
                lines.extend(once.into_iter().map(step));
                if !each.is_empty() {
                    lines.push("-- for each picked row".to_owned());
                    lines.extend(each.into_iter().map(step));
                }
                lines.push("COMMIT;".to_owned());
                Ok(lines.join("\n"))
            }
        },
    }
}

fn step(step: ScriptStep) -> String {
    match step {
        ScriptStep::Guard { statement, .. } => {
            format!("{}  -- must find a row", ended(statement.sql))
        }
        ScriptStep::Pick { statement, .. }
        | ScriptStep::Write { statement, must_write: false, .. } => ended(statement.sql),
        ScriptStep::Write { statement, must_write: true, .. } => {
            format!("{}  -- must change a row", ended(statement.sql))
        }
    }
}

fn ended(sql: String) -> String {
    format!("{sql};")
}
