//! Postgres: fused statements, arrays, row locks, jsonb.

use ff_core::plan::Name;
use ff_core::plan::value::ColumnType;
use ff_core::schema::execution::{TOKENS_BELOW, exec_core};
use ff_core::schema::{ColumnRef, TableRef};
use sea_query::{
    CaseStatement, Expr, ExprTrait, Func, FunctionCall, InsertStatement, LockBehavior, LockType,
    Query, SelectStatement, SubQueryStatement, TableCreateStatement,
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

/// Postgres, from [`Postgres::OLDEST`] on.
#[derive(Clone, Copy, Debug)]
pub struct Postgres;

impl Postgres {
    /// The oldest major version that the tests run on, and that a database is opened on.
    pub const OLDEST: u32 = 15;

    /// Two statements of one transaction that have a table count on behind the number `$1`, if the
    /// database numbers its rows. A sequence does not notice the numbers that rows are given. The
    /// first keeps writers out, each of which takes its number while it holds the table.
    #[must_use]
    pub fn counting_on(&self, table: TableRef) -> Option<[String; 2]> {
        let (name, number) = (table.0.name, table.0.identity()?.name);
        let lock = format!("LOCK TABLE {name} IN SHARE ROW EXCLUSIVE MODE");
        let own = format!("SELECT pg_get_serial_sequence('{name}', '{number}')::regclass AS name");
        let advance = format!(
            "SELECT setval(own.name, $1) FROM ({own}) AS own \
             WHERE coalesce(pg_sequence_last_value(own.name), 0) < $1"
        );
        Some([lock, advance])
    }

    /// The text that tells the place of a session, as two numbers: its database, and the table that
    /// the name of the first table leads to, or NULL where it leads nowhere.
    #[must_use]
    pub fn place(&self) -> String {
        let name = exec_core::TABLE.name;
        format!(
            "SELECT oid::bigint, to_regclass('{name}')::oid::bigint \
             FROM pg_database WHERE datname = current_database()"
        )
    }

    /// The text that notifies the listeners of a channel once the transaction has committed.
    #[must_use]
    pub fn notify(&self, channel: &'static str) -> String {
        format!("SELECT pg_notify('{channel}', '')")
    }
}

impl Dialect for Postgres {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn commit_strategy(&self) -> CommitStrategy {
        CommitStrategy::Fused
    }

    fn placeholders(&self) -> Placeholders {
        Placeholders::Numbered('$')
    }

    fn transaction_control(&self) -> TransactionControl {
        TransactionControl {
            begin: "BEGIN",
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
            ColumnType::SmallInt => "smallint",
            ColumnType::Int => "integer",
            ColumnType::BigInt => "bigint",
            ColumnType::Bool => "boolean",
            ColumnType::Float => "double precision",
            ColumnType::Text => "text",
            ColumnType::Bytes => "bytea",
            ColumnType::Uuid => "uuid",
            ColumnType::Json => "jsonb",
            ColumnType::TextList => "text[]",
        }
    }

    fn array_type(&self, ty: ColumnType) -> Result<ArrayType, RenderError> {
        let (array, element) = match ty {
            ColumnType::SmallInt => ("smallint[]", None),
            ColumnType::Int => ("integer[]", None),
            ColumnType::BigInt => ("bigint[]", None),
            ColumnType::Bool => ("boolean[]", None),
            ColumnType::Float => ("double precision[]", None),
            ColumnType::Text => ("text[]", None),
            ColumnType::Bytes => ("bytea[]", None),
            ColumnType::Uuid => ("uuid[]", None),
            ColumnType::Json => ("text[]", Some("jsonb")),
            // An array of arrays must be rectangular, so a list travels as its array literal.
            ColumnType::TextList => ("text[]", Some("text[]")),
        };

        Ok(ArrayType { array, element })
    }

    fn typed(&self, placeholder: Expr, ty: ColumnType) -> Expr {
        placeholder.cast_as(self.type_name(ty))
    }

    fn stored_as(&self, value: Expr, from: ColumnType, to: ColumnType) -> Expr {
        match (from, to) {
            (ColumnType::Uuid, ColumnType::Text) => value.cast_as("text"),
            _ => value,
        }
    }

    fn null(&self, ty: ColumnType) -> Expr {
        Expr::null().cast_as(self.type_name(ty))
    }

    fn json_text(&self, column: Expr, keys: &[Name]) -> Expr {
        let mut outer = column;
        let Some((last, path)) = keys.split_last() else { return outer };
        for key in path {
            outer = operator(outer, "->", constant(key));
        }
        operator(outer, "->>", constant(last))
    }

    fn json_merge(&self, object: Expr, members: Expr) -> Expr {
        operator(object, "||", members)
    }

    fn json_merge_under(&self, object: Expr, member: &Name, members: Expr) -> Expr {
        let inner = operator(object.clone(), "->", constant(member));
        let kind = Func::cust("jsonb_typeof").arg(inner.clone());
        let present = Expr::from(kind).eq(constant("object"));
        let base =
            CaseStatement::new().case(present, inner).finally(constant("{}").cast_as("jsonb"));

        let merged = operator(Expr::Case(Box::new(base)), "||", members);
        let object_of = Func::cust("jsonb_build_object").arg(constant(member)).arg(merged);
        operator(object, "||", object_of.into())
    }

    fn json_object(&self, members: Vec<(&Name, Expr)>) -> Expr {
        let object = Func::cust("jsonb_build_object");
        let pairs = members.into_iter();
        pairs.fold(object, |object, (name, member)| object.arg(constant(name)).arg(member)).into()
    }

    fn json_contains(&self, object: Expr, members: Expr) -> Expr {
        operator(object, "@>", members)
    }

    fn joined(&self, texts: Vec<Expr>) -> Expr {
        let joined = texts.into_iter().reduce(|left, right| operator(left, "||", right));
        joined.unwrap_or_else(|| constant(""))
    }

    fn among(&self, value: Expr, ty: ColumnType, list: Expr) -> Expr {
        let list = match ty {
            ColumnType::Uuid => list.cast_as("uuid[]"),
            ColumnType::BigInt => list.cast_as("bigint[]"),
            ColumnType::SmallInt => list.cast_as("smallint[]"),
            ColumnType::Int
            | ColumnType::Bool
            | ColumnType::Float
            | ColumnType::Text
            | ColumnType::Bytes
            | ColumnType::Json
            | ColumnType::TextList => list,
        };
        value.eq(Func::cust("any").arg(list))
    }

    fn covered(&self, list: Expr, by: Expr) -> Expr {
        operator(list, "<@", by)
    }

    fn covered_or_open(&self, list: Expr, by: Expr, prefix: Expr, but: Expr) -> Expr {
        // The column of a function that yields texts is named as the function's alias.
        let text = || Expr::col(("required", "required"));
        let is_among = |list: Expr| text().eq(Func::cust("any").arg(list));
        let begins = Func::cust("starts_with").arg(text()).arg(prefix);
        let is_shut = Expr::from(begins).not().or(is_among(but));

        let mut missing = Query::select();
        let texts = Func::cust("unnest").arg(list);
        missing.expr(Expr::cust("1")).from_function(texts, "required");
        missing.and_where(is_among(by).not().and(is_shut));
        Expr::not_exists(missing)
    }

    fn is_empty_list(&self, list: Expr) -> Expr {
        key_of_list(list).eq(self.least_list_key())
    }

    fn begins_below(&self, list: Expr, bound: &str) -> Expr {
        // An empty list has no first text: it is NULL, and not below anything.
        operator(list, "[1] COLLATE \"C\" <", constant(bound))
    }

    fn list_key(&self, list: Expr) -> Option<Expr> {
        Some(key_of_list(list))
    }

    fn least_list_key(&self) -> Expr {
        no_bytes()
    }

    fn keys_of_token_lists(&self) -> Option<(Expr, Expr)> {
        let bytes = |hex: &str| constant(&format!("\\x{hex}")).cast_as("bytea");
        Some((bytes("80"), bytes(&"ff".repeat(33))))
    }

    fn list_search(&self) -> ListSearch {
        ListSearch::Lateral
    }

    fn items(&self, list: Expr) -> FunctionCall {
        let text = Func::cust("convert_from").arg(list).arg(constant("UTF8"));
        Func::cust("jsonb_array_elements").arg(Expr::from(text).cast_as("jsonb"))
    }

    fn item(&self, name: &Name, ty: ColumnType) -> Expr {
        let element = Expr::col((ITEM, "value"));
        match ty {
            ColumnType::Text => operator(element, "->>", constant(name)),
            ColumnType::Json => operator(element, "->", constant(name)),
            ColumnType::TextList => {
                let list = operator(element, "->", constant(name));
                let mut texts = Query::select();
                texts
                    .column("value")
                    .from_function(Func::cust("jsonb_array_elements_text").arg(list), "listed");
                let texts = SubQueryStatement::SelectStatement(texts);
                Func::cust("array").arg(Expr::SubQuery(None, Box::new(texts))).into()
            }
            ColumnType::Bytes => {
                let text = operator(element, "->>", constant(name));
                Func::cust("decode").arg(text).arg(constant("hex")).into()
            }
            ColumnType::SmallInt
            | ColumnType::Int
            | ColumnType::BigInt
            | ColumnType::Bool
            | ColumnType::Float
            | ColumnType::Uuid => {
                operator(element, "->>", constant(name)).cast_as(self.type_name(ty))
            }
        }
    }

    fn fences_lookups(&self) -> bool {
        true
    }

    fn comes_after(&self, columns: Vec<Expr>, values: Vec<Expr>) -> Expr {
        Expr::tuple(columns).gt(Expr::tuple(values))
    }

    fn lock_rows(&self, select: &mut SelectStatement, lock: RowLock) -> Result<(), RenderError> {
        match lock {
            RowLock::Wait => select.lock(LockType::NoKeyUpdate),
            RowLock::SkipLocked => {
                select.lock_with_behavior(LockType::NoKeyUpdate, LockBehavior::SkipLocked)
            }
        };

        Ok(())
    }

    fn column_type(&self, ty: ColumnType) -> &'static str {
        match ty {
            ColumnType::Text => "text COLLATE \"C\"",
            ColumnType::SmallInt
            | ColumnType::Int
            | ColumnType::BigInt
            | ColumnType::Bool
            | ColumnType::Float
            | ColumnType::Bytes
            | ColumnType::Uuid
            | ColumnType::Json
            | ColumnType::TextList => self.type_name(ty),
        }
    }

    fn key_type(&self, ty: ColumnType) -> &'static str {
        self.column_type(ty)
    }

    fn alters_tables(&self) -> bool {
        true
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
        true
    }

    fn has_partial_indexes(&self) -> bool {
        true
    }

    fn flag_is_set(&self, flag: Expr) -> Expr {
        flag.is_not_null()
    }

    fn busy_storage(&self) -> Option<&'static str> {
        // Room for a changed row beside the old one, which a change without index entries needs;
        // and a clean-up after a share of the table that stays small as the table grows.
        Some(
            "fillfactor = 60, autovacuum_vacuum_scale_factor = 0.01, \
             autovacuum_vacuum_threshold = 5000, autovacuum_analyze_scale_factor = 0.02",
        )
    }

    fn row_numbering(&self) -> RowNumbering {
        RowNumbering::Column("GENERATED ALWAYS AS IDENTITY")
    }

    fn given_numbers(&self) -> Option<&'static str> {
        Some("OVERRIDING SYSTEM VALUE")
    }

    fn now_ms(&self) -> Expr {
        Expr::cust("(extract(epoch from clock_timestamp()) * 1000)::bigint")
    }

    fn transaction_id(&self) -> Expr {
        Expr::cust("(pg_current_xact_id()::text)::bigint")
    }

    fn whole_quotient(&self, value: Expr, divisor: i64) -> Expr {
        value.div(Expr::cust(divisor.to_string()))
    }

    fn empty_list(&self) -> &'static str {
        "{}"
    }

    fn partition_by_hash(
        &self,
        create: &mut TableCreateStatement,
        column: &'static str,
    ) -> Result<(), RenderError> {
        create.partition_by_hash([column]);
        Ok(())
    }

    fn keep_count(&self, count: &CountText) -> Vec<String> {
        keep_count(count)
    }

    fn grammar(&self) -> Grammar {
        Grammar::Postgres
    }
}

/// A function that adds to a count what a statement has changed, and the triggers that call it. A
/// statement adds one row for each group of which the count changed, so that writers share no row.
///
/// The function names the table by its schema, because plain SQL may run with another search path.
/// The triggers come with the first count, because no row may change in between; creating them
/// keeps writers out.
fn keep_count(count: &CountText) -> Vec<String> {
    let CountText { of, into, n, .. } = count;
    let (function, into) = (quoted(&format!("{into}_keep")), quoted(into));
    let columns = count.columns();
    let insert = format!("INSERT INTO %1$I.{into} ({columns}, {n})");
    let (added, removed) = (count.counts_of("becomes", ""), count.counts_of("was", "-"));
    let values = count.named(&count.of_selected);
    let keep = format!(
        "DO $do$ BEGIN EXECUTE format($create$\n\
         CREATE OR REPLACE FUNCTION %1$I.{function}() RETURNS trigger LANGUAGE plpgsql AS $keep$\n\
         BEGIN\n\
         \x20   IF TG_OP = 'UPDATE' THEN\n\
         \x20       {insert}\n\
         \x20       SELECT {columns}, sum({n}) FROM (\n\
         \x20           SELECT {values}, -1 AS {n} FROM was\n\
         \x20           UNION ALL SELECT {values}, 1 AS {n} FROM becomes\n\
         \x20       ) AS changed GROUP BY {columns} HAVING sum({n}) <> 0;\n\
         \x20   ELSIF TG_OP = 'INSERT' THEN\n\
         \x20       {insert}\n\
         \x20       {added};\n\
         \x20   ELSIF TG_OP = 'DELETE' THEN\n\
         \x20       {insert}\n\
         \x20       {removed};\n\
         \x20   ELSE\n\
         \x20       DELETE FROM %1$I.{into};\n\
         \x20   END IF;\n\
         \x20   RETURN NULL;\n\
         END\n\
         $keep$ $create$, current_schema()); END $do$;"
    );

    let trigger = |event: &str, rows: &str| {
        let name = quoted(&format!("{}_{}", count.into, event.to_lowercase()));
        format!(
            "CREATE OR REPLACE TRIGGER {name} AFTER {event} ON {of}{rows}\n    \
             FOR EACH STATEMENT EXECUTE FUNCTION {function}();"
        )
    };
    let (old, new) = ("OLD TABLE AS was", "NEW TABLE AS becomes");
    let [forget, count_all] = count.recount();
    let begin = [
        trigger("INSERT", &format!(" REFERENCING {new}")),
        trigger("UPDATE", &format!(" REFERENCING {old} {new}")),
        trigger("DELETE", &format!(" REFERENCING {old}")),
        trigger("TRUNCATE", ""),
        forget,
        count_all,
    ];
    vec![keep, begin.join("\n")]
}

/// A digest of the list, because an index entry must be short; nothing for the empty list, so that
/// it comes first. Lists of the same texts have one digest and no others have it. An index takes
/// only functions that depend on no setting, and this consists of such.
fn key_of_list(list: Expr) -> Expr {
    let names = Func::cust("array_replace").arg(list.clone()).arg(Expr::null()).arg(constant(""));
    let document = Expr::from(Func::cust("jsonb_object").arg(names).arg(list.clone()));
    let backslash = || Func::cust("chr").arg(Expr::cust("92"));
    let two = Func::cust("repeat").arg(backslash()).arg(Expr::cust("2"));
    let escaped = Func::cust("replace").arg(document.cast_as("text")).arg(backslash()).arg(two);
    let digest = Func::cust("sha256").arg(Expr::from(escaped).cast_as("bytea"));
    let is_token = Postgres.begins_below(list.clone(), TOKENS_BELOW);
    let digest = Func::cust("set_bit").arg(digest).arg(Expr::cust("7"));
    let digest = digest.arg(Expr::case(is_token, Expr::cust("1")).finally(Expr::cust("0")));
    let count = Expr::from(Func::cust("cardinality").arg(list));
    Expr::case(count.eq(Expr::cust("0")), no_bytes()).finally(digest).into()
}

fn no_bytes() -> Expr {
    constant("").cast_as("bytea")
}
