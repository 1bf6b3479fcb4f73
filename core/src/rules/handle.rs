//! Handles: opaque bytes that a worker gets at a claim and shows with every later call.

use crate::model::error::{EngineError, ValidationKind};
use crate::model::handle::{BackendTag, Handle, HandleKind};
use crate::model::handle_codec::{self, HandlePayload};

/// Opens a handle of this backend.
///
/// # Errors
/// `Validation(HandleFromOtherBackend)` for a handle that another backend minted, whether its outer
/// tag or the one inside its bytes says so; `Validation(Corruption)` for bytes that are no handle.
pub fn open(own: BackendTag, handle: &Handle) -> Result<HandlePayload, EngineError> {
    of_backend(own, handle)?;

    let decoded = handle_codec::decode(&handle.opaque)?;
    if decoded.tag != own {
        return Err(foreign(own, decoded.tag, " (embedded tag)"));
    }

    Ok(decoded.payload)
}

/// Checks that a handle says to be of this backend, and looks no further.
///
/// # Errors
/// `Validation(HandleFromOtherBackend)`.
pub fn of_backend(own: BackendTag, handle: &Handle) -> Result<(), EngineError> {
    if handle.backend == own { Ok(()) } else { Err(foreign(own, handle.backend, "")) }
}

/// Mints a handle of this backend.
#[must_use]
pub fn mint(own: BackendTag, kind: HandleKind, payload: &HandlePayload) -> Handle {
    Handle::new(own, kind, handle_codec::encode(own, payload))
}

fn foreign(expected: BackendTag, actual: BackendTag, place: &str) -> EngineError {
    EngineError::Validation {
        kind: ValidationKind::HandleFromOtherBackend,
        detail: format!("expected={expected:?} actual={actual:?}{place}"),
    }
}
