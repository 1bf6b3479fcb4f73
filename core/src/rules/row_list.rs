//! Lists to insert rows for: each row reads the members of its element ([`Expr::item`]).

use serde_json::Value as Json;

use crate::model::error::EngineError;
use crate::plan::Expr;
use crate::plan::value::Storable;
use crate::rules::input;

/// A list to insert rows for, as bytes, so that its contents are printed nowhere.
///
/// # Errors
/// `Validation(InvalidInput)` when it cannot be written as JSON.
pub fn items(list: &[Json]) -> Result<Expr, EngineError> {
    list_bytes(list).map(Storable::into_expr)
}

/// The bytes of [`items`].
///
/// # Errors
/// As [`items`].
pub fn list_bytes(list: &[Json]) -> Result<Vec<u8>, EngineError> {
    serde_json::to_vec(list).map_err(|error| input::invalid(format!("a list of rows: {error}")))
}
