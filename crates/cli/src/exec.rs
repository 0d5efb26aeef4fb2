//! `atoll exec`: a command inside an instance, as if it ran here.

use std::path::Path;
use std::process::ExitCode;

use atoll_daemon::control::protocol::{Reply, Request};
use atoll_instance::exec::Options;

use crate::connection::{Connection, ConnectionError};
use crate::{Outcome, arguments, output};

/// The status when the command was not run, as with `env` and `docker`.
pub(crate) const NOT_RUN: u8 = 125;

pub fn run(endpoint: Option<String>, arguments: arguments::Exec) -> Outcome {
    match inside(endpoint, arguments) {
        Ok(status) => Ok(ExitCode::from(status)),
        Err(error) => {
            output::note(format!("atoll: {error}"));
            Ok(ExitCode::from(NOT_RUN))
        }
    }
}

fn inside(endpoint: Option<String>, arguments: arguments::Exec) -> Result<u8, Box<dyn std::error::Error>> {
    let request = Request::ExecTarget {
        name: arguments.instance,
    };
    let Reply::ExecTarget(target) = Connection::new(endpoint)?.ask(&request)? else {
        return Err(ConnectionError::Confused.into());
    };
    let status =
        atoll_instance::exec::run(Path::new(&target.socket), &arguments.command, &Options::default())?;
    Ok(u8::try_from(status).unwrap_or(u8::MAX))
}
