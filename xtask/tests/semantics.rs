//! Every numbered fact that is in scope is cited by a test, so that none is forgotten.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn rust_files(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

/// The numbers behind each `semantics` in a text: `semantics 7`, `semantics 28, 43`, `semantics 66-71`.
fn cited(text: &str) -> BTreeSet<u32> {
    let mut numbers = BTreeSet::new();
    for rest in text.split("semantics ").skip(1) {
        let list: String = rest
            .chars()
            .take_while(|c| c.is_ascii_digit() || matches!(c, ' ' | ',' | '-' | '\u{2013}'))
            .collect();
        for part in list.split([',', ' ']).filter(|p| !p.is_empty()) {
            let mut ends = part
                .split(['-', '\u{2013}'])
                .filter_map(|n| n.parse::<u32>().ok());
            if let Some(first) = ends.next() {
                numbers.extend(first..=ends.next().unwrap_or(first));
            }
        }
    }
    numbers
}

#[test]
fn every_fact_in_scope_is_cited_by_a_test() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let scope = std::fs::read_to_string(root.join("docs/semantics-in-scope.txt")).unwrap();
    let scope: BTreeSet<u32> = scope
        .lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(|line| line.split_whitespace().map(|n| n.parse::<u32>().unwrap()))
        .collect();
    assert!(scope.len() > 60, "the list was not read");

    let mut files = Vec::new();
    rust_files(&root.join("crates"), &mut files);
    let mut found = BTreeSet::new();
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.to_string_lossy();
        // Test files whole, the demo's checks whole, elsewhere what stands behind `cfg(test)`.
        let whole =
            name.contains("/tests/") || name.contains("/demo/src/checks/") || name.ends_with("/tests.rs");
        let tests = if whole {
            Some(text.as_str())
        } else {
            text.split_once("#[cfg(test)]").map(|(_, tests)| tests)
        };
        found.extend(tests.map(cited).unwrap_or_default());
    }
    let missing: Vec<u32> = scope.difference(&found).copied().collect();
    assert!(
        missing.is_empty(),
        "facts of docs/semantics.md in scope that no test cites: {missing:?}"
    );
}
