//! `atoll down`: a client of DeleteStack; `--all` ends everything.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use atoll_daemon::control::client::ControlError;
use atoll_daemon::control::protocol::{Reply, Request};
use atoll_daemon::{places, removal};

use crate::connection::{Connection, ConnectionError};
use crate::{Outcome, arguments, events, output, stack};

pub fn run(endpoint: Option<String>, arguments: arguments::Down) -> Outcome {
    let connection = Connection::new(endpoint)?;
    if arguments.all {
        return everything(&connection);
    }
    let api = connection.api(arguments.region.map(|region| region.to_string()))?;
    let found = match arguments.stack {
        Some(name) => stack::find(&api, &name)?
            .ok_or_else(|| format!("there is no stack {name} in {}", api.region()))?,
        None => {
            let mut stacks = stack::list(&api)?;
            match (stacks.pop(), stacks.is_empty()) {
                (Some(only), true) => only,
                (None, _) => return Err(format!("there is no stack in {}", api.region()).into()),
                (Some(last), false) => {
                    stacks.push(last);
                    let names: Vec<String> = stacks.into_iter().map(|stack| stack.name).collect();
                    return Err(format!("name one of the stacks: {}", names.join(", ")).into());
                }
            }
        }
    };
    let mut seen: BTreeSet<String> = stack::events(&api, &found.id)?
        .into_iter()
        .map(|e| e.id)
        .collect();
    stack::delete(&api, &found.id)?;
    match events::follow(&api, &found.id, &mut seen)? {
        None => {
            output::note(format!("stack {} is deleted", found.name));
            Ok(ExitCode::SUCCESS)
        }
        Some(left) => Err(format!("stack {} is {}: {}", left.name, left.status, left.reason).into()),
    }
}

/// How long a daemon may take to be gone after it ended everything else.
const GONE: Duration = Duration::from_secs(30);

fn everything(connection: &Connection) -> Outcome {
    match connection.ask(&Request::Status) {
        Ok(Reply::Status(status)) => {
            connection.ask(&Request::DownAll)?;
            let deadline = Instant::now() + GONE;
            while runs(status.pid) {
                if Instant::now() > deadline {
                    return Err(format!("the daemon, process {}, does not end", status.pid).into());
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(_) => return Err(ConnectionError::Confused.into()),
        // A daemon that was killed has left its instances running.
        Err(ConnectionError::Control(ControlError::NotRunning { .. })) => removal::leftovers(
            &places::default_data_directory(),
            &places::default_run_base(),
            connection.port(),
        )?,
        Err(error) => return Err(error.into()),
    }
    output::note("everything is down");
    Ok(ExitCode::SUCCESS)
}

/// Whether a process runs; one that ended and that nobody has reaped does not.
fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    stat.is_ok_and(|stat| {
        stat.rsplit_once(')')
            .is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
    })
}
