//! The counts that the database keeps, as triggers of the counted table.
//!
//! A change of the counted table and the change of its counts are one. A database where writers do
//! not take turns adds a row for each statement and group that it changes, so that no writer waits
//! for another; else a group has one row, which each changed row adds to.

use ff_core::plan::Path;
use ff_core::schema::{COUNTS, Count, Group, Table};
use sea_query::{CaseStatement, Expr, Func, Query};

use super::index::{Columns, constant_condition};
use crate::clauses::held_value;
use crate::dialect::Dialect;
use crate::names::quoted;
use crate::statement::RenderError;
use crate::writer::{self, Tree, constant};

/// A count in the words of a dialect.
pub struct CountText {
    /// The name of the counted table, quoted.
    pub of: String,
    /// The name of the table of the counts.
    pub into: &'static str,
    /// The column that numbers its rows, quoted.
    pub number: String,
    /// The columns of the groups, quoted.
    pub by: Vec<String>,
    /// True for each of them that is a text.
    pub of_text: Vec<bool>,
    /// The column of the count, quoted.
    pub n: String,
    /// The values of the groups for the rows of a select from the counted table, or from rows like
    /// those of it.
    pub of_selected: Vec<String>,
    /// The same for the row that a trigger calls `NEW`.
    pub of_new: Vec<String>,
    /// The same for the row that it calls `OLD`.
    pub of_old: Vec<String>,
}

impl CountText {
    fn new(dialect: &dyn Dialect, count: &Count) -> Result<Self, RenderError> {
        let values = |columns: Columns| {
            count.by.iter().map(|group| value(dialect, group, columns)).collect::<Result<_, _>>()
        };
        Ok(Self {
            of: quoted(count.of.name),
            into: count.into.name,
            number: count.into.identity().map_or_else(String::new, |column| quoted(column.name)),
            by: count.by.iter().map(|group| quoted(group.column.name)).collect(),
            of_text: count.by.iter().map(Group::is_text).collect(),
            n: quoted(count.n.name),
            of_selected: values(Columns::Bare)?,
            of_new: values(Columns::Of("NEW"))?,
            of_old: values(Columns::Of("OLD"))?,
        })
    }

    /// The values of the groups under the names of their columns.
    pub(crate) fn named(&self, values: &[String]) -> String {
        let named =
            values.iter().zip(&self.by).map(|(value, column)| format!("{value} AS {column}"));
        named.collect::<Vec<_>>().join(", ")
    }

    /// The columns of the groups.
    pub(crate) fn columns(&self) -> String {
        self.by.join(", ")
    }

    /// The counts of a group each, of rows that a name stands for. `sign` comes before the count.
    pub(crate) fn counts_of(&self, rows: &str, sign: &str) -> String {
        let places: Vec<String> = (1..=self.by.len()).map(|place| place.to_string()).collect();
        format!(
            "SELECT {}, {sign}count(*) FROM {rows} GROUP BY {}",
            self.named(&self.of_selected),
            places.join(", ")
        )
    }

    /// The statements that count the rows that there are, in place of what was counted before.
    pub(crate) fn recount(&self) -> [String; 2] {
        let (into, columns, n) = (quoted(self.into), self.columns(), &self.n);
        let counts = self.counts_of(&self.of, "");
        [
            format!("DELETE FROM {into};"),
            format!("INSERT INTO {into} ({columns}, {n})\n    {counts};"),
        ]
    }
}

/// The repeatable statements that begin to keep the counts of which `is_kept` is true, and count
/// the rows that there are. Each takes effect by itself.
pub(crate) fn count_statements(
    dialect: &dyn Dialect,
    is_kept: impl Fn(&Count) -> bool,
) -> Result<Vec<String>, RenderError> {
    let mut statements = Vec::new();
    for count in COUNTS.iter().filter(|count| is_kept(count)) {
        statements.extend(dialect.keep_count(&CountText::new(dialect, count)?));
    }
    Ok(statements)
}

/// The statements that keep the counts in this table.
pub(crate) fn counts_into(
    dialect: &dyn Dialect,
    table: &Table,
) -> Result<Vec<String>, RenderError> {
    count_statements(dialect, |count| count.into.name == table.name)
}

/// The statements that keep the counts of this table.
pub(crate) fn counts_of(dialect: &dyn Dialect, table: &Table) -> Result<Vec<String>, RenderError> {
    count_statements(dialect, |count| count.of.name == table.name)
}

/// The value of a group for a row.
fn value(dialect: &dyn Dialect, group: &Group, columns: Columns) -> Result<String, RenderError> {
    let path = (group.value)();
    let absent = || if group.is_text() { constant("") } else { Expr::cust("0") };
    let mut value = stored(dialect, &path, columns);
    if path.column.nullable || !path.keys.is_empty() {
        value = Expr::from(Func::coalesce([value, absent()]));
    }
    if group.per != 1 {
        value = dialect.whole_quotient(value, group.per);
    }

    if let Some(only) = group.only {
        let condition = constant_condition(dialect, group.column.name, &only(), columns)?;
        value = Expr::Case(Box::new(CaseStatement::new().case(condition, value).finally(absent())));
    }

    let mut select = Query::select();
    select.expr(value);
    let sql = writer::plain(dialect.grammar(), &Tree::Select(select));
    Ok(sql.trim_start_matches("SELECT ").to_owned())
}

fn stored(dialect: &dyn Dialect, path: &Path, columns: Columns) -> Expr {
    match columns {
        Columns::Of(row) => held_value(dialect, row, path),
        Columns::Qualified => held_value(dialect, path.column.table, path),
        Columns::Bare if path.keys.is_empty() => Expr::col(path.column.name),
        Columns::Bare => dialect.json_text(Expr::col(path.column.name), &path.keys),
    }
}
