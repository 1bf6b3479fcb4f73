//! Which execution an argument means.

use ff_core::partition::PartitionConfig;
use ff_core::types::{ExecutionId, FlowId, LaneId, WaitpointId};
use uuid::Uuid;

use super::failure::Failure;

/// The name of the lane where none is given.
pub(super) const DEFAULT_LANE: &str = "default";

/// One execution.
#[derive(Debug, clap::Args)]
pub(super) struct IdArguments {
    /// The execution: `{fp:N}:UUID`, or only the UUID of one outside any flow.
    #[arg(value_name = "ID")]
    id: String,
    /// The lane that a bare UUID was submitted to.
    #[arg(long, value_name = "LANE", default_value = DEFAULT_LANE)]
    lane: String,
}

impl IdArguments {
    pub(super) fn execution_id(&self) -> Result<ExecutionId, Failure> {
        execution_id(&self.id, &lane(&self.lane)?).map_err(Failure::usage)
    }
}

/// The lane of that name.
pub(super) fn lane(name: &str) -> Result<LaneId, Failure> {
    LaneId::try_new(name).map_err(|error| Failure::usage(format!("lane {name:?}: {error}")))
}

/// The flow of that id.
pub(super) fn flow_id(text: &str) -> Result<FlowId, String> {
    FlowId::parse(text).map_err(|_| format!("flow {text:?} is no UUID"))
}

/// The waitpoint of that id.
pub(super) fn waitpoint_id(text: &str) -> Result<WaitpointId, String> {
    WaitpointId::parse(text).map_err(|_| format!("waitpoint {text:?} is no UUID"))
}

/// The execution that `text` names in full.
pub(super) fn full_execution_id(text: &str) -> Result<ExecutionId, String> {
    ExecutionId::parse(text).map_err(|error| error.to_string())
}

/// The execution that `text` names in full, or by the UUID alone as one of `lane`.
pub(super) fn execution_id(text: &str, lane: &LaneId) -> Result<ExecutionId, String> {
    if text.starts_with('{') {
        return full_execution_id(text);
    }
    let uuid = Uuid::parse_str(text)
        .map_err(|_| format!("id {text:?} is neither {{fp:N}}:UUID nor a UUID"))?;
    Ok(ExecutionId::deterministic_solo(lane, &PartitionConfig::default(), uuid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_full_or_belong_to_a_lane() {
        let lane = LaneId::new("default");
        let uuid = "550e8400-e29b-41d4-a716-446655440000";
        let full = format!("{{fp:7}}:{uuid}");
        assert_eq!(execution_id(&full, &lane).unwrap().as_str(), full);
        assert_eq!(execution_id(uuid, &lane).unwrap().as_str(), format!("{{fp:86}}:{uuid}"));
        for bad in ["", "x", "{fp:x}:1", "{fp:7}", "fp:7:550e8400"] {
            assert!(execution_id(bad, &lane).is_err(), "{bad}");
        }
    }
}
