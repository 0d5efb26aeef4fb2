//! Packets, asked about: what would become of one, and what became of those that were dropped.

use std::net::IpAddr;

use atoll_fabric::packet::protocol;
use atoll_fabric::{Fabric, L4, NoFlows, Port};
use atoll_lens::{Outside, Query, Trace, words};
use atoll_plane::DropRecord;
use atoll_region::Region;

use crate::control::protocol::Dropped;
use crate::daemon::Daemon;
use crate::entropy;
use crate::reconcile::internet;
use crate::writer::difference;

const OUTSIDE: Outside = Outside {
    v4: internet::V4,
    v6: internet::V6,
};

impl Daemon {
    /// Sends an imagined packet through the rules, and over the flows, that live packets meet at this moment.
    pub(crate) async fn trace(&self, query: Query) -> Result<Trace, String> {
        let (regions, plane) = (self.current(), self.plane.clone());
        let (now, rows) = (entropy::now(), regions.clone());
        let asked = tokio::task::spawn_blocking(move || match plane {
            Some(plane) => plane
                .with_state(move |fabric, flows| {
                    atoll_lens::trace(&regions, fabric, flows, OUTSIDE, &query, now)
                })
                .map_err(|error| error.to_string())?
                .map_err(|error| error.to_string()),
            None => {
                let mut fabric = Fabric::new();
                for region in &regions {
                    let nothing = Region::new(region.config().clone());
                    fabric.apply(&difference(&nothing, region));
                }
                atoll_lens::trace(&regions, &fabric, &NoFlows, OUTSIDE, &query, now)
                    .map_err(|error| error.to_string())
            }
        });
        let mut trace = asked.await.map_err(|panic| panic.to_string())??;
        self.note_hosts(&rows, &mut trace);
        Ok(trace)
    }

    /// The latest drops, the oldest first.
    pub(crate) async fn drops(&self, limit: u32) -> Result<Vec<Dropped>, String> {
        let Some(plane) = self.plane.clone() else {
            return Err("this daemon has no data plane, so nothing is dropped (--data-plane none)".into());
        };
        let asked = tokio::task::spawn_blocking(move || plane.drops()).await;
        let records = asked
            .map_err(|panic| panic.to_string())?
            .map_err(|error| error.to_string())?;
        let skip = records.len().saturating_sub(limit as usize);
        Ok(records.iter().skip(skip).map(dropped).collect())
    }
}

fn dropped(record: &DropRecord) -> Dropped {
    let packet = record.packet.as_ref();
    Dropped {
        time: record.time.to_iso8601(),
        count: record.count,
        stage: record.drop.stage.as_str().to_owned(),
        kind: words::kind(record.drop.at).to_owned(),
        at: words::id(record.drop.at),
        rule: record.drop.rule.map(words::rule),
        from: match record.ingress {
            Port::Eni(id) => id.to_string(),
            Port::Internet => internet::ID.to_owned(),
        },
        protocol: packet.map(|packet| protocol_name(packet.protocol)),
        source: packet.map(|packet| end(packet.src, ports(packet.l4).map(|(source, _)| source))),
        destination: packet
            .map(|packet| end(packet.dst, ports(packet.l4).map(|(_, destination)| destination))),
    }
}

/// Source and destination port, where there are any.
pub(crate) fn ports(l4: L4) -> Option<(u16, u16)> {
    match l4 {
        L4::Ports { src, dst, .. } => Some((src, dst)),
        L4::Icmp { .. } | L4::Other => None,
    }
}

/// An address with its port.
pub(crate) fn end(address: IpAddr, port: Option<u16>) -> String {
    match (address, port) {
        (address, None) => address.to_string(),
        (address, Some(port)) => std::net::SocketAddr::new(address, port).to_string(),
    }
}

pub(crate) fn protocol_name(number: u8) -> String {
    match number {
        protocol::TCP => "tcp".into(),
        protocol::UDP => "udp".into(),
        protocol::ICMP => "icmp".into(),
        protocol::ICMPV6 => "icmpv6".into(),
        other => other.to_string(),
    }
}
