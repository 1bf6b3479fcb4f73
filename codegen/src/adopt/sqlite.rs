//! Adoption on SQLite: a table that differs in its text is rebuilt beside the old one, filled from
//! it and renamed. All steps run in one transaction, so none of them takes effect alone.

use ff_core::plan::value::ColumnType;
use ff_core::schema::{ColumnRef, Default, TABLES, Table};

use super::catalog::{Catalog, FoundColumn, FoundTable};
use super::postgres::RETIRED;
use super::{AdoptError, AdoptStep, rows};
use crate::ddl;
use crate::dialect::Sqlite;
use crate::names::quoted;

/// The steps from the found catalog to the wanted one, which is that of an empty database.
///
/// # Errors
/// [`AdoptError::UnknownColumn`] where a table would lose a column.
pub fn steps(found: &Catalog, wanted: &Catalog) -> Result<Vec<AdoptStep>, AdoptError> {
    let mut steps = Vec::new();
    for table in TABLES {
        let (is, should) = (found.table(table.name), wanted.table(table.name));
        match (is, should) {
            (Some(is), Some(should)) if is.words() == should.words() => {
                reindex(table, is, &mut steps)?;
            }
            (Some(is), Some(_)) => rebuild(table, is, &mut steps)?,
            (_, _) => {
                steps
                    .extend(ddl::table_statements(&Sqlite, table)?.into_iter().map(AdoptStep::one));
            }
        }
    }

    steps.extend(rows::sqlite().into_iter().map(AdoptStep::one));
    steps.extend(ddl::count_statements(&Sqlite, |_| true)?.into_iter().map(AdoptStep::one));
    Ok(steps)
}

/// Adjusts the indexes of a table that does not differ otherwise.
fn reindex(table: &Table, is: &FoundTable, steps: &mut Vec<AdoptStep>) -> Result<(), AdoptError> {
    let wanted = ddl::index_statements(&Sqlite, table)?;
    let bare = |sql: &str| sql.trim_end_matches(';').replace(" IF NOT EXISTS", "");

    for object in &is.objects {
        let ours = wanted.iter().find(|(name, _)| *name == object.name);
        let stays = match ours {
            Some((_, sql)) => bare(sql) == bare(&object.sql),
            None => !RETIRED.contains(&object.name.as_str()),
        };
        if !stays {
            steps.push(AdoptStep::one(format!("DROP INDEX {};", quoted(&object.name))));
        }
    }

    for (name, sql) in wanted {
        let object = is.objects.iter().find(|object| object.name == name);
        if object.is_none_or(|object| bare(&object.sql) != bare(&sql)) {
            steps.push(AdoptStep::one(sql));
        }
    }

    Ok(())
}

fn rebuild(table: &Table, is: &FoundTable, steps: &mut Vec<AdoptStep>) -> Result<(), AdoptError> {
    if let Some(lost) = is.columns.iter().find(|column| table.column(&column.name).is_none()) {
        let (table, column) = (table.name.to_owned(), lost.name.clone());
        return Err(AdoptError::UnknownColumn { table, column });
    }

    let columns = table.columns.iter();
    let filled: Vec<(&str, String)> =
        columns.filter_map(|column| Some((column.name, copied_value(*column, is)?))).collect();

    let wanted = ddl::index_statements(&Sqlite, table)?;
    let ours = |name: &str| wanted.iter().any(|(wanted, _)| wanted == name);
    let retired = |name: &str| RETIRED.contains(&name);
    let kept = is.objects.iter().filter(|object| !ours(&object.name) && !retired(&object.name));
    let kept: Vec<String> = kept.map(|object| format!("{};", object.sql)).collect();

    let statements = ddl::rebuild_statements(&Sqlite, table, &filled, &kept)?;
    steps.extend(statements.into_iter().map(AdoptStep::one));
    Ok(())
}

/// The expression that fills a column from the old table; `None` for the column's default.
fn copied_value(column: ColumnRef, is: &FoundTable) -> Option<String> {
    let name = quoted(column.name);
    let Some(found) = is.column(column.name) else {
        let worker = is.column("worker_instance_id").is_some();
        return (column.name == "partition_key" && worker).then(worker_partition);
    };

    let value = converted_value(column, found, &name);
    if column.nullable || !found.nullable {
        return Some(value);
    }
    // The old table allowed NULL, the new one does not.
    match column.default {
        Default::Int(number) => Some(format!("coalesce({value}, {number})")),
        Default::Bool(flag) => Some(format!("coalesce({value}, {flag})")),
        Default::Text(text) | Default::Json(text) => Some(format!("coalesce({value}, '{text}')")),
        Default::EmptyList => Some(format!("coalesce({value}, '[]')")),
        Default::Required | Default::NowMs | Default::Identity | Default::Transaction => {
            Some(value)
        }
    }
}

/// The expression that converts a value which the reference stores in another form.
fn converted_value(column: ColumnRef, found: &FoundColumn, name: &str) -> String {
    let is_text = found.ty.eq_ignore_ascii_case("text");
    match column.ty {
        ColumnType::Uuid if is_text => format!(
            "CASE typeof({name}) WHEN 'text' THEN unhex(replace({name}, '-', '')) ELSE {name} END"
        ),
        // The reference joins a worker's lanes by commas.
        ColumnType::TextList if column.table == "ff_worker_registry" => format!(
            "CASE WHEN {name} = '' THEN '[]' WHEN substr({name}, 1, 1) = '[' THEN {name} \
             ELSE '[' || replace(json_quote({name}), ',', '\",\"') || ']' END"
        ),
        ColumnType::SmallInt
        | ColumnType::Int
        | ColumnType::BigInt
        | ColumnType::Bool
        | ColumnType::Float
        | ColumnType::Text
        | ColumnType::Bytes
        | ColumnType::Uuid
        | ColumnType::Json
        | ColumnType::TextList => name.to_owned(),
    }
}

/// The partition of a worker: the low byte of FNV-1a over its instance id. The low byte of a
/// product depends on the low bytes of its factors only, and `a ^ b` is `(a | b) - (a & b)`.
fn worker_partition() -> String {
    let byte = |hex: &str| {
        let digit = |at: u8| format!("instr('0123456789ABCDEF', substr({hex}, {at}, 1)) - 1");
        format!("({}) * 16 + {}", digit(1), digit(2))
    };
    let instance = "hex(CAST(\"worker_instance_id\" AS BLOB))";
    format!(
        "(WITH RECURSIVE bytes(rest, hash, byte) AS (\
             SELECT {instance}, 37, {} UNION ALL \
             SELECT substr(rest, 3), (((hash | byte) - (hash & byte)) * 179) & 255, {} \
             FROM bytes WHERE rest <> '') \
         SELECT hash FROM bytes WHERE rest = '')",
        byte(instance),
        byte("substr(rest, 3)")
    )
}
