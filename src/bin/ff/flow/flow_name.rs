//! The flow that an argument names.

use std::str::FromStr;
use std::sync::Arc;

use ff_core::engine_backend::EngineBackend;
use ff_core::types::FlowId;

use crate::failure::Failure;
use crate::ids::{DIGITS_MIN, Digits, only, search};

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
    /// Finds the one flow with this name.
    pub(crate) async fn find(self, engine: &Arc<dyn EngineBackend>) -> Result<FlowId, Failure> {
        match self {
            Self::InFull(id) => Ok(id),
            Self::Prefix(digits) => {
                let found = search::flows(engine, &digits).await?;
                only(&digits, "flow", found, ToString::to_string)
            }
        }
    }
}

/// The failure for an id that no flow has.
pub(super) fn missing(id: &FlowId) -> Failure {
    Failure::new(format!("there is no flow {id}")).with_help("ff flow ls lists flows")
}
