//! Identifiers inside generated statements.

use ff_core::plan::Path;
use sea_query::Alias;

/// The column that carries the value at `path` of a held row.
pub(crate) fn held(row: &str, path: &Path) -> Alias {
    let mut name = format!("{row}_{}", path.column.name);
    for key in &path.keys {
        name.push('_');
        name.extend(key.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }));
    }
    Alias::new(name)
}

/// The column that carries the n-th value.
pub(crate) fn slot(slot: usize) -> Alias {
    Alias::new(format!("p{slot}"))
}

/// The name as a quoted identifier, in texts that are no statement trees.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
