//! Flags in the place of the conditions that they stand for.
//!
//! Where a dialect stores the flags of a table, a partial index names the flag and not its
//! condition. So every search states the flag, too, for the database to prove that the index
//! applies. Where there are no partial indexes, every condition of one needs a flag. A condition
//! that has none in the schema gets one with the name of its index.

use std::borrow::Cow;
use std::sync::LazyLock;

use ff_core::plan::value::ColumnType;
use ff_core::plan::{Path, Predicate};
use ff_core::schema::{Column, ColumnRef, Default as Absent, Flag, Index, TABLES, Table};

use crate::dialect::Dialect;

/// The predicate with each condition that a stored flag of the table stands for replaced by it.
pub(crate) fn flagged<'a>(
    dialect: &dyn Dialect,
    table: &Table,
    predicate: &'a Predicate,
) -> Cow<'a, Predicate> {
    let mut found = Cow::Borrowed(predicate);
    if dialect.stores_flags() {
        for Flag { column, condition } in stored_flags(dialect, table) {
            if let Some(rest) = without(&found, &condition()) {
                found = Cow::Owned(rest.and(Predicate::NotNull(*column)));
            }
        }
    }

    found
}

/// The flags of the conditions of indexes that have none in the schema.
static OF_INDEXES: LazyLock<Vec<Flag>> = LazyLock::new(|| {
    let of_table =
        |table: &&'static Table| table.indexes.iter().filter_map(|index| flag_of(table, index));
    TABLES.iter().flat_map(of_table).collect()
});

/// The flags of a table that the dialect stores.
pub(crate) fn stored_flags(
    dialect: &dyn Dialect,
    table: &Table,
) -> impl Iterator<Item = &'static Flag> + use<> {
    let flags: &[Flag] = if dialect.stores_flags() { table.flags } else { &[] };
    let own: &[Flag] = if dialect.has_partial_indexes() { &[] } else { &OF_INDEXES };
    let name = table.name;
    // The condition of an index may say more than a flag of the schema, and comes first.
    own.iter().filter(move |flag| flag.column.table == name).chain(flags)
}

/// True if the column is a flag.
pub(crate) fn is_flag(column: ColumnRef) -> bool {
    let in_schema =
        || TABLES.iter().flat_map(|table| table.flags).any(|flag| flag.column == column);
    column.ty == ColumnType::Bool
        && (in_schema() || OF_INDEXES.iter().any(|flag| flag.column == column))
}

/// The flag of an index, if its condition says more than that its columns are present, and has no
/// flag in the schema.
fn flag_of(table: &'static Table, index: &Index) -> Option<Flag> {
    let condition = index.only?;
    let only = condition();
    let is_indexed = |part: &Predicate| {
        index.columns.iter().any(|(column, _)| *part == Predicate::NotNull(*column))
    };
    let is_known = table.flags.iter().any(|flag| (flag.condition)() == only);
    if is_known || parts(&only).iter().all(is_indexed) {
        return None;
    }

    // One for each index of the schema, as long as the program runs.
    let column = Column {
        table: table.name,
        name: index.name,
        doc: "TRUE while the index holds the row.",
        ty: ColumnType::Bool,
        nullable: true,
        spellings: Vec::new,
        default: Absent::Required,
    };
    Some(Flag { column: ColumnRef(Box::leak(Box::new(column))), condition })
}

/// The rest of the predicate without the condition; `None` if it does not imply the condition.
fn without(predicate: &Predicate, condition: &Predicate) -> Option<Predicate> {
    let (parts, conditions) = (parts(predicate), parts(condition));
    if !conditions.iter().all(|condition| implies(parts, condition)) {
        return None;
    }

    let rest = parts.iter().filter(|part| !conditions.contains(part)).cloned();
    Some(rest.fold(Predicate::Always, Predicate::and))
}

/// True if one of the parts states the condition, or compares a column that must not be NULL.
fn implies(parts: &[Predicate], condition: &Predicate) -> bool {
    let compares = |wanted: &ColumnRef| {
        parts.iter().any(|part| {
            matches!(part, Predicate::Compare(Path { column, keys }, ..)
                if column == wanted && keys.is_empty())
        })
    };
    let compared = matches!(condition, Predicate::NotNull(column) if compares(column));
    compared || parts.contains(condition)
}

fn parts(predicate: &Predicate) -> &[Predicate] {
    if let Predicate::All(parts) = predicate { parts } else { std::slice::from_ref(predicate) }
}

#[cfg(test)]
mod tests {
    use ff_core::schema::execution::{claimable, delayed, exec_core, has_live_deadline};

    use super::*;
    use crate::dialect::{Postgres, Sqlite};

    fn on_postgres(predicate: &Predicate) -> Predicate {
        flagged(&Postgres, &exec_core::TABLE, predicate).into_owned()
    }

    fn flag(name: &str) -> Predicate {
        let flag = exec_core::TABLE.flags.iter().find(|flag| flag.column.name == name).unwrap();
        Predicate::NotNull(flag.column)
    }

    #[test]
    fn a_condition_becomes_its_flag_and_the_rest_stays() {
        let lane = exec_core::lane_id.equals("a".to_owned());
        let both = lane.clone().and(claimable());
        assert_eq!(on_postgres(&both), lane.and(flag("is_claimable")));
        assert_eq!(on_postgres(&delayed()), flag("is_delayed"));
    }

    #[test]
    fn a_compared_column_is_not_null() {
        let due =
            exec_core::deadline_at_ms.at_most(Some(1)).and(exec_core::terminal_at_ms.is_null());
        let expected = exec_core::deadline_at_ms.at_most(Some(1)).and(flag("has_live_deadline"));
        assert_eq!(on_postgres(&due), expected);
        assert_eq!(on_postgres(&has_live_deadline()), flag("has_live_deadline"));
    }

    #[test]
    fn a_weaker_predicate_stays_as_it_is() {
        let alternatives = claimable().or(delayed());
        for weaker in [alternatives, exec_core::lane_id.equals("a".to_owned()), Predicate::Always] {
            assert_eq!(on_postgres(&weaker), weaker);
        }
    }

    #[test]
    fn a_dialect_without_flags_states_the_condition() {
        let claimable = claimable();
        assert_eq!(*flagged(&Sqlite, &exec_core::TABLE, &claimable), claimable);
    }
}
