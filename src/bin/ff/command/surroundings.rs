//! What surrounds a run: its flow, the results of the executions that it waited for, and the
//! signals that it has got.

use std::collections::BTreeMap;
use std::sync::Arc;

use ff_core::EngineError;
use ff_core::contracts::{EdgeDirection, ResumeSignal};
use ff_core::engine_backend::EngineBackend;
use ff_core::state::PublicState;
use ff_core::types::{ExecutionId, FlowId};
use flowfabric_sql::flow::NODE_TAG;
use flowfabric_sql::worker::Run;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;

/// The number of upstream executions that are read at the same time.
const READS: usize = 8;

/// A run's flow, upstream results and signals, as its files say them.
#[derive(Debug, Default)]
pub(super) struct Surroundings {
    pub(super) flow_id: Option<FlowId>,
    /// The name of its node.
    pub(super) node: Option<String>,
    /// By the names of the nodes; by id where an execution has no node name.
    pub(super) upstream: BTreeMap<String, Upstream>,
    pub(super) signals: Vec<Signal>,
}

/// An execution that the run waited for.
#[derive(Debug, Serialize)]
pub(super) struct Upstream {
    execution_id: ExecutionId,
    public_state: PublicState,
    /// Its result, where that is text.
    result: Option<String>,
    /// Its result in hex digits, where that is no text.
    result_hex: Option<String>,
}

/// A signal that the execution has got.
#[derive(Debug, Serialize)]
pub(super) struct Signal {
    signal_id: String,
    name: String,
    category: String,
    source: String,
    correlation_id: String,
    accepted_at_ms: i64,
    /// Its content, where that is text.
    payload: Option<String>,
    /// Its content in hex digits, where that is no text.
    payload_hex: Option<String>,
}

impl Signal {
    fn of(signal: ResumeSignal) -> Self {
        let (payload, payload_hex) = text_or_hex(signal.payload);
        Self {
            signal_id: signal.signal_id.to_string(),
            name: signal.signal_name,
            category: signal.signal_category,
            source: signal.source_identity,
            correlation_id: signal.correlation_id,
            accepted_at_ms: signal.accepted_at.0,
            payload,
            payload_hex,
        }
    }
}

impl Surroundings {
    /// Reads them.
    ///
    /// # Errors
    /// Those of a read.
    pub(super) async fn read(
        engine: &Arc<dyn EngineBackend>,
        run: &Run,
    ) -> Result<Self, EngineError> {
        let (signals, flow_id) = tokio::try_join!(
            engine.observe_signals(&run.handle),
            engine.resolve_execution_flow_id(&run.execution_id),
        )?;
        let upstream = match &flow_id {
            Some(flow_id) => upstream(engine, flow_id, &run.execution_id).await?,
            None => BTreeMap::new(),
        };

        let node = run.tags.get(NODE_TAG).cloned().filter(|_| flow_id.is_some());
        let signals = signals.into_iter().map(Signal::of).collect();
        Ok(Self { flow_id, node, upstream, signals })
    }
}

async fn upstream(
    engine: &Arc<dyn EngineBackend>,
    flow_id: &FlowId,
    of: &ExecutionId,
) -> Result<BTreeMap<String, Upstream>, EngineError> {
    let into = EdgeDirection::Incoming { to_node: of.clone() };
    let edges = engine.list_edges(flow_id, into).await?;
    let ids: Vec<ExecutionId> = edges.into_iter().map(|edge| edge.upstream_execution_id).collect();
    let reads = stream::iter(ids).map(|id| named_result(engine, id));
    let found: Vec<Option<(String, Upstream)>> = reads.buffered(READS).try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}

/// The name of an execution's node, and its result; `None` once it is removed.
async fn named_result(
    engine: &Arc<dyn EngineBackend>,
    id: ExecutionId,
) -> Result<Option<(String, Upstream)>, EngineError> {
    let Some(snapshot) = engine.describe_execution(&id).await? else { return Ok(None) };
    let (result, result_hex) = text_or_hex(engine.get_execution_result(&id).await?);
    let name = snapshot.tags.get(NODE_TAG).cloned().unwrap_or_else(|| id.to_string());
    let public_state = snapshot.public_state;
    Ok(Some((name, Upstream { execution_id: id, public_state, result, result_hex })))
}

/// Bytes as text; as hex digits where they are none.
fn text_or_hex(bytes: Option<Vec<u8>>) -> (Option<String>, Option<String>) {
    match bytes.map(String::from_utf8) {
        None => (None, None),
        Some(Ok(text)) => (Some(text), None),
        Some(Err(error)) => (None, Some(hex::encode(error.as_bytes()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_are_hex_digits() {
        assert_eq!(text_or_hex(None), (None, None));
        assert_eq!(text_or_hex(Some(b"a\n".to_vec())), (Some("a\n".to_owned()), None));
        assert_eq!(text_or_hex(Some(vec![0xff, 0])), (None, Some("ff00".to_owned())));
    }
}
