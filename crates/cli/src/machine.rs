//! `atoll machine`: a command, here, that has an instance's interfaces.

use std::path::Path;
use std::process::ExitCode;

use atoll_daemon::control::protocol::{Reply, Request};

use crate::connection::{Connection, ConnectionError};
use crate::exec::NOT_RUN;
use crate::{Outcome, arguments, output};

pub fn run(endpoint: Option<String>, arguments: arguments::Machine) -> Outcome {
    match here(endpoint, arguments) {
        Ok(status) => Ok(ExitCode::from(status)),
        Err(error) => {
            output::note(format!("atoll: {error}"));
            Ok(ExitCode::from(NOT_RUN))
        }
    }
}

fn here(endpoint: Option<String>, arguments: arguments::Machine) -> Result<u8, Box<dyn std::error::Error>> {
    let request = Request::ExecTarget {
        name: arguments.instance,
    };
    let Reply::ExecTarget(target) = Connection::new(endpoint)?.ask(&request)? else {
        return Err(ConnectionError::Confused.into());
    };
    let mut tell = |sentence: &str| output::note(format!("atoll: {}: {sentence}", target.id));
    let status = atoll_instance::machine::run(Path::new(&target.socket), &arguments.command, &mut tell)?;
    Ok(u8::try_from(status).unwrap_or(u8::MAX))
}
