//! The migrations of a binary, and the decision which of them a database still needs.
//!
//! Each database keeps a ledger of the migrations applied to it, with the checksum of each file.
//! The ledger is compared with the binary here, once for every dialect. Reading the ledger and
//! running the statements is the backends' work.

use sha2::{Digest, Sha256};

/// File stem of the first migration.
pub(crate) const GENESIS_NAME: &str = "0001_genesis";

/// The line in front of every statement of a migration file.
pub const SEPARATOR: &str = "-- statement";

/// The separator as a line of its own.
const SPLIT: &str = "\n-- statement\n";

/// One migration of one dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migration {
    /// Its number, counted from 1 without gaps.
    pub version: u32,
    /// File stem.
    pub name: &'static str,
    /// The whole file.
    pub sql: &'static str,
}

/// Declares the migrations of a dialect. The files of all dialects bear the same names.
macro_rules! migrations {
    ($list:ident $dialect:literal $($version:literal $name:literal,)+) => {
        #[doc = concat!("The migrations of ", $dialect, ", in order.")]
        pub const $list: &[super::Migration] = &[$(super::Migration {
            version: $version,
            name: $name,
            sql: include_str!(concat!(
                "../../../migrations/", $dialect, "/", $name, ".sql"
            )),
        }),+];
    };
}

mod known;
mod partitioned;

pub use known::{MARIADB, POSTGRES, SQLITE};
pub use partitioned::partitioned;

impl Migration {
    /// The statements, in order.
    pub fn statements(&self) -> impl Iterator<Item = &'static str> + use<> {
        // The text before the first separator is the head of the file.
        self.sql.split(SPLIT).skip(1).map(str::trim)
    }

    /// SHA-256 of the file, in hex.
    #[must_use]
    pub fn checksum(&self) -> String {
        hex::encode(Sha256::digest(self.sql.as_bytes()))
    }
}

/// One finished migration in a database's ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub version: u32,
    /// The checksum of the file when it was applied.
    pub checksum: String,
}

/// The reason that a ledger does not fit this binary. Nothing is changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// A newer binary migrated the database.
    #[error("the database is at migration {found}, this binary knows migrations up to {known}")]
    Newer {
        /// The highest version in the ledger.
        found: u32,
        /// The highest version this binary has.
        known: u32,
    },
    /// The file was different when it was applied.
    #[error(
        "migration {version} was applied with checksum {recorded}, this binary has {expected}; a \
         database from before the first release is brought over with `ff migrate --adopt`"
    )]
    Altered {
        /// The migration.
        version: u32,
        /// The checksum in the ledger.
        recorded: String,
        /// The checksum of this binary's file.
        expected: String,
    },
    /// This migration is missing from the ledger, although a later one is in it.
    #[error("migration {missing} is missing from the database, a later one is not")]
    Gap {
        /// The first missing version.
        missing: u32,
    },
}

/// The migrations that a database with this ledger, ordered by version, still needs.
///
/// # Errors
/// [`LedgerError`] where the ledger is not a prefix of the known migrations.
pub fn pending<'a>(
    known: &'a [Migration],
    ledger: &[Entry],
) -> Result<&'a [Migration], LedgerError> {
    let newest = known.last().map_or(0, |migration| migration.version);
    if let Some(last) = ledger.last()
        && newest < last.version
    {
        return Err(LedgerError::Newer { found: last.version, known: newest });
    }

    for (migration, entry) in known.iter().zip(ledger) {
        if migration.version != entry.version {
            return Err(LedgerError::Gap { missing: migration.version });
        }
        let expected = migration.checksum();
        if expected != entry.checksum {
            let (version, recorded) = (entry.version, entry.checksum.clone());
            return Err(LedgerError::Altered { version, recorded, expected });
        }
    }

    Ok(known.get(ledger.len()..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [Migration; 3] = [
        Migration { version: 1, name: "0001_a", sql: "head\n\n-- statement\nA;\n" },
        Migration { version: 2, name: "0002_b", sql: "\n-- statement\nB;\n\n-- statement\nC;\n" },
        Migration { version: 3, name: "0003_c", sql: "" },
    ];

    /// The first line of an archive says which schema its lines are of.
    #[test]
    fn the_last_migration_is_the_version_of_the_schema() {
        for migrations in [POSTGRES, SQLITE, MARIADB] {
            let last = migrations.last().map(|migration| migration.version);
            assert_eq!(last, Some(ff_core::schema::VERSION));
        }
    }

    fn ledger(versions: &[u32]) -> Vec<Entry> {
        let checksum = |version: u32| match KNOWN.iter().find(|known| known.version == version) {
            Some(known) => known.checksum(),
            None => String::new(),
        };
        versions.iter().map(|&version| Entry { version, checksum: checksum(version) }).collect()
    }

    #[test]
    fn statements_are_what_stands_between_separators() {
        let statements = KNOWN.map(|migration| migration.statements().collect::<Vec<_>>());
        assert_eq!(statements, [vec!["A;"], vec!["B;", "C;"], vec![]]);
    }

    #[test]
    fn only_a_prefix_of_the_known_migrations_is_accepted() {
        let check = |versions: &[u32]| {
            let pending = pending(&KNOWN, &ledger(versions));
            pending.map(|list| list.iter().map(|migration| migration.version).collect::<Vec<_>>())
        };
        assert_eq!(check(&[]), Ok(vec![1, 2, 3]));
        assert_eq!(check(&[1, 2]), Ok(vec![3]));
        assert_eq!(check(&[1, 2, 3]), Ok(vec![]));
        assert_eq!(check(&[2]), Err(LedgerError::Gap { missing: 1 }));
        assert_eq!(check(&[1, 3]), Err(LedgerError::Gap { missing: 2 }));
        assert_eq!(check(&[1, 2, 3, 5]), Err(LedgerError::Newer { found: 5, known: 3 }));
    }

    #[test]
    fn an_altered_file_is_refused() {
        let entry = Entry { version: 1, checksum: "other".into() };
        assert!(matches!(pending(&KNOWN, &[entry]), Err(LedgerError::Altered { version: 1, .. })));
    }

    #[test]
    fn versions_count_from_one() {
        for known in [POSTGRES, SQLITE] {
            for (version, migration) in (1..).zip(known) {
                assert_eq!(migration.version, version);
                assert!(migration.name.starts_with(&format!("{version:04}_")));
            }
        }
    }
}
