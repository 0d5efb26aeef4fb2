//! The arrows between rooms are those of `arrows.txt` and no others; the rooms that decide do no I/O.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Rooms without clock, randomness, threads, sockets or async.
const SANS_IO: &[&str] = &["net", "model", "fabric", "access", "region", "stack", "lens"];

fn allowed() -> BTreeMap<String, BTreeSet<String>> {
    include_str!("../arrows.txt")
        .lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
        .map(|line| {
            let (room, uses) = line.split_once(':').unwrap();
            (
                room.trim().to_owned(),
                uses.split_whitespace().map(str::to_owned).collect(),
            )
        })
        .collect()
}

fn metadata() -> serde_json::Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn every_arrow_between_rooms_is_written_down() {
    let allowed = allowed();
    let metadata = metadata();
    let mut wrong = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        let Some(room) = package["name"].as_str().unwrap().strip_prefix("atoll-") else {
            continue;
        };
        let Some(may) = allowed.get(room) else {
            wrong.push(format!("{room} is not in arrows.txt"));
            continue;
        };
        for dependency in package["dependencies"].as_array().unwrap() {
            // Tests may use any room: only what the product links counts.
            let Some(to) = dependency["name"].as_str().unwrap().strip_prefix("atoll-") else {
                continue;
            };
            if dependency["kind"].is_null() && !may.contains(to) {
                wrong.push(format!("{room} -> {to}"));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "arrows that ARCHITECTURE.md does not know: {wrong:#?}"
    );
}

#[test]
fn the_rooms_that_decide_have_no_clock_randomness_threads_or_sockets() {
    let forbidden = [
        "SystemTime::now",
        "Instant::now",
        "std::thread",
        "std::net::Tcp",
        "std::net::Udp",
        "tokio::",
        "rand::",
        "std::fs::",
        "File::open",
        "std::env::",
        "std::process",
    ];
    let mut wrong = Vec::new();
    for room in SANS_IO {
        let mut todo = vec![format!("{}/../crates/{room}/src", env!("CARGO_MANIFEST_DIR"))];
        while let Some(path) = todo.pop() {
            for entry in std::fs::read_dir(&path).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    todo.push(path.to_string_lossy().into_owned());
                    continue;
                }
                let text = std::fs::read_to_string(&path).unwrap();
                // Tests inside a room may look at files; what the product runs may not.
                let product = text.split("#[cfg(test)]").next().unwrap();
                for (number, line) in product.lines().enumerate() {
                    if let Some(word) = forbidden.iter().find(|w| line.contains(**w)) {
                        wrong.push(format!("{}:{}: {word}", path.display(), number + 1));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn unsafe_stands_only_in_memory_plane_and_instance() {
    for room in allowed()
        .keys()
        .filter(|room| !["memory", "plane", "instance"].contains(&room.as_str()))
    {
        let root = format!("{}/../crates/{room}/src/", env!("CARGO_MANIFEST_DIR"));
        let top = [format!("{root}lib.rs"), format!("{root}main.rs")];
        let text: String = top
            .iter()
            .filter_map(|path| std::fs::read_to_string(path).ok())
            .collect();
        assert!(
            text.contains("#![forbid(unsafe_code)]"),
            "{room} does not forbid unsafe code"
        );
    }
}
