//! The one place where a sea-query tree becomes text.
//!
//! sea-query turns every constant into a bound value. Here closed-set constants are written out, so
//! that a partial index stays provable, and everything else is a placeholder. A
//! placeholder travels through the tree as an unsigned integer, a type that the schema itself never
//! uses.

use std::fmt::Write;

use ff_core::plan::Expr as Scalar;
use ff_core::schema::{ColumnRef, Default as Absent};
use sea_query::{
    Alias, DeleteStatement, Expr, IndexCreateStatement, InsertStatement, PostgresQueryBuilder,
    QueryBuilder, SchemaBuilder, SelectStatement, SqlWriter, SqliteQueryBuilder,
    TableCreateStatement, UpdateStatement, Value, WithQuery,
};

use crate::dialect::{Dialect, Grammar, MariaDbQueryBuilder, Placeholders};

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

/// Encloses words that belong behind the list of columns that they stand at the end of.
const BEHIND: char = '\u{1}';

/// The columns of an insert. Those of numbers that the database would give by itself come with the
/// words that allow it, for which sea-query has no place.
pub(crate) fn inserted_columns(dialect: &dyn Dialect, row: &[(ColumnRef, Scalar)]) -> Vec<Alias> {
    let numbers = row.iter().any(|(column, _)| column.default == Absent::Identity);
    let words = dialect.given_numbers().filter(|_| numbers);
    let mut columns: Vec<String> = row.iter().map(|(column, _)| column.name.to_owned()).collect();
    if let Some((last, words)) = columns.last_mut().zip(words) {
        *last = format!("{last}{BEHIND}{words}{BEHIND}");
    }
    columns.into_iter().map(Alias::new).collect()
}

/// The text with such words behind their list.
fn with_words_behind(sql: &str) -> String {
    let mut parts = sql.split(BEHIND);
    let mut text = parts.next().unwrap_or_default().to_owned();
    while let (Some(words), Some(rest)) = (parts.next(), parts.next()) {
        let end = rest.find(')').map_or(0, |at| at + 1);
        let (list, rest) = rest.split_at(end);
        text.extend([list, " ", words, rest]);
    }
    text
}

/// A closed-set constant, written into the text.
pub(crate) fn constant(text: &str) -> Expr {
    Expr::Constant(Value::String(Some(text.to_owned())))
}

/// The text of a tree that has no placeholders.
pub(crate) fn plain(grammar: Grammar, tree: &Tree) -> String {
    text(grammar, tree).sql
}

/// The text of a tree, with its placeholders set apart.
pub(crate) fn text(grammar: Grammar, tree: &Tree) -> Text {
    match grammar {
        Grammar::Postgres => write_tree(tree, PostgresQueryBuilder, PostgresQueryBuilder),
        Grammar::Sqlite => write_tree(tree, SqliteQueryBuilder, SqliteQueryBuilder),
        Grammar::MariaDb => write_tree(tree, MariaDbQueryBuilder, PostgresQueryBuilder),
    }
}

fn write_tree(tree: &Tree, builder: impl QueryBuilder, schema: impl SchemaBuilder) -> Text {
    let mut text = Text { sql: String::with_capacity(1024), marks: Vec::new() };
    match tree {
        Tree::Select(select) => select.build_collect_into(builder, &mut text),
        Tree::Insert(insert) => insert.build_collect_into(builder, &mut text),
        Tree::Update(update) => update.build_collect_into(builder, &mut text),
        Tree::Delete(delete) => delete.build_collect_into(builder, &mut text),
        Tree::With(with) => with.build_collect_into(builder, &mut text),
        Tree::CreateTable(create) => text.sql = create.build(schema),
        Tree::CreateIndex(create) => text.sql = create.build(schema),
    }

    text
}

/// A text without its placeholders.
pub(crate) struct Text {
    sql: String,
    /// The placeholders, in the order of the text.
    marks: Vec<Mark>,
}

/// One placeholder of a text.
struct Mark {
    /// The byte of the text that it stands before.
    at: usize,
    /// The number of its parameter, from 1.
    parameter: usize,
}

impl Text {
    /// The text with the dialect's marks, and the parameter of each mark or of each number.
    pub(crate) fn with_marks<T: Clone>(
        &self,
        placeholders: Placeholders,
        parameters: Vec<T>,
    ) -> (String, Vec<T>) {
        match placeholders {
            Placeholders::Numbered(mark) => {
                (self.marked(mark, |parameter| parameter.to_string()), parameters)
            }
            Placeholders::InOrder(mark) => {
                let numbers = self.marks.iter().map(|mark| mark.parameter);
                let taken = numbers.filter_map(|number| parameters.get(number - 1).cloned());
                (self.marked(mark, |_| String::new()), taken.collect())
            }
        }
    }

    fn marked(&self, mark: char, number: impl Fn(usize) -> String) -> String {
        let mut sql = String::with_capacity(self.sql.len() + 4 * self.marks.len());
        let mut from = 0;
        for Mark { at, parameter } in &self.marks {
            sql.push_str(self.sql.get(from..*at).unwrap_or_default());
            sql.push(mark);
            sql.push_str(&number(*parameter));
            from = *at;
        }

        sql.push_str(self.sql.get(from..).unwrap_or_default());
        if sql.contains(BEHIND) { with_words_behind(&sql) } else { sql }
    }
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
                let parameter = usize::try_from(number).unwrap_or(usize::MAX);
                self.marks.push(Mark { at: self.sql.len(), parameter });
            } else {
                self.sql.push_str(&(number & !ITSELF).to_string());
            }
        } else {
            // A constant, in sea-query's own escaping. Writing to a String cannot fail.
            let _ = builder.write_value(&mut self.sql, &value);
        }
    }

    fn as_writer(&mut self) -> &mut dyn Write {
        self
    }
}

#[cfg(test)]
mod tests {
    use sea_query::{ExprTrait, Query};

    use super::*;

    fn text_of(numbers: &[usize]) -> Text {
        let mut select = Query::select();
        select.expr(constant("it's ?1")).expr(Expr::col("a?2").eq(constant("b")));
        for number in numbers {
            select.expr(placeholder(*number));
        }
        text(Grammar::Sqlite, &Tree::Select(select))
    }

    #[test]
    fn marks_stand_outside_of_constants_and_names() {
        let text = text_of(&[1, 2]);
        let (numbered, _) = text.with_marks(Placeholders::Numbered('$'), vec!["a", "b"]);
        assert_eq!(numbered, r#"SELECT 'it''s ?1', "a?2" = 'b', $1, $2"#);
        let (unnumbered, _) = text.with_marks(Placeholders::InOrder('?'), vec!["a", "b"]);
        assert_eq!(unnumbered, r#"SELECT 'it''s ?1', "a?2" = 'b', ?, ?"#);
    }

    #[test]
    fn words_stand_behind_the_list_that_they_end() {
        let sql = "INSERT INTO \"t\" (\"a\", \"b\u{1}AT LAST\u{1}\") SELECT 1";
        assert_eq!(with_words_behind(sql), r#"INSERT INTO "t" ("a", "b") AT LAST SELECT 1"#);
    }

    #[test]
    fn marks_without_numbers_take_a_parameter_each_time() {
        let (sql, taken) =
            text_of(&[2, 1, 2]).with_marks(Placeholders::InOrder('?'), vec!['a', 'b']);
        assert!(sql.ends_with("?, ?, ?"), "{sql}");
        assert_eq!(taken, ['b', 'a', 'b']);
    }
}
