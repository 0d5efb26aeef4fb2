//! `atoll down`: a client of DeleteStack; `--all` ends everything.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use atoll_daemon::control::client::ControlError;
use atoll_daemon::control::protocol::{Reply, Request};
use atoll_daemon::{places, removal};
use atoll_model::RegionName;

use crate::api::Api;
use crate::connection::{Connection, ConnectionError};
use crate::stack::{self, Stack};
use crate::{Outcome, arguments, events, output};

pub fn run(endpoint: Option<String>, arguments: arguments::Down) -> Outcome {
    let connection = Connection::new(endpoint)?;
    if arguments.all {
        return everything(&connection);
    }
    let regions = regions(&connection, arguments.region)?;
    let (api, found) = one(&regions, arguments.stack.as_deref())?;
    let mut seen: BTreeSet<String> = stack::events(api, &found.id)?.into_iter().map(|e| e.id).collect();
    stack::delete(api, &found.id)?;
    match events::follow(api, &found.id, &mut seen)? {
        None => {
            output::note(format!("stack {} is deleted", found.name));
            Ok(ExitCode::SUCCESS)
        }
        Some(left) => Err(format!("stack {} is {}: {}", left.name, left.status, left.reason).into()),
    }
}

/// The region that was named, else every one that the daemon serves: a stack is found wherever it is.
fn regions(connection: &Connection, named: Option<RegionName>) -> Result<Vec<Api>, ConnectionError> {
    if let Some(region) = named {
        return Ok(vec![connection.api(Some(region.to_string()))?]);
    }
    match connection.ask(&Request::Status) {
        Ok(Reply::Status(status)) => status
            .regions
            .into_iter()
            .map(|region| connection.api(Some(region.name)))
            .collect(),
        Ok(_) => Err(ConnectionError::Confused),
        // Elsewhere, only the API can be asked.
        Err(ConnectionError::Remote(_)) => Ok(vec![connection.api(None)?]),
        Err(error) => Err(error),
    }
}

/// The one stack of that name, or the only one there is.
fn one<'a>(regions: &'a [Api], name: Option<&str>) -> Result<(&'a Api, Stack), Box<dyn std::error::Error>> {
    let mut found = Vec::new();
    for api in regions {
        match name {
            Some(name) => found.extend(stack::find(api, name)?.map(|stack| (api, stack))),
            None => found.extend(stack::list(api)?.into_iter().map(|stack| (api, stack))),
        }
    }
    let places: Vec<&str> = regions.iter().map(Api::region).collect();
    let places = places.join(", ");
    if found.len() > 1 {
        let list: Vec<String> = found
            .iter()
            .map(|(api, stack)| format!("{} in {}", stack.name, api.region()))
            .collect();
        return Err(match name {
            Some(_) => format!("say which with --region: {}", list.join(", ")),
            None => format!("name one of the stacks: {}", list.join(", ")),
        }
        .into());
    }
    found.pop().ok_or_else(|| {
        match name {
            Some(name) => format!("there is no stack {name} in {places}"),
            None => format!("there is no stack in {places}"),
        }
        .into()
    })
}

/// How long a daemon may take to be gone after it ended everything else.
const GONE: Duration = Duration::from_secs(60);
/// How often it is looked whether it is.
const AGAIN: Duration = Duration::from_millis(20);

fn everything(connection: &Connection) -> Outcome {
    let deadline = Instant::now() + GONE;
    let answer = loop {
        match connection.ask(&Request::Status) {
            // A daemon that is just being killed takes a call and breaks off, until its socket is shut.
            Err(ConnectionError::Control(ControlError::Broken { .. })) if Instant::now() < deadline => {
                std::thread::sleep(AGAIN);
            }
            answer => break answer,
        }
    };
    match answer {
        Ok(Reply::Status(status)) => {
            connection.ask(&Request::DownAll)?;
            let deadline = Instant::now() + GONE;
            while runs(status.pid) {
                if Instant::now() > deadline {
                    return Err(format!("the daemon, process {}, does not end", status.pid).into());
                }
                std::thread::sleep(AGAIN);
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
