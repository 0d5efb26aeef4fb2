//! `atoll down`: a client of DeleteStack; `--all` ends everything.

use std::collections::BTreeSet;
use std::process::ExitCode;

use atoll_daemon::control::protocol::Request;

use crate::connection::Connection;
use crate::{Outcome, arguments, events, stack};

pub fn run(endpoint: Option<String>, arguments: arguments::Down) -> Outcome {
    let connection = Connection::new(endpoint)?;
    if arguments.all {
        connection.ask(&Request::DownAll)?;
        eprintln!("everything is down");
        return Ok(ExitCode::SUCCESS);
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
            eprintln!("stack {} is deleted", found.name);
            Ok(ExitCode::SUCCESS)
        }
        Some(left) => Err(format!("stack {} is {}: {}", left.name, left.status, left.reason).into()),
    }
}
