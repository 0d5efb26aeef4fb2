//! `atoll drops`.

use std::process::ExitCode;

use atoll_daemon::control::protocol::{Reply, Request};

use crate::connection::{Connection, ConnectionError};
use crate::{Outcome, arguments, output, table};

pub fn run(endpoint: Option<String>, arguments: arguments::Drops) -> Outcome {
    let request = Request::Drops {
        limit: arguments.limit,
    };
    let Reply::Drops { drops } = Connection::new(endpoint)?.ask(&request)? else {
        return Err(ConnectionError::Confused.into());
    };
    if arguments.json {
        output::line(serde_json::to_string_pretty(&drops)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    if drops.is_empty() {
        output::line("nothing was dropped")?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows = drops.into_iter().map(|drop| {
        vec![
            drop.time,
            drop.count.to_string(),
            drop.stage,
            drop.at,
            drop.rule.unwrap_or_default(),
            drop.protocol.unwrap_or_default(),
            drop.source.unwrap_or_default(),
            drop.destination.unwrap_or_default(),
            drop.from,
        ]
    });
    let header = [
        "Latest",
        "Count",
        "Stage",
        "At",
        "Rule",
        "Protocol",
        "Source",
        "Destination",
        "Came in by",
    ];
    output::line(table::of(&header, rows))?;
    Ok(ExitCode::SUCCESS)
}
