//! The migration files of a working tree: their checks, and the next one.
//!
//! `migrations/schema.json` records the checksum of every file and the schema that they lead to, in
//! the words of each dialect. So the next migration is written from the difference between that
//! record and the tables in `core/src/schema`, without a database. A recorded file never changes.

mod description;
mod difference;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use description::{Description, TableDescription};
pub use difference::{Difference, DifferenceError, Refusal, difference};

use crate::ddl;
use crate::dialect::{DIALECTS, Dialect};
use crate::migrations::SEPARATOR;
use crate::statement::RenderError;

/// The record, from the root of the workspace.
const RECORD: &str = "migrations/schema.json";

/// The list of migrations that binaries are compiled with.
const LIST: &str = "codegen/src/migrations/known.rs";

/// The migrations of a working tree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    migrations: Vec<MigrationRecord>,
    /// The schema that the migrations lead to, by dialect.
    schema: BTreeMap<String, Description>,
}

/// One migration, which has a file for each dialect that there was. The first file of a dialect
/// that came later makes the whole schema.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct MigrationRecord {
    /// File stem.
    name: String,
    /// SHA-256 of the file of each dialect, in hex.
    sha256: BTreeMap<String, String>,
}

/// A fault of a working tree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A recorded file has other content.
    #[error("{0} was changed: a migration stays as it was written; restore it")]
    Altered(String),
    /// A recorded file is missing.
    #[error("{0} is missing: a migration stays where it is; restore it")]
    Missing(String),
    /// A file is not in the record.
    #[error("{0} is not recorded; if it is complete, run: cargo run -p ff-codegen -- accept")]
    Unrecorded(String),
    /// The compiled list is another one.
    #[error("{0} is stale; run: cargo run -p ff-codegen -- gen")]
    Stale(String),
    /// The tables in core differ from the schema that the migrations lead to.
    #[error("{0}: the tables in core/src/schema changed; run: cargo run -p ff-codegen -- gen")]
    Unwritten(String),
}

/// The reason that no migration was written.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The path.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The record cannot be read.
    #[error("{RECORD}: {0}")]
    Record(#[from] serde_json::Error),
    /// The working tree has faults that come first.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Faults(Vec<Fault>),
    /// The name is no file name.
    #[error("invalid name {0:?}: lower-case letters, digits and _ only")]
    Name(String),
    /// An engineer has to write the files.
    #[error(
        "{refusals}\nwrite migrations/<dialect>/{version:04}_<name>.sql for each dialect by hand, \
         then run: cargo run -p ff-codegen -- accept"
    )]
    ByHand {
        /// The changes that no statement is written for.
        refusals: DifferenceError,
        /// The number of the files.
        version: usize,
    },
    /// A dialect cannot express the schema.
    #[error(transparent)]
    Render(#[from] RenderError),
}

/// The faults of the working tree at `root`, of its files first.
///
/// # Errors
/// [`HistoryError`] where a file cannot be read or the schema not be rendered.
pub fn check(root: &Path) -> Result<Vec<Fault>, HistoryError> {
    let record = Record::read(root)?;
    let mut faults = record.file_faults(root)?;
    if !is_content(root, LIST, &record.list()) {
        faults.push(Fault::Stale(LIST.to_owned()));
    }

    for dialect in DIALECTS {
        if record.schema.get(dialect.name()) != Some(&Description::current(dialect)?) {
            faults.push(Fault::Unwritten(dialect.name().to_owned()));
        }
    }
    Ok(faults)
}

/// Writes the next migration if the tables in core differ from the schema that the migrations lead
/// to, and refreshes the compiled list. Returns the paths of the files that it wrote.
///
/// # Errors
/// [`HistoryError`]; nothing is written then.
pub fn generate(root: &Path, name: Option<&str>) -> Result<Vec<String>, HistoryError> {
    let mut record = Record::read(root)?;
    refuse_faults(record.file_faults(root)?)?;

    let version = record.migrations.len() + 1;
    let (mut found, mut late) = (Vec::new(), Vec::new());
    for dialect in DIALECTS {
        let old = record.schema.get(dialect.name()).cloned();
        let is_late = old.is_none() && !record.migrations.is_empty();
        let new = Description::current(dialect)?;
        let mut difference = difference(dialect, &old.unwrap_or_default(), &new)
            .map_err(|refusals| HistoryError::ByHand { refusals, version })?;
        record.schema.insert(dialect.name().to_owned(), new);
        if is_late {
            difference.statements.push(ddl::config_text(dialect)?);
            difference.backward_compatible = false;
            late.push((dialect, difference));
        } else {
            found.push((dialect, difference));
        }
    }

    let subject = found.iter().find_map(|(_, difference)| difference.subject.clone());
    if let Some(subject) = subject {
        let name = format!("{version:04}_{}", check_name(name.unwrap_or(&subject))?);
        record.migrations.push(MigrationRecord { name, sha256: BTreeMap::new() });
    } else {
        found.clear();
    }

    // A dialect that comes late begins with the newest migration.
    let mut written = Vec::new();
    let version = record.migrations.len();
    if let Some(newest) = record.migrations.last_mut() {
        for (dialect, difference) in found.iter().chain(&late) {
            let content = content(*dialect, version, &newest.name, difference)?;
            newest.sha256.insert(dialect.name().to_owned(), checksum(content.as_bytes()));
            written.push((path_of(*dialect, &newest.name), content));
        }
    }

    record.write(root, written)
}

/// Records files that were written by hand, and the schema that they lead to. Tests apply them and
/// compare. Returns the paths of the files that it wrote.
///
/// # Errors
/// [`HistoryError`]; nothing is written then.
pub fn accept(root: &Path) -> Result<Vec<String>, HistoryError> {
    let mut record = Record::read(root)?;
    let mut names: Vec<String> = Vec::new();
    let mut faults = Vec::new();
    for fault in record.file_faults(root)? {
        match fault {
            Fault::Unrecorded(path) => {
                let stem = Path::new(&path).file_stem().unwrap_or_default();
                names.push(stem.to_string_lossy().into_owned());
            }
            Fault::Altered(_) | Fault::Missing(_) | Fault::Stale(_) | Fault::Unwritten(_) => {
                faults.push(fault);
            }
        }
    }
    refuse_faults(faults)?;

    names.sort();
    names.dedup();
    for name in names {
        let prefix = format!("{:04}_", record.migrations.len() + 1);
        let Some(rest) = name.strip_prefix(&prefix) else {
            return Err(HistoryError::Name(name));
        };
        check_name(rest)?;

        let mut sha256 = BTreeMap::new();
        for dialect in DIALECTS {
            let bytes = read(&root.join(path_of(dialect, &name)))?;
            sha256.insert(dialect.name().to_owned(), checksum(&bytes));
        }
        record.migrations.push(MigrationRecord { name, sha256 });
    }

    for dialect in DIALECTS {
        record.schema.insert(dialect.name().to_owned(), Description::current(dialect)?);
    }
    record.write(root, Vec::new())
}

impl Record {
    /// The record of a working tree; an empty one before the first migration.
    fn read(root: &Path) -> Result<Self, HistoryError> {
        let path = root.join(RECORD);
        if !path.exists() {
            return Ok(Self::default());
        }
        Ok(serde_json::from_slice(&read(&path)?)?)
    }

    /// Writes the record, the compiled list and the `files`, each if it differs.
    fn write(
        &self,
        root: &Path,
        mut files: Vec<(String, String)>,
    ) -> Result<Vec<String>, HistoryError> {
        files.push((RECORD.to_owned(), format!("{}\n", serde_json::to_string_pretty(self)?)));
        files.push((LIST.to_owned(), self.list()));
        files.retain(|(path, content)| !is_content(root, path, content));

        for (path, content) in &files {
            let path = root.join(path);
            let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
            let written = made.and_then(|()| std::fs::write(&path, content));
            written.map_err(|source| HistoryError::File { path, source })?;
        }
        Ok(files.into_iter().map(|(path, _)| path).collect())
    }

    fn file_faults(&self, root: &Path) -> Result<Vec<Fault>, HistoryError> {
        let mut faults = Vec::new();
        for dialect in DIALECTS {
            let files = self.migrations.iter().filter(|recorded| recorded.is_of(dialect));
            for recorded in files.clone() {
                let path = path_of(dialect, &recorded.name);
                if !root.join(&path).exists() {
                    faults.push(Fault::Missing(path));
                    continue;
                }

                let found = checksum(&read(&root.join(&path))?);
                if recorded.sha256.get(dialect.name()) != Some(&found) {
                    faults.push(Fault::Altered(path));
                }
            }

            for name in names(root, dialect)? {
                if files.clone().all(|recorded| recorded.name != name) {
                    faults.push(Fault::Unrecorded(path_of(dialect, &name)));
                }
            }
        }

        Ok(faults)
    }

    /// The source of the compiled list.
    fn list(&self) -> String {
        let mut list = String::from(
            "//! Every migration, in order. Generated by ff-codegen from `migrations/schema.json`; \
             do not edit.\n//! Refresh with: `cargo run -p ff-codegen -- gen`\n",
        );
        for dialect in DIALECTS {
            let name = dialect.name();
            list.push_str(&format!("\nmigrations! {{\n    {} {name:?}\n", name.to_uppercase()));
            for (version, recorded) in (1..).zip(&self.migrations) {
                if recorded.is_of(dialect) {
                    list.push_str(&format!("    {version} {:?},\n", recorded.name));
                }
            }
            list.push_str("}\n");
        }
        list
    }
}

impl MigrationRecord {
    /// True if there is a file of it in the dialect.
    fn is_of(&self, dialect: &dyn Dialect) -> bool {
        self.sha256.contains_key(dialect.name())
    }
}

/// The text of a migration file.
fn content(
    dialect: &dyn Dialect,
    version: usize,
    name: &str,
    difference: &Difference,
) -> Result<String, RenderError> {
    let version = u32::try_from(version).unwrap_or(u32::MAX);
    let annotation = ddl::annotation_text(dialect, version, name, difference.backward_compatible)?;

    let mut content = String::from(
        "-- Written by ff-codegen from a change of the tables in core/src/schema. Do not edit: a \
         migration\n-- stays as it was written.\n",
    );
    for statement in difference.statements.iter().chain([&annotation]) {
        content.push_str(&format!("\n{SEPARATOR}\n{statement}\n"));
    }
    Ok(content)
}

fn refuse_faults(faults: Vec<Fault>) -> Result<(), HistoryError> {
    if faults.is_empty() { Ok(()) } else { Err(HistoryError::Faults(faults)) }
}

/// Checks the part of a file name after its number.
fn check_name(name: &str) -> Result<&str, HistoryError> {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if name.is_empty() || !name.bytes().all(letter) {
        return Err(HistoryError::Name(name.to_owned()));
    }
    Ok(name)
}

/// The stems of the files of a dialect.
fn names(root: &Path, dialect: &dyn Dialect) -> Result<Vec<String>, HistoryError> {
    let path = root.join("migrations").join(dialect.name());
    let failed = |source| HistoryError::File { path: path.clone(), source };

    let mut names = Vec::new();
    if !path.exists() {
        return Ok(names);
    }
    for entry in std::fs::read_dir(&path).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".sql").map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

fn path_of(dialect: &dyn Dialect, name: &str) -> String {
    format!("migrations/{}/{name}.sql", dialect.name())
}

fn read(path: &Path) -> Result<Vec<u8>, HistoryError> {
    std::fs::read(path).map_err(|source| HistoryError::File { path: path.to_owned(), source })
}

fn is_content(root: &Path, path: &str, content: &str) -> bool {
    std::fs::read_to_string(root.join(path)).is_ok_and(|found| found == content)
}

fn checksum(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
