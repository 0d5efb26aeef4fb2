//! AWS's own Python library against the `atoll` program: what it does stands in `tests/clients/`.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

/// Runs one of the files of `tests/clients/`.
fn run(file: &str) {
    let python = ["python3", "/usr/bin/python3"]
        .into_iter()
        .find(|python| {
            let import = Command::new(python).args(["-c", "import boto3"]).output();
            import.is_ok_and(|output| output.status.success())
        })
        .expect("no python3 here has boto3: run scripts/setup, which installs python3-boto3");
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/clients");
    let output = Command::new(python)
        .arg("-B")
        .arg(file)
        .current_dir(directory)
        .env("ATOLL", env!("CARGO_BIN_EXE_atoll"))
        .output()
        .unwrap();
    print!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(
        output.status.success(),
        "{file}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn boto3_makes_and_deletes_a_whole_vpc_and_is_refused_in_awss_words() {
    run("vpc_life.py");
}

#[test]
fn the_calls_of_terraforms_provider_are_answered() {
    run("terraform.py");
}

#[test]
fn what_boto3_was_told_is_there_after_kill_9() {
    run("killed.py");
}
