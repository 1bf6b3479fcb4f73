//! The one place where a sea-query tree becomes text.
//!
//! sea-query turns every constant into a bound value. Here closed-set constants are written out, so
//! that a partial index stays provable, and everything else is a numbered placeholder. A
//! placeholder travels through the tree as an unsigned integer, a type that the schema itself never
//! uses.

use std::fmt::Write;

use sea_query::{
    DeleteStatement, Expr, IndexCreateStatement, InsertStatement, PostgresQueryBuilder,
    QueryBuilder, SchemaBuilder, SelectStatement, SqlWriter, SqliteQueryBuilder,
    TableCreateStatement, UpdateStatement, Value, WithQuery,
};

/// A statement tree.
pub(crate) enum Tree {
    Select(SelectStatement),
    Insert(InsertStatement),
    Update(UpdateStatement),
    Delete(DeleteStatement),
    With(WithQuery),
    CreateTable(TableCreateStatement),
    CreateIndex(IndexCreateStatement),
}

/// The placeholder with this number, from 1.
pub(crate) fn placeholder(number: usize) -> Expr {
    Expr::Value(placeholder_value(number))
}

fn placeholder_value(number: usize) -> Value {
    Value::BigUnsigned(Some(number as u64))
}

/// A `LIMIT` by placeholder.
pub(crate) fn limit_by(select: &mut SelectStatement, number: usize) {
    select.limit(number as u64);
}

/// A `LIMIT` of one row, as part of the text.
pub(crate) fn limit_to_one(select: &mut SelectStatement) {
    select.limit(ITSELF | 1);
}

/// Marks an unsigned integer that stands for itself, not for a placeholder.
const ITSELF: u64 = 1 << 63;

/// Keeps the planner from merging the select into its outer statement, by an `OFFSET 0`.
pub(crate) fn fence(select: &mut SelectStatement) {
    select.offset(ITSELF);
}

/// A closed-set constant, written into the text.
pub(crate) fn constant(text: &str) -> Expr {
    Expr::Constant(Value::String(Some(text.to_owned())))
}

pub(crate) fn postgres(tree: &Tree) -> String {
    write_tree(tree, PostgresQueryBuilder, '$')
}

pub(crate) fn sqlite(tree: &Tree) -> String {
    write_tree(tree, SqliteQueryBuilder, '?')
}

fn write_tree<B: QueryBuilder + SchemaBuilder>(tree: &Tree, builder: B, mark: char) -> String {
    let mut text = Text { sql: String::with_capacity(1024), mark };
    match tree {
        Tree::Select(select) => select.build_collect_into(builder, &mut text),
        Tree::Insert(insert) => insert.build_collect_into(builder, &mut text),
        Tree::Update(update) => update.build_collect_into(builder, &mut text),
        Tree::Delete(delete) => delete.build_collect_into(builder, &mut text),
        Tree::With(with) => with.build_collect_into(builder, &mut text),
        Tree::CreateTable(create) => text.sql = create.build(builder),
        Tree::CreateIndex(create) => text.sql = create.build(builder),
    }

    text.sql
}

struct Text {
    sql: String,
    mark: char,
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.sql.push_str(text);
        Ok(())
    }
}

impl std::fmt::Display for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.sql)
    }
}

impl SqlWriter for Text {
    fn push_param<T: QueryBuilder>(&mut self, value: Value, builder: &T) {
        if let Value::BigUnsigned(Some(number)) = value {
            if number & ITSELF == 0 {
                self.sql.push(self.mark);
            }
            self.sql.push_str(&(number & !ITSELF).to_string());
        } else {
            // A constant, in sea-query's own escaping. Writing to a String cannot fail.
            let _ = builder.write_value(&mut self.sql, &value);
        }
    }

    fn as_writer(&mut self) -> &mut dyn Write {
        self
    }
}
