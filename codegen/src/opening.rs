//! The decision to use a database as it is, to migrate it, or to refuse it.
//!
//! A backend lists the contents of a database: its ledger and its tables. The decision is taken
//! here, once for every dialect. A database that does not fit is refused before anything is written
//! to it.

pub use ff_core::contracts::Opening;
use ff_core::schema;

use crate::migrations::{self, Entry, LedgerError, Migration};

/// The ledger of the reference's migrator. An application may have one of its own for other tables.
pub const REFERENCE_LEDGER: &str = "_sqlx_migrations";

/// The contents of a database, as far as an opening depends on them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// The finished migrations in this project's ledger, by version.
    pub ledger: Vec<Entry>,
    /// A migration that was begun and is not finished.
    pub unfinished: Option<u32>,
    /// The highest version in the reference's ledger, where there is such a table.
    pub reference: Option<u32>,
    /// The names of the tables: all in a file, those of the schema on a server.
    pub tables: Vec<String>,
}

impl Inventory {
    /// True if the database holds tables of this schema, made by any program.
    fn has_our_tables(&self) -> bool {
        self.tables.iter().any(|name| schema::table(name).is_some())
    }

    /// True if a migration of this project was applied or begun.
    #[must_use]
    pub fn has_ledger(&self) -> bool {
        !self.ledger.is_empty() || self.unfinished.is_some()
    }

    /// A table of another program, if there is one and none of this schema.
    #[must_use]
    pub fn foreign_table(&self) -> Option<&str> {
        let ours = self.has_our_tables() || self.has_ledger();
        let ledgers = ["ff_schema_ledger", REFERENCE_LEDGER];
        let other = self.tables.iter().find(|name| !ledgers.contains(&name.as_str()));

        if ours { None } else { other.map(String::as_str) }
    }
}

/// The reason that a database is not opened. Nothing is changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There are no tables of this schema.
    #[error("there is no FlowFabric database yet; `ff migrate` makes one")]
    Missing,
    /// The file belongs to another program.
    #[error(
        "it is a database of another program (it has a table {table:?} and none of FlowFabric's) \
         and is left alone; give another place"
    )]
    OtherProgram {
        /// One of its tables.
        table: String,
    },
    /// The reference made the database.
    #[error(
        "it was made by FlowFabric ({REFERENCE_LEDGER} is at version {version}): make a backup, \
         then bring it over with `ff migrate --adopt`"
    )]
    Reference {
        /// The highest version in the reference's ledger.
        version: u32,
    },
    /// There are tables of this schema, but no ledger of their migrations.
    #[error(
        "it has tables of FlowFabric but no ledger of their migrations: make a backup, then bring \
         it to the current schema with `ff migrate --adopt`"
    )]
    Unrecorded,
    /// The schema is older than this binary, and the caller forbade changing it.
    #[error(
        "its schema is at migration {found} and this binary needs {known}; `ff migrate` brings it \
         up to date"
    )]
    Older {
        /// The highest version in the ledger.
        found: u32,
        /// The highest version of this binary.
        known: u32,
    },
    /// A migration that takes several transactions was begun but not finished.
    #[error(
        "migration {version} was begun and not finished; `ff migrate` with the options of the first \
         time goes on with it"
    )]
    Unfinished {
        /// The migration.
        version: u32,
    },
    /// The ledger does not fit this binary.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// The work that an admitted database needs before it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The schema is current.
    Ready,
    /// Migrations are missing, and the opening allows them.
    Migrate,
}

/// Decides how a database is opened.
///
/// # Errors
/// [`Refusal`], the first that applies.
pub fn admit(
    known: &[Migration],
    found: &Inventory,
    opening: Opening,
) -> Result<Admission, Refusal> {
    adoption_refusal(found).map_or(Ok(()), Err)?;

    let pending = migrations::pending(known, &found.ledger)?;
    let current = pending.is_empty() && found.unfinished.is_none();

    match opening {
        _ if current => Ok(Admission::Ready),
        Opening::Create => Ok(Admission::Migrate),
        Opening::Existing | Opening::Current if !found.has_ledger() => Err(Refusal::Missing),
        Opening::Existing => Ok(Admission::Migrate),
        Opening::Current => Err(match found.unfinished {
            Some(version) => Refusal::Unfinished { version },
            None => {
                let version = |last: Option<u32>| last.unwrap_or(0);
                let found = version(found.ledger.last().map(|entry| entry.version));
                Refusal::Older { found, known: version(known.last().map(|last| last.version)) }
            }
        }),
    }
}

/// The refusal of tables that migrations of this project did not make and would collide with.
#[must_use]
pub fn adoption_refusal(found: &Inventory) -> Option<Refusal> {
    if found.has_ledger() || !found.has_our_tables() {
        return None;
    }

    Some(match found.reference {
        Some(version) => Refusal::Reference { version },
        None => Refusal::Unrecorded,
    })
}

/// True if an adoption has work: tables of another program, or of an earlier first migration.
#[must_use]
pub fn needs_adoption(known: &[Migration], found: &Inventory) -> bool {
    let altered = matches!(
        migrations::pending(known, &found.ledger),
        Err(LedgerError::Altered { .. } | LedgerError::Gap { .. })
    );
    altered || adoption_refusal(found).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [Migration; 2] = [
        Migration { version: 1, name: "0001_a", sql: "" },
        Migration { version: 2, name: "0002_b", sql: "\n-- statement\nB;\n" },
    ];

    fn at(versions: &[u32]) -> Inventory {
        let entry = |version: &u32| {
            let known = KNOWN.iter().find(|known| known.version == *version);
            let checksum = known.map_or_else(String::new, Migration::checksum);
            Entry { version: *version, checksum }
        };
        Inventory { ledger: versions.iter().map(entry).collect(), ..holding(&["ff_attempt"]) }
    }

    fn holding(tables: &[&str]) -> Inventory {
        let tables = tables.iter().map(|&name| name.to_owned()).collect();
        Inventory { tables, ..Inventory::default() }
    }

    fn each(found: &Inventory) -> [Result<Admission, Refusal>; 3] {
        [Opening::Create, Opening::Existing, Opening::Current]
            .map(|opening| admit(&KNOWN, found, opening))
    }

    #[test]
    fn only_creation_makes_a_database() {
        for found in [Inventory::default(), holding(&["customers"])] {
            assert_eq!(
                each(&found),
                [Ok(Admission::Migrate), Err(Refusal::Missing), Err(Refusal::Missing)]
            );
        }
    }

    #[test]
    fn opening_to_read_migrates_nothing() {
        assert_eq!(each(&at(&[1, 2])), [const { Ok(Admission::Ready) }; 3]);
        let [create, existing, current] = each(&at(&[1]));
        assert_eq!((create, existing), (Ok(Admission::Migrate), Ok(Admission::Migrate)));
        assert_eq!(current, Err(Refusal::Older { found: 1, known: 2 }));
        let begun = Inventory { unfinished: Some(1), ..holding(&["ff_attempt"]) };
        assert_eq!(each(&begun)[2], Err(Refusal::Unfinished { version: 1 }));
    }

    #[test]
    fn every_opening_refuses_what_does_not_fit() {
        let newer = Refusal::Ledger(LedgerError::Newer { found: 3, known: 2 });
        assert_eq!(each(&at(&[1, 2, 3])), [newer.clone(), newer.clone(), newer].map(Err));

        let mut reference = holding(&["ff_attempt", REFERENCE_LEDGER]);
        assert_eq!(each(&reference)[0], Err(Refusal::Unrecorded));
        reference.reference = Some(22);
        let refusal = Refusal::Reference { version: 22 };
        assert_eq!(each(&reference), [refusal.clone(), refusal.clone(), refusal].map(Err));
    }

    #[test]
    fn a_foreign_schema_is_named_by_one_of_its_tables() {
        assert_eq!(holding(&["customers"]).foreign_table(), Some("customers"));
        assert_eq!(holding(&["customers", "ff_attempt"]).foreign_table(), None);
        assert_eq!(at(&[1]).foreign_table(), None);
        // The ledger of an application's own migrations alone decides nothing.
        let migrated =
            Inventory { reference: Some(3), ..holding(&[REFERENCE_LEDGER, "customers"]) };
        assert_eq!(migrated.foreign_table(), Some("customers"));
        assert_eq!(Inventory::default().foreign_table(), None);
    }
}
