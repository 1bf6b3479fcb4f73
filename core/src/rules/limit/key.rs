//! Keys of limits, as executions name them and as rows store them.

use std::collections::BTreeMap;

use crate::model::error::EngineError;
use crate::model::partition::{PartitionConfig, text_partition};
use crate::plan::facts::Row;
use crate::plan::value::{ColumnType, Storable as _};
use crate::plan::{Expr, List, Lookup, Predicate};
use crate::rules::input;
use crate::rules::premise::lookup;
use crate::schema::ColumnRef;
use crate::schema::Direction::Ascending;
use crate::schema::limit::limit;

/// The name that every plan gives the row of a limit.
pub const LIMIT: &str = "limit";

/// The end of a family of keys.
const FAMILY: &str = "/*";

/// The key of a limit, or a family of keys, as rows store it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LimitKey {
    /// Its partition.
    pub partition: i16,
    /// The text.
    pub text: String,
}

impl LimitKey {
    /// That key or family.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` when a partition is beyond what a row can store.
    pub fn new(text: &str, partitions: &PartitionConfig) -> Result<Self, EngineError> {
        let partition = input::partition(text_partition(text, partitions))?;
        Ok(Self { partition, text: text.to_owned() })
    }

    /// The key of its limit.
    #[must_use]
    pub fn of_limit(&self) -> Vec<(ColumnRef, Expr)> {
        vec![limit::partition_key.with(self.partition), limit::limit_key.with(self.text.clone())]
    }

    /// The look-up of its limit.
    #[must_use]
    pub fn lookup(&self) -> Lookup {
        lookup(LIMIT, limit::REF, self.of_limit())
    }
}

/// Checks the key or family of a limit, given in that field.
///
/// # Errors
/// `Validation(InvalidInput)` naming the field: a key that is empty or too long, or that holds NUL.
pub fn check(field: &str, key: &str) -> Result<(), EngineError> {
    input::name(field, key)?;
    if key.is_empty() || key == FAMILY {
        return Err(input::invalid(format!("{field}: must name a key, such as tenant/42")));
    }
    Ok(())
}

/// The family that a key belongs to, by the text before its last slash.
fn family_of(key: &str) -> Option<String> {
    let (family, _) = key.rsplit_once('/')?;
    (!family.is_empty() && !key.ends_with(FAMILY)).then(|| format!("{family}{FAMILY}"))
}

/// The list of the limits of these keys, and of their families.
#[must_use]
pub fn limits_of(keys: &[String]) -> List {
    let families = keys.iter().filter_map(|key| family_of(key));
    let mut texts: Vec<String> = keys.iter().cloned().chain(families).collect();
    texts.sort_unstable();
    texts.dedup();

    let key = limit::limit_key.column();
    List {
        name: "limits of keys".into(),
        table: limit::REF,
        join: None,
        of_each: None,
        columns: limit::REF.columns.to_vec(),
        limit: Expr::int(texts.len().try_into().unwrap_or(i64::MAX)),
        predicate: Predicate::Among(key, texts.into_expr()),
        order: vec![(key, Ascending), (limit::partition_key.column(), Ascending)],
    }
}

/// The row among these, by the keys of their limits, that limits a key: its own before that of its
/// family.
#[must_use]
pub fn governing<'a>(key: &str, limits: &'a BTreeMap<String, Row>) -> Option<&'a Row> {
    limits.get(key).or_else(|| limits.get(&family_of(key)?))
}

/// An element of a list of rows, as text.
#[must_use]
pub fn item_text(name: &'static str) -> Expr {
    Expr::item(ColumnType::Text, name)
}

/// An element of a list of rows, as a number.
#[must_use]
pub fn item_number(name: &'static str) -> Expr {
    Expr::item(ColumnType::BigInt, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_what_stands_before_the_last_slash() {
        assert_eq!(family_of("tenant/42").as_deref(), Some("tenant/*"));
        assert_eq!(family_of("tenant/42/mail").as_deref(), Some("tenant/42/*"));
        assert_eq!(family_of("tenant/*"), None);
        assert_eq!(family_of("tenant"), None);
        assert_eq!(family_of("/42"), None);
    }
}
