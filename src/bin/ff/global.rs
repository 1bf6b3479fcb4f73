//! The options that every command takes, and the database that they name.

use std::sync::Arc;

use ff_core::engine_backend::EngineBackend;
use flowfabric_sql::{OpenError, OpenOptions, Opening};

use super::clock::Zone;
use super::failure::Failure;
use super::output::Output;
use super::session::Session;
use super::{log, tuning};

/// The options of every command.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Global {
    /// The database: sqlite:PATH, file:PATH, postgres://USER@HOST/NAME or
    /// mariadb://USER@HOST/NAME.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "FF_DATABASE_URL",
        default_value = "sqlite:ff.db",
        hide_env_values = true
    )]
    pub(crate) db: String,
    /// The Postgres schema that holds the tables.
    #[arg(long, global = true, value_name = "NAME", env = "FF_SCHEMA")]
    pub(crate) schema: Option<String>,
    /// Refuse a missing or an older database, instead of making it or bringing it up to date.
    #[arg(long, global = true)]
    pub(crate) no_migrate: bool,
    #[command(flatten)]
    pub(crate) tuning: tuning::Connecting,
    /// Print JSON, and errors as JSON on stderr.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// The format of the log on stderr. RUST_LOG sets what is logged: `info` adds one line for each
    /// start and end of a run; without it, only warnings and errors are.
    #[arg(long, global = true, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) log_format: log::Format,
    /// Write times in UTC instead of ages. A reader that is no terminal gets UTC times anyway.
    #[arg(long, global = true)]
    pub(crate) utc: bool,
    /// Write times in the zone of this machine, or of the variable TZ, with their offset.
    #[arg(long, global = true, conflicts_with = "utc")]
    pub(crate) local: bool,
    #[arg(skip)]
    pub(crate) session: Session,
}

impl Global {
    /// Opens the database to read it.
    pub(crate) async fn open(&self) -> Result<Arc<dyn EngineBackend>, Failure> {
        self.open_as(Opening::Current).await
    }

    /// Opens the database to change its rows.
    pub(crate) async fn open_existing(&self) -> Result<Arc<dyn EngineBackend>, Failure> {
        self.open_as(Opening::Existing).await
    }

    /// Opens the database, or creates it.
    pub(crate) async fn open_or_create(&self) -> Result<Arc<dyn EngineBackend>, Failure> {
        self.open_as(Opening::Create).await
    }

    pub(crate) async fn open_as(
        &self,
        opening: Opening,
    ) -> Result<Arc<dyn EngineBackend>, Failure> {
        let opening = if self.no_migrate { Opening::Current } else { opening };
        let options = OpenOptions::new()
            .opening(opening)
            .schema(self.schema.clone())
            .tuning(self.tuning.tuning());

        let engine = options.open(&self.db).await.map_err(|error| self.open_failure(&error))?;
        self.session.register(&engine);
        Ok(engine)
    }

    /// The failure to open the database. It repeats only the scheme of a URL that may carry a
    /// password.
    pub(crate) fn open_failure(&self, error: &OpenError) -> Failure {
        match error {
            OpenError::Postgres { .. } => Failure::new(format!("opening the database: {error}")),
            _ if self.db.contains('@') => Failure::new(format!("--db: {error}")),
            _ => Failure::new(format!("--db {}: {error}", self.db)),
        }
    }

    /// The zone that is asked for, if one is.
    fn zone(&self) -> Option<Zone> {
        self.utc.then_some(Zone::Utc).or(self.local.then_some(Zone::Local))
    }

    pub(crate) fn output(&self) -> Output {
        Output::new(self.json, self.zone(), self.session.on_closed)
    }
}
