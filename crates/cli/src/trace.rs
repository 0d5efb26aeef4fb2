//! `atoll trace`. The exit status is 0 when packet and answer arrive, 1 when one is dropped.

use std::process::ExitCode;

use atoll_daemon::control::protocol::{Reply, Request};
use atoll_lens::{Query, Trace};

use crate::connection::{Connection, ConnectionError};
use crate::{Outcome, arguments, output, table};

pub fn run(endpoint: Option<String>, arguments: arguments::Trace) -> Outcome {
    let query = Query {
        from: arguments.from,
        to: arguments.to,
        protocol: arguments.proto,
        port: arguments.port,
        source_port: arguments.source_port,
    };
    let Reply::Trace(trace) = Connection::new(endpoint)?.ask(&Request::Trace { query })? else {
        return Err(ConnectionError::Confused.into());
    };
    if arguments.json {
        output::line(serde_json::to_string_pretty(&trace)?)?;
    } else {
        print("forward", &trace)?;
        if let Some(answer) = &trace.answer {
            print("return", answer)?;
        }
    }
    Ok(if trace.is_delivered() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn print(way: &str, trace: &Trace) -> std::io::Result<()> {
    let rows = trace.hops.iter().map(|hop| {
        let at = match &hop.name {
            Some(name) => format!("{} ({name})", hop.at),
            None => hop.at.clone(),
        };
        let rule = hop.rule.clone().unwrap_or_default();
        vec![
            hop.kind.clone(),
            at,
            hop.decision.clone(),
            rule,
            hop.source.clone(),
            hop.destination.clone(),
        ]
    });
    output::line(format!(
        "{}",
        table::of(
            &["Component", "At", "Decision", "Rule", "Source", "Destination"],
            rows
        )
    ))?;
    let rule = trace
        .rule
        .as_ref()
        .map(|rule| format!(" by {rule}"))
        .unwrap_or_default();
    output::line(format!(
        "{way}: {}, {} at {}{rule}",
        trace.verdict, trace.stage, trace.at
    ))?;
    for note in &trace.notes {
        output::line(format!("note: {note}"))?;
    }
    Ok(())
}
