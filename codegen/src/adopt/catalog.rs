//! What a database says of its tables.

use std::collections::BTreeMap;

/// The tables of this schema's names in one database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    /// By name.
    pub tables: BTreeMap<String, FoundTable>,
}

/// One table, in the database's own words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundTable {
    /// In their order.
    pub columns: Vec<FoundColumn>,
    /// The whole `CREATE TABLE`, where the database keeps it.
    pub sql: Option<String>,
    /// The primary key: name of the constraint and definition, where the database tells.
    pub key: Option<(String, String)>,
    /// Definition of each other index, without its own name and the table's, by name.
    pub indexes: BTreeMap<String, String>,
    /// Definition of each named check.
    pub checks: BTreeMap<String, String>,
    /// The names of its triggers.
    pub triggers: Vec<String>,
    /// What depends on the table and would go with it: indexes and triggers with their texts.
    pub objects: Vec<Object>,
}

/// One column, in the database's own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundColumn {
    /// Its name.
    pub name: String,
    /// Its type, with a collation that is not the type's own.
    pub ty: String,
    /// Whether NULL is allowed.
    pub nullable: bool,
    /// The expression of its default.
    pub default: Option<String>,
    /// Whether it numbers the rows.
    pub identity: bool,
    /// The sequence that its default takes numbers from.
    pub sequence: Option<String>,
}

/// An index or a trigger of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its name.
    pub name: String,
    /// The text that makes it.
    pub sql: String,
}

impl Catalog {
    /// The table of that name.
    #[must_use]
    pub fn table(&self, name: &str) -> Option<&FoundTable> {
        self.tables.get(name)
    }
}

impl FoundTable {
    /// The column of that name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&FoundColumn> {
        self.columns.iter().find(|column| column.name == name)
    }
}
