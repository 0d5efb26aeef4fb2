//! `atoll forget-host`.

use std::process::ExitCode;

use atoll_daemon::control::protocol::{Reply, Request};

use crate::connection::{Connection, ConnectionError};
use crate::{Outcome, arguments, output};

pub fn run(endpoint: Option<String>, arguments: arguments::ForgetHost) -> Outcome {
    let name = arguments.name.to_string();
    let request = Request::ForgetHost {
        region: arguments.region.map(|region| region.to_string()),
        name: name.clone(),
        force: arguments.force,
    };
    let Reply::Done = Connection::new(endpoint)?.ask(&request)? else {
        return Err(ConnectionError::Confused.into());
    };
    // One that was only away is not kept out by it.
    output::note(format!(
        "host {name} is forgotten; a daemon that still joins by that name comes again as a new host: end it there"
    ));
    Ok(ExitCode::SUCCESS)
}
