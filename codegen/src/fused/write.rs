//! The writes of a fused statement.

use ff_core::plan::Mutation;
use ff_core::plan::value::ColumnType;
use sea_query::{Alias, Expr, InsertStatement, IntoIden, Query, UpdateStatement};

use super::{Renderer, SOURCE};
use crate::clauses::{add_on_conflict, is_gate, returning};
use crate::dialect::ITEM;
use crate::reads;
use crate::scalar::Scalars;
use crate::statement::RenderError;
use crate::writer::inserted_columns;

impl Renderer<'_> {
    /// The CTE of one mutation.
    pub(super) fn write(
        &mut self,
        index: usize,
        mutation: &Mutation,
        source: &str,
    ) -> Result<(), RenderError> {
        let name = self.write_name(index);
        let returned = reads::returned_columns(self.plan, mutation);
        let returning = returning(self.dialect, reads::write_kind(mutation), &returned)?;

        match mutation {
            Mutation::Insert { table, on_conflict, .. }
            | Mutation::InsertEach { table, on_conflict, .. } => {
                let mut insert = self.insert(mutation, source)?;
                add_on_conflict(self.dialect, &mut insert, *table, on_conflict)?;
                returning.map(|columns| insert.returning(columns));
                self.cte(&name, insert);
            }
            Mutation::Update { table, target, set } => {
                let mut operands = self.operands();
                let mut scalars =
                    Scalars { dialect: self.dialect, operands: &mut operands, subject: Some("t") };
                let mut update = UpdateStatement::new();
                update
                    .table((Alias::new(table.name), "t").into_aliased())
                    .from((Alias::new(source), SOURCE).into_aliased());

                for (column, assign) in set {
                    update.value(column.name, scalars.assign(*column, assign));
                }
                update.cond_where(scalars.has_key(target));

                returning.map(|columns| update.returning(columns));
                self.cte(&name, update);
            }
            Mutation::Delete { table, target } => {
                let mut operands = self.operands();
                let mut scalars = Scalars {
                    dialect: self.dialect,
                    operands: &mut operands,
                    subject: Some(table.name),
                };
                let mut rows = Query::select();
                rows.expr(Expr::cust("1")).from_as(Alias::new(source), SOURCE);
                rows.cond_where(scalars.has_key(target));

                let mut delete = Query::delete();
                delete.from_table(table.name).and_where(Expr::exists(rows));
                returning.map(|columns| delete.returning(columns));
                self.cte(&name, delete);
            }
        }
        Ok(())
    }

    /// An insert of the rows that `source` yields.
    pub(super) fn insert(
        &self,
        mutation: &Mutation,
        source: &str,
    ) -> Result<InsertStatement, RenderError> {
        let (table, row, items) = match mutation {
            Mutation::Insert { table, row, .. } => (table, row, None),
            Mutation::InsertEach { table, row, items, .. } => (table, row, Some(items)),
            Mutation::Update { .. } | Mutation::Delete { .. } => {
                return Err(RenderError::Audit {
                    plan: self.plan.name.to_string(),
                    rule: "only an insert inserts".into(),
                });
            }
        };

        let mut operands = self.operands();
        let mut scalars = Scalars { dialect: self.dialect, operands: &mut operands, subject: None };
        let mut values = Query::select();
        for (column, expr) in row {
            values.expr(scalars.expr(expr, column.ty));
        }
        values.from_as(Alias::new(source), SOURCE);
        if is_gate(self.plan, mutation) {
            values.and_where_option(self.is_open());
        }

        if let Some(items) = items {
            let list = self.dialect.items(scalars.expr(items, ColumnType::Bytes));
            values.from_function(list, ITEM);
        }

        let mut insert = InsertStatement::new();
        insert.into_table(table.name).columns(inserted_columns(self.dialect, row));
        insert.select_from(values).map_err(|error| RenderError::Unsupported {
            dialect: self.dialect.name(),
            what: error.to_string(),
        })?;
        Ok(insert)
    }
}

/// A table reference under an alias, for calls that take no separate alias argument.
trait IntoAliased {
    fn into_aliased(self) -> sea_query::TableRef;
}

impl IntoAliased for (Alias, &'static str) {
    fn into_aliased(self) -> sea_query::TableRef {
        use sea_query::IntoTableRef;
        self.0.into_iden().into_table_ref().alias(self.1)
    }
}
