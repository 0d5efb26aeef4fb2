//! What happened between two samples.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use atoll_daemon::control::protocol::{Flow, FlowWay, LostFrames, PortName, Sample};
use serde::Serialize;

use crate::flows;

/// What happened in a while.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rates {
    /// How long it was, in seconds.
    pub seconds: f64,
    /// The API's URL.
    pub endpoint: String,
    /// `ebpf` or `userspace`.
    pub data_plane: String,
    /// Packets that came in a second; for the engine a super-segment counts once.
    pub packets_per_second: f64,
    /// Their bits, from the Ethernet header on.
    pub bits_per_second: f64,
    /// The share of packets that a kept answer carried, in the kernel where that takes part, else in the engine; absent
    /// when there were none.
    pub hit_ratio: Option<f64>,
    /// Connections a second that the kernel made by itself; absent where it takes no part.
    pub made_per_second: Option<f64>,
    /// Kept answers that a change made stale and that were looked at again before a packet came.
    pub revalidated: Rate,
    /// Packets that it did not carry, by why.
    pub misses: Vec<Rate>,
    /// Dropped packets, by the check.
    pub drops: Vec<Rate>,
    /// Frames that found no free place where they are received, by lane.
    pub lost: Vec<LostRate>,
    /// Ports that have a lane of their own, since they flood.
    pub flooding: Vec<PortName>,
    /// Network interfaces that have a port.
    pub interfaces: u64,
    /// Connections tracked, both ends counted.
    pub connections: u64,
    /// NAT gateways' mappings.
    pub mappings: u64,
    /// Answers kept, one a direction.
    pub kept_answers: u64,
    /// Ports that flows pass by.
    pub ports: Vec<PortRate>,
    /// The flows that were looked at.
    pub flows: Vec<FlowRate>,
    /// Whether there are more flows than were looked at.
    pub truncated: bool,
}

/// Something counted.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rate {
    /// What.
    pub name: String,
    /// How often a second.
    pub per_second: f64,
    /// How often since the data plane started.
    pub total: u64,
}

/// Frames that found no free place in a lane.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LostRate {
    /// The lane, and whose it is.
    #[serde(flatten)]
    pub lost: LostFrames,
    /// How many a second.
    pub per_second: f64,
}

/// A flow, both directions together. Without counters of the kernel's its rates are unknown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FlowRate {
    /// The protocol.
    pub protocol: String,
    /// Who began it: a name, or an address.
    pub from: String,
    /// Whom it is with.
    pub to: String,
    /// Source as it came, with its port.
    pub source: String,
    /// Destination as it came, with its port.
    pub destination: String,
    /// What is tracked of it.
    pub state: Option<String>,
    /// What carries it.
    pub plane: String,
    /// Packets a second.
    pub packets_per_second: Option<f64>,
    /// Bits a second.
    pub bits_per_second: Option<f64>,
    /// All packets that were counted.
    pub packets: Option<u64>,
    /// All bytes that were counted.
    pub bytes: Option<u64>,
    /// Milliseconds since its latest packet.
    pub idle_ms: Option<u64>,
}

/// A port with the flows that pass by it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PortRate {
    /// The interface's id, or `internet`.
    pub port: String,
    /// Its name or its instance's.
    pub name: Option<String>,
    /// How many flows pass by it.
    pub flows: u64,
    /// Packets a second that come in there.
    pub sends_per_second: Option<f64>,
    /// Packets a second that leave there.
    pub gets_per_second: Option<f64>,
}

/// By what flows are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// Packets a second.
    Packets,
    /// Bits a second.
    Bits,
    /// All bytes.
    Bytes,
    /// The latest packet.
    Latest,
}

impl Sort {
    /// The next one.
    pub fn next(self) -> Sort {
        match self {
            Sort::Packets => Sort::Bits,
            Sort::Bits => Sort::Bytes,
            Sort::Bytes => Sort::Latest,
            Sort::Latest => Sort::Packets,
        }
    }

    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Sort::Packets => "packets/s",
            Sort::Bits => "bits/s",
            Sort::Bytes => "bytes",
            Sort::Latest => "latest packet",
        }
    }
}

/// What tells one direction of a flow from all others.
type WayKey<'a> = (&'a str, &'a str, &'a str, &'a str, Option<u16>);

fn ways(flow: &Flow) -> impl Iterator<Item = (WayKey<'_>, &FlowWay)> {
    [Some(&flow.forward), flow.back.as_ref()]
        .into_iter()
        .flatten()
        .map(|way| {
            let key = (
                &*flow.protocol,
                &*way.from,
                &*way.source,
                &*way.destination,
                way.icmp_id,
            );
            (key, way)
        })
}

/// How far a count rose; one that fell began anew.
fn grown(before: u64, now: u64) -> u64 {
    now.checked_sub(before).unwrap_or(now)
}

/// The sum of what is known of two.
fn sum<T: std::ops::Add<Output = T>>(a: Option<T>, b: Option<T>) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a + b),
        (a, b) => a.or(b),
    }
}

/// A direction's packets and bytes between two samples.
#[derive(Clone, Copy, Default)]
struct Grown {
    packets: Option<u64>,
    bytes: Option<u64>,
}

struct Between<'a> {
    seconds: f64,
    before: HashMap<WayKey<'a>, &'a FlowWay>,
    /// Whether a flow that was not told before was not there before.
    complete: bool,
}

impl Between<'_> {
    fn rate(&self, count: u64) -> f64 {
        count as f64 / self.seconds
    }

    fn grown(&self, key: &WayKey<'_>, way: &FlowWay) -> Grown {
        let figures = |before: Option<&FlowWay>| {
            let count = |figure: fn(&FlowWay) -> Option<u64>| {
                let before = before.and_then(figure).unwrap_or(0);
                figure(way).map(|now| grown(before, now))
            };
            Grown {
                packets: count(|way| way.packets),
                bytes: count(|way| way.bytes),
            }
        };
        match self.before.get(key) {
            Some(before) => figures(Some(before)),
            None if self.complete => figures(None),
            None => Grown::default(),
        }
    }

    fn flow(&self, flow: &Flow) -> FlowRate {
        let mut all = Grown::default();
        let (mut packets, mut bytes) = (None, None);
        for (key, way) in ways(flow) {
            let grown = self.grown(&key, way);
            all.packets = sum(all.packets, grown.packets);
            all.bytes = sum(all.bytes, grown.bytes);
            packets = sum(packets, way.packets);
            bytes = sum(bytes, way.bytes);
        }
        let way = &flow.forward;
        let name = |name: &Option<String>, end: &str| name.clone().unwrap_or_else(|| end.to_owned());
        FlowRate {
            protocol: flow.protocol.clone(),
            from: name(&way.from_name, &way.from),
            to: name(&way.to_name, &way.to),
            source: way.source.clone(),
            destination: way.destination.clone(),
            state: flow.state.clone(),
            plane: flows::plane(flow),
            packets_per_second: all.packets.map(|count| self.rate(count)),
            bits_per_second: all.bytes.map(|count| self.rate(count) * 8.0),
            packets,
            bytes,
            idle_ms: flows::idle(flow),
        }
    }

    fn ports(&self, flows: &[Flow]) -> Vec<PortRate> {
        let mut ports: BTreeMap<&str, PortRate> = BTreeMap::new();
        for flow in flows {
            let mut met: Vec<&str> = Vec::new();
            for (key, way) in ways(flow) {
                let rate = self.grown(&key, way).packets.map(|count| self.rate(count));
                for (port, name, sends) in [(&way.from, &way.from_name, true), (&way.to, &way.to_name, false)]
                {
                    let entry = ports.entry(port).or_insert_with(|| PortRate {
                        port: port.clone(),
                        name: name.clone(),
                        flows: 0,
                        sends_per_second: None,
                        gets_per_second: None,
                    });
                    let side = if sends {
                        &mut entry.sends_per_second
                    } else {
                        &mut entry.gets_per_second
                    };
                    *side = sum(*side, rate);
                    if !met.contains(&port.as_str()) {
                        met.push(port);
                        entry.flows += 1;
                    }
                }
            }
        }
        let mut ports: Vec<PortRate> = ports.into_values().collect();
        let packets = |port: &PortRate| sum(port.sends_per_second, port.gets_per_second).unwrap_or(0.0);
        ports.sort_by(|a, b| packets(b).total_cmp(&packets(a)).then(b.flows.cmp(&a.flows)));
        ports
    }
}

impl Rates {
    /// What happened between two samples of one daemon.
    pub fn between(before: &Sample, now: &Sample, passed: Duration) -> Rates {
        let between = Between {
            seconds: passed.as_secs_f64().max(0.001),
            before: before.flows.iter().flat_map(ways).collect(),
            complete: !before.truncated,
        };
        let rate = |name: &str, before: u64, now: u64| Rate {
            name: name.to_owned(),
            per_second: between.rate(grown(before, now)),
            total: now,
        };
        let (then, at) = (before.counted.engine, now.counted.engine);
        let refused = rate("more than a port's share", then.misses_refused, at.misses_refused);
        let kernel = now
            .counted
            .kernel
            .map(|at| (before.counted.kernel.unwrap_or_default(), at));
        let (hits, misses) = match kernel {
            Some((then, at)) => (
                grown(then.delivered + then.exited, at.delivered + at.exited),
                vec![
                    rate("no flow known", then.no_flow, at.no_flow),
                    rate("SYN, FIN, RST, ICMP errors", then.control, at.control),
                    rate("answer out of date", then.stale, at.stale),
                    rate("fragments, options, tags", then.odd, at.odd),
                    rate("too long", then.too_big, at.too_big),
                    rate("hop limit ends", then.hop_limit, at.hop_limit),
                    rate("other MAC addresses", then.mac, at.mac),
                    refused,
                ],
            ),
            None => (
                grown(then.hits, at.hits),
                vec![
                    rate("judged by the rules", then.walks, at.walks),
                    rate("dropped as one before", then.drop_hits, at.drop_hits),
                    refused,
                ],
            ),
        };
        let missed: f64 = misses.iter().map(|miss| miss.per_second).sum();
        let hit = between.rate(hits);
        let kernel_bytes = kernel.map_or(0, |(then, at)| grown(then.bytes, at.bytes));
        let kernel_hits = kernel.map_or(0, |_| hits);
        let stage = |name: &str| {
            let stages = before.counted.stages.iter();
            stages
                .filter(|count| count.stage == name)
                .map(|count| count.packets)
                .sum()
        };
        let dropping = now.counted.stages.iter().filter(|count| count.drops);
        let mut drops: Vec<Rate> = dropping
            .map(|count| rate(&count.stage, stage(&count.stage), count.packets))
            .collect();
        drops.sort_by(|a, b| b.per_second.total_cmp(&a.per_second).then(b.total.cmp(&a.total)));
        let lost = now.counted.lost.iter().map(|lost| {
            // Ports that share a lane come and go: it is the same one.
            let is_it = |before: &&LostFrames| {
                before.lane == lost.lane && (lost.lane != "own" || before.ports == lost.ports)
            };
            let before = before.counted.lost.iter().find(is_it);
            let before = before.map_or(0, |before| before.frames);
            LostRate {
                per_second: between.rate(grown(before, lost.frames)),
                lost: lost.clone(),
            }
        });
        let mut misses: Vec<Rate> = misses.into_iter().filter(|miss| miss.total > 0).collect();
        misses.sort_by(|a, b| b.per_second.total_cmp(&a.per_second));
        let mut rates = Rates {
            seconds: between.seconds,
            endpoint: now.endpoint.clone(),
            data_plane: now.data_plane.clone(),
            packets_per_second: between.rate(grown(then.packets, at.packets) + kernel_hits),
            bits_per_second: between.rate(grown(then.bytes, at.bytes) + kernel_bytes) * 8.0,
            hit_ratio: (hit + missed > 0.0).then(|| hit / (hit + missed)),
            made_per_second: kernel.map(|(then, at)| between.rate(grown(then.made, at.made))),
            revalidated: rate("looked at again", then.revalidated, at.revalidated),
            lost: lost.collect(),
            flooding: now.counted.flooding.clone(),
            misses,
            drops,
            interfaces: now.interfaces,
            connections: now.connections,
            mappings: now.mappings,
            kept_answers: now.kept_answers,
            ports: between.ports(&now.flows),
            flows: now.flows.iter().map(|flow| between.flow(flow)).collect(),
            truncated: now.truncated,
        };
        rates.sort(Sort::Packets);
        rates
    }

    /// Puts the flows in order, the greatest first; what is unknown comes last.
    pub fn sort(&mut self, by: Sort) {
        let rate = |rate: Option<f64>| rate.map(|rate| (rate * 1000.0) as u64);
        let figure = |flow: &FlowRate| match by {
            Sort::Packets => rate(flow.packets_per_second),
            Sort::Bits => rate(flow.bits_per_second),
            Sort::Bytes => flow.bytes,
            Sort::Latest => flow.idle_ms.map(|idle| u64::MAX - idle),
        };
        // The rest keeps rows from changing places without a reason.
        self.flows.sort_by(|a, b| {
            let names = |flow: &FlowRate| (flow.source.clone(), flow.destination.clone());
            let order = Reverse(figure(a)).cmp(&Reverse(figure(b)));
            order.then_with(|| names(a).cmp(&names(b)))
        });
    }
}
