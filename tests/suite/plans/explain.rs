//! What a database says about how it would run a statement: which index, asked for by which
//! columns.

use std::fmt;

use ff_core::schema::TABLES;
use sqlx::sqlite::SqlitePool;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};

/// One use of an index: which, and what it is asked for in the database's words; nothing where it
/// is walked from end to end.
pub(super) struct Access {
    index: String,
    asked: String,
}

/// How a statement would run.
pub(super) struct Explained {
    text: String,
    pub(super) accesses: Vec<Access>,
    /// Whether a table is read from end to end.
    pub(super) scans_a_table: bool,
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Access {
    /// The table that the index belongs to: both databases name indexes after their tables.
    pub(super) fn table(&self) -> &'static str {
        let index = self.index.trim_start_matches("sqlite_autoindex_");
        let tables = TABLES.iter().map(|table| table.name);
        let owners = tables.filter(|table| index.starts_with(&format!("{table}_")));
        let owner = owners.max_by_key(|table| table.len());
        owner.unwrap_or_else(|| panic!("{index} is no index of ours"))
    }

    pub(super) fn uses(&self, index: &str) -> bool {
        self.index == index
    }

    /// Whether the index is asked for one of these columns.
    pub(super) fn asks_for(&self, columns: &[&str]) -> bool {
        let words = || self.asked.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
        columns.iter().any(|column| words().any(|word| word == *column))
    }
}

impl Explained {
    /// True if the statement goes by this index.
    pub(super) fn uses(&self, index: &str) -> bool {
        self.accesses.iter().any(|access| access.uses(index))
    }

    fn of_postgres(text: String) -> Self {
        let mut accesses: Vec<Access> = Vec::new();
        let mut in_an_index = false;
        for line in text.lines() {
            if line.contains("->") || line.contains("(cost=") {
                let after = |words: &str| line.split_once(words).map(|(_, rest)| rest);
                // `Index Scan using i on t`, `Index Only Scan Backward using i on t`.
                let index = match after("Bitmap Index Scan on ") {
                    None if line.contains(" Scan ") || line.contains("Index ") => after(" using "),
                    found => found,
                };
                in_an_index = index.is_some();
                if let Some(rest) = index {
                    let index = rest.split_whitespace().next().unwrap_or_default().to_owned();
                    accesses.push(Access { index, asked: String::new() });
                }
            } else if let Some((_, condition)) = line.split_once("Index Cond: ")
                && in_an_index
                && let Some(access) = accesses.last_mut()
            {
                condition.clone_into(&mut access.asked);
            }
        }
        let scans_a_table = text.contains("Seq Scan on ff_");
        Self { text, accesses, scans_a_table }
    }

    fn of_sqlite(lines: &[String]) -> Self {
        let (mut accesses, mut scans_a_table) = (Vec::new(), false);
        for line in lines {
            let found = line.strip_prefix("SEARCH ").or(line.strip_prefix("SCAN "));
            // A bound list, a row without a table, the row that look-ups are joined to, and the
            // lists and rows that a statement has found.
            let is_table = |name: &&str| {
                !name.contains("VIRTUAL TABLE")
                    && !["CONSTANT ROW", "always", "known", "best", "part0", "part1"].contains(name)
            };
            let Some(found) = found.filter(is_table) else { continue };
            if let Some((_, rest)) = found.split_once(" INDEX ") {
                let (index, asked) = rest.split_once(' ').unwrap_or((rest, ""));
                accesses.push(Access { index: index.to_owned(), asked: asked.to_owned() });
            } else {
                scans_a_table |= line.starts_with("SCAN ");
            }
        }
        Self { text: lines.join("\n"), accesses, scans_a_table }
    }
}

/// The generic plan, which holds for whatever is bound.
pub(super) async fn postgres(
    connection: &mut PgConnection,
    sql: &str,
    parameters: usize,
) -> Explained {
    let values = vec!["NULL"; parameters].join(", ");
    let values = if parameters == 0 { values } else { format!("({values})") };
    let mut plan = Vec::new();
    for sql in [
        "SET plan_cache_mode = force_generic_plan".to_owned(),
        format!("PREPARE explained AS {sql}"),
        format!("EXPLAIN EXECUTE explained {values}"),
        "DEALLOCATE explained".to_owned(),
        "RESET plan_cache_mode".to_owned(),
    ] {
        let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut *connection).await.unwrap();
        plan.extend(rows.iter().map(|row| row.get::<String, _>(0)));
    }
    Explained::of_postgres(plan.join("\n"))
}

pub(super) async fn sqlite(pool: &SqlitePool, sql: &str) -> Explained {
    let sql = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
    let rows = sqlx::query(sql).fetch_all(pool).await.unwrap();
    let lines: Vec<String> = rows.iter().map(|row| row.get("detail")).collect();
    Explained::of_sqlite(&lines)
}
