//! What sessions and transactions on a node of a Galera cluster do besides.

use super::MariaDb;

impl MariaDb {
    /// Has a row if the server is a node of a Galera cluster. A node that is cut off answers, too.
    pub const IS_CLUSTERED: &'static str = "SHOW VARIABLES WHERE Variable_name = 'wsrep_on' \
         AND Value = 'ON'";

    /// What sessions that read on a node set besides: a read waits until the node has applied what
    /// the cluster had committed when it began.
    pub const CLUSTERED_READS: &'static str = "SET SESSION wsrep_sync_wait = 1";

    /// What the session that writes on a node sets besides: a statement behind a transaction that
    /// the node has aborted is not committed on its own.
    pub const CLUSTERED_WRITES: &'static str = "SET SESSION autocommit = 0";

    /// What a transaction on a node does first, besides. The lock on the only row of the table is
    /// unknown to other nodes, which certify changes only. So every transaction changes the row,
    /// and changes it back: of two that meet, one is refused. An update that changes nothing would
    /// leave no trace.
    pub const CLUSTERED_BEGIN: &'static str = "UPDATE ff_partition_config \
         SET num_quota_partitions = -num_quota_partitions WHERE 0 < num_quota_partitions";

    /// What it does last, before its commit. If this changes no row, the node has aborted the
    /// transaction, and what follows would commit another one.
    pub const CLUSTERED_END: &'static str = "UPDATE ff_partition_config \
         SET num_quota_partitions = -num_quota_partitions WHERE num_quota_partitions < 0";

    /// What makes a node read the triggers again. A transaction that is aborted while the node
    /// reads them leaves triggers that fail every write to the table (error 1064), until then.
    pub const CLUSTERED_REREAD: &'static str = "SET STATEMENT lock_wait_timeout = 2 FOR \
         FLUSH LOCAL TABLES ff_exec_core";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migrations::MARIADB;

    #[test]
    fn the_tables_with_triggers_are_those_that_a_node_reads_again() {
        let texts = MARIADB.iter().flat_map(|migration| migration.sql.lines());
        let events = texts.filter(|line| line.contains("FOR EACH ROW"));
        let on = |line: &str| line.split_once(" ON ").map(|(_, table)| table.to_owned());
        let tables: Vec<String> = events.filter_map(on).collect();
        assert!(!tables.is_empty());
        for table in tables {
            let name = table.split('"').nth(1).unwrap_or_default();
            assert!(MariaDb::CLUSTERED_REREAD.ends_with(&format!(" {name}")), "{table}");
        }
    }
}
