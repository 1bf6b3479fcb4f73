//! Servers that are standbys, and lists of servers. A function that the search path finds first
//! says that the server is one; `scripts/soak failover` has real ones.

use std::time::Duration;

use ff_backend_postgres::{PgPool, PostgresBackend, PostgresOptions};
use ff_core::engine::Executor as _;
use ff_core::engine_error::StoreClass;
use sqlx::{AssertSqlSafe, Executor as _};

use crate::failures::{ended, in_every_session};
use crate::{Database, applied_once, found_lane, lane};

/// A database whose server says what its table `role` holds.
struct Roles {
    database: Database,
    pool: PgPool,
}

impl Roles {
    async fn fresh(name: &str) -> Self {
        let database = Database::fresh(name).await;
        let pool = PgPool::connect(&database.url).await.unwrap();
        let roles = Self { database, pool };
        roles
            .run(
                "CREATE TABLE {}.role (standby boolean NOT NULL); \
                 INSERT INTO {}.role VALUES (false); \
                 CREATE FUNCTION {}.pg_is_in_recovery() RETURNS boolean LANGUAGE sql STABLE \
                     AS 'SELECT standby FROM {}.role'",
            )
            .await;
        roles
    }

    async fn run(&self, sql: &str) {
        let sql = sql.replace("{}", self.database.schema.as_str());
        self.pool.execute(AssertSqlSafe(sql)).await.unwrap();
    }

    /// Makes every connection from now on one to a standby, or to a primary.
    async fn set_standby(&self, standby: bool) {
        self.run(&format!("UPDATE {{}}.role SET standby = {standby}")).await;
    }

    /// Options that lead there by these servers.
    fn options(&self, servers: &str) -> PostgresOptions {
        let url = &self.database.url;
        let (place, query) = url.split_once('?').unwrap_or((url, ""));
        let (scheme, rest) = place.split_once("://").unwrap();
        let (user, rest) = rest.split_once('@').unwrap_or(("", rest));
        let (server, name) = rest.split_once('/').unwrap_or((rest, ""));
        let servers = servers.replace("SERVER", server);
        let separator = if user.is_empty() { "" } else { "@" };
        let path = format!("-c%20search_path={},pg_catalog", self.database.schema.as_str());
        let url = format!("{scheme}://{user}{separator}{servers}/{name}?options={path}&{query}");
        PostgresOptions::new(url).acquire_timeout(Duration::from_secs(2))
    }

    /// Ends the sessions of the backend, once the server has this role.
    async fn end_sessions(&self, backend: &PostgresBackend, standby: bool) {
        let pids = in_every_session(backend, "SELECT 1").await;
        self.set_standby(standby).await;
        let end = "SELECT pg_terminate_backend(pid) FROM unnest($1) AS pid";
        sqlx::query(end).bind(&pids).execute(&self.pool).await.unwrap();
        ended(&self.pool, &pids).await;
    }
}

#[tokio::test]
async fn nothing_is_decided_on_a_standby() {
    let roles = Roles::fresh("standby").await;
    roles.set_standby(true).await;
    let refused = PostgresBackend::open(roles.options("SERVER")).await.unwrap_err();
    assert_eq!(refused.store_class(), Some(StoreClass::Retryable), "{refused}");
    assert!(refused.to_string().contains("the server is a standby"), "{refused}");

    // A server that was demoted has ended its sessions; new ones show what it is.
    roles.set_standby(false).await;
    let backend = PostgresBackend::open(roles.options("SERVER").max_connections(2)).await.unwrap();
    assert_eq!(backend.commit(lane("a", "x")).await.unwrap(), applied_once());
    roles.end_sessions(&backend, true).await;
    let _lost = backend.commit(lane("b", "x")).await;
    let refused = backend.commit(lane("c", "x")).await.unwrap_err();
    assert_eq!(refused.store_class(), Some(StoreClass::Retryable), "{refused}");
    assert!(refused.to_string().contains("standby"), "{refused}");

    // Promoted: calls that wait go on.
    let promoted = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        roles.set_standby(false).await;
    };
    let (done, ()) = tokio::join!(backend.commit(lane("d", "x")), promoted);
    assert_eq!(done.unwrap(), applied_once());
    assert!(found_lane(&backend, "d").await.is_some());
    assert!(found_lane(&backend, "c").await.is_none());
}

#[tokio::test]
async fn of_a_list_of_servers_the_first_that_takes_changes_is_used() {
    let roles = Roles::fresh("servers").await;
    // Nothing listens at port 1.
    let list = "127.0.0.1:1,SERVER";
    let backend = PostgresBackend::open(roles.options(list).max_connections(2)).await.unwrap();
    assert_eq!(backend.commit(lane("a", "x")).await.unwrap(), applied_once());

    roles.end_sessions(&backend, false).await;
    let _lost = backend.commit(lane("b", "x")).await;
    assert_eq!(backend.commit(lane("c", "x")).await.unwrap(), applied_once());
    assert!(found_lane(&backend, "c").await.is_some());

    let closed = PostgresBackend::open(roles.options("127.0.0.1:1,127.0.0.1:2")).await.unwrap_err();
    assert_eq!(closed.store_class(), Some(StoreClass::Retryable), "{closed}");
    let said = closed.to_string();
    assert!(said.contains("127.0.0.1:1: ") && said.contains("127.0.0.1:2: "), "{said}");
}
