//! A report about a database, for operators. No rule reads it: a backend names what it finds, and
//! says nothing about whether that is good.

/// The findings of a backend about its database. What its kind of database does not have, or does
/// not tell, is absent.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct DatabaseReport {
    /// The settings of a session.
    pub settings: Vec<SessionSetting>,
    /// True if transactions of two connections were seen to share a session, as behind a pooler.
    pub shares_sessions: bool,
    /// The transaction that has kept its snapshot for longest.
    pub oldest_snapshot: Option<OpenSnapshot>,
    /// The largest tables without statistics, largest first.
    pub tables_without_statistics: Vec<UnanalysedTable>,
    /// The disk of the database's file.
    pub disk: Option<DiskSpace>,
    /// The length of the log beside the file, in bytes.
    pub log_bytes: Option<u64>,
    /// The sequences that have used most of their numbers, those with the largest share first.
    pub sequences: Vec<NumberSequence>,
}

/// A setting of the sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionSetting {
    /// Its name.
    pub name: &'static str,
    /// Its value.
    pub value: String,
    /// The value that the statements are written for.
    pub wanted: &'static str,
    /// The effect of another value.
    pub otherwise: &'static str,
    /// The statement that sets the value that is wanted.
    pub statement: String,
}

impl SessionSetting {
    /// One parameter per field, in order.
    #[must_use]
    pub const fn new(
        name: &'static str,
        value: String,
        wanted: &'static str,
        otherwise: &'static str,
        statement: String,
    ) -> Self {
        Self { name, value, wanted, otherwise, statement }
    }
}

/// A snapshot that is kept: rows that were removed since stay in the tables.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenSnapshot {
    /// The holder, such as `session 4711`.
    pub holder: String,
    /// The age in milliseconds, if it is known.
    pub age_ms: Option<i64>,
    /// The number of transactions since.
    pub transactions: i64,
    /// The statement that gives it up.
    pub statement: String,
}

impl OpenSnapshot {
    /// One parameter per field, in order.
    #[must_use]
    pub const fn new(
        holder: String,
        age_ms: Option<i64>,
        transactions: i64,
        statement: String,
    ) -> Self {
        Self { holder, age_ms, transactions, statement }
    }
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnanalysedTable {
    /// Its name.
    pub name: String,
    /// Its length in bytes.
    pub bytes: i64,
}

impl UnanalysedTable {
    /// One parameter per field, in order.
    #[must_use]
    pub const fn new(name: String, bytes: i64) -> Self {
        Self { name, bytes }
    }
}

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiskSpace {
    /// The directory that lies on it.
    pub directory: String,
    /// The bytes that are free for this user.
    pub free_bytes: u64,
    /// All bytes.
    pub total_bytes: u64,
}

impl DiskSpace {
    /// One parameter per field, in order.
    #[must_use]
    pub const fn new(directory: String, free_bytes: u64, total_bytes: u64) -> Self {
        Self { directory, free_bytes, total_bytes }
    }
}

/// A sequence of numbers that do not come again.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NumberSequence {
    /// Its name.
    pub name: String,
    /// The last number that was used.
    pub used: i64,
    /// The last number that there is.
    pub last: i64,
    /// The statement that makes room, if there is one.
    pub statement: Option<String>,
}

impl NumberSequence {
    /// One parameter per field, in order.
    #[must_use]
    pub const fn new(name: String, used: i64, last: i64, statement: Option<String>) -> Self {
        Self { name, used, last, statement }
    }
}
