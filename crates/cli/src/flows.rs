//! `atoll flows`.

use std::process::ExitCode;

use atoll_daemon::control::protocol::{Flow, FlowWay, Reply, Request};
use atoll_lens::way::Station;

use crate::connection::{Connection, ConnectionError};
use crate::{Outcome, arguments, output, table};

pub fn run(endpoint: Option<String>, arguments: arguments::Flows) -> Outcome {
    let request = Request::Flows {
        place: arguments.instance,
        limit: arguments.limit,
    };
    let Reply::Flows(flows) = Connection::new(endpoint)?.ask(&request)? else {
        return Err(ConnectionError::Confused.into());
    };
    if arguments.json {
        output::line(serde_json::to_string_pretty(&flows)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    if flows.flows.is_empty() && !flows.truncated {
        output::line("no flow is known")?;
        return Ok(ExitCode::SUCCESS);
    }
    let header = [
        "Protocol",
        "Source",
        "Destination",
        "Path",
        "State",
        "Translated",
        "Packets",
        "Bytes",
        "Idle",
        "Plane",
    ];
    output::line(table::of(&header, flows.flows.iter().map(row)))?;
    if flows.truncated {
        output::note(format!("there are more than {}; see --limit", flows.flows.len()));
    }
    Ok(ExitCode::SUCCESS)
}

fn row(flow: &Flow) -> Vec<String> {
    let way = &flow.forward;
    let id = way.icmp_id.map(|id| format!(" id {id}")).unwrap_or_default();
    vec![
        flow.protocol.clone(),
        way.source.clone(),
        format!("{}{id}", way.destination),
        path(flow),
        flow.state.clone().unwrap_or_else(|| "untracked".into()),
        translated(way),
        both(flow, |way| way.packets.map(|packets| packets.to_string())),
        both(flow, |way| way.bytes.map(bytes)),
        idle(flow).map(age).unwrap_or_else(|| "-".into()),
        plane(flow),
    ]
}

/// The way of the flow's next packet: from the one who began it, over what hands it on, to where it ends.
fn path(flow: &Flow) -> String {
    let stations: Vec<&str> = flow.path.iter().map(Station::word).collect();
    let path = stations.join(" → ");
    match flow.stage.as_deref() {
        None | Some("delivered" | "exits-to-internet") => path,
        Some(stage) => format!("{path} ✗ {stage}"),
    }
}

fn translated(way: &FlowWay) -> String {
    let id = way.translated_icmp_id.map(|id| format!("id {id}"));
    let parts = [
        way.translated_source
            .as_ref()
            .map(|source| format!("from {source}")),
        way.translated_destination
            .as_ref()
            .map(|destination| format!("to {destination}")),
        id,
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// A figure of each direction, the forward one first.
fn both(flow: &Flow, figure: impl Fn(&FlowWay) -> Option<String>) -> String {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    let forward = figure(&flow.forward);
    match flow.back.as_ref().map(&figure) {
        // Nobody counts.
        Some(None) | None if forward.is_none() => "-".into(),
        back => format!("{} / {}", or_none(forward), or_none(back.flatten())),
    }
}

/// Milliseconds since the latest packet of either direction.
pub fn idle(flow: &Flow) -> Option<u64> {
    let back = flow.back.as_ref().and_then(|back| back.idle_ms);
    flow.forward.idle_ms.into_iter().chain(back).min()
}

/// Who carries the flow: `ebpf` if the kernel does in both directions, as far as both are known.
pub fn plane(flow: &Flow) -> String {
    match &flow.back {
        Some(back) if back.plane != flow.forward.plane => format!("{} / {}", flow.forward.plane, back.plane),
        _ => flow.forward.plane.clone(),
    }
}

/// A duration, roughly.
pub fn age(milliseconds: u64) -> String {
    match milliseconds / 1000 {
        0 => format!("{milliseconds} ms"),
        seconds @ 1..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}

/// A number of bytes, roughly.
pub fn bytes(bytes: u64) -> String {
    format!("{}B", scaled(bytes as f64))
}

/// A figure with three digits or so, and the letter of its thousand.
pub fn scaled(figure: f64) -> String {
    let mut figure = figure;
    for letter in ["", "k", "M", "G", "T"] {
        if figure < 999.5 || letter == "T" {
            return match letter {
                "" => format!("{figure:.0} "),
                _ if figure < 99.95 => format!("{figure:.1} {letter}"),
                _ => format!("{figure:.0} {letter}"),
            };
        }
        figure /= 1000.0;
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        let told = [0.0, 999.0, 1000.0, 12_345.0, 999_600.0, 5e9, 3e15].map(scaled);
        assert_eq!(
            told,
            ["0 ", "999 ", "1.0 k", "12.3 k", "1.0 M", "5.0 G", "3000 T"]
        );
        assert_eq!(bytes(1500), "1.5 kB");
        assert_eq!(
            [5, 5_000, 500_000, 50_000_000].map(age),
            ["5 ms", "5 s", "8 min", "13 h"]
        );
    }
}
