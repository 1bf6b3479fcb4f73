//! Brings a Postgres schema to the tables of this binary.
//!
//! [`ff_codegen::migrations`] carries the migrations, which are generated files. A ledger in the
//! schema records those that were applied. Many processes may start at once: each transaction takes
//! the same advisory lock, then reads the ledger, and writes to it last. So one process applies a
//! migration, and the others wait and find nothing to do. Locks and settings belong to
//! transactions, never to sessions, so a pooler does no harm.

mod adopt;
mod inspect;

use std::borrow::Cow;

use ff_codegen::adopt::AdoptError;
use ff_codegen::migrations::{self, LedgerError, Migration, POSTGRES};
use ff_codegen::opening::{self, Admission, Opening, Refusal};
use ff_codegen::{Postgres, RenderError};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, PgPool, Postgres as Database, Transaction};

#[doc(hidden)]
pub use adopt::describe;
use inspect::{Found, in_words};

/// Serialises all migrations within one database. An arbitrary number.
const LOCK: i64 = 0x6666_5f73_716c;

/// The number of statements that create a partitioned schema in one transaction. Each new relation
/// holds locks until the commit, and the server's lock table is small. A statement that alters a
/// partitioned table locks all of its partitions, and has a transaction of its own.
const BLOCK: usize = 64;

/// The migration that creates the schema; its ledger entry says how it is partitioned.
const FIRST: u32 = 1;

/// The most partitions. `partition_key` has at most this many values with the default shard counts,
/// so more children would stay empty.
const MAX_PARTITIONS: u16 = 256;

/// The longest identifier that Postgres does not truncate.
const MAX_NAME: usize = 63;

/// The name of a schema: lower-case letters, digits and underscores, not starting with a digit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaName(
    // Invariant: [a-z_][a-z0-9_]*, at most 63 bytes; safe inside a quoted identifier.
    String,
);

impl SchemaName {
    /// Checks the name.
    ///
    /// # Errors
    /// [`MigrateError::InvalidSchemaName`].
    pub fn new(name: &str) -> Result<Self, MigrateError> {
        let letter = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
        let first = name.bytes().next().is_some_and(letter);
        let rest = name.bytes().all(|byte| letter(byte) || byte.is_ascii_digit());
        if first && rest && name.len() <= MAX_NAME {
            Ok(Self(name.to_owned()))
        } else {
            Err(MigrateError::InvalidSchemaName(name.to_owned()))
        }
    }

    /// The bare name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn quoted(&self) -> String {
        format!("\"{}\"", self.0)
    }
}

/// The options of a migration or an adoption.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrateOptions {
    dry_run: bool,
    schema: Option<SchemaName>,
    // Invariant: 1 to 256.
    partitions: Option<u16>,
    adopt: bool,
    keep_triggers: bool,
    /// The number of statements after which an adoption fails; for tests.
    budget: Option<usize>,
}

impl MigrateOptions {
    /// Applies the missing migrations to the schema that the connection's search path names first,
    /// with plain tables.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            dry_run: false,
            schema: None,
            partitions: None,
            adopt: false,
            keep_triggers: false,
            budget: None,
        }
    }

    /// Only reports the statements; writes nothing.
    #[must_use]
    pub fn dry_run(mut self) -> Self {
        self.dry_run = true;
        self
    }

    /// Adopts tables of the reference, or of a version of this project from before its first
    /// release: alters them to the current schema in place, in many small transactions. A killed
    /// adoption continues when it is run again. No other process may have the database open.
    #[must_use]
    pub fn adopt(mut self) -> Self {
        self.adopt = true;
        self
    }

    /// Lets an adoption keep the triggers that notify the reference's own listeners of each event.
    #[must_use]
    pub fn keep_triggers(mut self) -> Self {
        self.keep_triggers = true;
        self
    }

    /// Makes an adoption fail after this many statements.
    #[doc(hidden)]
    #[must_use]
    pub fn fail_after(mut self, statements: usize) -> Self {
        self.budget = Some(statements);
        self
    }

    /// Migrates this schema, and creates it where it is missing.
    #[must_use]
    pub fn schema(mut self, schema: SchemaName) -> Self {
        self.schema = Some(schema);
        self
    }

    /// Splits the tables of a new database into this many hash partitions. The number cannot be
    /// changed: a migration with another number is refused.
    ///
    /// # Errors
    /// [`MigrateError::InvalidPartitions`] unless 1 to 256.
    pub fn partitions(mut self, partitions: u16) -> Result<Self, MigrateError> {
        if !(1..=MAX_PARTITIONS).contains(&partitions) {
            return Err(MigrateError::InvalidPartitions(partitions));
        }
        self.partitions = Some(partitions);
        Ok(self)
    }
}

impl Default for MigrateOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// The result of a migration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrateReport {
    /// The names of the migrations that this call completed, in order.
    pub applied: Vec<String>,
    /// The number of migrations that the database had, or received from another process meanwhile.
    pub already: usize,
    /// The statements that a dry run would have run, in order; empty otherwise.
    pub sql: Vec<String>,
}

/// The reason that a database was not migrated.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The database was migrated by a binary that this one does not fit.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The schema has tables of another origin, or lacks tables where it should have them.
    #[error("{0}")]
    Refused(Refusal),
    /// The name is not accepted for a schema.
    #[error("invalid schema name {0:?}: lower-case letters, digits and _ only, 63 at most")]
    InvalidSchemaName(String),
    /// The number of partitions is out of range.
    #[error("invalid number of partitions {0}: from 1 to 256")]
    InvalidPartitions(u16),
    /// Some of the tables exist, with another number of partitions.
    #[error("the tables have {}, asked for: {}", in_words(*recorded), in_words(*asked))]
    PartitionsDiffer {
        /// The number in the ledger; `None` for plain tables.
        recorded: Option<u16>,
        /// The number in the options.
        asked: Option<u16>,
    },
    /// The tables cannot be adopted.
    #[error(transparent)]
    Adopt(#[from] AdoptError),
    /// The server, of this major version, is older than any that the tests run on.
    #[error("Postgres {0} is too old: {oldest} or later is needed", oldest = Postgres::OLDEST)]
    TooOld(u32),
    /// The generator cannot render a schema with partitions.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// Postgres refused a statement or was not reachable.
    #[error("migrating the database: {0}")]
    Database(#[from] sqlx::Error),
}

const CREATE_LEDGER: &str = "CREATE TABLE IF NOT EXISTS ff_schema_ledger (\
    version integer PRIMARY KEY, name text NOT NULL, checksum text NOT NULL, \
    detail text, applied_at_ms bigint)";

const BEGIN_ENTRY: &str = "INSERT INTO ff_schema_ledger (version, name, checksum, detail) \
    VALUES ($1, $2, $3, $4) ON CONFLICT (version) DO NOTHING";

const FINISH_ENTRY: &str = "INSERT INTO ff_schema_ledger (version, name, checksum, detail, applied_at_ms) \
    VALUES ($1, $2, $3, $4, (extract(epoch from clock_timestamp()) * 1000)::bigint) \
    ON CONFLICT (version) DO UPDATE SET applied_at_ms = excluded.applied_at_ms";

impl MigrateError {
    /// The refusal of the schema, if that is the error.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Ledger(error) => Some(Refusal::Ledger(error.clone())),
            Self::Refused(refusal) => Some(refusal.clone()),
            Self::InvalidSchemaName(_)
            | Self::Adopt(_)
            | Self::InvalidPartitions(_)
            | Self::PartitionsDiffer { .. }
            | Self::TooOld(_)
            | Self::Render(_)
            | Self::Database(_) => None,
        }
    }
}

impl From<Refusal> for MigrateError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Ledger(error) => Self::Ledger(error),
            other @ (Refusal::Missing
            | Refusal::OtherProgram { .. }
            | Refusal::Reference { .. }
            | Refusal::Unrecorded
            | Refusal::Older { .. }
            | Refusal::Unfinished { .. }) => Self::Refused(other),
        }
    }
}

/// Applies every migration that the schema lacks.
///
/// A migration is one transaction. Only in a partitioned schema it takes several; after a kill in
/// between, a run with the same options continues. When there is nothing to do, or on a dry
/// run, nothing is written, not even the ledger.
///
/// # Errors
/// [`MigrateError::Ledger`] and [`MigrateError::PartitionsDiffer`] where the schema does not fit
/// this binary or the options; it is left unchanged. [`MigrateError::Database`] where Postgres
/// fails.
pub async fn migrate(
    pool: &PgPool,
    options: &MigrateOptions,
) -> Result<MigrateReport, MigrateError> {
    // Detached: if this future is dropped, the transaction ends with the connection.
    let mut connection = pool.acquire().await?.detach();
    let result = run(&mut connection, options).await;
    // Commits stay committed, however the connection closes.
    let _ = connection.close().await;
    result
}

/// Decides whether the schema may be used and whether it lacks migrations. Changes nothing.
///
/// # Errors
/// [`MigrateError::Refused`] and [`MigrateError::Ledger`] if it may not be used.
pub async fn admit(
    pool: &PgPool,
    options: &MigrateOptions,
    opening: Opening,
) -> Result<Admission, MigrateError> {
    let mut connection = pool.acquire().await?.detach();
    let found = find(&mut connection, options).await;
    // Nothing was written, so an error does not matter.
    let _ = connection.close().await;
    Ok(opening::admit(POSTGRES, &found?.inventory(), opening)?)
}

/// Adopts the schema's tables if they need it; see [`MigrateOptions::adopt`].
///
/// # Errors
/// As [`migrate`], and [`MigrateError::Adopt`].
pub async fn adopt(
    pool: &PgPool,
    options: &MigrateOptions,
) -> Result<Option<MigrateReport>, MigrateError> {
    let mut connection = pool.acquire().await?.detach();
    let found = find(&mut connection, options).await?;
    if !opening::needs_adoption(POSTGRES, &found.inventory()) {
        return Ok(None);
    }

    let result = adopt::run(&mut connection, options).await;
    // Commits stay committed, however the connection closes.
    let _ = connection.close().await;
    result.map(Some)
}

async fn find(
    connection: &mut PgConnection,
    options: &MigrateOptions,
) -> Result<Found, MigrateError> {
    inspect::check_version(connection.server_version_num())?;
    let mut transaction = begin(connection, options).await?;
    let found = inspect::look(&mut transaction).await?;
    transaction.rollback().await?;
    Ok(found)
}

async fn run(
    connection: &mut PgConnection,
    options: &MigrateOptions,
) -> Result<MigrateReport, MigrateError> {
    let found = find(connection, options).await?;
    if options.adopt && opening::needs_adoption(POSTGRES, &found.inventory()) {
        return adopt::run(connection, options).await;
    }
    let pending = pending(&found, options)?;

    if options.dry_run {
        let partitions = partitions(&found, options);
        let sql = pending.iter().flat_map(|next| statements(next, partitions));
        let sql = sql.map(Cow::into_owned).collect();
        let already = POSTGRES.len() - pending.len();
        return Ok(MigrateReport { applied: Vec::new(), already, sql });
    }

    let mut applied = Vec::new();
    if !pending.is_empty() {
        while let Some(name) = apply_next(connection, options).await? {
            applied.push(name.to_owned());
        }
    }

    Ok(MigrateReport { already: POSTGRES.len() - applied.len(), applied, sql: Vec::new() })
}

/// The missing or unfinished migrations.
fn pending(found: &Found, options: &MigrateOptions) -> Result<&'static [Migration], MigrateError> {
    let inventory = found.inventory();
    if let Some(refusal) = opening::adoption_refusal(&inventory) {
        return Err(refusal.into());
    }
    let pending = migrations::pending(POSTGRES, &inventory.ledger)?;

    if let Some(first) = found.recorded.first() {
        let (recorded, asked) = (first.partitions, options.partitions);
        if recorded != asked && !(first.finished && asked.is_none()) {
            return Err(MigrateError::PartitionsDiffer { recorded, asked });
        }
    }

    Ok(pending)
}

/// The number of partitions that the tables have, or will have in a new database.
fn partitions(found: &Found, options: &MigrateOptions) -> Option<u16> {
    found.recorded.first().map_or(options.partitions, |first| first.partitions)
}

fn statements(migration: &Migration, partitions: Option<u16>) -> Vec<Cow<'static, str>> {
    match partitions {
        Some(count) => {
            let statements = migrations::partitioned(migration.statements(), count);
            statements.into_iter().map(Cow::Owned).collect()
        }
        None => migration.statements().map(Cow::Borrowed).collect(),
    }
}

/// Completes the first missing migration and returns its name; `None` if none is missing.
async fn apply_next(
    connection: &mut PgConnection,
    options: &MigrateOptions,
) -> Result<Option<&'static str>, MigrateError> {
    let (mut begun, mut done) = (0, 0);
    loop {
        let mut transaction = begin(connection, options).await?;
        lock_and_bootstrap(&mut transaction, options).await?;
        let found = inspect::look(&mut transaction).await?;

        let Some(next) = pending(&found, options)?.first() else {
            transaction.rollback().await?;
            return Ok(None);
        };

        // Another process may have completed the migration that this one had begun.
        let from = if begun == next.version { done } else { 0 };
        let partitions = partitions(&found, options);
        let all = statements(next, partitions);
        // Only repeatable statements are split, because another process may run the same blocks.
        let block = match partitions {
            Some(_) if next.version == FIRST => BLOCK,
            Some(_) => 1,
            None => all.len(),
        };
        for statement in all.iter().skip(from).take(block) {
            run_text(&mut transaction, statement.clone()).await?;
        }

        let finished = all.len() <= from + block;
        let entry = if finished { FINISH_ENTRY } else { BEGIN_ENTRY };
        write_ledger(&mut transaction, entry, next, options).await?;
        transaction.commit().await?;

        if finished {
            return Ok(Some(next.name));
        }
        (begun, done) = (next.version, from + block);
    }
}

async fn begin<'a>(
    connection: &'a mut PgConnection,
    options: &MigrateOptions,
) -> Result<Transaction<'a, Database>, sqlx::Error> {
    // Every statement must see the commits of other transactions before it got the lock, however
    // long that takes.
    let begin = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = 0";
    let mut transaction = connection.begin_with(begin).await?;

    if let Some(schema) = &options.schema {
        sqlx::query("SELECT set_config('search_path', $1, true)")
            .persistent(false)
            .bind(schema.quoted())
            .execute(&mut *transaction)
            .await?;
    }
    Ok(transaction)
}

async fn lock_and_bootstrap(
    transaction: &mut Transaction<'_, Database>,
    options: &MigrateOptions,
) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .persistent(false)
        .bind(LOCK)
        .execute(&mut **transaction)
        .await?;

    if let Some(schema) = &options.schema {
        // Queried first, because IF NOT EXISTS needs the right to create schemas even if it exists.
        let found: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $1)")
                .persistent(false)
                .bind(schema.as_str())
                .fetch_one(&mut **transaction)
                .await?;
        if !found {
            let sql = format!("CREATE SCHEMA {}", schema.quoted());
            run_text(transaction, Cow::Owned(sql)).await?;
        }
    }

    run_text(transaction, Cow::Borrowed(CREATE_LEDGER)).await
}

async fn write_ledger(
    transaction: &mut Transaction<'_, Database>,
    statement: &'static str,
    migration: &Migration,
    options: &MigrateOptions,
) -> Result<(), sqlx::Error> {
    let split = options.partitions.filter(|_| migration.version == FIRST);
    sqlx::query(statement)
        .persistent(false)
        .bind(i64::from(migration.version))
        .bind(migration.name)
        .bind(migration.checksum())
        .bind(split.map(|count| format!("partitions={count}")))
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

/// Runs one statement without parameters.
///
/// The only place that vouches for a text: it is a generated statement, or made of constants and a
/// [`SchemaName`].
async fn run_text(
    transaction: &mut Transaction<'_, Database>,
    sql: Cow<'static, str>,
) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut **transaction).await?;
    Ok(())
}
