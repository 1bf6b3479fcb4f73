//! MariaDB's grammar, with identifiers in double quotes: standard SQL but for inserts that meet a
//! row with their key.

use sea_query::{
    BinOper, ConditionHolder, DynIden, EscapeBuilder, ExplainStatement, Expr, OnConflictAction,
    OnConflictTarget, Oper, OperLeftAssocDecider, PostgresQueryBuilder, PrecedenceDecider,
    QueryBuilder, Quote, QuotedBuilder, SelectInto, SqlWriter, SqliteQueryBuilder,
    SubQueryStatement, TableRefBuilder, Value, WithClause,
};

/// Writes statements for MariaDB. Tables and indexes are created in the words of Postgres.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MariaDbQueryBuilder;

impl QuotedBuilder for MariaDbQueryBuilder {
    fn quote(&self) -> Quote {
        PostgresQueryBuilder.quote()
    }
}

impl EscapeBuilder for MariaDbQueryBuilder {
    fn write_escaped(&self, buffer: &mut impl std::fmt::Write, string: &str) {
        SqliteQueryBuilder.write_escaped(buffer, string);
    }

    fn unescape_string(&self, string: &str) -> String {
        SqliteQueryBuilder.unescape_string(string)
    }
}

impl TableRefBuilder for MariaDbQueryBuilder {}

impl PrecedenceDecider for MariaDbQueryBuilder {
    fn inner_expr_well_known_greater_precedence(&self, inner: &Expr, outer: &Oper) -> bool {
        SqliteQueryBuilder.inner_expr_well_known_greater_precedence(inner, outer)
    }
}

impl OperLeftAssocDecider for MariaDbQueryBuilder {
    fn well_known_left_associative(&self, oper: &BinOper) -> bool {
        SqliteQueryBuilder.well_known_left_associative(oper)
    }
}

// The writer is a text, to which writing cannot fail.
fn write(sql: &mut impl SqlWriter, text: &str) {
    let _ = sql.write_str(text);
}

impl QueryBuilder for MariaDbQueryBuilder {
    fn prepare_query_statement(&self, query: &SubQueryStatement, sql: &mut impl SqlWriter) {
        match query {
            SubQueryStatement::SelectStatement(select) => {
                self.prepare_select_statement(select, sql);
            }
            SubQueryStatement::InsertStatement(insert) => {
                self.prepare_insert_statement(insert, sql);
            }
            SubQueryStatement::UpdateStatement(update) => {
                self.prepare_update_statement(update, sql);
            }
            SubQueryStatement::DeleteStatement(delete) => {
                self.prepare_delete_statement(delete, sql);
            }
            SubQueryStatement::WithStatement(with) => self.prepare_with_query(with, sql),
        }
    }

    fn prepare_value(&self, value: Value, sql: &mut impl SqlWriter) {
        sql.push_param(value, self);
    }

    fn prepare_on_conflict_target(&self, _: &OnConflictTarget, _: &mut impl SqlWriter) {
        // Any key that the row has already.
    }

    fn prepare_on_conflict_action(
        &self,
        action: &Option<OnConflictAction>,
        sql: &mut impl SqlWriter,
    ) {
        let Some(OnConflictAction::DoNothing(key)) = action else {
            return self.prepare_on_conflict_action_common(action, sql);
        };

        // A column that becomes itself, since there is no word for nothing.
        write(sql, " UPDATE ");
        if let Some(column) = key.first() {
            self.prepare_iden(column, sql);
            write(sql, " = ");
            self.prepare_iden(column, sql);
        }
    }

    fn prepare_on_conflict_keywords(&self, sql: &mut impl SqlWriter) {
        write(sql, " ON DUPLICATE KEY");
    }

    fn prepare_on_conflict_do_update_keywords(&self, sql: &mut impl SqlWriter) {
        write(sql, " UPDATE ");
    }

    fn prepare_on_conflict_excluded_table(&self, column: &DynIden, sql: &mut impl SqlWriter) {
        write(sql, "VALUES(");
        self.prepare_iden(column, sql);
        write(sql, ")");
    }

    fn prepare_on_conflict_condition(&self, _: &ConditionHolder, _: &mut impl SqlWriter) {}

    fn prepare_select_into(&self, _: &SelectInto, _: &mut impl SqlWriter) {}

    fn prepare_explain_statement(&self, _: &ExplainStatement, _: &mut impl SqlWriter) {}

    fn prepare_with_clause_recursive_options(&self, _: &WithClause, _: &mut impl SqlWriter) {}
}
