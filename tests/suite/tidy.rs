//! House rules that a program can check.

mod documents;
mod functions;
mod guide;
mod length;
pub(crate) mod operations;
mod prose;
mod telemetry;
mod unused;
mod walls;

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below `directory` with one of these extensions, without what is generated or fetched.
fn files(directory: &str, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root().join(directory)];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                if !["target", ".git"].contains(&name.as_str()) {
                    open.push(path);
                }
            } else if path.extension().is_some_and(|own| extensions.iter().any(|e| own == *e)) {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "{directory} has no files");
    found
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/")
}

/// The lines that are code, with their numbers.
fn code(path: &Path) -> Vec<(usize, String)> {
    let text = fs::read_to_string(path).unwrap();
    let is_comment = |line: &str| line.trim_start().starts_with("//");
    let numbered = (1..).zip(text.lines().map(str::to_owned));
    numbered.filter(|(_, line)| !is_comment(line)).collect()
}

/// The product's code by file name, without tests, benchmarks and examples.
fn product() -> Vec<(String, String)> {
    let beside = ["tests", "benches", "examples"];
    let named = files(".", &["rs"]).into_iter().map(|path| (relative(&path), path));
    named
        .filter(|(name, _)| !name.split('/').any(|folder| beside.contains(&folder)))
        .map(|(name, path)| (name, without_tests(&fs::read_to_string(path).unwrap())))
        .collect()
}

/// The text up to its test module, which stands last.
fn without_tests(text: &str) -> String {
    let end = text.find("\n#[cfg(test)]").unwrap_or(text.len());
    text[..end].to_owned()
}
