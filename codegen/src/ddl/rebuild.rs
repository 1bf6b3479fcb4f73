//! The rebuild of a table where the database cannot alter it: a new table beside the old one is
//! filled from it and takes its name. The statements take effect in one transaction.

use ff_core::schema::Table;

use super::{index_statements, table_text};
use crate::dialect::Dialect;
use crate::names::quoted;
use crate::statement::RenderError;

/// The suffix of a table's name until it is renamed.
const NEW: &str = "_rebuilt";

/// The statements that rebuild the table. `filled` pairs each column that the old table fills with
/// the expression of its value; the others receive their defaults. `kept` are statements that
/// create further objects of the table, which the rebuild drops.
pub(crate) fn rebuild_statements(
    dialect: &dyn Dialect,
    table: &Table,
    filled: &[(&str, String)],
    kept: &[String],
) -> Result<Vec<String>, RenderError> {
    let names: Vec<String> = filled.iter().map(|(column, _)| quoted(column)).collect();
    let values: Vec<&str> = filled.iter().map(|(_, value)| value.as_str()).collect();
    let (old, new) = (quoted(table.name), quoted(&format!("{}{NEW}", table.name)));

    let create = table_text(dialect, table)?;
    let head = format!("CREATE TABLE {old} (");
    let mut statements = vec![
        create.replacen(&head, &format!("CREATE TABLE {new} ("), 1),
        format!(
            "INSERT INTO {new} ({})\n    SELECT {} FROM {old};",
            names.join(", "),
            values.join(", ")
        ),
    ];
    if table.identity().is_some() {
        statements.extend(numbers(table));
    }
    statements.push(format!("DROP TABLE {old};"));
    statements.push(format!("ALTER TABLE {new} RENAME TO {old};"));

    statements.extend(kept.iter().cloned());
    statements.extend(index_statements(dialect, table)?.into_iter().map(|(_, sql)| sql));
    Ok(statements)
}

/// Carries the sequence over, so that numbers of deleted rows are not used again.
fn numbers(table: &Table) -> [String; 2] {
    let (old, new) = (table.name, format!("{}{NEW}", table.name));
    [
        format!("DELETE FROM sqlite_sequence WHERE name = '{new}';"),
        format!(
            "INSERT INTO sqlite_sequence (name, seq) \
             SELECT '{new}', seq FROM sqlite_sequence WHERE name = '{old}';"
        ),
    ]
}
