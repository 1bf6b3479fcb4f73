//! The checked-in files are what the generator writes.

use std::path::Path;

#[test]
fn checked_in_files_are_fresh() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    for (path, content) in ff_codegen::ddl::files().unwrap() {
        let found = std::fs::read_to_string(root.join(&path)).unwrap_or_default();
        assert!(found == content, "{path} is stale; run: cargo run -p ff-codegen -- gen");
    }
}

#[test]
fn a_file_splits_into_the_statements_it_was_made_of() {
    use ff_codegen::{Dialect, Postgres, Sqlite, ddl, migrations};
    let dialects: [(&dyn Dialect, _); 2] =
        [(&Postgres, migrations::POSTGRES), (&Sqlite, migrations::SQLITE)];
    for (dialect, known) in dialects {
        let split: Vec<&str> = known[0].statements().collect();
        assert_eq!(split, ddl::statements(dialect, None).unwrap());
    }
}
