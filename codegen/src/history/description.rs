//! The schema as one dialect writes it: what the next migration starts from.

use std::collections::BTreeMap;

use ff_core::schema::{TABLES, Table};
use serde::{Deserialize, Serialize};

use crate::ddl;
use crate::dialect::Dialect;
use crate::statement::RenderError;

/// The tables of a schema by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Description {
    /// The tables by name.
    pub tables: BTreeMap<String, TableDescription>,
}

/// One table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableDescription {
    /// The definition of each column, as `CREATE TABLE` has it, in order.
    pub columns: Vec<String>,
    /// The definition of each flag that the dialect stores, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
    /// The names of the columns of the primary key, in order.
    pub key: Vec<String>,
    /// The words that the database accepts in each checked column; none if it must be true.
    pub accepted: BTreeMap<String, Vec<String>>,
    /// The statement that creates each index, by the index's name.
    pub indexes: BTreeMap<String, String>,
    /// True if Postgres may hash-partition the table.
    pub partitioned: bool,
    /// The statements that set its storage parameters, if it has any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub storage: Vec<String>,
    /// The statements that keep the counts in it, if the database keeps any there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub counts: Vec<String>,
}

impl Description {
    /// The schema of this binary.
    ///
    /// # Errors
    /// `Unsupported` where the dialect cannot express the schema.
    pub fn current(dialect: &dyn Dialect) -> Result<Self, RenderError> {
        let mut tables = BTreeMap::new();
        for table in TABLES {
            tables.insert(table.name.to_owned(), TableDescription::of(dialect, table)?);
        }

        Ok(Self { tables })
    }
}

impl TableDescription {
    fn of(dialect: &dyn Dialect, table: &Table) -> Result<Self, RenderError> {
        let columns = table.columns.iter().map(|column| ddl::column_text(dialect, *column));
        let words = |spellings: Vec<&str>| spellings.into_iter().map(str::to_owned).collect();
        let checked = table.checked.iter();
        let accepted = checked.map(|column| (column.name.to_owned(), words((column.spellings)())));

        Ok(Self {
            columns: columns.collect(),
            flags: ddl::flag_texts(dialect, table)?,
            key: table.key.iter().map(|column| column.name.to_owned()).collect(),
            accepted: accepted.collect(),
            indexes: ddl::index_statements(dialect, table)?.into_iter().collect(),
            partitioned: table.partitioned,
            storage: ddl::storage_statements(dialect, table, None),
            counts: ddl::counts_into(dialect, table)?,
        })
    }
}

/// The name of a column, in its definition.
pub(super) fn column_name(definition: &str) -> &str {
    definition.split('"').nth(1).unwrap_or_default()
}
