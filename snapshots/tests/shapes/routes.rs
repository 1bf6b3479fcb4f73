//! A database may be distributed by `partition_key`: tables are split alike, and a statement that
//! finds all its rows on one partition runs on one server. The server says which partitions it
//! would look at: each statement about named rows looks at one.

use std::collections::{BTreeMap, BTreeSet};

use ff_backend_postgres::migrate::MigrateOptions;
use ff_catalogue::Call;
use ff_codegen::{BindSource, PostgresOcc, ScriptStep, Statement};
use ff_core::plan::value::{ColumnType, Value};
use ff_core::plan::{Bindings, Query};
use ff_core::schema::{TABLES, Table};
use serde_json::Value as Json;
use sqlx::{AssertSqlSafe, Executor as _, PgConnection, Row as _};

/// The parts that each large table is split into.
const PARTITIONS: u16 = 16;

/// The column that tables are split by.
const KEY: &str = "partition_key";

/// The partition of rows that an earlier statement has found.
const FOUND: i64 = 7;

/// The cases of claims from one partition, which look at nothing else.
const ONE_SCOPE: &str = "of one partition";

/// Statements that look at more than one partition although they name each row: a text that they
/// contain, and the reason.
const ACROSS: [(&str, &str); 7] = [
    ("AS \"holder\"", "an idempotency key is on the partition of its name"),
    ("\"execution_partition\" =", "an idempotency key is on the partition of its name"),
    ("FROM \"ff_budget_usage_by_exec\"", "usage is on the partition of its budget"),
    ("AS \"at_zero\"", "older SQLite files keep the row on partition 0"),
    ("AS \"elsewhere\"", "older SQLite files keep the row on partition 0"),
    ("\"ff_worker_registry\" AS", "a worker is on a partition of its own, as its executions are"),
    ("jsonb_array_elements", "each row of a list that is imported brings its own partition"),
];

/// A statement with the values that a sample binds.
struct Bound {
    name: String,
    statement: Statement,
    values: Vec<String>,
    names_rows: bool,
}

impl Bound {
    fn new(name: &str, statement: Statement, bindings: &Bindings, names_rows: bool) -> Self {
        let value = |bind: &ff_codegen::Bind| match &bind.source {
            BindSource::Slot(slot) => literal(bindings.value(*slot, 0)),
            BindSource::Held(..) | BindSource::PickedCount | BindSource::PickedSum(_) => {
                found(bind.ty)
            }
        };
        let values = statement.binds.iter().map(value).collect();
        Self { name: name.to_owned(), statement, values, names_rows }
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The value as the server reads it, whatever the type of the parameter.
fn literal(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Text(text) => quoted(text),
        Value::Bytes(bytes) => format!("'\\x{}'", hex::encode(bytes)),
        Value::Uuid(uuid) => quoted(&uuid.to_string()),
        Value::Json(document) => quoted(&document.to_string()),
        Value::TextList(list) => {
            let items: Vec<String> = list.iter().map(|item| quoted(item)).collect();
            format!("CAST(ARRAY[{}] AS text[])", items.join(", "))
        }
    }
}

/// Splits the tables with a `partition_key` that are plain on one server, which has no reason to
/// split them. A distributed database has.
async fn split_the_others(connection: &mut PgConnection) {
    let has_key = |table: &Table| table.columns.iter().any(|column| column.name == KEY);
    for table in TABLES.iter().filter(|table| has_key(table) && !table.partitioned) {
        let name = table.name;
        let parts = (0..PARTITIONS).map(|part| {
            format!(
                "CREATE TABLE {name}_p{part} PARTITION OF {name} \
                 FOR VALUES WITH (MODULUS {PARTITIONS}, REMAINDER {part});"
            )
        });
        let sql = format!(
            "ALTER TABLE {name} RENAME TO plain; \
             CREATE TABLE {name} (LIKE plain INCLUDING ALL) PARTITION BY HASH ({KEY}); \
             DROP TABLE plain; {}",
            parts.collect::<String>()
        );
        connection.execute(AssertSqlSafe(sql)).await.expect("splits the table");
    }
}

/// A value of a row that an earlier statement has found.
fn found(ty: ColumnType) -> String {
    match ty {
        ColumnType::SmallInt | ColumnType::Int | ColumnType::BigInt | ColumnType::Float => {
            FOUND.to_string()
        }
        ColumnType::Bool => "true".to_owned(),
        ColumnType::Text | ColumnType::Bytes => "''".to_owned(),
        ColumnType::Uuid => quoted(&uuid::Uuid::nil().to_string()),
        ColumnType::Json | ColumnType::TextList => "'{}'".to_owned(),
    }
}

/// Every statement of the catalogue, one by one, as an optimistic database gets them.
fn statements() -> Vec<Bound> {
    let mut all = Vec::new();
    for (name, call) in crate::calls() {
        match call {
            Call::Query(query) => {
                let names_rows = matches!(query, Query::Lookup(_)) || name.contains(ONE_SCOPE);
                let (shape, bindings) = query.into_shape();
                let statement = ff_codegen::query(&PostgresOcc, &shape).unwrap();
                all.push(Bound::new(&name, statement, &bindings, names_rows));
            }
            Call::Plan(plan) => {
                let (shape, bindings) = plan.into_shape();
                let script = ff_codegen::script(&PostgresOcc, &shape).unwrap();
                let steps = script.once.into_iter().chain(script.each).chain(script.prevents);
                all.extend(steps.map(|step| {
                    let names_rows =
                        !matches!(step, ScriptStep::Pick { .. }) || name.contains(ONE_SCOPE);
                    Bound::new(&name, step.statement().clone(), &bindings, names_rows)
                }));
            }
        }
    }
    // Those that must look at one partition come before equal ones that need not.
    all.sort_by_key(|bound| !bound.names_rows);
    let mut seen = BTreeSet::new();
    all.retain(|bound| seen.insert(bound.statement.sql.clone()));
    all
}

/// The tables that are split.
struct Split {
    /// Each part, by its name: its number.
    parts: BTreeMap<String, i64>,
    tables: BTreeSet<String>,
    /// Each value of `partition_key`: the number of its part.
    part_of: BTreeMap<i64, i64>,
}

impl Split {
    async fn read(connection: &mut PgConnection) -> Self {
        let parts = "SELECT child.relname::text, substring(pg_get_expr(child.relpartbound, child.oid) \
            FROM 'remainder ([0-9]+)')::bigint FROM pg_class AS child \
            WHERE child.relispartition AND child.relkind = 'r' \
            AND child.relnamespace = current_schema()::regnamespace";
        let parts = connection.fetch_all(parts).await.unwrap();
        let tables = "SELECT relname::text FROM pg_class \
            WHERE relkind = 'p' AND relnamespace = current_schema()::regnamespace";
        let tables = connection.fetch_all(tables).await.unwrap();
        let part_of = format!(
            "SELECT key::bigint, part::bigint FROM generate_series(0, 255) AS key, \
             generate_series(0, {PARTITIONS} - 1) AS part WHERE satisfies_hash_partition( \
             'ff_exec_core'::regclass, {PARTITIONS}, part, key::smallint)"
        );
        let part_of = connection.fetch_all(AssertSqlSafe(part_of)).await.unwrap();
        Self {
            parts: parts.iter().map(|row| (row.get(0), row.get(1))).collect(),
            tables: tables.iter().map(|row| row.get(0)).collect(),
            part_of: part_of.iter().map(|row| (row.get(0), row.get(1))).collect(),
        }
    }

    /// Adds the parts that the plan looks at; `None` where a new row may come to any.
    fn visit(&self, node: &Json, parts: &mut BTreeSet<Option<i64>>) {
        let relation = node["Relation Name"].as_str().unwrap_or_default();
        parts.extend(self.parts.get(relation).map(|part| Some(*part)));
        if node["Operation"] == "Insert" && self.tables.contains(relation) {
            let key = new_key(node);
            parts.insert(key.and_then(|key| self.part_of.get(&key).copied()));
        }
        for child in node["Plans"].as_array().into_iter().flatten() {
            self.visit(child, parts);
        }
    }
}

/// The `partition_key` of a new row, if it is known before the statement runs: the first column of
/// its type. The plan that gives the row may be below others.
fn new_key(node: &Json) -> Option<i64> {
    let columns = node["Output"].as_array().into_iter().flatten();
    let constant = |column: &Json| {
        let (_, text) = column.as_str()?.strip_suffix("'::smallint")?.rsplit_once('\'')?;
        text.parse().ok()
    };
    let first = columns.into_iter().find_map(constant);
    first.or_else(|| node["Plans"].as_array()?.iter().find_map(new_key))
}

/// The parts of tables that the server would look at.
async fn parts(
    connection: &mut PgConnection,
    split: &Split,
    bound: &Bound,
) -> BTreeSet<Option<i64>> {
    let values = bound.values.join(", ");
    let values = if values.is_empty() { values } else { format!("({values})") };
    let prepare = format!("PREPARE explained AS {}", bound.statement.sql);
    connection.execute(AssertSqlSafe(prepare)).await.unwrap();
    let explain = format!("EXPLAIN (VERBOSE, FORMAT JSON) EXECUTE explained {values}");
    let row = sqlx::raw_sql(AssertSqlSafe(explain)).fetch_one(&mut *connection).await;
    let row =
        row.unwrap_or_else(|error| panic!("{}: {error}\n{}", bound.name, bound.statement.sql));
    let plan: Json = row.get(0);
    connection.execute("DEALLOCATE explained").await.unwrap();

    let mut parts = BTreeSet::new();
    split.visit(&plan[0]["Plan"], &mut parts);
    parts
}

#[tokio::test]
async fn every_statement_about_named_rows_looks_at_one_partition() {
    let options = MigrateOptions::new().partitions(PARTITIONS).unwrap();
    let (pool, schema) = crate::migrated("ff_routes", options).await;
    let mut connection = pool.acquire().await.expect("a connection");
    connection.execute("SET plan_cache_mode = force_custom_plan").await.unwrap();
    split_the_others(&mut connection).await;
    let split = Split::read(&mut connection).await;

    let (mut routed, mut reasons, mut wrong) = (0, BTreeSet::new(), Vec::new());
    for bound in statements() {
        let found = parts(&mut connection, &split, &bound).await;
        let sql = &bound.statement.sql;
        if found.len() <= 1 && !found.contains(&None) {
            routed += 1;
        } else if bound.names_rows {
            let reason = ACROSS.iter().find(|(text, _)| sql.contains(text));
            reasons.extend(reason.copied());
            wrong.extend(reason.is_none().then(|| format!("{} {found:?}: {sql}", bound.name)));
        }
    }
    for table in &split.tables {
        let drop_table = format!("DROP TABLE {schema}.{table} CASCADE");
        connection.execute(AssertSqlSafe(drop_table)).await.expect("drops its tables");
    }
    let drop_schema = format!("DROP SCHEMA {schema} CASCADE");
    connection.execute(AssertSqlSafe(drop_schema)).await.expect("drops its schema");
    println!("{routed} statements look at one partition at most");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(reasons.len(), ACROSS.len(), "a reason is needed no more: {reasons:?}");
}
