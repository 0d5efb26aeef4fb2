//! The internal subcommands, one program for all: what the command line hands over before it looks at its own arguments.
use crate::{cfn_signal, holder, init, shim};
use std::ffi::OsString;
use std::path::Path;

/// Runs an internal subcommand if `args` (with the program's name first) is one, and returns its exit status. Call it first in `main`, before any thread is made.
pub fn dispatch(args: &[OsString]) -> Option<i32> {
    let (program, rest) = args.split_first()?;
    if Path::new(program)
        .file_name()
        .is_some_and(|name| name == "cfn-signal")
    {
        return Some(cfn_signal::main(rest));
    }
    let (word, rest) = rest.split_first()?;
    match word.to_str()? {
        "holder" => Some(holder::main(rest)),
        "shim" => Some(shim::main(rest)),
        "init" => Some(init::main(rest)),
        _ => None,
    }
}
