//! `atoll trace`. The exit status is 0 when packet and answer arrive, 1 when one is dropped.

use std::process::ExitCode;

use atoll_daemon::control::protocol::{Reply, Request};
use atoll_lens::{Protocol, Query, Trace};

use crate::connection::{Connection, ConnectionError};
use crate::{Outcome, arguments, output, table};

pub fn run(endpoint: Option<String>, arguments: arguments::Trace) -> Outcome {
    let ports = arguments.port.is_some() || arguments.source_port.is_some();
    if ports && arguments.proto == Protocol::Icmp {
        return Err(
            "ICMP has no ports: leave out --port and --source-port, or name tcp or udp with --proto".into(),
        );
    }
    let query = Query {
        from: arguments.from,
        to: arguments.to,
        protocol: arguments.proto,
        port: arguments.port.unwrap_or(80),
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
    let stage = match trace.stage == trace.verdict {
        true => String::new(),
        false => format!(", {}", trace.stage),
    };
    output::line(format!("{way}: {}{stage} at {}{rule}", trace.verdict, trace.at))?;
    for note in &trace.notes {
        output::line(format!("note: {note}"))?;
    }
    Ok(())
}
