//! Adoption on Postgres: tables are altered in place, so that partitions stay.
//!
//! Each step is short and a transaction of its own: altering a table with 256 partitions locks all
//! of them, and the server's lock table holds a few thousand locks.

use ff_core::schema::{TABLES, Table};

use super::catalog::{Catalog, FoundColumn, FoundTable};
use super::{AdoptError, AdoptStep, Keeping, rows};
use crate::ddl;
use crate::dialect::Postgres;
use crate::names::quoted;

/// The tables with a trigger of the reference, which calls a function `ff_notify_…`.
const TRIGGERS: [&str; 5] = [
    "ff_completion_event",
    "ff_stream_frame",
    "ff_lease_event",
    "ff_signal_event",
    "ff_operator_event",
];

/// Indexes of the reference that no statement of this project uses.
pub(super) const RETIRED: [&str; 21] = [
    "ff_budget_usage_by_exec_release_idx",
    "ff_exec_core_caps_gin_idx",
    "ff_exec_core_lane_phase_idx",
    "ff_execution_capabilities_capability_idx",
    "ff_attempt_worker_idx",
    "ff_cancel_dispatch_outbox_enqueued_idx",
    "ff_cancel_backlog_grace_idx",
    "ff_stream_frame_ts_seq_idx",
    "ff_completion_event_event_id_idx",
    "ff_completion_event_lookup_idx",
    "ff_completion_event_partition_event_idx",
    "ff_completion_event_pending_dispatch_idx",
    "ff_lease_event_instance_tag_idx",
    "ff_lease_event_namespace_idx",
    "ff_lease_event_partition_key_idx",
    "ff_signal_event_instance_tag_idx",
    "ff_signal_event_namespace_idx",
    "ff_signal_event_partition_key_idx",
    "ff_operator_event_instance_tag_idx",
    "ff_operator_event_namespace_idx",
    "ff_operator_event_partition_key_idx",
];

/// The steps from the found catalog to the wanted one, which is that of an empty database.
///
/// # Errors
/// [`AdoptError::Render`] where the schema cannot be rendered.
pub fn steps(
    found: &Catalog,
    wanted: &Catalog,
    keeping: Keeping,
) -> Result<Vec<AdoptStep>, AdoptError> {
    let mut steps = Vec::new();
    if !keeping.triggers {
        steps.extend(TRIGGERS.into_iter().filter_map(|table| drop_trigger(found, table)));
    }

    for table in TABLES {
        let (is, should) = (found.table(table.name), wanted.table(table.name));
        match (is, should) {
            (Some(is), Some(should)) => alter(table, is, should, &mut steps)?,
            (_, _) => {
                let mut create = ddl::table_statements(&Postgres, table)?;
                create.extend(ddl::storage_statements(&Postgres, table, None));
                steps.push(AdoptStep { sql: create });
            }
        }
    }

    steps.extend(rows::postgres().into_iter().map(AdoptStep::one));
    steps.extend(ddl::count_statements(&Postgres, |_| true)?.into_iter().map(AdoptStep::one));
    Ok(steps)
}

/// Drops a trigger that notifies for each row: this project's processes notify once for many
/// commits.
fn drop_trigger(found: &Catalog, table: &str) -> Option<AdoptStep> {
    let trigger = format!("{table}_notify_trg");
    let found = found.table(table)?;
    found.triggers.contains(&trigger).then(|| AdoptStep {
        sql: vec![
            format!("DROP TRIGGER {} ON {};", quoted(&trigger), quoted(table)),
            format!(
                "DROP FUNCTION IF EXISTS {}();",
                quoted(&table.replacen("ff_", "ff_notify_", 1))
            ),
        ],
    })
}

fn alter(
    table: &Table,
    is: &FoundTable,
    should: &FoundTable,
    steps: &mut Vec<AdoptStep>,
) -> Result<(), AdoptError> {
    // Indexes first: changing the type of a column would rebuild them.
    for (name, definition) in &is.indexes {
        let stays = match should.indexes.get(name) {
            Some(wanted) => wanted == definition,
            None => !RETIRED.contains(&name.as_str()),
        };
        if !stays {
            steps.push(AdoptStep::one(format!("DROP INDEX IF EXISTS {};", quoted(name))));
        }
    }

    let actions = actions(table, is, should)?;
    if !actions.is_empty() {
        let sql = format!("ALTER TABLE {}\n    {};", quoted(table.name), actions.join(",\n    "));
        steps.push(AdoptStep::one(sql));
    }

    steps.extend(identity_step(table, is, should));
    for (name, sql) in ddl::index_statements(&Postgres, table)? {
        if is.indexes.get(&name) != should.indexes.get(&name) {
            steps.push(AdoptStep::one(sql));
        }
    }

    steps.extend(storage_steps(is, should));
    Ok(())
}

/// The actions of one `ALTER TABLE`.
fn actions(table: &Table, is: &FoundTable, should: &FoundTable) -> Result<Vec<String>, AdoptError> {
    let mut actions = Vec::new();
    let keys = |table: &FoundTable| table.key.as_ref().map(|(_, definition)| definition.clone());
    let rekeyed = keys(is) != keys(should);

    if let (true, Some((name, _))) = (rekeyed, &is.key) {
        actions.push(format!("DROP CONSTRAINT {}", quoted(name)));
    }

    for (name, definition) in &should.checks {
        let known = is.checks.get(name);
        if known.is_some_and(|known| known != definition) {
            actions.push(format!("DROP CONSTRAINT {}", quoted(name)));
        }
    }

    for column in table.columns {
        match (is.column(column.name), should.column(column.name)) {
            (Some(is), Some(should)) => column_actions(is, should, &mut actions),
            (_, _) => actions.push(add_column(&ddl::column_text(&Postgres, *column))),
        }
    }
    for (flag, definition) in table.flags.iter().zip(ddl::flag_texts(&Postgres, table)?) {
        if is.column(flag.column.name).is_none() {
            actions.push(add_column(&definition));
        }
    }

    if let (true, Some((_, definition))) = (rekeyed, &should.key) {
        actions.push(format!("ADD {definition}"));
    }

    for (name, definition) in &should.checks {
        if is.checks.get(name) != Some(definition) {
            actions.push(format!("ADD CONSTRAINT {} {definition}", quoted(name)));
        }
    }

    Ok(actions)
}

fn add_column(definition: &str) -> String {
    format!("ADD COLUMN IF NOT EXISTS {definition}")
}

/// Sets the storage parameters of the tables that hold the rows.
fn storage_steps(is: &FoundTable, should: &FoundTable) -> Vec<AdoptStep> {
    let wanted = should.storage.values().next().filter(|storage| !storage.is_empty());
    let others = is.storage.iter().filter(|(_, storage)| Some(*storage) != wanted);
    let set = |(name, _): (&String, _)| {
        let storage = wanted?;
        Some(AdoptStep::one(format!("ALTER TABLE {} SET ({storage});", quoted(name))))
    };
    others.filter_map(set).collect()
}

fn column_actions(is: &FoundColumn, should: &FoundColumn, actions: &mut Vec<String>) {
    let alter = format!("ALTER COLUMN {}", quoted(&is.name));

    if is.ty != should.ty {
        actions.push(format!("{alter} TYPE {}", should.ty));
    }
    if is.default != should.default && is.identity == should.identity {
        actions.push(match &should.default {
            Some(default) => format!("{alter} SET DEFAULT {default}"),
            None => format!("{alter} DROP DEFAULT"),
        });
    }
    if is.nullable != should.nullable {
        let change = if should.nullable { "DROP" } else { "SET" };
        actions.push(format!("{alter} {change} NOT NULL"));
    }
}

/// Turns a column with a sequence into an identity column that continues at the same number.
fn identity_step(table: &Table, is: &FoundTable, should: &FoundTable) -> Option<AdoptStep> {
    let column = table.identity()?.name;
    let (is, should) = (is.column(column)?, should.column(column)?);
    if is.identity || !should.identity {
        return None;
    }

    let (name, column) = (quoted(table.name), quoted(column));
    let mut sql = vec![format!("ALTER TABLE {name} ALTER COLUMN {column} DROP DEFAULT;")];
    let old = format!("{}_numbers", table.name);
    if let Some(sequence) = &is.sequence {
        sql.push(format!("ALTER SEQUENCE {sequence} OWNED BY NONE;"));
        sql.push(format!("ALTER SEQUENCE {sequence} RENAME TO {};", quoted(&old)));
    }
    sql.push(format!("ALTER TABLE {name} ALTER COLUMN {column} ADD GENERATED ALWAYS AS IDENTITY;"));

    let own = format!("pg_get_serial_sequence('{}', '{}')", table.name, table.identity()?.name);
    if is.sequence.is_some() {
        let old = quoted(&old);
        sql.push(format!("SELECT setval({own}, last_value, is_called) FROM {old};"));
        sql.push(format!("DROP SEQUENCE {old};"));
    } else {
        sql.push(format!(
            "SELECT setval({own}, coalesce(max({column}), 0) + 1, false) FROM {name};"
        ));
    }

    Some(AdoptStep { sql })
}
