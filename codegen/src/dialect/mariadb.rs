//! MariaDB: scripts, with one writer at a time; JSON and lists in text, computed columns in the
//! place of partial indexes, and lists of JSON as tables.
//!
//! The texts are written for sessions with [`MariaDb::SESSION`].

mod builder;
mod cluster;

use ff_core::plan::Name;
use ff_core::plan::value::ColumnType;
use ff_core::schema::ColumnRef;
use sea_query::{
    Alias, ColumnRef as Reference, Expr, ExprTrait, Func, FunctionCall, InsertStatement, LockType,
    OnConflict, Query, SelectStatement, TableCreateStatement,
};

use super::{
    ArrayType, CommitStrategy, Dialect, Grammar, ITEM, ListSearch, Placeholders, RowLock,
    RowNumbering, TransactionControl, WriteKind,
};
pub(crate) use builder::MariaDbQueryBuilder;

use crate::clauses;
use crate::ddl::CountText;
use crate::names::quoted;
use crate::scalar::operator;
use crate::statement::RenderError;
use crate::writer::constant;

/// MariaDB 10.11 or later.
#[derive(Clone, Copy, Debug)]
pub struct MariaDb;

/// Texts of a list, compared byte by byte.
const TEXTS: &str =
    "'$[*]' COLUMNS (value longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin PATH '$')";

/// Documents of a list, whatever their kind.
const DOCUMENTS: &str = "'$[*]' COLUMNS (value json PATH '$')";

/// The suffix of the column that the database computes from a list.
const KEY: &str = "_key";

impl MariaDb {
    /// The settings that every session makes first: identifiers in double quotes, no value cut off
    /// or made up, assignments of an update that do not see each other, bytewise comparison, and
    /// READ COMMITTED whatever the server's default is.
    pub const SESSION: &'static str = "SET SESSION sql_mode = 'ANSI_QUOTES,STRICT_ALL_TABLES,\
         ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION,NO_AUTO_VALUE_ON_ZERO,\
         NO_BACKSLASH_ESCAPES,SIMULTANEOUS_ASSIGNMENT', default_storage_engine = InnoDB, \
         max_recursive_iterations = 1000000, \
         innodb_lock_wait_timeout = 2, time_zone = '+00:00'; \
         SET NAMES utf8mb4 COLLATE utf8mb4_nopad_bin; \
         SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";
}

impl Dialect for MariaDb {
    fn name(&self) -> &'static str {
        "mariadb"
    }

    fn commit_strategy(&self) -> CommitStrategy {
        CommitStrategy::Script
    }

    fn placeholders(&self) -> Placeholders {
        Placeholders::InOrder('?')
    }

    fn transaction_control(&self) -> TransactionControl {
        TransactionControl {
            // The table has one row. Its holder writes, so writers of all processes take turns.
            begin: "START TRANSACTION; SELECT 1 FROM ff_partition_config FOR UPDATE",
            commit: "COMMIT",
            roll_back: "ROLLBACK",
            open_savepoint: "SAVEPOINT plan",
            release_savepoint: "RELEASE SAVEPOINT plan",
            roll_back_to_savepoint: "ROLLBACK TO SAVEPOINT plan",
        }
    }

    fn ignore_existing(
        &self,
        insert: &mut InsertStatement,
        key: &[ColumnRef],
    ) -> Result<(), RenderError> {
        // IGNORE would ignore values that do not fit, too.
        let key = key.iter().map(|column| column.name);
        insert.on_conflict(OnConflict::new().do_nothing_on(key).to_owned());
        Ok(())
    }

    fn refuse_existing(&self, _: &mut InsertStatement, _: &[ColumnRef]) -> Result<(), RenderError> {
        // A change of nothing counts as one, so the violation of the key has to tell.
        Ok(())
    }

    fn update_existing(
        &self,
        insert: &mut InsertStatement,
        key: &[ColumnRef],
        set: Vec<(ColumnRef, Expr)>,
    ) -> Result<(), RenderError> {
        clauses::on_conflict_do_update(insert, key, set);
        Ok(())
    }

    fn inserted_value(&self, column: ColumnRef) -> Expr {
        Func::cust("VALUES").arg(Expr::col(column.name)).into()
    }

    fn returns_from(&self, write: WriteKind) -> bool {
        match write {
            WriteKind::Insert | WriteKind::Delete => true,
            WriteKind::Update => false,
        }
    }

    fn type_name(&self, ty: ColumnType) -> &'static str {
        match ty {
            ColumnType::SmallInt => "smallint",
            ColumnType::Int => "int",
            ColumnType::BigInt => "bigint",
            ColumnType::Bool => "boolean",
            ColumnType::Float => "double",
            ColumnType::Text | ColumnType::Json | ColumnType::TextList => "longtext",
            ColumnType::Bytes => "longblob",
            ColumnType::Uuid => "binary(16)",
        }
    }

    fn array_type(&self, ty: ColumnType) -> Result<ArrayType, RenderError> {
        Err(RenderError::Unsupported {
            dialect: self.name(),
            what: format!("an array of {} as one parameter", ty.name()),
        })
    }

    fn typed(&self, placeholder: Expr, ty: ColumnType) -> Expr {
        match ty {
            ColumnType::SmallInt | ColumnType::Int | ColumnType::BigInt => {
                placeholder.cast_as("SIGNED")
            }
            ColumnType::Bool
            | ColumnType::Float
            | ColumnType::Text
            | ColumnType::Bytes
            | ColumnType::Uuid
            | ColumnType::Json
            | ColumnType::TextList => placeholder,
        }
    }

    fn stored_as(&self, value: Expr, _: ColumnType, _: ColumnType) -> Expr {
        // The executor binds the converted value.
        value
    }

    fn null(&self, _: ColumnType) -> Expr {
        Expr::null()
    }

    fn json_text(&self, column: Expr, keys: &[Name]) -> Expr {
        let path = keys.iter().fold("$".to_owned(), |path, key| format!("{path}.\"{key}\""));
        text_at(column, &path)
    }

    fn json_merge(&self, object: Expr, members: Expr) -> Expr {
        Func::cust("JSON_MERGE_PATCH").arg(readable_or_empty(object)).arg(members).into()
    }

    fn json_merge_under(&self, object: Expr, member: &Name, members: Expr) -> Expr {
        let inner = Func::cust("JSON_EXTRACT").arg(members).arg(constant("$"));
        let patch = Func::cust("JSON_OBJECT").arg(constant(member)).arg(inner);
        self.json_merge(object, patch.into())
    }

    fn json_object(&self, members: Vec<(&Name, Expr)>) -> Expr {
        let object = Func::cust("JSON_OBJECT");
        let pairs = members.into_iter();
        pairs.fold(object, |object, (name, member)| object.arg(constant(name)).arg(member)).into()
    }

    fn json_contains(&self, object: Expr, members: Expr) -> Expr {
        Func::cust("JSON_CONTAINS").arg(object).arg(members).into()
    }

    fn joined(&self, texts: Vec<Expr>) -> Expr {
        Func::cust("CONCAT").args(texts).into()
    }

    fn among(&self, value: Expr, ty: ColumnType, list: Expr) -> Expr {
        let listed_text = Expr::col(("listed", "value"));
        let listed_value = match ty {
            ColumnType::Uuid => unhyphenated(listed_text),
            ColumnType::SmallInt | ColumnType::BigInt => listed_text.cast_as("SIGNED"),
            ColumnType::Int
            | ColumnType::Bool
            | ColumnType::Float
            | ColumnType::Text
            | ColumnType::Bytes
            | ColumnType::Json
            | ColumnType::TextList => listed_text,
        };
        let mut listed = Query::select();
        listed.expr(listed_value).from_function(rows_of(list, TEXTS), "listed");
        value.in_subquery(listed)
    }

    fn covered(&self, list: Expr, by: Expr) -> Expr {
        Func::cust("JSON_CONTAINS").arg(by).arg(list).into()
    }

    fn covered_or_open(&self, list: Expr, by: Expr, prefix: Expr, but: Expr) -> Expr {
        let text = || Expr::col(("required", "value"));
        let is_among = |list: Expr, alias: &'static str| {
            let mut texts = Query::select();
            texts.column((alias, "value")).from_function(rows_of(list, TEXTS), alias);
            text().in_subquery(texts)
        };
        let length = Func::cust("CHAR_LENGTH").arg(prefix.clone());
        let beginning = Func::cust("LEFT").arg(text()).arg(length);
        let is_shut = Expr::from(beginning).ne(prefix).or(is_among(but, "shut"));

        let mut missing = Query::select();
        missing.expr(Expr::cust("1")).from_function(rows_of(list.clone(), TEXTS), "required");
        missing.and_where(is_among(by, "offered").not().and(is_shut));
        let valid = Func::cust("JSON_VALID").arg(list);
        Expr::from(valid).and(Expr::not_exists(missing))
    }

    fn is_empty_list(&self, list: Expr) -> Expr {
        key_of_list(&list).eq(self.least_list_key())
    }

    fn begins_below(&self, list: Expr, bound: &str) -> Expr {
        let valid = Func::cust("JSON_VALID").arg(list.clone());
        Expr::from(valid).and(text_at(list, "$[0]").lt(constant(bound)))
    }

    fn list_key(&self, list: Expr) -> Option<Expr> {
        Some(key_of_list(&list))
    }

    fn kept_list_key(&self, column: ColumnRef) -> Option<(String, &'static str, Expr)> {
        let list = || Expr::col(column.name);
        let digest = Func::cust("UNHEX").arg(Func::cust("SHA2").arg(list()).arg(Expr::cust("256")));
        let key = Expr::case(self.is_no_list(list()), constant("")).finally(digest);
        Some((format!("{}{KEY}", column.name), "varbinary(32)", key.into()))
    }

    fn least_list_key(&self) -> Expr {
        constant("")
    }

    fn list_search(&self) -> ListSearch {
        ListSearch::RowByRow
    }

    fn items(&self, list: Expr) -> FunctionCall {
        rows_of(list.cast_as("char CHARACTER SET utf8mb4"), DOCUMENTS)
    }

    fn item(&self, name: &Name, ty: ColumnType) -> Expr {
        let element = || Expr::col((ITEM, "value"));
        let path = format!("$.\"{name}\"");
        let text = || text_at(element(), &path);
        match ty {
            ColumnType::Json | ColumnType::TextList => {
                Func::cust("JSON_EXTRACT").arg(element()).arg(constant(&path)).into()
            }
            ColumnType::Uuid => unhyphenated(text()),
            ColumnType::Bytes => Func::cust("UNHEX").arg(text()).into(),
            ColumnType::SmallInt | ColumnType::Int | ColumnType::BigInt | ColumnType::Bool => {
                text().cast_as("SIGNED")
            }
            ColumnType::Float | ColumnType::Text => text(),
        }
    }

    fn fences_lookups(&self) -> bool {
        false
    }

    fn comes_after(&self, columns: Vec<Expr>, values: Vec<Expr>) -> Expr {
        // A comparison of tuples reads an index from its beginning.
        let pairs: Vec<(Expr, Expr)> = columns.into_iter().zip(values).collect();
        let first = pairs.first().cloned().map(|(column, value)| column.gte(value));
        let after = pairs.into_iter().rev().fold(None, |rest: Option<Expr>, (column, value)| {
            let after = column.clone().gt(value.clone());
            Some(match rest {
                None => after,
                Some(rest) => after.or(column.eq(value).and(rest)),
            })
        });
        first.into_iter().chain(after).reduce(ExprTrait::and).unwrap_or_else(|| Expr::cust("FALSE"))
    }

    fn lock_rows(&self, select: &mut SelectStatement, lock: RowLock) -> Result<(), RenderError> {
        match lock {
            RowLock::Wait => drop(select.lock(LockType::Update)),
            // Writers take turns, so no other claim holds a row.
            RowLock::SkipLocked => {}
        }
        Ok(())
    }

    fn column_type(&self, ty: ColumnType) -> &'static str {
        match ty {
            ColumnType::Text | ColumnType::Json | ColumnType::TextList => {
                "longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin"
            }
            ColumnType::SmallInt
            | ColumnType::Int
            | ColumnType::BigInt
            | ColumnType::Bool
            | ColumnType::Float
            | ColumnType::Bytes
            | ColumnType::Uuid => self.type_name(ty),
        }
    }

    fn key_type(&self, ty: ColumnType) -> &'static str {
        match ty {
            // A key has at most 3072 bytes, and as text each letter would count for four.
            ColumnType::Text | ColumnType::Bytes => "varbinary(700)",
            ColumnType::SmallInt
            | ColumnType::Int
            | ColumnType::BigInt
            | ColumnType::Bool
            | ColumnType::Float
            | ColumnType::Uuid
            | ColumnType::Json
            | ColumnType::TextList => self.column_type(ty),
        }
    }

    fn alters_tables(&self) -> bool {
        true
    }

    fn primary_key_change(&self, _: &str, columns: &str) -> [String; 2] {
        ["DROP PRIMARY KEY".to_owned(), format!("ADD PRIMARY KEY ({columns})")]
    }

    fn drop_index(&self, table: &str, index: &str) -> String {
        format!("DROP INDEX IF EXISTS {} ON {};", quoted(index), quoted(table))
    }

    fn stores_flags(&self) -> bool {
        true
    }

    fn has_partial_indexes(&self) -> bool {
        false
    }

    fn flag_is_set(&self, flag: Expr) -> Expr {
        flag.eq(Expr::cust("TRUE"))
    }

    fn busy_storage(&self) -> Option<&'static str> {
        None
    }

    fn row_numbering(&self) -> RowNumbering {
        RowNumbering::PrimaryKey("AUTO_INCREMENT PRIMARY KEY")
    }

    fn given_numbers(&self) -> Option<&'static str> {
        None
    }

    fn now_ms(&self) -> Expr {
        Expr::cust(
            "CAST(TIMESTAMPDIFF(MICROSECOND, '1970-01-01 00:00:00', UTC_TIMESTAMP(3)) DIV 1000 \
             AS SIGNED)",
        )
    }

    fn transaction_id(&self) -> Expr {
        Expr::Constant(0.into())
    }

    fn whole_quotient(&self, value: Expr, divisor: i64) -> Expr {
        operator(value, "DIV", Expr::cust(divisor.to_string()))
    }

    fn empty_list(&self) -> &'static str {
        "[]"
    }

    fn partition_by_hash(
        &self,
        _: &mut TableCreateStatement,
        _: &'static str,
    ) -> Result<(), RenderError> {
        Err(RenderError::Unsupported { dialect: self.name(), what: "partitions".to_owned() })
    }

    fn keep_count(&self, count: &CountText) -> Vec<String> {
        keep_count(count)
    }

    fn grammar(&self) -> Grammar {
        Grammar::MariaDb
    }
}

impl MariaDb {
    fn is_no_list(self, list: Expr) -> Expr {
        list.eq(constant(self.empty_list()))
    }
}

/// The triggers that add each changed row to the row of its group, and an index by group. A group
/// without a row gets one; of several, which a fold may leave, the first counts on.
fn keep_count(count: &CountText) -> Vec<String> {
    let CountText { of, into, n, number, by, of_text, of_new, of_old, .. } = count;
    let (columns, table) = (count.columns(), quoted(into));
    let add = |values: &[String], sign: &str| {
        let same = by.iter().zip(values).map(|(column, value)| format!("{column} = {value}"));
        let (same, values) = (same.collect::<Vec<_>>().join(" AND "), values.join(", "));
        // The row is found without a lock: to lock an entry of the index, the server would look at
        // each version of the row that the transaction has made.
        format!(
            "    SET counted = (SELECT {number} FROM {table} WHERE {same} \
             ORDER BY {number} LIMIT 1);\n    \
             UPDATE {table} SET {n} = {n} {sign} 1 WHERE {number} = counted;\n    \
             IF ROW_COUNT() = 0 THEN\n        \
             INSERT INTO {table} ({columns}, {n}) VALUES ({values}, 0 {sign} 1);\n    \
             END IF;\n"
        )
    };

    let same = of_old.iter().zip(of_new).map(|(old, new)| format!("{old} <=> {new}"));
    let same = same.collect::<Vec<_>>().join("\n        AND ");
    let moved = add(of_old, "-") + &add(of_new, "+");
    let events = [
        ("INSERT", add(of_new, "+")),
        ("UPDATE", format!("    IF NOT ({same}) THEN\n{moved}    END IF;\n")),
        ("DELETE", add(of_old, "-")),
    ];

    // The beginning of a text is enough to find the few groups that share it.
    let beginning = |(column, is_text): (&String, &bool)| {
        if *is_text { format!("{column}(64)") } else { column.clone() }
    };
    let beginnings: Vec<String> = by.iter().zip(of_text).map(beginning).collect();
    let index = quoted(&format!("{into}_group_idx"));
    let beginnings = beginnings.join(", ");
    let mut statements =
        vec![format!("CREATE INDEX IF NOT EXISTS {index} ON {table} ({beginnings});")];
    for (event, body) in events {
        let name = quoted(&format!("{into}_{}", event.to_lowercase()));
        statements.push(format!(
            "CREATE OR REPLACE TRIGGER {name} AFTER {event} ON {of} FOR EACH ROW\nBEGIN\n    \
             DECLARE counted bigint;\n{body}END;"
        ));
    }
    statements.extend(count.recount());
    statements
}

/// The column that the database computes from a list, in place of the list's.
fn key_of_list(list: &Expr) -> Expr {
    let Expr::Column(Reference::Column(column)) = list else { return list.clone() };
    let name = Alias::new(format!("{}{KEY}", column.1.inner()));
    match &column.0 {
        Some(table) => Expr::col((table.1.clone(), name)),
        None => Expr::col(name),
    }
}

/// The text at the path of a document; NULL for `null`. `JSON_VALUE` has none for objects, and none
/// for an empty text.
fn text_at(document: Expr, path: &str) -> Expr {
    let found = || Func::cust("JSON_EXTRACT").arg(document.clone()).arg(constant(path));
    let is_text = Expr::from(Func::cust("JSON_TYPE").arg(found())).ne(constant("NULL"));
    let text = Expr::case(is_text, Func::cust("JSON_UNQUOTE").arg(found()));
    operator(text.into(), "COLLATE", Expr::custom_keyword("utf8mb4_nopad_bin"))
}

/// The function that yields the elements of a JSON array as rows.
fn rows_of(list: Expr, columns: &'static str) -> FunctionCall {
    Func::cust("JSON_TABLE").arg(list).arg(Expr::cust(columns))
}

/// The document, or an empty object for a text that is not JSON.
fn readable_or_empty(json: Expr) -> Expr {
    let valid = Func::cust("JSON_VALID").arg(json.clone());
    Expr::case(Expr::from(valid), json).finally(constant("{}")).into()
}

/// The 16 bytes of a UUID, as stored, from its text.
fn unhyphenated(text: Expr) -> Expr {
    let bare = Func::cust("REPLACE").arg(text).arg(constant("-")).arg(constant(""));
    Func::cust("UNHEX").arg(bare).into()
}
