//! The tables of a database, as the database describes them.

use std::collections::BTreeMap;

/// The tables of a database that bear names of this schema.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    /// The tables by name.
    pub tables: BTreeMap<String, FoundTable>,
}

/// One table, in the database's own words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundTable {
    /// The columns, in order.
    pub columns: Vec<FoundColumn>,
    /// The whole `CREATE TABLE`, where the database stores it.
    pub sql: Option<String>,
    /// The primary key: name of the constraint and definition, where the database reports them.
    pub key: Option<(String, String)>,
    /// Definition of each other index, without its own name and the table's, by name.
    pub indexes: BTreeMap<String, String>,
    /// Definition of each named check.
    pub checks: BTreeMap<String, String>,
    /// The storage parameters of the table, or of each child that holds its rows.
    pub storage: BTreeMap<String, String>,
    /// The names of its triggers.
    pub triggers: Vec<String>,
    /// The indexes and triggers that would be dropped with the table.
    pub objects: Vec<Object>,
}

/// One column, in the database's own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundColumn {
    /// Its name.
    pub name: String,
    /// Its type, with the collation if that is not the type's own.
    pub ty: String,
    /// True if NULL is allowed.
    pub nullable: bool,
    /// The expression of its default.
    pub default: Option<String>,
    /// True if it is an identity column.
    pub identity: bool,
    /// The sequence that its default takes numbers from.
    pub sequence: Option<String>,
}

/// An index or a trigger of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its name.
    pub name: String,
    /// The statement that creates it.
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

    /// The `CREATE TABLE` word by word: a database keeps the text that made the table, and puts an
    /// added column on the line of the one before.
    #[must_use]
    pub fn words(&self) -> Vec<&str> {
        self.sql.as_deref().unwrap_or_default().split_whitespace().collect()
    }
}
