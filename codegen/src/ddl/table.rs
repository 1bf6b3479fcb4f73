//! One table as `CREATE TABLE`: columns, defaults, key, checks, partitions.

use ff_core::plan::value::ColumnType;
use ff_core::schema::{self, ColumnRef, Default, Flag, Table};
use sea_query::{Alias, CaseStatement, Check, ColumnDef, Expr, ExprTrait, Table as TableStatement};

use super::index::{Columns, constant_condition, key};
use super::numbers_rows;
use crate::dialect::{Dialect, RowNumbering};
use crate::flags::stored_flags;
use crate::statement::RenderError;
use crate::writer::{Tree, constant};

/// The table itself; the parent if it is partitioned.
pub(super) fn table_tree(
    dialect: &dyn Dialect,
    table: &Table,
    partitions: Option<u16>,
) -> Result<Tree, RenderError> {
    let mut create = TableStatement::create();
    create.table(table.name);

    for column in table.columns {
        create.col(column_definition(dialect, *column));
    }
    for flag in flag_definitions(dialect, table)? {
        create.col(flag);
    }

    if !numbers_rows(dialect, table) {
        create.primary_key(&mut key(table));
    }

    for column in table.checked {
        let name = Alias::new(check_name(table.name, column.name));
        create.check(Check::named(name, accepted(column.name, (column.spellings)())));
    }

    if partitions.is_some() && table.partitioned {
        dialect.partition_by_hash(&mut create, "partition_key")?;
    }

    Ok(Tree::CreateTable(create))
}

pub(super) fn column_definition(dialect: &dyn Dialect, column: ColumnRef) -> ColumnDef {
    let mut definition = ColumnDef::new(column.name);
    let is_key = |table: &&Table| table.key.contains(&column) || is_in_index(table, column);
    let ty = if schema::table(column.table).as_ref().is_some_and(is_key) {
        dialect.key_type(column.ty)
    } else {
        dialect.column_type(column.ty)
    };
    definition.custom(Alias::new(ty));

    if !column.nullable {
        definition.not_null();
    }

    match column.default {
        Default::Required => {}
        Default::Int(number) if column.ty == ColumnType::Float => {
            // Written out, because a float without a fraction would be rendered as an integer.
            definition.default(Expr::cust(format!("{number}.0")));
        }
        Default::Int(number) => {
            definition.default(number);
        }
        Default::Bool(flag) => {
            definition.default(flag);
        }
        Default::Text(text) | Default::Json(text) => {
            definition.default(constant(text));
        }
        Default::EmptyList => {
            definition.default(constant(dialect.empty_list()));
        }
        Default::NowMs => {
            definition.default(dialect.now_ms());
        }
        Default::Transaction => {
            definition.default(dialect.transaction_id());
        }
        Default::Identity => match dialect.row_numbering() {
            RowNumbering::Column(words) | RowNumbering::PrimaryKey(words) => {
                definition.extra(words);
            }
        },
    }

    definition
}

/// The columns of the flags that the dialect stores.
pub(super) fn flag_definitions(
    dialect: &dyn Dialect,
    table: &Table,
) -> Result<Vec<ColumnDef>, RenderError> {
    let definition = |Flag { column, condition }: &Flag| {
        let condition = constant_condition(dialect, column.name, &condition(), Columns::Bare)?;
        let value = Expr::Case(Box::new(CaseStatement::new().case(condition, Expr::cust("TRUE"))));
        let mut definition = column_definition(dialect, *column);
        definition.generated(value, true);
        Ok(definition)
    };
    let flags = stored_flags(dialect, table).map(definition);
    flags.chain(kept_list_keys(dialect, table).map(Ok)).collect()
}

/// The columns that the database computes from lists, for its indexes.
fn kept_list_keys(dialect: &dyn Dialect, table: &Table) -> impl Iterator<Item = ColumnDef> {
    let lists = table
        .columns
        .iter()
        .filter(|column| column.ty == ColumnType::TextList && is_in_index(table, **column));
    lists.filter_map(move |column| {
        let (name, ty, value) = dialect.kept_list_key(*column)?;
        let mut definition = ColumnDef::new(Alias::new(name));
        definition.custom(Alias::new(ty)).generated(value, true);
        Some(definition)
    })
}

fn is_in_index(table: &Table, column: ColumnRef) -> bool {
    let mut indexed = table.indexes.iter().flat_map(|index| index.columns);
    indexed.any(|(indexed, _)| *indexed == column)
}

pub(super) fn check_name(table: &str, column: &str) -> String {
    format!("{table}_{column}_check")
}

/// The values that the database accepts in a checked column: the known spellings, or true.
pub(super) fn accepted<'a>(
    column: impl sea_query::IntoIden,
    spellings: impl IntoIterator<Item = &'a str>,
) -> Expr {
    let column = Expr::col(column.into_iden());
    let mut words = spellings.into_iter().map(constant).peekable();
    if words.peek().is_none() { column } else { column.is_in(words) }
}

/// One of `count` partitions.
pub(super) fn child_tree(table: &Table, child: u16, count: u16) -> Tree {
    let mut create = TableStatement::create();
    create
        .table(Alias::new(child_name(table, child)))
        .partition_of(table.name)
        .values_with(u32::from(count), u32::from(child));
    Tree::CreateTable(create)
}

pub(super) fn child_name(table: &Table, child: u16) -> String {
    format!("{}_p{child}", table.name)
}
