//! Live flows and what is counted, for people to look at.

use std::net::IpAddr;
use std::sync::Arc;

use atoll_fabric::flows::State;
use atoll_fabric::packet::protocol;
use atoll_fabric::{L4, Port, Stage};
use atoll_lens::way;
use atoll_model::Timestamp;
use atoll_plane::{Counters, Ends, FlowQuery, LiveFlow, Plane, Way};
use atoll_region::Region;

use crate::control::protocol::{
    Counted, EngineCounters, Flow, FlowNumbers, FlowWay, Flows, KernelCounters, LostFrames, PortName, Sample,
    StageCount,
};
use crate::daemon::Daemon;
use crate::entropy;
use crate::packets::{end, ports, protocol_name};
use crate::reconcile::internet;

/// Most flows in one answer: it has to fit a control reply.
const MOST: u32 = 8000;
/// Most ports that are named of those that share a lane.
const NAMED: usize = 4;

impl Daemon {
    /// Flows that are known now, of one place or all.
    pub(crate) async fn flows(&self, place: Option<String>, limit: u32) -> Result<Flows, String> {
        let regions = self.current();
        let ports = match place {
            Some(name) => Some(atoll_lens::find_ports(&regions, &name).map_err(|error| error.to_string())?),
            None => None,
        };
        let query = FlowQuery {
            limit: limit.min(MOST) as usize,
            ports,
            hops: true,
        };
        self.ask_for_flows(regions, query).await
    }

    async fn ask_for_flows(&self, regions: Vec<Arc<Region>>, query: FlowQuery) -> Result<Flows, String> {
        let plane = self.plane.clone().ok_or(NO_PLANE)?;
        let asked = tokio::task::spawn_blocking(move || {
            let found = plane.live_flows(&query).map_err(|error| error.to_string())?;
            let (now, paths) = (entropy::now(), query.hops);
            let flows = found.flows.iter().map(|flow| told(&regions, flow, paths, now));
            Ok(Flows {
                flows: flows.collect(),
                truncated: found.truncated,
            })
        });
        asked.await.map_err(|panic| panic.to_string())?
    }

    /// What is counted at this moment, and flows without their paths.
    pub(crate) async fn sample(&self, limit: u32) -> Result<Sample, String> {
        let plane = self.plane.clone().ok_or(NO_PLANE)?;
        let query = FlowQuery {
            limit: limit.min(MOST) as usize,
            ports: None,
            hops: false,
        };
        let Flows { flows, truncated } = self.ask_for_flows(self.current(), query).await?;
        let asked = tokio::task::spawn_blocking(move || {
            let counters = plane.counters()?;
            Ok::<_, atoll_plane::PlaneError>((counters, plane.flows()?))
        });
        let asked = asked.await.map_err(|panic| panic.to_string())?;
        let (counters, counts) = asked.map_err(|error| error.to_string())?;
        Ok(Sample {
            time: entropy::now().0,
            endpoint: self.endpoint_url(),
            data_plane: self.data_plane.to_string(),
            interfaces: counts.interfaces as u64,
            connections: counts.connections as u64,
            mappings: counts.mappings as u64,
            kept_answers: counts.kept_answers as u64,
            counted: counted(&self.current(), &counters),
            flows,
            truncated,
        })
    }
}

const NO_PLANE: &str = "this daemon has no data plane, so it knows no flows (--data-plane none)";

/// What the data plane knows of flows, in numbers; `None` when it has ended.
pub(crate) fn numbers(regions: &[Arc<Region>], plane: &Plane) -> Option<FlowNumbers> {
    let (flows, counters) = (plane.flows().ok()?, plane.counters().ok()?);
    Some(FlowNumbers {
        connections: flows.connections,
        nat_mappings: flows.mappings,
        written_down: flows.written_down,
        misses_refused: counters.misses_refused,
        revalidated: counters.revalidated,
        overrun: counters.overrun,
        lost: lost(regions, &counters),
        flooding: names(regions, &counters.flooding),
    })
}

fn names(regions: &[Arc<Region>], ports: &[Port]) -> Vec<PortName> {
    let name = |port: &Port| PortName {
        port: port_id(*port),
        name: port_name(regions, *port),
    };
    ports.iter().map(name).collect()
}

/// What found no free place, by lanes.
fn lost(regions: &[Arc<Region>], counters: &Counters) -> Vec<LostFrames> {
    let told = |lost: &atoll_plane::LostFrames| {
        let named = lost.ports.get(..NAMED).unwrap_or(&lost.ports);
        LostFrames {
            lane: lost.lane.to_string(),
            ports: names(regions, named),
            more_ports: (lost.ports.len() - named.len()) as u64,
            frames: lost.frames,
        }
    };
    counters.lost.iter().map(told).collect()
}

fn port_id(port: Port) -> String {
    match port {
        Port::Eni(id) => id.to_string(),
        Port::Internet => internet::ID.to_owned(),
    }
}

fn port_name(regions: &[Arc<Region>], port: Port) -> Option<String> {
    match port {
        Port::Eni(id) => atoll_lens::name_of(regions, atoll_fabric::Place::Interface(id)),
        Port::Internet => None,
    }
}

fn counted(regions: &[Arc<Region>], counters: &Counters) -> Counted {
    let count = |stage: &Stage| {
        (counters.stage(*stage) > 0).then(|| StageCount {
            stage: stage.as_str().to_owned(),
            drops: !matches!(stage, Stage::Delivered | Stage::ExitsToInternet | Stage::ToVpn),
            packets: counters.stage(*stage),
        })
    };
    Counted {
        engine: EngineCounters {
            packets: counters.packets,
            bytes: counters.bytes,
            hits: counters.hits,
            walks: counters.walks,
            revalidated: counters.revalidated,
            drop_hits: counters.drop_hits,
            misses_refused: counters.misses_refused,
            answers: counters.answers,
            refused: counters.refused,
            overrun: counters.overrun,
        },
        kernel: counters.kernel.map(|kernel| KernelCounters {
            delivered: kernel.delivered,
            exited: kernel.exited,
            bytes: kernel.bytes,
            made: kernel.made,
            no_flow: kernel.no_flow,
            stale: kernel.stale,
            control: kernel.control,
            odd: kernel.odd,
            too_big: kernel.too_big,
            hop_limit: kernel.hop_limit,
            mac: kernel.mac,
            dropped: kernel.dropped,
            refused: kernel.refused,
        }),
        stages: Stage::ALL.iter().filter_map(count).collect(),
        lost: lost(regions, counters),
        flooding: names(regions, &counters.flooding),
    }
}

fn told(regions: &[Arc<Region>], flow: &LiveFlow, paths: bool, now: Timestamp) -> Flow {
    let forward = &flow.forward;
    Flow {
        protocol: protocol_name(flow.protocol),
        state: flow
            .tracked
            .map(|state| state_name(flow.protocol, state).to_owned()),
        path: match paths {
            true => path(regions, flow),
            false => Vec::new(),
        },
        stage: flow.stage.map(|stage| stage.as_str().to_owned()),
        forward: direction(regions, forward, now),
        back: flow.back.as_ref().map(|back| direction(regions, back, now)),
    }
}

/// What a flow's next packet passes, as far as this host knows it.
fn path(regions: &[Arc<Region>], flow: &LiveFlow) -> Vec<way::Station> {
    let forward = &flow.forward;
    let mut stations = way::stations(regions, forward.ingress, forward.came.src, &flow.hops);
    if let Some(host) = forward.from {
        stations.insert(1, way::Station::host(regions, host));
    }
    stations.extend(forward.to.map(|host| way::Station::host(regions, host)));
    stations
}

/// The state of a tracked connection, in a word.
fn state_name(number: u8, state: State) -> &'static str {
    let (tcp, replied) = (number == protocol::TCP, state.has(State::REPLIED));
    match (state.has(State::FIN_IN), state.has(State::FIN_OUT)) {
        _ if state.has(State::RESET) => "reset",
        (true, true) => "closed",
        (true, false) | (false, true) => "closing",
        _ if tcp && replied => "established",
        _ if tcp => "opening",
        _ if state.has(State::STREAM) => "stream",
        _ if replied => "answered",
        _ => "unanswered",
    }
}

fn direction(regions: &[Arc<Region>], way: &Way, now: Timestamp) -> FlowWay {
    let name = |port: Port| port_name(regions, port);
    let (source, destination) = both(&way.came);
    let (sent_source, sent_destination) = both(&way.leaves);
    let id = |ends: &Ends| match ends.l4 {
        L4::Icmp { id, .. } => Some(id),
        _ => None,
    };
    let changed = |sent: String, came: &String| (sent != *came).then_some(sent);
    let last_seen = way.kernel.and_then(|kernel| kernel.last_seen);
    FlowWay {
        from: port_id(way.ingress),
        from_name: name(way.ingress),
        to: port_id(way.out),
        to_name: name(way.out),
        translated_source: changed(sent_source, &source),
        translated_destination: changed(sent_destination, &destination),
        source,
        destination,
        icmp_id: id(&way.came),
        translated_icmp_id: id(&way.leaves).filter(|sent| Some(*sent) != id(&way.came)),
        hop_limit_decrement: way.hop_limit_decrement,
        mtu: way.mtu,
        holds_ms: way.holds_for,
        plane: if way.kernel.is_some() { "ebpf" } else { "userspace" }.to_owned(),
        packets: way.kernel.map(|kernel| kernel.packets),
        bytes: way.kernel.map(|kernel| kernel.bytes),
        last_seen: last_seen.map(|time| time.to_iso8601()),
        idle_ms: last_seen.map(|time| now.0.saturating_sub(time.0)),
    }
}

fn both(ends: &Ends) -> (String, String) {
    let numbers = ports(ends.l4);
    let text = |address: IpAddr, port: Option<u16>| end(address, port);
    (
        text(ends.src, numbers.map(|(source, _)| source)),
        text(ends.dst, numbers.map(|(_, destination)| destination)),
    )
}
