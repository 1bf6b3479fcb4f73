//! Options of the connection to the database that every command takes.

use std::time::Duration;

use flowfabric_sql::Tuning;

/// The command-line form of [`Tuning`].
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Connecting {
    /// The most connections: 10 by default. On SQLite those that read, 4 by default.
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    connections: Option<u32>,
    /// Postgres: prepare every statement anew, for a pooler that does not track named ones.
    #[arg(long, global = true)]
    unnamed_statements: bool,
    /// Postgres: set no session parameters, for a pooler that refuses them; the role needs them.
    #[arg(long, global = true)]
    no_session_parameters: bool,
    /// Postgres: exchange no notifications with other processes; subscribers poll twice a second.
    #[arg(long, global = true)]
    no_notify: bool,
    /// SQLite: the longest wait for other processes that write, milliseconds (5000).
    #[arg(long, global = true, value_name = "MS")]
    busy_timeout_ms: Option<u64>,
    /// SQLite: the durability of a commit. With normal, a power loss may take the last ones.
    #[arg(long, global = true, value_enum, default_value_t = Synchronous::Full, hide_default_value = true)]
    synchronous: Synchronous,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Synchronous {
    Full,
    Normal,
}

impl Connecting {
    /// The options as the engine takes them.
    pub(super) fn tuning(&self) -> Tuning {
        Tuning {
            connections: self.connections,
            unnamed_statements: self.unnamed_statements,
            no_session_parameters: self.no_session_parameters,
            no_notify: self.no_notify,
            busy_timeout: self.busy_timeout_ms.map(Duration::from_millis),
            synchronous_normal: self.synchronous == Synchronous::Normal,
        }
    }
}
