//! The checked-in migrations are complete and unchanged. The backends' tests apply them.

use std::fs;
use std::path::{Path, PathBuf};

use ff_codegen::history::{self, Fault, HistoryError};
use ff_codegen::migrations::{MARIADB, POSTGRES, SQLITE};
use ff_codegen::reference;
use serde_json::Value as Json;
use tempfile::TempDir;

const DIALECTS: [&str; 3] = ["postgres", "sqlite", "mariadb"];

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

#[test]
fn checked_in_files_are_fresh() {
    assert_eq!(history::check(root()).unwrap(), []);
    assert!(reference::is_fresh(root()), "run: cargo run -p ff-codegen -- gen");
}

/// A copy of the checked-in migrations.
struct Copy(TempDir);

impl Copy {
    fn new() -> Self {
        let copy = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(copy.path("codegen/src/migrations")).unwrap();
        let mut files =
            vec!["migrations/schema.json".into(), "codegen/src/migrations/known.rs".into()];
        for (dialect, known) in [("postgres", POSTGRES), ("sqlite", SQLITE), ("mariadb", MARIADB)] {
            fs::create_dir_all(copy.path(&format!("migrations/{dialect}"))).unwrap();
            let names = known.iter().map(|migration| migration.name);
            files.extend(names.map(|name| format!("migrations/{dialect}/{name}.sql")));
        }
        for file in files {
            fs::copy(root().join(&file), copy.path(&file)).unwrap();
        }
        copy
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    fn faults(&self) -> Vec<Fault> {
        history::check(self.0.path()).unwrap()
    }

    fn generate(&self, name: Option<&str>) -> Result<Vec<String>, HistoryError> {
        history::generate(self.0.path(), name)
    }

    /// Changes a table of the recorded schema, in both dialects.
    fn record(&self, table: &str, change: impl Fn(&mut Json)) {
        let path = self.path("migrations/schema.json");
        let mut record: Json = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        for dialect in DIALECTS {
            change(&mut record["schema"][dialect][table]);
        }
        fs::write(&path, record.to_string()).unwrap();
    }
}

/// The name of the next migration.
fn next(name: &str) -> String {
    format!("{:04}_{name}", POSTGRES.len() + 1)
}

#[test]
fn a_tampered_file_is_found_and_nothing_is_written_over_it() {
    let copy = Copy::new();
    let file = "migrations/sqlite/0001_genesis.sql";
    let genesis = fs::read_to_string(copy.path(file)).unwrap();
    fs::write(copy.path(file), genesis.replace("\"kid\" TEXT", "\"kid\" BLOB")).unwrap();
    assert_eq!(copy.faults(), [Fault::Altered(file.into())]);
    assert!(matches!(copy.generate(None), Err(HistoryError::Faults(_))));
    assert!(matches!(history::accept(copy.0.path()), Err(HistoryError::Faults(_))));

    fs::remove_file(copy.path(file)).unwrap();
    assert_eq!(copy.faults(), [Fault::Missing(file.into())]);
}

#[test]
fn a_change_of_the_schema_without_a_migration_is_found_and_written() {
    let copy = Copy::new();
    assert_eq!(copy.generate(None).unwrap(), Vec::<String>::new());
    copy.record("ff_attempt", |table| drop(table["columns"].as_array_mut().unwrap().pop()));
    let unwritten = DIALECTS.map(|dialect| Fault::Unwritten(dialect.into()));
    assert_eq!(copy.faults(), unwritten);

    assert!(matches!(copy.generate(Some("../x")), Err(HistoryError::Name(_))));
    let files =
        DIALECTS.map(|dialect| format!("migrations/{dialect}/{}.sql", next("failure_class")));
    let written = copy.generate(Some("failure_class")).unwrap();
    assert_eq!(&written[..DIALECTS.len()], files);
    assert_eq!(copy.faults(), []);
    assert_eq!(copy.generate(None).unwrap(), Vec::<String>::new());

    let list = fs::read_to_string(copy.path("codegen/src/migrations/known.rs")).unwrap();
    assert!(list.contains(&format!("{:?}", next("failure_class"))), "{list}");
    for file in files {
        let sql = fs::read_to_string(copy.path(&file)).unwrap();
        assert!(sql.contains("ADD COLUMN"), "{sql}");
        assert!(sql.contains("INSERT INTO \"ff_migration_annotation\""), "{sql}");
    }
}

#[test]
fn what_is_written_by_hand_is_recorded_for_every_dialect_or_not_at_all() {
    let copy = Copy::new();
    copy.record("ff_attempt", |table| {
        table["columns"].as_array_mut().unwrap().push("\"gone\" TEXT".into());
    });
    let refusal = copy.generate(None).unwrap_err().to_string();
    assert!(refusal.contains("ff_attempt.gone: the column is gone"), "{refusal}");
    assert!(refusal.contains("-- accept"), "{refusal}");

    let file = |dialect: &str| format!("migrations/{dialect}/{}.sql", next("by_hand"));
    fs::write(copy.path(&file("postgres")), "\n-- statement\nSELECT 1;\n").unwrap();
    assert!(copy.faults().contains(&Fault::Unrecorded(file("postgres"))));
    assert!(matches!(history::accept(copy.0.path()), Err(HistoryError::File { .. })));
    for dialect in ["sqlite", "mariadb"] {
        fs::write(copy.path(&file(dialect)), "\n-- statement\nSELECT 1;\n").unwrap();
    }
    history::accept(copy.0.path()).unwrap();
    assert_eq!(copy.faults(), []);
}

#[test]
fn a_dialect_that_comes_late_begins_with_the_newest_migration() {
    let copy = Copy::new();
    let newest = format!("migrations/mariadb/{}.sql", MARIADB[MARIADB.len() - 1].name);
    let was = fs::read_to_string(copy.path(&newest)).unwrap();
    let path = copy.path("migrations/schema.json");
    let mut record: Json = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    record["schema"].as_object_mut().unwrap().remove("mariadb");
    for migration in record["migrations"].as_array_mut().unwrap() {
        migration["sha256"].as_object_mut().unwrap().remove("mariadb");
    }
    fs::write(&path, record.to_string()).unwrap();
    for known in MARIADB {
        fs::remove_file(copy.path(&format!("migrations/mariadb/{}.sql", known.name))).unwrap();
    }

    let written = copy.generate(None).unwrap();
    assert_eq!(written[0], newest);
    let is = fs::read_to_string(copy.path(&newest)).unwrap();
    assert!(MARIADB.len() != 1 || is == was);
    assert_eq!(copy.faults(), []);
}
