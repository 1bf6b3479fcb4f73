//! Documents agree with the program and with each other.

use std::fs;

use ff_core::engine_backend::Scan;
use flowfabric_sql::ScannerConfig;

use super::{files, relative, root};

#[test]
fn the_manual_lists_every_scan_and_its_pause() {
    let manual = fs::read_to_string(root().join("docs/operating.md")).unwrap();
    let config = ScannerConfig::default();
    for scan in Scan::ALL {
        let pause = config.interval(scan).as_secs_f64();
        let row = format!("| `{}` | {pause} s | ", scan.as_str());
        assert!(manual.contains(&row), "docs/operating.md has no line {row}");
    }
}

#[test]
fn links_between_documents_resolve() {
    for path in files(".", &["md"]) {
        let text = fs::read_to_string(&path).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap();
            if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let resolved = path.parent().unwrap().join(target);
            assert!(resolved.exists(), "{} links to {link}, which is not there", relative(&path));
        }
    }
}

#[test]
fn nothing_names_a_place_outside_the_repository() {
    let outside = [["..", "shared"].join("/"), ["", "work", ""].join("/")];
    for path in files(".", &["rs", "md", "toml", "sql", "snap"]) {
        let text = fs::read_to_string(&path).unwrap();
        for place in &outside {
            assert!(!text.contains(place), "{} names {place}", relative(&path));
        }
    }
}
