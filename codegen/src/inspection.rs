//! The texts that inspect a database for an operator: its catalogue, its sessions, its sequences.
//! None of them reads a row of the tables.

/// Statements for Postgres.
pub mod postgres {
    /// The server process of the session: one integer.
    pub const SESSION: &str = "SELECT pg_backend_pid()";

    /// The oldest snapshot: its holder, its age in milliseconds or NULL, the transactions since,
    /// and the statement that gives it up. No row without one. Sessions of other roles are hidden
    /// from roles that may not see them.
    pub const OLDEST_SNAPSHOT: &str = "\
        SELECT holder, age_ms, transactions, statement FROM (\
        SELECT 'session ' || pid || coalesce(' (' || nullif(application_name, '') || ')', '') \
        AS holder, \
        (extract(epoch FROM clock_timestamp() - xact_start) * 1000)::bigint AS age_ms, \
        age(backend_xmin)::bigint AS transactions, \
        'SELECT pg_terminate_backend(' || pid || ')' AS statement \
        FROM pg_stat_activity \
        WHERE backend_xmin IS NOT NULL AND xact_start IS NOT NULL \
        AND pid <> pg_backend_pid() AND backend_type = 'client backend' \
        UNION ALL \
        SELECT 'prepared transaction ' || gid, \
        (extract(epoch FROM clock_timestamp() - prepared) * 1000)::bigint, \
        age(transaction)::bigint, 'ROLLBACK PREPARED ' || quote_literal(gid) \
        FROM pg_prepared_xacts WHERE database = current_database() \
        UNION ALL \
        SELECT 'replication slot ' || slot_name, NULL, age(xmin)::bigint, \
        'SELECT pg_drop_replication_slot(' || quote_literal(slot_name) || ')' \
        FROM pg_replication_slots WHERE xmin IS NOT NULL\
        ) AS held ORDER BY age_ms DESC NULLS LAST, transactions DESC LIMIT 1";

    /// The largest tables of the schema that were never analysed: name, bytes.
    pub const TABLES_WITHOUT_STATISTICS: &str = "\
        SELECT c.relname::text, pg_relation_size(c.oid)::bigint AS bytes \
        FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace \
        WHERE n.nspname = current_schema() AND c.relkind = 'r' AND c.reltuples < 0 \
        ORDER BY bytes DESC, 1 LIMIT 5";

    /// The sequences of the schema that have used most of their numbers, and the numbers of
    /// transactions of the database: name, used, last, and a statement or NULL.
    pub const SEQUENCES: &str = "\
        SELECT name, used, last, statement FROM (\
        SELECT sequencename::text AS name, coalesce(last_value, 0)::bigint AS used, \
        max_value::bigint AS last, NULL::text AS statement \
        FROM pg_sequences WHERE schemaname = current_schema() \
        UNION ALL \
        SELECT 'the transactions of ' || datname, age(datfrozenxid)::bigint, 2147483648, \
        'VACUUM (FREEZE)' FROM pg_database WHERE datname = current_database()\
        ) AS numbered ORDER BY used::numeric / last DESC, name LIMIT 5";
}

/// Statements for MariaDB.
pub mod mariadb {
    /// The tables of the database that have used most of their numbers: name, used.
    pub const SEQUENCES: &str = "\
        SELECT table_name, CAST(auto_increment - 1 AS SIGNED) FROM information_schema.tables \
        WHERE table_schema = DATABASE() AND auto_increment IS NOT NULL \
        ORDER BY auto_increment DESC, table_name LIMIT 5";
}

/// Statements for SQLite.
pub mod sqlite {
    /// The tables that have used most of their numbers: name, used.
    pub const SEQUENCES: &str =
        "SELECT name, seq FROM sqlite_sequence ORDER BY seq DESC, name LIMIT 5";
}
