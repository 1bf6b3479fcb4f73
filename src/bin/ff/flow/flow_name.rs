//! The flow that an argument names.

use std::str::FromStr;
use std::sync::Arc;

use ff_core::contracts::FlowQuery;
use ff_core::engine_backend::EngineBackend;
use ff_core::types::FlowId;

use super::ls::PAGE;
use crate::failure::Failure;
use crate::ids::{DIGITS_MIN, Digits, only};

/// A flow by its id, or by the first digits of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FlowName {
    InFull(FlowId),
    Prefix(Digits),
}

impl FromStr for FlowName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (FlowId::parse(text), Digits::of_text(text)) {
            (Ok(id), _) => Ok(Self::InFull(id)),
            (Err(_), Some(digits)) => Ok(Self::Prefix(digits)),
            (Err(_), None) => Err(format!(
                "flow {text:?} is neither a UUID nor the first {DIGITS_MIN} digits of one"
            )),
        }
    }
}

impl FlowName {
    /// Finds the one flow with this name. For digits, it reads through all flows.
    pub(crate) async fn find(self, engine: &Arc<dyn EngineBackend>) -> Result<FlowId, Failure> {
        let digits = match self {
            Self::InFull(id) => return Ok(id),
            Self::Prefix(digits) => digits,
        };

        let mut query = FlowQuery::new(PAGE);
        let mut found = Vec::new();

        loop {
            let page = engine.list_flows_by(query.clone()).await;
            let page = page.map_err(|error| Failure::engine("looking for the flow", &error))?;
            let ids = page.flows.into_iter().map(|flow| flow.flow_id);
            found.extend(ids.filter(|id| digits.is_prefix_of(id.0)).map(|id| (id.to_string(), id)));

            if page.next_cursor.is_none() {
                break;
            }
            query.after = page.next_cursor;
        }
        Ok(only(&digits, "flow", found, |(text, _)| text)?.1)
    }
}

/// The failure for an id that no flow has.
pub(super) fn missing(id: &FlowId) -> Failure {
    Failure::new(format!("there is no flow {id}")).with_help("ff flow ls lists flows")
}
