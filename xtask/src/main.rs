//! Project chores, run as `cargo xtask CHORE`.
//!
//! `shapes` writes the request and answer types of the AWS protocols; see [`shapes`].
#![forbid(unsafe_code)]

mod shapes;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask shapes [--check | --refresh]

  shapes            write crates/shapes/src/{ec2,sts,cloudformation} from crates/shapes/model
  shapes --check    say whether the committed code is what would be written; changes nothing
  shapes --refresh  first take the model anew out of the pinned botocore (needs python3 with pip)";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments.as_slice() {
        ["shapes"] => shapes::write(),
        ["shapes", "--check"] => shapes::check(),
        ["shapes", "--refresh"] => shapes::refresh().and_then(|()| shapes::write()),
        _ => Err(USAGE.to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}
