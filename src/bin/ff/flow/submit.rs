//! `ff flow submit`: creates the flow in a file, or what is missing of it.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ff_core::types::FlowId;
use indicatif::{ProgressBar, ProgressStyle};

use crate::Global;
use crate::clock::now;
use crate::failure::Failure;
use crate::ids::{Ids, flow_id};
use crate::output::Output;
use crate::submit::traceparent_of_environment;
use crate::table::{Column, Table};
use crate::view::FlowSubmittedView;
use crate::words::count;
use flowfabric_sql::flow::{FlowSpec, Submitted, submit_with};
use flowfabric_sql::telemetry::Traceparent;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// A file with one JSON object, - for stdin: {"kind", "nodes", "namespace"?, "lane"?,
    /// "flow_id"?}, each node {"name", "kind", "payload", "lane"?, "priority"?, "delay_until"?,
    /// "tags"?, "policy"?, "after"?: [names], "needs"?: "all" | "any" | {"quorum": N},
    /// "on_satisfied"?: "let_run" | "cancel_remaining"}.
    #[arg(value_name = "FILE.json", default_value = "-")]
    file: PathBuf,
    /// The flow's id. A repeated submission with it creates what is missing and changes nothing
    /// else.
    #[arg(long, value_name = "FLOW", value_parser = flow_id)]
    flow_id: Option<FlowId>,
    /// The trace that nodes without the tag "traceparent" continue: a W3C traceparent. By default
    /// that of TRACEPARENT in the environment, unless it is malformed.
    #[arg(long, value_name = "TRACEPARENT")]
    traceparent: Option<Traceparent>,
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    let (name, text) = read(&arguments.file)?;
    let spec = FlowSpec::parse(&text);
    let spec = spec.map_err(|error| Failure::usage(format!("{name}: {error}")))?;
    let flow_id = arguments.flow_id.or_else(|| spec.flow_id().cloned()).unwrap_or_default();
    let spec = spec.with_flow_id(flow_id.clone());
    let spec = match arguments.traceparent.or_else(traceparent_of_environment) {
        Some(traceparent) => spec.traceparent(traceparent),
        None => spec,
    };

    let engine = global.open_or_create().await?;
    let output = global.output();
    if !output.is_json() {
        // Printed first: after an interruption the id is needed to go on.
        output.line(format!("flow {flow_id}"))?;
    }

    let progress = progress(&spec);
    let done = |steps| progress.inc(u64::try_from(steps).unwrap_or(0));
    let now = now(&engine).await?;
    let submitted = submit_with(engine.as_ref(), &spec, now, &done).await;
    progress.finish_and_clear();

    let submitted = submitted.map_err(|error| {
        let help = if error.can_go_on {
            format!("submit it again with --flow-id {flow_id} to go on")
        } else {
            "mend the graph, or submit it under another --flow-id; nothing was changed".to_owned()
        };
        let what = format!("submitting flow {flow_id}: {}", error.doing);
        Failure::engine(&what, &error.source).with_help(help)
    })?;
    print_submitted(output, &spec, &submitted)
}

/// The file's name and its text.
fn read(path: &Path) -> Result<(String, String), Failure> {
    let (name, text) = if path.as_os_str() == "-" {
        let mut text = String::new();
        ("stdin".to_owned(), io::stdin().read_to_string(&mut text).map(|_| text))
    } else {
        (path.display().to_string(), std::fs::read_to_string(path))
    };

    match text {
        Ok(text) => Ok((name, text)),
        Err(error) => Err(Failure::new(format!("reading {name}: {error}"))),
    }
}

fn print_submitted(output: Output, spec: &FlowSpec, submitted: &Submitted) -> Result<(), Failure> {
    let Submitted { flow_id, executions, created, found, released } = submitted;
    if output.is_json() {
        let by_node = executions.iter().map(|(node, id)| (node.as_str(), id));
        return Ok(output.json(&FlowSubmittedView {
            flow_id,
            executions: by_node.collect::<BTreeMap<_, _>>(),
            created: *created,
            found: *found,
            released: *released,
        })?);
    }

    let ids = Ids::of(executions.iter().map(|(_, id)| id.uuid()), output.width());
    let mut table = Table::new([Column::cut("node", 0), Column::whole("execution", 0)]);
    for (node, id) in executions {
        table.row([node.to_string(), ids.execution(id)]);
    }
    output.table(&table)?;
    Ok(output.line(format!(
        "{}: {created} created, {found} found; {}",
        count(executions.len(), "execution"),
        count(spec.edge_count(), "dependency")
    ))?)
}

/// A progress bar; it is shown only if stderr is a terminal.
fn progress(spec: &FlowSpec) -> ProgressBar {
    let steps = spec.nodes().len() + 2 * spec.edge_count();
    let bar = ProgressBar::new(u64::try_from(steps).unwrap_or(u64::MAX));
    match ProgressStyle::with_template("{wide_bar} {pos}/{len}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
