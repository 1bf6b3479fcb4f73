//! The statements that lead from one schema to another.
//!
//! Only changes that keep every row and every older statement valid are written: new tables,
//! columns and indexes, other indexes, another order of a key, more words in a closed set. All
//! others lose rows or depend on them, so an engineer has to write them.

use ff_core::schema;

use super::description::{Description, TableDescription, column_name};
use crate::ddl;
use crate::dialect::Dialect;
use crate::names::quoted;
use crate::statement::RenderError;

/// The statements of a migration, and their meaning for programs that know only the old schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The statements, in order; none if the schemas are equal.
    pub statements: Vec<String>,
    /// The name of the first object that the statements create or change.
    pub subject: Option<String>,
    /// True if an older binary still works on the new schema: it never meets a word that it does
    /// not know.
    pub backward_compatible: bool,
}

/// The reason that the statements have to be written by hand.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A table is gone.
    #[error("{table}: the table is gone; its rows would be lost")]
    TableDropped {
        /// The table.
        table: String,
    },
    /// A column is gone.
    #[error("{table}.{column}: the column is gone; its values would be lost")]
    ColumnDropped {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
    /// A column has another type, default, or answer to whether it may be NULL.
    #[error("{table}: {was} became {is}; the values in it may not fit")]
    ColumnChanged {
        /// The table.
        table: String,
        /// The old definition.
        was: String,
        /// The new definition.
        is: String,
    },
    /// A new column has no value for the rows that exist.
    #[error("{table}.{column}: a new column must have a default or allow NULL, for existing rows")]
    NeedsValue {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
    /// A column stands between older ones, where no database can add it.
    #[error("{table}.{column}: declare a new column after the older ones, and keep their order")]
    NotLast {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
    /// The primary key has other columns.
    #[error("{table}: the primary key changed; existing rows may not be unique in it")]
    KeyChanged {
        /// The table.
        table: String,
    },
    /// A partitioned table is plain now, or the other way round.
    #[error("{table}: a table cannot begin or cease to be partitioned")]
    PartitioningChanged {
        /// The table.
        table: String,
    },
    /// A check is new, gone, or accepts less than before.
    #[error("{table}.{column}: the check lost words, is new or is gone; stored words may not fit")]
    CheckNarrowed {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
}

/// The reason that a difference has no statements.
#[derive(Debug, thiserror::Error)]
pub enum DifferenceError {
    /// An engineer has to write the migration.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    ByHand(Vec<Refusal>),
    /// The dialect cannot express the schema.
    #[error(transparent)]
    Render(#[from] RenderError),
}

/// The statements that lead from the schema `old` to the schema `new`, which is that of this
/// binary.
///
/// # Errors
/// [`DifferenceError::ByHand`] with every change that no statement is written for.
pub fn difference(
    dialect: &dyn Dialect,
    old: &Description,
    new: &Description,
) -> Result<Difference, DifferenceError> {
    let refusals = refusals(old, new);
    if !refusals.is_empty() {
        return Err(DifferenceError::ByHand(refusals));
    }

    let mut found = Difference { statements: vec![], subject: None, backward_compatible: true };
    for (name, is) in &new.tables {
        match old.tables.get(name) {
            None => found.create(dialect, name)?,
            Some(was) if was != is => found.alter(dialect, name, was, is)?,
            Some(_) => {}
        }
    }

    Ok(found)
}

fn refusals(old: &Description, new: &Description) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    for (name, was) in &old.tables {
        match new.tables.get(name) {
            Some(is) => refuse(name, was, is, &mut refusals),
            None => refusals.push(Refusal::TableDropped { table: name.clone() }),
        }
    }

    refusals
}

fn refuse(name: &str, was: &TableDescription, is: &TableDescription, out: &mut Vec<Refusal>) {
    let table = || name.to_owned();
    let find = |columns: &[String], wanted: &str| {
        columns.iter().find(|definition| column_name(definition) == wanted).cloned()
    };

    let columns = was.columns.iter().map(|old| (old, &is.columns));
    for (old, new) in columns.chain(was.flags.iter().map(|old| (old, &is.flags))) {
        let column = column_name(old).to_owned();
        match find(new, &column) {
            None => out.push(Refusal::ColumnDropped { table: table(), column }),
            Some(new) if new != *old => {
                out.push(Refusal::ColumnChanged { table: table(), was: old.clone(), is: new });
            }
            Some(_) => {}
        }
    }

    for (at, new) in is.columns.iter().enumerate() {
        let column = column_name(new).to_owned();
        let known = find(&was.columns, &column).is_some();
        if !known && new.contains(" NOT NULL") && !new.contains(" DEFAULT ") {
            out.push(Refusal::NeedsValue { table: table(), column });
        } else if was.columns.get(at).is_some_and(|old| column_name(old) != column)
            && was.columns.len() <= is.columns.len()
        {
            out.push(Refusal::NotLast { table: table(), column });
            break;
        }
    }

    if sorted(&was.key) != sorted(&is.key) {
        out.push(Refusal::KeyChanged { table: table() });
    }
    if was.partitioned != is.partitioned {
        out.push(Refusal::PartitioningChanged { table: table() });
    }

    let checked: std::collections::BTreeSet<_> =
        was.accepted.keys().chain(is.accepted.keys()).collect();
    for column in checked {
        let fits = match (was.accepted.get(column), is.accepted.get(column)) {
            (Some(was), Some(is)) => {
                was.is_empty() == is.is_empty() && was.iter().all(|word| is.contains(word))
            }
            // A check of a new column is met by its default.
            (None, Some(_)) => find(&was.columns, column).is_none(),
            (Some(_) | None, None) => false,
        };
        if !fits {
            out.push(Refusal::CheckNarrowed { table: table(), column: column.clone() });
        }
    }
}

/// The columns of a key whatever their order, which says nothing about which rows are unique.
fn sorted(key: &[String]) -> Vec<&String> {
    let mut key: Vec<_> = key.iter().collect();
    key.sort();
    key
}

impl Difference {
    fn touch(&mut self, name: &str) {
        self.subject.get_or_insert_with(|| name.to_owned());
    }

    fn create(&mut self, dialect: &dyn Dialect, name: &str) -> Result<(), RenderError> {
        self.touch(name);
        let table = table(dialect, name)?;
        self.statements.extend(ddl::table_statements(dialect, table)?);
        self.statements.extend(ddl::storage_statements(dialect, table, None));
        self.statements.extend(ddl::counts_into(dialect, table)?);
        Ok(())
    }

    /// Indexes go first and come last, because an index on an old form of a column may not fit.
    fn alter(
        &mut self,
        dialect: &dyn Dialect,
        name: &str,
        was: &TableDescription,
        is: &TableDescription,
    ) -> Result<(), RenderError> {
        let columns = is.columns.iter().filter(|column| !was.columns.contains(*column));
        let flags = is.flags.iter().filter(|flag| !was.flags.contains(*flag));
        let added: Vec<&String> = columns.chain(flags).collect();
        let checks: Vec<(&String, &Vec<String>)> = is
            .accepted
            .iter()
            .filter(|(column, words)| was.accepted.get(*column) != Some(*words))
            .collect();

        for column in &added {
            self.touch(&format!("{name}_{}", column_name(column)));
        }
        for (column, words) in &checks {
            self.touch(&format!("{name}_{column}"));
            self.backward_compatible &=
                was.accepted.get(*column).is_none_or(|old| old.len() == words.len());
        }

        let computed = added.iter().any(|column| column.contains(" DEFAULT ("));
        // Where the database numbers the rows, the number alone is the key.
        let rekeyed = was.key != is.key && !ddl::numbers_rows(dialect, table(dialect, name)?);
        if rekeyed {
            self.touch(name);
        }
        if !dialect.alters_tables() && (computed || rekeyed || !checks.is_empty()) {
            let columns = was.columns.iter().map(|column| column_name(column));
            let filled: Vec<_> = columns.map(|column| (column, quoted(column))).collect();
            let table = table(dialect, name)?;
            self.statements.extend(ddl::rebuild_statements(dialect, table, &filled, &[])?);
            // The triggers are gone with the old table.
            self.statements.extend(ddl::counts_of(dialect, table)?);
            self.statements.extend(ddl::counts_into(dialect, table)?);
            return Ok(());
        }

        for (index, sql) in &was.indexes {
            if is.indexes.get(index) != Some(sql) {
                self.touch(index);
                self.statements.push(dialect.drop_index(name, index));
            }
        }

        let key = rekeyed.then_some(is.key.as_slice());
        self.statements.extend(alterations(dialect, name, &added, key, &checks));
        for (index, sql) in &is.indexes {
            if was.indexes.get(index) != Some(sql) {
                self.touch(index);
                self.statements.push(sql.clone());
            }
        }

        if was.storage != is.storage {
            self.touch(name);
            self.statements.extend(is.storage.iter().cloned());
        }
        if was.counts != is.counts {
            self.touch(name);
            self.statements.extend(is.counts.iter().cloned());
        }
        Ok(())
    }
}

/// The statements that alter a table in place.
fn alterations(
    dialect: &dyn Dialect,
    name: &str,
    added: &[&String],
    key: Option<&[String]>,
    checks: &[(&String, &Vec<String>)],
) -> Vec<String> {
    let alter = format!("ALTER TABLE {}", quoted(name));
    if !dialect.alters_tables() {
        return added.iter().map(|column| format!("{alter} ADD COLUMN {column};")).collect();
    }

    let mut actions: Vec<String> =
        added.iter().map(|column| format!("ADD COLUMN IF NOT EXISTS {column}")).collect();
    if let Some(key) = key {
        let columns: Vec<String> = key.iter().map(|column| quoted(column)).collect();
        actions.extend(dialect.primary_key_change(name, &columns.join(", ")));
    }
    for (column, words) in checks {
        let (check, definition) = ddl::check_text(dialect, name, column, words);
        actions.push(format!("DROP CONSTRAINT IF EXISTS {}", quoted(&check)));
        actions.push(format!("ADD CONSTRAINT {} {definition}", quoted(&check)));
    }

    let statement = format!("{alter}\n    {};", actions.join(",\n    "));
    if actions.is_empty() { vec![] } else { vec![statement] }
}

fn table(dialect: &dyn Dialect, name: &str) -> Result<&'static schema::Table, RenderError> {
    let what = || format!("a table {name}, which the schema lacks");
    schema::table(name)
        .ok_or_else(|| RenderError::Unsupported { dialect: dialect.name(), what: what() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::{Postgres, Sqlite};

    const TABLE: &str = "ff_operator_event";

    fn current(dialect: &dyn Dialect) -> Description {
        Description::current(dialect).unwrap()
    }

    /// The statements from the current schema without something.
    fn since(dialect: &dyn Dialect, change: impl Fn(&mut TableDescription)) -> Difference {
        let mut old = current(dialect);
        change(old.tables.get_mut(TABLE).unwrap());
        difference(dialect, &old, &current(dialect)).unwrap()
    }

    /// The refusals of a change of the current schema.
    fn refused(change: impl Fn(&mut TableDescription)) -> Vec<Refusal> {
        let mut new = current(&Sqlite);
        change(new.tables.get_mut(TABLE).unwrap());
        match difference(&Sqlite, &current(&Sqlite), &new) {
            Err(DifferenceError::ByHand(refusals)) => refusals,
            other => panic!("{other:?}"),
        }
    }

    fn drop_last_column(table: &mut TableDescription) {
        table.columns.pop();
    }

    fn drop_last_word(table: &mut TableDescription) {
        table.accepted.get_mut("event_type").unwrap().pop();
    }

    #[test]
    fn equal_schemas_need_nothing() {
        for dialect in [&Postgres as &dyn Dialect, &Sqlite] {
            let none = since(dialect, |_| {});
            assert_eq!((none.statements, none.subject), (vec![], None));
        }
    }

    #[test]
    fn a_new_table_comes_with_its_indexes() {
        for dialect in [&Postgres as &dyn Dialect, &Sqlite] {
            let mut old = current(dialect);
            let indexes = old.tables.remove("ff_claim_grant").unwrap().indexes.len();
            let found = difference(dialect, &old, &current(dialect)).unwrap();
            assert_eq!(found.statements.len(), 1 + indexes);
            let create = "CREATE TABLE IF NOT EXISTS \"ff_claim_grant\" (";
            assert!(found.statements[0].contains(create), "{:?}", found.statements);
            assert!(found.backward_compatible);
        }
    }

    #[test]
    fn a_new_column_is_added_in_place() {
        let found = since(&Postgres, drop_last_column);
        let alter = "ALTER TABLE \"ff_operator_event\"\n    \
                     ADD COLUMN IF NOT EXISTS \"instance_tag\" text COLLATE \"C\";";
        assert_eq!(found.statements, [alter]);
        assert_eq!(found.subject.as_deref(), Some("ff_operator_event_instance_tag"));
        let found = since(&Sqlite, drop_last_column);
        assert_eq!(
            found.statements,
            ["ALTER TABLE \"ff_operator_event\" ADD COLUMN \"instance_tag\" TEXT;"]
        );
    }

    #[test]
    fn an_index_that_is_new_gone_or_other_is_replaced() {
        let index = "ff_operator_event_execution_idx";
        for dialect in [&Postgres as &dyn Dialect, &Sqlite] {
            let new = since(dialect, |table| drop(table.indexes.remove(index)));
            assert!(new.statements[0].starts_with("CREATE INDEX IF NOT EXISTS"));
            let gone = since(dialect, |table| {
                table.indexes.insert("ff_old_idx".into(), "CREATE ...".into());
            });
            assert_eq!(gone.statements, ["DROP INDEX IF EXISTS \"ff_old_idx\";"]);
            let other = since(dialect, |table| {
                table.indexes.insert(index.into(), "CREATE ...".into());
            });
            assert!(other.statements[0].starts_with("DROP INDEX IF EXISTS"));
            assert!(other.statements[1].starts_with("CREATE INDEX IF NOT EXISTS"));
        }
    }

    #[test]
    fn a_wider_closed_set_replaces_the_check() {
        let found = since(&Postgres, drop_last_word);
        let [alter] = found.statements.as_slice() else { panic!("{found:?}") };
        let check = "\"ff_operator_event_event_type_check\"";
        assert!(alter.contains(&format!("DROP CONSTRAINT IF EXISTS {check}")), "{alter}");
        assert!(alter.contains(&format!("ADD CONSTRAINT {check} CHECK (")), "{alter}");
        assert!(!found.backward_compatible);

        // SQLite keeps checks in the text of the table.
        let found = since(&Sqlite, drop_last_word);
        let all = found.statements.join("\n");
        for part in ["DROP TABLE \"ff_operator_event\"", "RENAME TO", "sqlite_sequence"] {
            assert!(all.contains(part), "{all}");
        }
        assert!(!found.backward_compatible);
    }

    #[test]
    fn a_key_in_another_order_replaces_the_old_one() {
        let turned = |table: &mut TableDescription| table.key.reverse();
        let found = since(&Postgres, turned);
        let [alter] = found.statements.as_slice() else { panic!("{found:?}") };
        assert!(alter.contains("DROP CONSTRAINT IF EXISTS \"ff_operator_event_pkey\""), "{alter}");
        assert!(alter.contains("PRIMARY KEY (\"event_id\", \"partition_key\")"), "{alter}");
        // SQLite numbers these rows: the number alone is the key.
        assert_eq!(since(&Sqlite, turned).statements, Vec::<String>::new());
    }

    #[test]
    fn flags_and_storage_parameters_are_added_in_place() {
        let mut old = current(&Postgres);
        let table = old.tables.get_mut("ff_exec_core").unwrap();
        table.flags.clear();
        table.storage.clear();
        let found = difference(&Postgres, &old, &current(&Postgres)).unwrap().statements;
        let [alter, set] = found.as_slice() else { panic!("{found:?}") };
        assert!(alter.contains("ADD COLUMN IF NOT EXISTS \"is_claimable\" boolean GENERATED"));
        assert!(set.starts_with("ALTER TABLE \"ff_exec_core\" SET (fillfactor"), "{set}");
    }

    #[test]
    fn a_computed_default_rebuilds_where_it_cannot_be_added() {
        let find = |dialect: &dyn Dialect| {
            let mut old = current(dialect);
            let table = old.tables.get_mut("ff_stream_meta").unwrap();
            table.columns.retain(|column| !column.contains("DEFAULT (") && !is_after_rate(column));
            difference(dialect, &old, &current(dialect)).unwrap().statements
        };
        fn is_after_rate(column: &str) -> bool {
            !["partition_key", "execution_id", "attempt_index"].contains(&column_name(column))
        }
        assert!(find(&Sqlite).iter().any(|sql| sql.starts_with("DROP TABLE")));
        assert_eq!(find(&Postgres).len(), 1);
    }

    #[test]
    fn what_could_lose_rows_or_depends_on_them_is_written_by_hand() {
        let (table, column) = (TABLE.to_owned(), "instance_tag".to_owned());
        assert_eq!(refused(drop_last_column), [Refusal::ColumnDropped { table, column }]);
        let narrowed = refused(drop_last_word);
        assert!(matches!(narrowed[..], [Refusal::CheckNarrowed { .. }]), "{narrowed:?}");
        let unchecked = refused(|table| table.accepted.clear());
        assert!(matches!(unchecked[..], [Refusal::CheckNarrowed { .. }]), "{unchecked:?}");
        let changed = refused(|table| table.columns[8] = "\"instance_tag\" BLOB".into());
        assert!(matches!(changed[..], [Refusal::ColumnChanged { .. }]), "{changed:?}");
        let rekeyed = refused(|table| drop(table.key.pop()));
        assert!(matches!(rekeyed[..], [Refusal::KeyChanged { .. }]), "{rekeyed:?}");
        let split = refused(|table| table.partitioned = true);
        assert!(matches!(split[..], [Refusal::PartitioningChanged { .. }]), "{split:?}");

        let bare = refused(|table| table.columns.push("\"a\" TEXT NOT NULL".into()));
        let [Refusal::NeedsValue { column, .. }] = &bare[..] else { panic!("{bare:?}") };
        assert_eq!(column, "a");
        let between = refused(|table| table.columns.insert(3, "\"a\" TEXT".into()));
        let [Refusal::NotLast { column, .. }] = &between[..] else { panic!("{between:?}") };
        assert_eq!(column, "a");

        let mut new = current(&Postgres);
        new.tables.remove(TABLE);
        let error = difference(&Postgres, &current(&Postgres), &new).unwrap_err().to_string();
        assert_eq!(error, "ff_operator_event: the table is gone; its rows would be lost");
    }
}
