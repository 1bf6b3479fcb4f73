//! `ff sql`: prints the plan and the SQL of an operation.

mod all;
mod sent;

use std::collections::BTreeMap;

use ff_codegen::{DIALECTS, Dialect, MariaDb, Postgres, PostgresOcc, Sqlite};
use serde::Serialize;

use super::Global;
use super::failure::Failure;
use ff_catalogue::{Sample, samples};
use sent::Sent;
use tracing::subscriber::NoSubscriber;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The operation, such as claim; without one, all of them are listed.
    #[arg(value_name = "OPERATION")]
    operation: Option<String>,
    /// The statements for clients in other languages, with the names of their binds; with --json,
    /// as a catalogue that a client loads. See docs/sql.md.
    #[arg(long, requires = "dialect", conflicts_with = "operation")]
    all: bool,
    /// The database of the catalogue.
    #[arg(long, requires = "all")]
    dialect: Option<DialectName>,
}

/// A database by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum DialectName {
    Postgres,
    PostgresOcc,
    Sqlite,
    #[value(name = "mariadb")]
    MariaDb,
}

pub(super) fn run(global: &Global, arguments: &Arguments) -> Result<(), Failure> {
    let output = global.output();
    if let Some(dialect) = arguments.dialect {
        return match dialect {
            DialectName::Postgres => all::run(output, &Postgres),
            DialectName::PostgresOcc => all::run(output, &PostgresOcc),
            DialectName::Sqlite => all::run(output, &Sqlite),
            DialectName::MariaDb => all::run(output, &MariaDb),
        };
    }

    // The scenes make rows that drift, so that scanners repair them; that is no news to a reader.
    let samples = tracing::subscriber::with_default(NoSubscriber::default(), samples);
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
        let views: Vec<_> = samples.iter().map(|sample| SampleView::of(sample)).collect();
        output.json(&views)?;
        return Ok(());
    }

    for sample in samples {
        output.lines(&format!("-- {}: {}\n\n{}", sample.operation, sample.case, sample.call))?;
        for dialect in DIALECTS {
            // If the generator refuses, a comment with its reason takes the place.
            let text = Sent::new(&sample.call, dialect).map(|sent| sent.text());
            let text = text.unwrap_or_else(|error| format!("-- not rendered: {error}"));
            output.lines(&format!("\n-- {}\n{text}", dialect.name()))?;
        }
        output.line("")?;
    }
    Ok(())
}

/// A sample with its plan and its statements, as programs read it.
#[derive(Debug, Serialize)]
struct SampleView<'a> {
    operation: &'a str,
    case: &'a str,
    /// The plan or query as people read it.
    call: String,
    /// The texts that are sent, by dialect.
    sql: BTreeMap<&'static str, SentView>,
}

/// The rendered statements, or the reason that there are none.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum SentView {
    Sent(Sent),
    NotRendered { error: String },
}

impl<'a> SampleView<'a> {
    fn of(sample: &'a Sample) -> Self {
        let sent = |dialect: &&'static dyn Dialect| {
            let view = match Sent::new(&sample.call, *dialect) {
                Ok(sent) => SentView::Sent(sent),
                Err(error) => SentView::NotRendered { error: error.to_string() },
            };
            (dialect.name(), view)
        };

        Self {
            operation: sample.operation,
            case: &sample.case,
            call: sample.call.to_string(),
            sql: DIALECTS.iter().map(sent).collect(),
        }
    }
}
