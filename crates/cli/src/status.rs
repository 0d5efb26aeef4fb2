//! `atoll status`.

use std::process::ExitCode;

use atoll_daemon::control::protocol::{Reply, Request, Status};
use serde::Serialize;

use crate::connection::{Connection, ConnectionError};
use crate::{Outcome, arguments, stack, table};

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    status: Status,
    stacks: Vec<ShownStack>,
}

#[derive(Serialize)]
struct ShownStack {
    region: String,
    name: String,
    id: String,
    status: String,
}

pub fn run(endpoint: Option<String>, arguments: arguments::Status) -> Outcome {
    let connection = Connection::new(endpoint)?;
    let Reply::Status(status) = connection.ask(&Request::Status)? else {
        return Err(ConnectionError::Confused.into());
    };
    let mut stacks = Vec::new();
    for region in &status.regions {
        let api = connection.api(Some(region.name.clone()))?;
        let found = stack::list(&api)?.into_iter();
        stacks.extend(
            found
                .filter(|stack| stack.status != "DELETE_COMPLETE")
                .map(|stack| ShownStack {
                    region: region.name.clone(),
                    name: stack.name,
                    id: stack.id,
                    status: stack.status,
                }),
        );
    }
    let shown = Shown { status, stacks };
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&shown)?);
    } else {
        print(&shown);
    }
    Ok(ExitCode::SUCCESS)
}

fn print(shown: &Shown) {
    let status = &shown.status;
    println!(
        "endpoint    {}  (auth {}, data plane {})",
        status.endpoint, status.auth, status.data_plane
    );
    println!(
        "data        {}",
        status.data_directory.as_deref().unwrap_or("nothing is kept")
    );
    let regions: Vec<&str> = status.regions.iter().map(|region| region.name.as_str()).collect();
    println!("regions     {}", regions.join(", "));
    if !shown.stacks.is_empty() {
        let rows = shown
            .stacks
            .iter()
            .map(|stack| vec![stack.name.clone(), stack.region.clone(), stack.status.clone()]);
        println!("{}", table::of(&["Stack", "Region", "Status"], rows));
    }
    let list = |addresses: &[std::net::IpAddr]| {
        addresses
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" ")
    };
    let rows: Vec<Vec<String>> = status
        .regions
        .iter()
        .flat_map(|region| &region.instances)
        .map(|instance| {
            vec![
                instance.id.clone(),
                instance.name.clone().unwrap_or_default(),
                instance.state.clone(),
                instance.zone.clone(),
                list(&instance.addresses),
                list(&instance.public_addresses),
            ]
        })
        .collect();
    if !rows.is_empty() {
        println!(
            "{}",
            table::of(
                &["Instance", "Name", "State", "Zone", "Addresses", "Public"],
                rows
            )
        );
    }
}
