//! Values of keys that are known before any row is found.

use super::{Expr, Name, Path};
use crate::plan::column::ColumnRef;

/// The values of primary keys, by column.
pub type Key = [(ColumnRef, Expr)];

/// The value that the key of a row binds to the column at the path, directly or by the key of
/// another row; `None` if the row itself has to be found first. `key_of` answers with the key of a
/// named row. A key reads only rows that were found before its own, so the search ends.
pub fn bound<'a>(
    key_of: &impl Fn(&Name) -> Option<&'a Key>,
    row: &Name,
    path: &Path,
) -> Option<&'a Expr> {
    let key = key_of(row).filter(|_| path.keys.is_empty())?;
    let (_, value) = key.iter().find(|(column, _)| *column == path.column)?;
    match value {
        Expr::Value(..) | Expr::Slot(..) => Some(value),
        Expr::Held(other, path) => bound(key_of, other, path),
        Expr::Const(_)
        | Expr::Null(_)
        | Expr::Plus(..)
        | Expr::Greatest(..)
        | Expr::PickedCount
        | Expr::PickedSum(_)
        | Expr::Item(..)
        | Expr::Joined(_)
        | Expr::Object(_) => None,
    }
}
