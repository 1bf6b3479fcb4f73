//! The schema as DDL.
//!
//! Every table of [`ff_core::schema::TABLES`] becomes one `CREATE TABLE` and its indexes. The
//! differences between databases are answers of [`Dialect`]. This module names no database, and no
//! table except the two that receive rows in the first migration.

mod count;
mod index;
mod rebuild;
mod table;

pub use count::CountText;
pub(crate) use count::{count_statements, counts_into, counts_of};
use ff_core::schema::{ColumnRef, TABLES, Table, admin};
pub(crate) use rebuild::rebuild_statements;

use sea_query::{Expr, Query};

use crate::dialect::{Dialect, RowNumbering};
use crate::migrations;
use crate::names::quoted;
use crate::statement::RenderError;
use crate::writer;
use crate::writer::{Tree, constant};

/// The number of shards of each family in a new database: flows, budgets, quotas.
const SHARDS: [i32; 3] = [256, 32, 32];

/// The release that created the schema. Part of the first migration, which never changes once it is
/// released: not the crate's current version.
const GENESIS_RELEASE: &str = "0.1.0";

/// The statements that create an empty database, in order. With `partitions`, tables that allow it
/// are hash-partitioned into that many children `<table>_p<i>`. Every statement may then be
/// repeated, because so many relations do not fit into one transaction.
///
/// # Errors
/// `Unsupported` where the dialect cannot express the schema, or has no partitions.
pub fn statements(
    dialect: &dyn Dialect,
    partitions: Option<u16>,
) -> Result<Vec<String>, RenderError> {
    let mut statements = without_counts(dialect, partitions)?;
    statements.extend(count_statements(dialect, |_| true)?);
    Ok(statements)
}

/// The same statements without the functions and triggers that keep the counts.
///
/// # Errors
/// As [`statements`].
pub fn without_counts(
    dialect: &dyn Dialect,
    partitions: Option<u16>,
) -> Result<Vec<String>, RenderError> {
    let mut trees = Vec::new();
    for table in TABLES {
        trees.push((Some(table.doc.trim()), table::table_tree(dialect, table, partitions)?));
        for index in index::index_trees(dialect, table)? {
            trees.push((None, index));
        }
        if table.partitioned {
            let count = partitions.unwrap_or(0);
            trees.extend((0..count).map(|child| (None, table::child_tree(table, child, count))));
        }
    }
    trees.extend(seeds(dialect)?.map(|tree| (None, tree)));

    let mut statements: Vec<_> = trees
        .into_iter()
        .map(|(doc, tree)| statement_text(dialect, doc, repeatable(tree, partitions)))
        .collect();
    for table in TABLES {
        let children = partitions.filter(|_| table.partitioned);
        statements.extend(storage_statements(dialect, table, children));
    }
    Ok(statements)
}

/// The statements that set the storage parameters of a busy table, or of each of its children,
/// which alone have any if it is partitioned.
pub(crate) fn storage_statements(
    dialect: &dyn Dialect,
    table: &Table,
    children: Option<u16>,
) -> Vec<String> {
    let Some(storage) = dialect.busy_storage().filter(|_| table.busy) else { return Vec::new() };
    let set = |name: String| format!("ALTER TABLE {} SET ({storage});", quoted(&name));
    match children {
        None => vec![set(table.name.to_owned())],
        Some(count) => (0..count).map(|child| set(table::child_name(table, child))).collect(),
    }
}

/// The definitions of the flags' columns that the dialect stores, as [`column_text`] has them.
pub(crate) fn flag_texts(dialect: &dyn Dialect, table: &Table) -> Result<Vec<String>, RenderError> {
    let flags = table::flag_definitions(dialect, table)?;
    Ok(flags.into_iter().map(|flag| definition_text(dialect, flag)).collect())
}

/// The repeatable statements that create one table and its indexes.
pub(crate) fn table_statements(
    dialect: &dyn Dialect,
    table: &Table,
) -> Result<Vec<String>, RenderError> {
    let create = table_text(dialect, table)?;
    let mut statements = vec![create.replacen("CREATE TABLE ", "CREATE TABLE IF NOT EXISTS ", 1)];
    statements.extend(index_statements(dialect, table)?.into_iter().map(|(_, sql)| sql));
    Ok(statements)
}

/// The statement that creates one table, as the first migration has it.
pub(crate) fn table_text(dialect: &dyn Dialect, table: &Table) -> Result<String, RenderError> {
    let create = table::table_tree(dialect, table, None)?;
    let sql = statement_text(dialect, Some(""), create);
    Ok(sql.trim_start_matches("-- \n").to_owned())
}

/// The repeatable statement that creates each index, by the index's name.
pub(crate) fn index_statements(
    dialect: &dyn Dialect,
    table: &Table,
) -> Result<Vec<(String, String)>, RenderError> {
    let mut statements = Vec::new();
    for (name, mut tree) in index::named_trees(dialect, table)? {
        if let Tree::CreateIndex(create) = &mut tree {
            create.if_not_exists();
        }
        statements.push((name, statement_text(dialect, None, tree)));
    }

    Ok(statements)
}

/// A column as `CREATE TABLE` and `ADD COLUMN` write it.
pub(crate) fn column_text(dialect: &dyn Dialect, column: ColumnRef) -> String {
    definition_text(dialect, table::column_definition(dialect, column))
}

fn definition_text(dialect: &dyn Dialect, definition: sea_query::ColumnDef) -> String {
    let mut create = sea_query::Table::create();
    create.table("t").col(definition);
    let sql = writer::plain(dialect.grammar(), &Tree::CreateTable(create));

    let inside = sql.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')'));
    inside.map_or_else(String::new, |(definition, _)| definition.trim().to_owned())
}

/// The check that a column holds one of the words, or is true if there are none: the name of the
/// constraint, and its definition.
pub(crate) fn check_text(
    dialect: &dyn Dialect,
    table: &str,
    column: &str,
    words: &[String],
) -> (String, String) {
    let name = table::check_name(table, column);
    let mut create = sea_query::Table::create();
    create.table("t").check(table::accepted(column.to_owned(), words.iter().map(String::as_str)));
    let sql = writer::plain(dialect.grammar(), &Tree::CreateTable(create));

    let inside = sql.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')'));
    (name, inside.map_or_else(String::new, |(definition, _)| definition.trim().to_owned()))
}

fn statement_text(dialect: &dyn Dialect, doc: Option<&str>, tree: Tree) -> String {
    let sql = writer::plain(dialect.grammar(), &tree);
    match doc {
        Some(doc) => format!("-- {doc}\n{};", one_column_a_line(&sql)),
        None => format!("{};", sql.replacen(" WHERE ", "\n    WHERE ", 1)),
    }
}

fn repeatable(mut tree: Tree, partitions: Option<u16>) -> Tree {
    if partitions.is_some() {
        match &mut tree {
            Tree::CreateTable(create) => {
                create.if_not_exists();
            }
            Tree::CreateIndex(create) => {
                create.if_not_exists();
            }
            // A seed already ignores an existing row.
            Tree::Insert(_)
            | Tree::Select(_)
            | Tree::Update(_)
            | Tree::Delete(_)
            | Tree::With(_) => {}
        }
    }

    tree
}

/// True if the identity column alone is the primary key of the table.
pub(crate) fn numbers_rows(dialect: &dyn Dialect, table: &Table) -> bool {
    table.identity().is_some() && matches!(dialect.row_numbering(), RowNumbering::PrimaryKey(_))
}

/// The rows of the first migration: shard counts, and the annotation of the migration itself. It is
/// not backward compatible, since older binaries know no schema at all.
fn seeds(dialect: &dyn Dialect) -> Result<[Tree; 2], RenderError> {
    Ok([config(dialect)?, annotation(dialect, 1, migrations::GENESIS_NAME, false)?])
}

/// The statement that adds the shard counts of a new database.
pub(crate) fn config_text(dialect: &dyn Dialect) -> Result<String, RenderError> {
    Ok(statement_text(dialect, None, config(dialect)?))
}

fn config(dialect: &dyn Dialect) -> Result<Tree, RenderError> {
    let [flows, budgets, quotas] = SHARDS.map(number);
    seed(
        dialect,
        &admin::partition_config::TABLE,
        [Expr::Constant(true.into()), flows, budgets, quotas, constant(GENESIS_RELEASE)],
    )
}

/// The statement that adds the annotation of a migration.
pub(crate) fn annotation_text(
    dialect: &dyn Dialect,
    version: u32,
    name: &str,
    backward_compatible: bool,
) -> Result<String, RenderError> {
    Ok(statement_text(dialect, None, annotation(dialect, version, name, backward_compatible)?))
}

fn annotation(
    dialect: &dyn Dialect,
    version: u32,
    name: &str,
    backward_compatible: bool,
) -> Result<Tree, RenderError> {
    seed(
        dialect,
        &admin::migration_annotation::TABLE,
        [
            Expr::Constant(version.into()),
            constant(name),
            dialect.now_ms(),
            Expr::Constant(backward_compatible.into()),
        ],
    )
}

fn number(number: i32) -> Expr {
    Expr::Constant(number.into())
}

fn seed<const N: usize>(
    dialect: &dyn Dialect,
    table: &Table,
    row: [Expr; N],
) -> Result<Tree, RenderError> {
    let mut insert = Query::insert();
    insert
        .into_table(table.name)
        .columns(table.columns.iter().map(|column| column.name))
        .values_panic(row);
    dialect.ignore_existing(&mut insert, table.key)?;
    Ok(Tree::Insert(insert))
}

/// Puts each entry of the first parenthesised list of a `CREATE TABLE` on a line of its own, for
/// readers of the file.
fn one_column_a_line(sql: &str) -> String {
    let mut lines = String::with_capacity(sql.len() * 2);
    let (mut depth, mut quote, mut done) = (0_usize, None, false);
    let mut skip_space = false;
    for letter in sql.chars() {
        if std::mem::take(&mut skip_space) && letter == ' ' {
            continue;
        }

        match (quote, letter) {
            (Some(open), _) if open == letter => quote = None,
            (None, '\'' | '"') => quote = Some(letter),
            (None, '(') => depth += 1,
            (None, ')') => depth = depth.saturating_sub(1),
            _ => {}
        }

        let (outside, listed) = (quote.is_none() && !done, depth == 1);
        if outside && letter == ')' && depth == 0 {
            lines.truncate(lines.trim_end().len());
            lines.push('\n');
            done = true;
        }

        lines.push(letter);
        if outside && listed && matches!(letter, '(' | ',') {
            lines.push_str("\n    ");
            skip_space = true;
        }
    }

    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::{Postgres, Sqlite};

    #[test]
    fn every_table_and_column_is_created_in_order() {
        for dialect in [&Postgres as &dyn Dialect, &Sqlite] {
            let statements = statements(dialect, None).unwrap();
            let mut tables = statements.iter().filter(|sql| sql.contains("\nCREATE TABLE "));
            for table in TABLES {
                let sql = tables.next().unwrap();
                assert!(sql.contains(&format!("CREATE TABLE \"{}\" (", table.name)), "{sql}");
                let mut lines = sql.lines().skip(2);
                for column in table.columns {
                    let line = lines.next().unwrap().trim_start();
                    assert!(line.starts_with(&format!("\"{}\" ", column.name)), "{line}");
                }
            }
            assert!(tables.next().is_none());
        }
    }

    #[test]
    fn indexes_keep_their_order_and_their_predicate() {
        let head = "INDEX \"ff_exec_core_claim_idx\" ON \"ff_exec_core\" (\"lane_id\", ";
        let tail = ", \"priority\" DESC, \"claimable_since_ms\", \"created_at_ms\", \
                    \"execution_id\")\n    WHERE ";
        let postgres = (&Postgres as &dyn Dialect, "\"is_claimable\" IS NOT NULL");
        let sqlite = (&Sqlite as &dyn Dialect, "\"lifecycle_phase\" IN ('submitted', 'runnable'");
        for (dialect, predicate) in [postgres, sqlite] {
            let statements = statements(dialect, None).unwrap();
            let sql = statements.iter().find(|sql| sql.contains("claim_idx")).unwrap();
            assert!(sql.contains(head) && sql.contains(tail), "{sql}");
            assert!(sql.contains("\"required_capabilities\""), "{sql}");
            assert!(sql.contains(predicate), "{sql}");
        }
    }

    #[test]
    fn partitions_are_children_of_the_tables_that_allow_them() {
        let plain = statements(&Postgres, None).unwrap().len();
        let split = statements(&Postgres, Some(3)).unwrap();
        let parents = TABLES.iter().filter(|table| table.partitioned).count();
        // Storage parameters are set once for each child, not for the parent.
        let busy = TABLES.iter().filter(|table| table.partitioned && table.busy).count();
        assert_eq!(split.len(), plain + 3 * parents + 2 * busy);
        let repeatable = ["IF NOT EXISTS", "CONFLICT", " SET (", "OR REPLACE"];
        assert!(split.iter().all(|sql| repeatable.iter().any(|word| sql.contains(word))));
        assert!(
            split.contains(
                &"CREATE TABLE IF NOT EXISTS \"ff_attempt_p2\" PARTITION OF \"ff_attempt\" \
              FOR VALUES WITH (MODULUS 3, REMAINDER 2);"
                    .to_owned()
            )
        );
    }

    #[test]
    fn what_a_dialect_cannot_do_is_an_error() {
        assert!(matches!(statements(&Sqlite, Some(2)), Err(RenderError::Unsupported { .. })));
    }
}
