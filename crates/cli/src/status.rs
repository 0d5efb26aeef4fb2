//! `atoll status`.

use std::process::ExitCode;

use atoll_daemon::control::follow::JoinedStatus;
use atoll_daemon::control::protocol::{
    FlowNumbers, HostStatus, InstanceStatus, MachineStatus, Reply, Request, Status,
};

use crate::connection::{Connection, ConnectionError};
use crate::output::Visible;
use crate::{Outcome, arguments, output, table};

pub fn run(endpoint: Option<String>, arguments: arguments::Status) -> Outcome {
    let Reply::Status(status) = Connection::new(endpoint)?.ask(&Request::Status)? else {
        return Err(ConnectionError::Confused.into());
    };
    if arguments.json {
        output::line(serde_json::to_string_pretty(&status)?)?;
    } else {
        print(&status)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn of_flows(flows: &FlowNumbers) -> String {
    let mut text = format!(
        "{} tracked, {} NAT mappings; they {} this daemon",
        flows.connections,
        flows.nat_mappings,
        match flows.written_down {
            true => "outlive",
            false => "cannot be written down and end with",
        }
    );
    if flows.revalidated > 0 {
        let looked = flows.revalidated;
        text += &format!("; {looked} answers looked at again after changes");
    }
    if flows.misses_refused > 0 {
        let refused = flows.misses_refused;
        text += &format!("; {refused} packets beyond their port's share were refused (atoll top)");
    }
    if flows.overrun > 0 {
        let whose = flows.lost.iter().take(LOST);
        let whose: Vec<String> = whose
            .map(|lost| format!("{} {}", lost.frames, Visible(&lost.whose())))
            .collect();
        text += &format!(
            "; {} frames found no place where they are received: {}",
            flows.overrun,
            whose.join(", ")
        );
        if flows.lost.len() > LOST {
            text += ", … (--json)";
        }
    }
    if !flows.flooding.is_empty() {
        let names = flows
            .flooding
            .iter()
            .map(|port| Visible(port.shortest()).to_string());
        let names: Vec<String> = names.collect();
        text += &format!(
            "; with a lane of their own while they flood: {}",
            names.join(", ")
        );
    }
    text
}

/// The state; of a machine also whether one is there.
fn state(instance: &InstanceStatus) -> String {
    let state = &instance.state;
    match &instance.machine {
        None => state.clone(),
        Some(MachineStatus {
            pid: Some(pid),
            command,
        }) => {
            let command = Visible(command.as_deref().unwrap_or_default());
            format!("{state}, its machine is process {pid} ({command})")
        }
        Some(MachineStatus { pid: None, .. }) if state == "running" => {
            format!("{state}, no machine is at it")
        }
        Some(MachineStatus { pid: None, .. }) => state.clone(),
    }
}

fn of_joined(joined: &JoinedStatus) -> String {
    let there = joined.region_host.as_deref().unwrap_or("the region's host");
    let contact = match (joined.connected, &joined.why) {
        (true, _) => format!("connected since {}", joined.since),
        (false, None) => format!("away since {}", joined.since),
        (false, Some(why)) => format!("away since {}: {why}", joined.since),
    };
    format!(
        "host        {} of {}, which {there} serves, {contact}",
        joined.name, joined.region
    )
}

/// Most lanes whose losses are told.
const LOST: usize = 4;

fn print(status: &Status) -> std::io::Result<()> {
    match &status.joined {
        None => output::line(format!(
            "endpoint    {}  (auth {}, data plane {})",
            status.endpoint, status.auth, status.data_plane
        ))?,
        Some(joined) => output::line(format!(
            "{}  (data plane {})",
            of_joined(joined),
            status.data_plane
        ))?,
    }
    if let Some(reason) = &status.data_plane_reason {
        output::line(format!("            not a faster data plane, because {reason}"))?;
    }
    if let Some(flows) = &status.flows {
        output::line(format!("flows       {}", of_flows(flows)))?;
    }
    output::line(format!(
        "data        {}",
        status.data_directory.as_deref().unwrap_or("nothing is kept")
    ))?;
    output::line(format!("limits      {}", status.limits.sentence()))?;
    let regions: Vec<&str> = status.regions.iter().map(|region| region.name.as_str()).collect();
    output::line(format!("regions     {}", regions.join(", ")))?;
    let hosts = status.regions.iter().flat_map(|region| {
        let named = region.hosts.iter().map(move |host| (region, host));
        named.map(|(region, host)| {
            vec![
                host.name.clone(),
                region.name.clone(),
                host.underlay.to_string(),
                zones(host),
                host.instances.to_string(),
                connection(host),
            ]
        })
    });
    let rows: Vec<Vec<String>> = hosts.collect();
    let several = !rows.is_empty();
    if several {
        output::line(table::of(
            &["Host", "Region", "Underlay", "Zones", "Instances", "Connection"],
            rows,
        ))?;
    }
    let stacks = status
        .regions
        .iter()
        .flat_map(|region| region.stacks.iter().map(move |stack| (region, stack)));
    let rows: Vec<Vec<String>> = stacks
        .map(|(region, stack)| {
            vec![
                stack.name.clone(),
                region.name.clone(),
                stack.status.clone(),
                stack.reason.clone().unwrap_or_default(),
            ]
        })
        .collect();
    if !rows.is_empty() {
        output::line(table::of(&["Stack", "Region", "Status", "Reason"], rows))?;
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
            let mut cells = vec![
                instance.id.clone(),
                instance.name.clone().unwrap_or_default(),
                state(instance),
                instance.zone.clone(),
                list(&instance.addresses),
                list(&instance.public_addresses),
            ];
            if several {
                cells.push(instance.host.clone().unwrap_or_default());
            }
            cells
        })
        .collect();
    if !rows.is_empty() {
        let mut header = vec!["Instance", "Name", "State", "Zone", "Addresses", "Public"];
        if several {
            header.push("Host");
        }
        output::line(table::of(&header, rows))?;
    }
    Ok(())
}

fn zones(host: &HostStatus) -> String {
    match (host.serves_region, &*host.zones) {
        (true, []) => "those of no other host".into(),
        (_, zones) => zones.join(" "),
    }
}

fn connection(host: &HostStatus) -> String {
    let since = host.since.as_ref().map(|since| format!(" since {since}"));
    match host.connected {
        _ if host.this => "this host".into(),
        Some(true) => format!("connected{}", since.unwrap_or_default()),
        Some(false) => format!("away{}", since.unwrap_or_default()),
        None => "-".into(),
    }
}
