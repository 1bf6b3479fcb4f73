//! SQLite: scripts instead of fused statements and no row locks, since there is one writer at a
//! time; JSON in text, lists as JSON arrays.

use ff_core::plan::Name;
use ff_core::plan::value::ColumnType;
use ff_core::schema::ColumnRef;
use sea_query::{
    Expr, ExprTrait, Func, FunctionCall, InsertStatement, Query, SelectStatement,
    TableCreateStatement,
};

use super::{
    ArrayType, CommitStrategy, Dialect, Grammar, ITEM, ListSearch, Placeholders, RowLock,
    RowNumbering, TransactionControl, WriteKind,
};
use crate::clauses;
use crate::ddl::CountText;
use crate::names::quoted;
use crate::scalar::operator;
use crate::statement::RenderError;
use crate::writer::constant;

/// SQLite 3.42 or later.
#[derive(Clone, Copy, Debug)]
pub struct Sqlite;

impl Dialect for Sqlite {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    fn commit_strategy(&self) -> CommitStrategy {
        CommitStrategy::Script
    }

    fn placeholders(&self) -> Placeholders {
        Placeholders::Numbered('?')
    }

    fn transaction_control(&self) -> TransactionControl {
        TransactionControl {
            begin: "BEGIN IMMEDIATE",
            commit: "COMMIT",
            roll_back: "ROLLBACK",
            open_savepoint: "SAVEPOINT plan",
            release_savepoint: "RELEASE plan",
            roll_back_to_savepoint: "ROLLBACK TO plan",
        }
    }

    fn ignore_existing(
        &self,
        insert: &mut InsertStatement,
        _: &[ColumnRef],
    ) -> Result<(), RenderError> {
        clauses::on_conflict_do_nothing(insert);
        Ok(())
    }

    fn refuse_existing(
        &self,
        insert: &mut InsertStatement,
        key: &[ColumnRef],
    ) -> Result<(), RenderError> {
        self.ignore_existing(insert, key)
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
        Expr::col(("excluded", column.name))
    }

    fn returns_from(&self, write: WriteKind) -> bool {
        match write {
            WriteKind::Insert | WriteKind::Update | WriteKind::Delete => true,
        }
    }

    fn type_name(&self, ty: ColumnType) -> &'static str {
        match ty {
            ColumnType::SmallInt | ColumnType::Int | ColumnType::BigInt | ColumnType::Bool => {
                "INTEGER"
            }
            ColumnType::Float => "REAL",
            ColumnType::Text | ColumnType::Json | ColumnType::TextList => "TEXT",
            ColumnType::Bytes | ColumnType::Uuid => "BLOB",
        }
    }

    fn array_type(&self, ty: ColumnType) -> Result<ArrayType, RenderError> {
        Err(RenderError::Unsupported {
            dialect: self.name(),
            what: format!("an array of {} as one parameter", ty.name()),
        })
    }

    fn typed(&self, placeholder: Expr, _: ColumnType) -> Expr {
        placeholder
    }

    fn stored_as(&self, value: Expr, _: ColumnType, _: ColumnType) -> Expr {
        // The executor binds the converted value.
        value
    }

    fn null(&self, _: ColumnType) -> Expr {
        Expr::null()
    }

    fn json_text(&self, column: Expr, keys: &[Name]) -> Expr {
        let mut path = String::from("$");
        for key in keys {
            path.push_str(".\"");
            path.push_str(key);
            path.push('"');
        }

        let extract = Func::cust("json_extract").arg(readable(column)).arg(constant(&path));
        Expr::from(extract).cast_as("TEXT")
    }

    fn json_merge(&self, object: Expr, members: Expr) -> Expr {
        Func::cust("json_patch").arg(readable_or_empty(object)).arg(members).into()
    }

    fn json_merge_under(&self, object: Expr, member: &Name, members: Expr) -> Expr {
        let inner = Func::cust("json").arg(members);
        let patch = Func::cust("json_object").arg(constant(member)).arg(inner);
        Func::cust("json_patch").arg(readable_or_empty(object)).arg(patch).into()
    }

    fn json_object(&self, members: Vec<(&Name, Expr)>) -> Expr {
        let object = Func::cust("json_object");
        let pairs = members.into_iter();
        pairs.fold(object, |object, (name, member)| object.arg(constant(name)).arg(member)).into()
    }

    fn json_contains(&self, object: Expr, members: Expr) -> Expr {
        // No scalar of `members` differs from the object's at the same path.
        let wanted = |column: &'static str| Expr::col(("wanted", column));
        let found = Func::cust("json_extract").arg(readable(object)).arg(wanted("fullkey"));
        let mut missing = Query::select();
        missing
            .column(("wanted", "id"))
            .from_function(Func::cust("json_tree").arg(members), "wanted")
            .and_where(wanted("atom").is_not_null())
            .and_where(operator(found.into(), "IS NOT", wanted("atom")));

        Expr::not_exists(missing)
    }

    fn joined(&self, texts: Vec<Expr>) -> Expr {
        let joined = texts.into_iter().reduce(|left, right| operator(left, "||", right));
        joined.unwrap_or_else(|| constant(""))
    }

    fn among(&self, value: Expr, ty: ColumnType, list: Expr) -> Expr {
        let mut listed = Query::select();
        listed.from_function(Func::cust("json_each").arg(list), "listed");
        let value_of_list = Expr::col("value");
        listed.expr(match ty {
            ColumnType::Uuid => unhyphenated(value_of_list),
            ColumnType::SmallInt | ColumnType::BigInt => value_of_list.cast_as("INTEGER"),
            ColumnType::Int
            | ColumnType::Bool
            | ColumnType::Float
            | ColumnType::Text
            | ColumnType::Bytes
            | ColumnType::Json
            | ColumnType::TextList => value_of_list,
        });

        value.in_subquery(listed)
    }

    fn covered(&self, list: Expr, by: Expr) -> Expr {
        let mut offered = Query::select();
        offered.column("value").from_function(Func::cust("json_each").arg(by), "offered");

        let mut missing = Query::select();
        missing
            .column(("required", "value"))
            .from_function(Func::cust("json_each").arg(readable(list.clone())), "required")
            .and_where(Expr::col(("required", "value")).not_in_subquery(offered));

        valid(list).and(Expr::not_exists(missing))
    }

    fn covered_or_open(&self, list: Expr, by: Expr, prefix: Expr, but: Expr) -> Expr {
        let text = || Expr::col(("required", "value"));
        let is_among = |list: Expr, alias: &'static str| {
            let mut texts = Query::select();
            texts.column("value").from_function(Func::cust("json_each").arg(list), alias);
            text().in_subquery(texts)
        };
        let length = Func::cust("length").arg(prefix.clone());
        let beginning = Func::cust("substr").arg(text()).arg(Expr::cust("1")).arg(length);
        let is_shut = Expr::from(beginning).ne(prefix).or(is_among(but, "shut"));

        let mut missing = Query::select();
        let texts = Func::cust("json_each").arg(readable(list.clone()));
        missing.column(("required", "value")).from_function(texts, "required");
        missing.and_where(is_among(by, "offered").not().and(is_shut));
        valid(list).and(Expr::not_exists(missing))
    }

    fn is_empty_list(&self, list: Expr) -> Expr {
        list.eq(constant(self.empty_list()))
    }

    fn begins_below(&self, list: Expr, bound: &str) -> Expr {
        let first = Func::cust("json_extract").arg(readable(list)).arg(constant("$[0]"));
        Expr::from(first).lt(constant(bound))
    }

    fn list_key(&self, _: Expr) -> Option<Expr> {
        // Its indexes keep texts of any length.
        None
    }

    fn least_list_key(&self) -> Expr {
        constant("")
    }

    fn keys_of_token_lists(&self) -> Option<(Expr, Expr)> {
        // The texts of lists that begin with an escaped control character.
        Some((constant("[\"\\u0000"), constant("[\"\\u0020")))
    }

    fn list_search(&self) -> ListSearch {
        ListSearch::InCondition
    }

    fn items(&self, list: Expr) -> FunctionCall {
        Func::cust("json_each").arg(list.cast_as("TEXT"))
    }

    fn item(&self, name: &Name, ty: ColumnType) -> Expr {
        let path = format!("$.\"{name}\"");
        let element = Expr::col((ITEM, "value"));
        if ty == ColumnType::Json {
            // The text of the document, whatever its kind; `json_extract` unpacks a scalar.
            return operator(element, "->", constant(&path));
        }

        let member = Func::cust("json_extract").arg(element).arg(constant(&path));
        match ty {
            ColumnType::Uuid => unhyphenated(member.into()),
            ColumnType::Bytes => Func::cust("unhex").arg(Expr::from(member)).into(),
            ColumnType::SmallInt
            | ColumnType::Int
            | ColumnType::BigInt
            | ColumnType::Bool
            | ColumnType::Float
            | ColumnType::Text
            | ColumnType::Json
            | ColumnType::TextList => member.into(),
        }
    }

    fn fences_lookups(&self) -> bool {
        // The planner goes by the indexes, and there is no LATERAL.
        false
    }

    fn comes_after(&self, columns: Vec<Expr>, values: Vec<Expr>) -> Expr {
        Expr::tuple(columns).gt(Expr::tuple(values))
    }

    fn lock_rows(&self, _: &mut SelectStatement, lock: RowLock) -> Result<(), RenderError> {
        match lock {
            // Every writing transaction begins IMMEDIATE, so no other transaction can hold a row.
            RowLock::Wait | RowLock::SkipLocked => Ok(()),
        }
    }

    fn column_type(&self, ty: ColumnType) -> &'static str {
        self.type_name(ty)
    }

    fn key_type(&self, ty: ColumnType) -> &'static str {
        self.column_type(ty)
    }

    fn alters_tables(&self) -> bool {
        false
    }

    fn primary_key_change(&self, table: &str, columns: &str) -> [String; 2] {
        let constraint = quoted(&format!("{table}_pkey"));
        [
            format!("DROP CONSTRAINT IF EXISTS {constraint}"),
            format!("ADD CONSTRAINT {constraint} PRIMARY KEY ({columns})"),
        ]
    }

    fn drop_index(&self, _: &str, index: &str) -> String {
        format!("DROP INDEX IF EXISTS {};", quoted(index))
    }

    fn stores_flags(&self) -> bool {
        // An update changes the entries of an index only where they differ, whatever it sets.
        false
    }

    fn has_partial_indexes(&self) -> bool {
        true
    }

    fn flag_is_set(&self, flag: Expr) -> Expr {
        flag.is_not_null()
    }

    fn busy_storage(&self) -> Option<&'static str> {
        None
    }

    fn row_numbering(&self) -> RowNumbering {
        RowNumbering::PrimaryKey("PRIMARY KEY AUTOINCREMENT")
    }

    fn given_numbers(&self) -> Option<&'static str> {
        None
    }

    fn now_ms(&self) -> Expr {
        // `unixepoch('subsec')` is NULL before 3.42.
        Expr::cust("CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER)")
    }

    fn transaction_id(&self) -> Expr {
        Expr::Constant(0.into())
    }

    fn whole_quotient(&self, value: Expr, divisor: i64) -> Expr {
        value.div(Expr::cust(divisor.to_string()))
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
        Grammar::Sqlite
    }
}

/// The triggers that add each changed row to the row of its group, and an index by group. A group
/// without a row gets one; of several, which a fold may leave, the first counts on.
fn keep_count(count: &CountText) -> Vec<String> {
    let CountText { of, into, n, number, by, of_new, of_old, .. } = count;
    let (columns, table) = (count.columns(), quoted(into));
    let add = |values: &[String], sign: &str| {
        let same = by.iter().zip(values).map(|(column, value)| format!("{column} = {value}"));
        let same = same.collect::<Vec<_>>().join(" AND ");
        let values = values.join(", ");
        format!(
            "    UPDATE {table} SET {n} = {n} {sign} 1 WHERE {number} = (\n        \
             SELECT min({number}) FROM {table} WHERE {same});\n    \
             INSERT INTO {table} ({columns}, {n})\n        \
             SELECT {values}, 0 {sign} 1 WHERE changes() = 0;\n"
        )
    };

    let pairs = of_old.iter().zip(of_new);
    let mut changes: Vec<String> = pairs.map(|(old, new)| format!("{old} IS NOT {new}")).collect();
    // The first that differs decides, and documents take longest to read.
    changes.sort_by_key(String::len);
    let when = format!(" WHEN {}", changes.join(" OR "));
    let events = [
        ("INSERT", String::new(), add(of_new, "+")),
        ("UPDATE", when, add(of_old, "-") + &add(of_new, "+")),
        ("DELETE", String::new(), add(of_old, "-")),
    ];

    let index = quoted(&format!("{into}_group_idx"));
    let mut statements =
        vec![format!("CREATE INDEX IF NOT EXISTS {index} ON {table} ({columns});")];
    for (event, when, body) in events {
        let name = quoted(&format!("{into}_{}", event.to_lowercase()));
        statements.push(format!("DROP TRIGGER IF EXISTS {name};"));
        statements
            .push(format!("CREATE TRIGGER {name} AFTER {event} ON {of}{when}\nBEGIN\n{body}END;"));
    }
    statements.extend(count.recount());
    statements
}

fn valid(json: Expr) -> Expr {
    Func::cust("json_valid").arg(json).into()
}

/// The document, or NULL for a text that is not JSON. The database does not check rows inserted by
/// hand, and one such row must not fail a statement about other rows.
fn readable(json: Expr) -> Expr {
    Expr::case(valid(json.clone()), json).into()
}

/// The document, or an empty object for a text that is not JSON.
fn readable_or_empty(json: Expr) -> Expr {
    Expr::case(valid(json.clone()), json).finally(constant("{}")).into()
}

/// The 16 bytes of a UUID, as stored, from its text.
fn unhyphenated(text: Expr) -> Expr {
    let bare = Func::cust("replace").arg(text).arg(constant("-")).arg(constant(""));
    Func::cust("unhex").arg(bare).into()
}
