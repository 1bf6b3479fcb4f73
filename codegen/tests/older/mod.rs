//! An imaginary older schema, for tests of the backends: today's without a table, an index, a word
//! of a closed set, and two columns.

use ff_codegen::history::Description;
use ff_codegen::{Dialect, ddl};

/// The table that is missing.
const TABLE: &str = "ff_flow_summary";

/// The index that is missing.
const INDEX: &str = "ff_attempt_timeout_idx";

/// The last column of some tables, which they lack. One must not be NULL.
const COLUMNS: [(&str, &str); 2] =
    [("ff_exec_core", "has_reservations"), ("ff_attempt", "failure_class")];

/// The table that lacks its flags, the indexes over them, and its storage parameters.
const FLAGGED: &str = "ff_exec_core";

/// The closed set that lacks its last word.
const WORDS: (&str, &str) = ("ff_operator_event", "event_type");

/// The older schema, and the statements that create it.
pub(crate) fn older(dialect: &dyn Dialect) -> (Description, Vec<String>) {
    let mut description = Description::current(dialect).unwrap();
    let mut statements = ddl::statements(dialect, None).unwrap();

    description.tables.remove(TABLE).unwrap();
    statements.retain(|sql| !sql.contains(&format!("\"{TABLE}\"")));
    description.tables.get_mut("ff_attempt").unwrap().indexes.remove(INDEX).unwrap();
    statements.retain(|sql| !sql.contains(&format!("\"{INDEX}\"")));

    for (table, column) in COLUMNS {
        description.tables.get_mut(table).unwrap().columns.pop().unwrap();
        let sql = create(&mut statements, table);
        let start = format!("\"{column}\" ");
        let lines = sql.lines().filter(|line| !line.trim_start().starts_with(&start));
        *sql = lines.collect::<Vec<_>>().join("\n");
    }

    let flagged = description.tables.get_mut(FLAGGED).unwrap();
    for flag in std::mem::take(&mut flagged.flags) {
        let name = flag.split_inclusive('"').take(2).collect::<String>();
        flagged.indexes.retain(|_, sql| !sql.contains(&name));
        statements.retain(|sql| !(sql.contains("CREATE INDEX") && sql.contains(&name)));
        let sql = create(&mut statements, FLAGGED);
        let lines = sql.lines().filter(|line| !line.trim_start().starts_with(&name));
        *sql = lines.collect::<Vec<_>>().join("\n");
    }
    flagged.storage.clear();
    statements.retain(|sql| !sql.starts_with(&format!("ALTER TABLE \"{FLAGGED}\"")));

    let (table, column) = WORDS;
    let words = description.tables.get_mut(table).unwrap().accepted.get_mut(column).unwrap();
    let word = format!(", '{}')", words.pop().unwrap());
    let sql = create(&mut statements, table);
    assert!(sql.contains(&word), "{sql}");
    *sql = sql.replace(&word, ")");

    (description, statements)
}

fn create<'a>(statements: &'a mut [String], table: &str) -> &'a mut String {
    let head = format!("CREATE TABLE \"{table}\" (");
    statements.iter_mut().find(|sql| sql.contains(&head)).unwrap()
}
