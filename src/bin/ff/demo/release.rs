//! The demo's second act: a flow, from its submission to its end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ff_core::contracts::FlowGraph;
use ff_core::state::PublicState;
use ff_core::types::FlowId;
use serde::Serialize;

use super::progress::Progress;
use super::workers::{FLOW_CONCURRENCY, WorkerProcess};
use super::{Demo, POLL, ms};
use crate::clock::now;
use crate::failure::Failure;
use crate::flow::show;
use crate::view::FlowView;
use flowfabric_sql::flow::{FlowSpec, NODE_TAG, submit};

/// The flow to submit. Its payloads are shell scripts.
const FLOW: &str = include_str!("../../../../examples/release.json");

/// The ends of the nodes that do not complete.
const OTHERWISE: [(&str, PublicState); 4] = [
    ("test-linux-arm64", PublicState::Cancelled),
    ("test-windows-10", PublicState::Cancelled),
    ("benchmark", PublicState::Failed),
    ("benchmark-report", PublicState::Skipped),
];

/// The results of the second act.
pub(super) struct Released {
    graph: FlowGraph,
    elapsed: Duration,
}

/// The results as programs read them.
#[derive(Serialize)]
pub(super) struct ReleaseView<'a> {
    graph: FlowView<'a>,
    elapsed_ms: u64,
}

impl<'a> From<&'a Released> for ReleaseView<'a> {
    fn from(released: &'a Released) -> Self {
        Self { graph: (&released.graph).into(), elapsed_ms: ms(released.elapsed) }
    }
}

impl Demo {
    /// The second act: submits the flow, lets a worker run it, and reports the end of every node.
    pub(super) async fn second_act(&self) -> Result<Option<Released>, Failure> {
        if cfg!(not(unix)) {
            self.narrate("\nThe second act is left out: what it runs are shell scripts.")?;
            return Ok(None);
        }

        let begun = Instant::now();
        self.narrate("\nThe second act is a flow: executions that wait for each other.\n")?;

        let spec = FlowSpec::parse(FLOW);
        let spec = spec.map_err(|error| Failure::new(format!("demo input: {error}")))?;
        let now = now(&self.engine).await?;
        let submitted = submit(self.engine.as_ref(), &spec, now).await;
        let submitted = submitted.map_err(|error| Failure::engine(&error.doing, &error.source))?;

        self.narrate(format!(
            "5. {} executions are submitted, with {} dependencies between them (the file is\n   \
             examples/release.json). None may run before all of the flow is in place.\n",
            submitted.executions.len(),
            spec.edge_count()
        ))?;
        self.print(&self.graph(&submitted.flow_id).await?).await?;

        let mut worker = WorkerProcess::start_shell("worker-c", &self.url)?;
        self.narrate(format!(
            "\n6. worker-c (process {}) starts, with {FLOW_CONCURRENCY} commands at a time. Each end is\n   \
             applied to the executions that wait for it.",
            worker.pid()
        ))?;

        self.watch_flow(&mut worker, &submitted.flow_id).await?;
        let graph = self.graph(&submitted.flow_id).await?;
        self.narrate(format!(
            "7. Three tests out of five were enough: the two on slow machines were cancelled in the\n   \
             middle of their work. The benchmark failed, as it always does; its report was\n   \
             skipped, and nothing else waited for it. All of it took {:.1} s.\n",
            begun.elapsed().as_secs_f64()
        ))?;

        self.print(&graph).await?;
        check(&graph)?;
        Ok(Some(Released { graph, elapsed: begun.elapsed() }))
    }

    async fn graph(&self, id: &FlowId) -> Result<FlowGraph, Failure> {
        let graph = self.engine.read_flow_graph(id).await;
        let graph = graph.map_err(|error| Failure::engine("reading the flow", &error))?;
        graph.ok_or_else(|| Failure::new("the flow is gone"))
    }

    async fn print(&self, graph: &FlowGraph) -> Result<(), Failure> {
        if self.output.is_json() {
            return Ok(());
        }
        show::print(self.output, graph, now(&self.engine).await?)
    }

    async fn watch_flow(&self, worker: &mut WorkerProcess, id: &FlowId) -> Result<(), Failure> {
        let mut progress = Progress::new(self.output);
        loop {
            let ended = worker.ended_within(POLL).await?;
            let members = self.graph(id).await?.members;

            let mut states = BTreeMap::new();
            for row in &members {
                *states.entry(row.public_state.as_str().to_owned()).or_default() += 1;
            }

            progress.show(&states, members.len())?;
            if ended {
                return Ok(progress.end()?);
            }
        }
    }
}

/// Checks that every node ended as expected.
fn check(graph: &FlowGraph) -> Result<(), Failure> {
    for row in &graph.members {
        let node = row.tags.get(NODE_TAG).map_or("", String::as_str);
        let otherwise = OTHERWISE.iter().find(|(name, _)| *name == node);
        let expected = otherwise.map_or(PublicState::Completed, |(_, state)| *state);
        if row.public_state != expected {
            let found = row.public_state;
            return Err(Failure::new(format!("{node} should be {expected} and is {found}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flow_is_understood_and_has_the_nodes_that_end_otherwise() {
        let spec = FlowSpec::parse(FLOW).unwrap();
        assert_eq!((spec.nodes().len(), spec.edge_count()), (15, 19));
        for (name, _) in OTHERWISE {
            assert!(spec.nodes().iter().any(|node| node.name.as_str() == name), "{name}");
        }
    }
}
