//! The statements of a migration for a partitioned database.
//!
//! A migration file holds plain tables. In a partitioned database the tables that allow it are
//! hash-partitioned into children `<table>_p<i>`. All of this takes more locks than one transaction
//! has, so each statement may be repeated.

use ff_core::schema;

/// The statements, with `count` children for each table that may be partitioned.
pub fn partitioned<'a>(statements: impl IntoIterator<Item = &'a str>, count: u16) -> Vec<String> {
    let mut all = Vec::new();
    // Children come after the indexes of their table, which they then have from the start.
    let mut parent: Option<&str> = None;
    for statement in statements {
        let is_index = statement.starts_with("CREATE INDEX ");
        if !is_index && let Some(parent) = parent.take() {
            all.extend(children(parent, count));
        }

        let repeatable = repeatable(statement);
        if let Some(name) = stored_table(statement).filter(|name| is_partitioned(name)) {
            let of_child = |child| statement.replacen(name, &format!("{name}_p{child}"), 1);
            all.extend((0..count).map(of_child));
            continue;
        }
        match created_table(statement).filter(|name| is_partitioned(name)) {
            Some(name) => {
                parent = Some(name);
                let body = repeatable.trim_end_matches(';');
                all.push(format!("{body} PARTITION BY HASH (\"partition_key\");"));
            }
            None => all.push(repeatable),
        }
    }

    all.extend(parent.into_iter().flat_map(|parent| children(parent, count)));
    all
}

fn children(parent: &str, count: u16) -> impl Iterator<Item = String> {
    (0..count).map(move |child| {
        format!(
            "CREATE TABLE IF NOT EXISTS \"{parent}_p{child}\" PARTITION OF \"{parent}\" \
             FOR VALUES WITH (MODULUS {count}, REMAINDER {child});"
        )
    })
}

/// The name of the table that the statement creates.
fn created_table(statement: &str) -> Option<&str> {
    let create = statement.lines().find(|line| !line.starts_with("--"))?;
    create.strip_prefix("CREATE TABLE ")?.split('"').nth(1)
}

/// The name of the table that the statement sets storage parameters of. A partitioned table has
/// none: its children have.
fn stored_table(statement: &str) -> Option<&str> {
    let alter = statement.strip_prefix("ALTER TABLE ")?;
    let name = alter.split('"').nth(1)?;
    alter.contains(" SET (").then_some(name)
}

/// A table never begins or ceases to be partitioned, so the newest schema speaks for all.
fn is_partitioned(name: &str) -> bool {
    schema::table(name).is_some_and(|table| table.partitioned)
}

fn repeatable(statement: &str) -> String {
    let mut lines = statement.lines().map(str::to_owned).collect::<Vec<_>>();
    if let Some(first) = lines.iter_mut().find(|line| !line.starts_with("--")) {
        for create in ["CREATE TABLE ", "CREATE INDEX ", "CREATE UNIQUE INDEX "] {
            match first.strip_prefix(create) {
                Some(rest) if !rest.starts_with("IF NOT EXISTS ") => {
                    *first = format!("{create}IF NOT EXISTS {rest}");
                }
                Some(_) | None => {}
            }
        }
    }

    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ddl;
    use crate::dialect::Postgres;

    #[test]
    fn a_partitioned_schema_is_made_of_the_plain_statements() {
        let plain = ddl::statements(&Postgres, None).unwrap();
        let split = partitioned(plain.iter().map(String::as_str), 3);
        assert_eq!(split, ddl::statements(&Postgres, Some(3)).unwrap());
    }
}
