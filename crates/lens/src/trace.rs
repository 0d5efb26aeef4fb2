//! A trace: one packet out and its answer back, hop by hop.

use std::net::IpAddr;
use std::sync::Arc;

use atoll_fabric::flows::Effect;
use atoll_fabric::packet::{L4, protocol, tcp};
use atoll_fabric::{
    Decision, Fabric, FlowView, Flows, Hop, Layered, Limits, Outcome, Packet, Port, Verdict, walk,
};
use atoll_model::{Subnet, Timestamp};
use atoll_net::{Family, Mac};
use atoll_region::Region;
use serde::{Deserialize, Serialize};

use crate::place::{self, Found, Outside, PlaceError};
use crate::words;

/// Hop limit of an imagined packet, as Linux sends them.
const HOP_LIMIT: u8 = 64;
/// Length of an imagined packet in bytes: a SYN's.
const LENGTH: u32 = 60;
/// Source ports that are tried for a new connection: among those that every system and the usual network ACLs take
/// for ephemeral, far enough apart to get out of a row of taken ones.
const SOURCE_PORTS: std::ops::Range<u16> = 49152..61000;
/// The first identifier that is tried for an echo.
const ECHO_ID: u16 = 1;
/// The step between two tries, without a factor in common with the number of source ports.
const STEP: u32 = 47;
/// How many are tried: live packets wait meanwhile.
const TRIES: u32 = 200;

/// Room for one imagined connection and all its ends.
const FEW: Limits = Limits {
    ipv4: 64,
    ipv6: 64,
    per_owner: 64,
    mappings: 16,
    per_gateway: 16,
    seed: 0,
};

/// Which protocol to imagine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// A SYN, answered by SYN and ACK.
    Tcp,
    /// A datagram and one back.
    Udp,
    /// An echo request and its reply.
    Icmp,
}

/// What to trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Query {
    /// An instance, an interface, an address or `internet`.
    pub from: String,
    /// Likewise.
    pub to: String,
    /// The protocol.
    pub protocol: Protocol,
    /// Destination port, for TCP and UDP.
    pub port: u16,
    /// Source port, for TCP and UDP; one of which no connection is known when `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_port: Option<u16>,
}

/// One component's decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceHop {
    /// The component's kind, in kebab case.
    pub kind: String,
    /// The component's id.
    pub at: String,
    /// Its `Name` tag.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
    /// What it decided.
    pub decision: String,
    /// By which rule.
    pub rule: Option<String>,
    /// Source as the packet came here, with its port.
    pub source: String,
    /// Destination as the packet came here, with its port.
    pub destination: String,
}

/// What became of the packet, and of its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// `delivered` or `dropped`.
    pub verdict: String,
    /// The check that dropped it, or how it arrived.
    pub stage: String,
    /// The component where it ended.
    pub at: String,
    /// The rule that dropped it.
    pub rule: Option<String>,
    /// Every decision, in order.
    pub hops: Vec<TraceHop>,
    /// What should be known beside the hops.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub notes: Vec<String>,
    /// The answer's way; none when the packet was dropped.
    #[serde(rename = "return", skip_serializing_if = "Option::is_none", default)]
    pub answer: Option<Box<Trace>>,
}

impl Trace {
    /// Whether packet and answer both arrive.
    pub fn is_delivered(&self) -> bool {
        self.verdict == "delivered"
            && self
                .answer
                .as_ref()
                .is_none_or(|answer| answer.verdict == "delivered")
    }
}

/// Both ends of the imagined packet.
struct Ends {
    ingress: Port,
    source: IpAddr,
    destination: IpAddr,
}

fn family_name(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

/// The family both ends can speak: the one that an address names, else IPv4 before IPv6.
fn family(from: &Found, to: &Found) -> Family {
    let named = |found: &Found| match found {
        Found::Interface(_, addr) | Found::Internet(addr) => addr.map(Family::of),
    };
    let only_v6 =
        |found: &Found| matches!(found, Found::Interface(eni, _) if eni.private_addresses.is_empty());
    let fallback = if only_v6(from) || only_v6(to) {
        Family::V6
    } else {
        Family::V4
    };
    named(to).or_else(|| named(from)).unwrap_or(fallback)
}

fn ends(query: &Query, regions: &[Arc<Region>], outside: Outside) -> Result<Ends, PlaceError> {
    let from = place::find(regions, &query.from)?;
    let to = place::find_destination(regions, &query.to, &from)?;
    let family = family(&from, &to);
    let none = |name: &str| PlaceError::Family {
        name: name.to_owned(),
        family: family_name(family),
    };
    let of_family = |addr: IpAddr| Family::of(addr) == family;
    let (ingress, source) = match &from {
        Found::Interface(eni, named) => {
            let source = named
                .or_else(|| place::address(eni, family))
                .filter(|a| of_family(*a));
            (Port::Eni(eni.id), source.ok_or_else(|| none(&query.from))?)
        }
        Found::Internet(named) => (
            Port::Internet,
            named.filter(|a| of_family(*a)).unwrap_or(outside.address(family)),
        ),
    };
    let destination = match &to {
        Found::Internet(named) => named.unwrap_or(outside.address(family)),
        Found::Interface(_, Some(named)) => *named,
        Found::Interface(eni, None) => {
            // From outside an instance is reached by its public address; a private one leads nowhere there.
            let public = eni
                .private_addresses
                .first()
                .and_then(|a| a.public)
                .map(|p| IpAddr::V4(p.ip));
            let outward = public.filter(|_| ingress == Port::Internet && family == Family::V4);
            outward
                .or_else(|| place::address(eni, family))
                .ok_or_else(|| none(&query.to))?
        }
    };
    Ok(Ends {
        ingress,
        source,
        destination,
    })
}

/// The MACs of a frame that the interface would send to an address: the neighbour's on the link, else the router's.
fn macs(regions: &[Arc<Region>], fabric: &Fabric, ingress: Port, destination: IpAddr) -> (Mac, Mac) {
    let Port::Eni(id) = ingress else {
        return (Mac::default(), Mac::default());
    };
    let Some(eni) = place::interface(regions, id) else {
        return (Mac::default(), Mac::default());
    };
    let subnet = regions.iter().find_map(|region| region.get::<Subnet>(eni.subnet));
    let router = subnet.map(|subnet| subnet.router_mac()).unwrap_or_default();
    let on_link = subnet.is_some_and(|subnet| subnet.contains(destination));
    let neighbour = on_link.then(|| fabric.neighbour(id, destination)).flatten();
    (eni.mac, neighbour.unwrap_or(router))
}

/// The transport part of the packet, on its `nth` try.
fn l4(query: &Query, family: Family, nth: u32) -> (u8, L4) {
    let step = |among: u32| u16::try_from(nth * STEP % among).unwrap_or(0);
    let ports = |tcp_flags| L4::Ports {
        src: query
            .source_port
            .unwrap_or_else(|| SOURCE_PORTS.start + step(SOURCE_PORTS.len() as u32)),
        dst: query.port,
        tcp_flags,
    };
    let echo = |kind| L4::Icmp {
        kind,
        code: 0,
        id: ECHO_ID + step(u32::from(u16::MAX)),
    };
    match (query.protocol, family) {
        (Protocol::Tcp, _) => (protocol::TCP, ports(tcp::SYN)),
        (Protocol::Udp, _) => (protocol::UDP, ports(0)),
        (Protocol::Icmp, Family::V4) => (protocol::ICMP, echo(8)),
        (Protocol::Icmp, Family::V6) => (protocol::ICMPV6, echo(128)),
    }
}

/// Whether some component on the way knew the packet's connection already.
fn follows(outcome: &Outcome, hops: &[Hop]) -> bool {
    let known = |effect: &Effect| match effect {
        Effect::Track { begins, .. } | Effect::Map { begins, .. } => !begins,
    };
    outcome.effects.iter().any(known) || hops.iter().any(|hop| hop.decision == Decision::Established)
}

/// One walk with its hops.
fn walked(fabric: &Fabric, flows: &impl FlowView, packet: &Packet, now: Timestamp) -> (Outcome, Vec<Hop>) {
    let mut hops = Vec::new();
    let outcome = walk(fabric, flows, packet, now, &mut hops);
    (outcome, hops)
}

/// The packet of a new connection, or of the one that has the ports which were asked for; whether it is the latter.
fn chosen(
    fabric: &Fabric,
    flows: &impl FlowView,
    query: &Query,
    packet: Packet,
    now: Timestamp,
) -> (Packet, Outcome, Vec<Hop>, bool) {
    let choice = query.source_port.is_none() || query.protocol == Protocol::Icmp;
    let mut nth = 0;
    loop {
        let (_, l4) = l4(query, Family::of(packet.dst), nth);
        let packet = Packet { l4, ..packet };
        let (outcome, hops) = walked(fabric, flows, &packet, now);
        if !follows(&outcome, &hops) {
            return (packet, outcome, hops, false);
        }
        nth += 1;
        if !choice || nth == TRIES {
            // What a connection sends once it stands.
            let packet = Packet {
                l4: established(l4),
                ..packet
            };
            let (outcome, hops) = walked(fabric, flows, &packet, now);
            return (packet, outcome, hops, true);
        }
    }
}

fn established(l4: L4) -> L4 {
    match l4 {
        L4::Ports { src, dst, tcp_flags } if tcp_flags != 0 => L4::Ports {
            src,
            dst,
            tcp_flags: tcp::ACK,
        },
        other => other,
    }
}

/// The transport part of the packet that answers.
fn answered(l4: L4) -> L4 {
    match l4 {
        L4::Ports { src, dst, tcp_flags } => {
            let tcp_flags = if tcp_flags == 0 { 0 } else { tcp_flags | tcp::ACK };
            L4::Ports {
                src: dst,
                dst: src,
                tcp_flags,
            }
        }
        L4::Icmp { kind: 128, code, id } => L4::Icmp { kind: 129, code, id },
        L4::Icmp { code, id, .. } => L4::Icmp { kind: 0, code, id },
        L4::Other => L4::Other,
    }
}

fn with_port(addr: IpAddr, port: Option<u16>) -> String {
    match (addr, port) {
        (addr, None) => addr.to_string(),
        (IpAddr::V4(addr), Some(port)) => format!("{addr}:{port}"),
        (IpAddr::V6(addr), Some(port)) => format!("[{addr}]:{port}"),
    }
}

fn told(regions: &[Arc<Region>], hop: &Hop) -> TraceHop {
    let (source_port, destination_port) = match hop.l4 {
        L4::Ports { src, dst, .. } => (Some(src), Some(dst)),
        L4::Icmp { .. } | L4::Other => (None, None),
    };
    TraceHop {
        kind: words::kind(hop.place).into(),
        at: words::id(hop.place),
        name: place::name_of(regions, hop.place),
        decision: words::decision(hop.decision),
        rule: hop.rule.map(words::rule),
        source: with_port(hop.src, source_port),
        destination: with_port(hop.dst, destination_port),
    }
}

fn summary(regions: &[Arc<Region>], outcome: &Outcome, hops: &[Hop]) -> Trace {
    let (verdict, at, rule) = match &outcome.verdict {
        Verdict::Drop(drop) => ("dropped", words::id(drop.at), drop.rule.map(words::rule)),
        Verdict::Forward(action) => {
            let at = match action.out {
                Port::Eni(id) => id.to_string(),
                Port::Internet => "internet".into(),
            };
            ("delivered", at, None)
        }
    };
    Trace {
        verdict: verdict.into(),
        stage: outcome.stage().as_str().into(),
        at,
        rule,
        hops: hops.iter().map(|hop| told(regions, hop)).collect(),
        notes: Vec::new(),
        answer: None,
    }
}

/// Traces a connection between two places as things stand: out, and the answer back. It is a new one, for which the
/// tables in `flows` must have room, unless the query names the source port of one that is known there. Nothing is
/// changed; a few walks are made, as many more as source ports are taken.
///
/// # Errors
/// When a place is unknown, ambiguous, or has no address of the family.
pub fn trace(
    regions: &[Arc<Region>],
    fabric: &Fabric,
    flows: &impl FlowView,
    outside: Outside,
    query: &Query,
    now: Timestamp,
) -> Result<Trace, PlaceError> {
    let Ends {
        ingress,
        source,
        destination,
    } = ends(query, regions, outside)?;
    let (src_mac, dst_mac) = macs(regions, fabric, ingress, destination);
    let (protocol, l4) = l4(query, Family::of(destination), 0);
    let packet = Packet {
        ingress,
        src_mac,
        dst_mac,
        src: source,
        dst: destination,
        protocol,
        l4,
        hop_limit: HOP_LIMIT,
        length: LENGTH,
        dont_fragment: true,
        fragment: None,
        quote: None,
    };
    let (packet, outcome, hops, follows) = chosen(fabric, flows, query, packet, now);
    let mut told = summary(regions, &outcome, &hops);
    if follows {
        told.notes.push(
            "a connection with these addresses and ports is known: this is a packet of it, not of a new one"
                .into(),
        );
    }
    let (Verdict::Forward(action), Some(arrived)) = (&outcome.verdict, outcome.forwarded(&packet)) else {
        return Ok(told);
    };
    if let Port::Eni(id) = action.out
        && place::interface(regions, id).is_some_and(|eni| !eni.has_address(arrived.dst))
    {
        told.notes.push(format!(
            "{id} does not own {}: its instance forwards or drops the packet by rules of its own, which are not traced",
            arrived.dst
        ));
        return Ok(told);
    }
    // What the packet would have changed, over what is.
    let mut supposed = Flows::new(FEW, now);
    if supposed.commit(&outcome.effects, now, outcome.hold).is_err() {
        told.notes
            .push("the answer was not traced: the packet's effects could not be kept".into());
        return Ok(told);
    }
    let after = Layered {
        over: &supposed,
        under: flows,
    };
    let (src_mac, dst_mac) = macs(regions, fabric, action.out, arrived.src);
    let answer = Packet {
        ingress: action.out,
        src_mac,
        dst_mac,
        src: arrived.dst,
        dst: arrived.src,
        l4: answered(arrived.l4),
        ..packet
    };
    let (outcome, hops) = walked(fabric, &after, &answer, now);
    told.answer = Some(Box::new(summary(regions, &outcome, &hops)));
    Ok(told)
}
