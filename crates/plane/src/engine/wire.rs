//! The ways of packets to other hosts and from them.
//!
//! Each end does its part of a walk and commits its own effects (`fabric`'s `walk_here` and `arrive_here`). What comes from
//! another host is held against this host's own copy of the rows, and against where its sender is; no answer of an
//! earlier packet is given to it here: that is the kernel's.

use std::net::IpAddr;

use atoll_fabric::{
    Action, Component, FlowView, Outcome, Packet, Port, Recorder, Site, Stage, Tag, Wire, arrive_here, walk,
    walk_here,
};
use atoll_model::{EniId, Timestamp, VpcId};
use atoll_net::Mac;
use atoll_net::packet::{
    Frame, Transport, TransportChecksum, is_icmp_error, ndp, parse, quote, set_macs, tcp_flags,
};

use super::walk::describe;
use super::{Emission, Engine, Ip, Outbox, l4};
use crate::cache::{Key, Path};
use crate::elsewhere::{Incoming, Label, Seal, Tunnel, Vni};
use crate::port::{Attachment, PortSlot, Standing};
use crate::sys::ring::Received;
use crate::vnet::{self, Vnet};

/// Where a packet leaves.
pub(super) enum Exit {
    Port(Standing),
    /// By the VXLAN device, with what is to be around it.
    Tunnel(u32, Label, Seal),
}

impl Exit {
    pub(super) fn ifindex(&self) -> u32 {
        match self {
            Exit::Port(standing) => standing.ifindex,
            Exit::Tunnel(ifindex, ..) => *ifindex,
        }
    }

    pub(super) fn slot(&self) -> PortSlot {
        match self {
            Exit::Port(standing) => standing.slot,
            Exit::Tunnel(..) => PortSlot::ELSEWHERE,
        }
    }

    pub(super) fn label(&self) -> Option<Label> {
        match self {
            Exit::Port(_) => None,
            Exit::Tunnel(_, label, _) => Some(*label),
        }
    }

    /// The MAC addresses that a packet leaves with.
    pub(super) fn macs(&self, action: &Action) -> (Mac, Mac) {
        match self {
            Exit::Port(Standing {
                attachment: Attachment::Internet { router, station },
                ..
            }) => (*router, *station),
            _ => (action.src_mac, action.dst_mac),
        }
    }

    /// A frame to send there.
    pub(super) fn emit(&self, header: &[u8; vnet::LENGTH], frame: &[u8]) -> Emission {
        let data = match self {
            Exit::Port(_) => [&header[..], frame].concat(),
            Exit::Tunnel(_, label, seal) => label.put(*seal, header, frame),
        };
        Emission::Made {
            ifindex: self.ifindex(),
            data,
        }
    }
}

impl Engine {
    /// The way to other hosts is another one from now on, or there is none.
    pub fn set_tunnel(&mut self, tunnel: Option<Tunnel>) {
        if self.elsewhere.tunnel() != tunnel.as_ref() {
            self.elsewhere.set_tunnel(tunnel);
            self.ways_changed();
        }
    }

    /// The way to other hosts, if there is one.
    pub(crate) fn tunnel(&self) -> Option<&Tunnel> {
        self.elsewhere.tunnel()
    }

    /// A host's frames are taken from now on, or are not any more.
    pub fn set_host(&mut self, host: IpAddr, is_one: bool) {
        let Some(gone) = self.elsewhere.host(host, is_one) else {
            return;
        };
        for slot in gone {
            self.fragments.forget(slot);
        }
        if !is_one {
            self.misses.buckets.forget_host(host);
            self.answers.buckets.forget_host(host);
        }
        self.ways_changed();
    }

    /// Which network names a VPC.
    pub fn set_network(&mut self, vpc: VpcId, network: Option<Vni>) {
        let Some(gone) = self.elsewhere.network(vpc, network) else {
            return;
        };
        for slot in gone {
            self.fragments.forget(slot);
        }
        self.ways_changed();
    }

    /// Sites are on another host, or on this one: answers that depend on that are stale at once.
    pub fn place(&mut self, sites: &[(Site, Option<IpAddr>)]) {
        let mut moved = Vec::new();
        for (site, host) in sites {
            if self.elsewhere.place(*site, *host) {
                moved.push(*site);
            }
        }
        self.cells.bump(&atoll_fabric::Changed::of_sites(moved));
    }

    fn ways_changed(&mut self) {
        self.cache.forget_port(PortSlot::ELSEWHERE);
        self.cells.bump(&self.elsewhere.everything());
    }

    /// Walks a packet that a port of this host sends.
    #[inline]
    pub(crate) fn walk_from_here<V: FlowView, R: Recorder + ?Sized>(
        &self,
        flows: &V,
        packet: &Packet,
        now: Timestamp,
        recorder: &mut R,
    ) -> Outcome {
        if self.elsewhere.any() {
            walk_here(&self.fabric, flows, packet, now, recorder, &self.elsewhere)
        } else {
            walk(&self.fabric, flows, packet, now, recorder)
        }
    }

    /// Walks on what came from another host. `None` if it cannot be what it says any more.
    pub(crate) fn walk_from_elsewhere<R: Recorder + ?Sized>(
        &self,
        from: &Incoming,
        packet: &Packet,
        now: Timestamp,
        recorder: &mut R,
    ) -> Option<Outcome> {
        let macs = (packet.src_mac, packet.dst_mac, packet.src);
        let ends = self.fabric.ends(from.vpc, from.tag, macs).ok()?;
        let wire = self.fabric.wire(from.vpc, from.tag, &ends, packet);
        let mut outcome = arrive_here(&self.fabric, &self.flows, &wire, now, recorder, &self.elsewhere);
        outcome.dependencies.extend(&ends.dependencies());
        if let Some(site) = self.fabric.site(ends.to) {
            outcome.dependencies.add(Component::site(site));
        }
        Some(outcome)
    }

    /// What stands around the frames of a slot, if they come from another host.
    pub(crate) fn incoming(&self, slot: PortSlot) -> Option<Incoming> {
        let label = self.elsewhere.label_of(slot)?;
        Some(Incoming {
            vpc: self.elsewhere.vpc(label.network)?,
            tag: Tag::from_bits(label.tag)?,
            host: label.host,
            network: label.network,
        })
    }

    /// The ports that a packet between hosts comes from and goes to, by its MAC addresses and source on the wire.
    pub(crate) fn ports_of(&self, label: &Label, macs: (Mac, Mac), src: IpAddr) -> Option<(Port, Port)> {
        let (vpc, tag) = (self.elsewhere.vpc(label.network)?, Tag::from_bits(label.tag)?);
        let ends = self.fabric.ends(vpc, tag, (macs.0, macs.1, src)).ok()?;
        let to = match self.fabric.site(ends.to)? {
            Site::Interface(eni) => Port::Eni(eni),
            Site::Gateways => Port::Internet,
        };
        Some((ends.ingress(), to))
    }

    /// The keys of what answers a packet that left by a path, as sent: of another host's frames several are alike.
    pub(crate) fn replies(&self, path: &Path, sent: &Packet) -> Vec<Key> {
        let slots = match &path.tunnel {
            None => vec![path.out],
            Some(label) => self.elsewhere.slots(label.host, label.network),
        };
        slots.into_iter().map(|slot| Key::of_reply(slot, sent)).collect()
    }

    /// Where a packet leaves by the answer of a walk.
    pub(super) fn exit(&self, out: Port, onward: Option<&Wire>) -> Option<Exit> {
        let Some(wire) = onward else {
            return self.ports.named(out).copied().map(Exit::Port);
        };
        let host = self.elsewhere.host_of(self.fabric.site(wire.to)?)?;
        let label = Label {
            host: Some(host).filter(|host| self.elsewhere.is_host(*host))?,
            network: self.elsewhere.network_of(wire.vpc?)?,
            tag: wire.tag().bits(),
        };
        self.away(label)
    }

    fn away(&self, label: Label) -> Option<Exit> {
        Some(Exit::Tunnel(
            self.elsewhere.tunnel()?.ifindex,
            label,
            self.elsewhere.seal(),
        ))
    }

    /// That of this engine's labels.
    pub(crate) fn seal(&self) -> Seal {
        self.elsewhere.seal()
    }

    /// The slots that what answers may come in at.
    pub(super) fn slots_of(
        &self,
        out: Port,
        onward: Option<&Wire>,
    ) -> impl Iterator<Item = PortSlot> + use<> {
        let (one, more) = match self.exit(out, onward) {
            None => (None, Vec::new()),
            Some(Exit::Port(standing)) => (Some(standing.slot), Vec::new()),
            Some(Exit::Tunnel(_, label, _)) => (None, self.elsewhere.slots(label.host, label.network)),
        };
        one.into_iter().chain(more)
    }

    /// Where an answer to a packet from another host goes.
    pub(super) fn back_to(&self, from: &Incoming) -> Option<Exit> {
        let label = Label {
            host: from.host,
            network: from.network,
            tag: Tag::ANSWER.bits(),
        };
        self.away(label)
    }

    /// A frame that came in at no port: it may be from another host.
    #[cold]
    #[inline(never)]
    pub(super) fn receive_from_elsewhere(
        &mut self,
        now: Timestamp,
        inbound: &mut Received<'_>,
        index: usize,
        out: &mut Outbox,
    ) {
        let tunnel = self.elsewhere.tunnel();
        if tunnel.is_none_or(|tunnel| tunnel.ifindex != inbound.ifindex) {
            return;
        }
        self.counters.packets += 1;
        self.counters.bytes += inbound.data.len().saturating_sub(vnet::LENGTH + Label::LENGTH) as u64;
        self.counters.from_elsewhere += 1;
        let label = Some(&mut *inbound).filter(|inbound| !inbound.tagged && !inbound.truncated);
        let Some(label) = label.and_then(|inbound| Label::take(inbound.data, self.elsewhere.seal())) else {
            self.counters.wire_unknown += 1;
            return;
        };
        // What is sent on from where it lies begins behind the label.
        let data = std::mem::take(&mut inbound.data);
        inbound.data = data.get_mut(Label::LENGTH..).unwrap_or_default();
        let known = self.elsewhere.is_host(label.host);
        let from = self.elsewhere.vpc(label.network).filter(|_| known);
        let (Some(vpc), Some(tag)) = (from, Tag::from_bits(label.tag)) else {
            self.counters.wire_unknown += 1;
            return;
        };
        let from = Incoming {
            vpc,
            tag,
            host: label.host,
            network: label.network,
        };
        if tag == Tag::ANSWER {
            self.take_answer(&from, inbound.data, index, out);
        } else {
            self.take_in(now, &label, from, inbound.data, index, out);
        }
    }

    /// A packet on its way, of which another host has done the first part.
    fn take_in(
        &mut self,
        now: Timestamp,
        label: &Label,
        from: Incoming,
        data: &mut [u8],
        index: usize,
        out: &mut Outbox,
    ) {
        let Some((vnet, frame)) = Vnet::split(data) else {
            return;
        };
        let Ok(Frame::Ip(headers)) = parse(frame) else {
            self.counters.wire_unknown += 1;
            return;
        };
        let ends = self.fabric.ends(
            from.vpc,
            from.tag,
            (headers.src_mac, headers.dst_mac, headers.src),
        );
        // Whoever let it go is to be where it comes from, and where it goes, here.
        let ends = ends.ok().filter(|ends| {
            let to = self.fabric.site(ends.to);
            self.elsewhere.host_of(ends.origin()) == Some(from.host)
                && to.is_some_and(|to| self.elsewhere.host_of(to).is_none())
        });
        let (Some(ends), Some(tunnel)) = (ends, self.elsewhere.tunnel()) else {
            self.counters.wire_spoofed += 1;
            return;
        };
        let ifindex = tunnel.ifindex;
        let attachment = match ends.ingress() {
            Port::Eni(eni) => Attachment::Eni(eni),
            Port::Internet => Attachment::Internet {
                router: Mac::default(),
                station: Mac::default(),
            },
        };
        let offloads = vnet
            .offloads(&headers)
            .or_else(|_| super::finish_within(&vnet, &headers, data));
        let Ok(offloads) = offloads else {
            let drop = super::unread(attachment.port(), Stage::Malformed);
            return self.dropped(now, attachment.port(), None, &drop);
        };
        let frame = data.get(vnet::LENGTH..).unwrap_or_default();
        if ndp::parse(frame, &headers, offloads.checksum == TransportChecksum::Partial).is_some() {
            self.counters.neighbours_ignored += 1;
            return;
        }
        let slot = self.elsewhere.slot(label);
        let key = slot.and_then(|slot| Key::of_headers(slot, &headers));
        let ip = Ip {
            standing: Standing {
                slot: slot.unwrap_or(PortSlot::ELSEWHERE),
                ifindex,
                attachment,
            },
            from: Some(from),
            headers,
            offloads,
            key: key.map(|key| (key, self.cache.hash(&key))),
            found: None,
        };
        if headers.fragment.is_some() {
            return self.walk_fragment(now, &ip, data, index, out);
        }
        // As at a port: a flow that is known does not wait for its host's turn.
        let known = ip
            .key
            .is_some_and(|(key, hash)| self.cache.find(&key, hash).is_some());
        if !known && !self.misses.take(ip.sender(), now) {
            return self.refused(now, ends.ingress(), 1);
        }
        let packet = describe(&ip, frame, headers.protocol, l4(headers.transport));
        self.take_up_of(now, ip.standing.slot, &packet);
        self.walk_packet(now, &ip, &packet, data, Some(index), out);
    }

    /// What another host tells an interface about a packet of its own: the rules have let it pass there.
    fn take_answer(&mut self, from: &Incoming, data: &mut [u8], index: usize, out: &mut Outbox) {
        let Some((_, frame)) = Vnet::split(data) else {
            return;
        };
        let answer = match parse(frame) {
            Ok(Frame::Ip(headers)) => {
                let is_one = match headers.transport {
                    Transport::Icmp { kind, .. } => is_icmp_error(headers.protocol, kind),
                    Transport::Tcp { flags, .. } => flags & tcp_flags::RST != 0,
                    _ => false,
                };
                is_one.then_some(headers)
            }
            _ => None,
        };
        let to = answer.and_then(|headers| {
            let to = self.fabric.interface_with_mac(from.vpc, headers.dst_mac)?;
            // What it is about can be a packet of that interface's.
            let quoted = match headers.transport {
                Transport::Icmp { .. } => quote(frame, &headers)?.src == headers.dst,
                _ => true,
            };
            (quoted && self.fabric.may_send_as(to, headers.dst)).then_some(to)
        });
        let here =
            to.and_then(|to: EniId| Some((self.ports.named(Port::Eni(to))?.ifindex, self.fabric.link(to)?)));
        match here {
            Some((ifindex, link)) if set_macs(frame, link.router_mac, link.mac).is_ok() => {
                out.push(Emission::Received { ifindex, index });
            }
            _ => self.counters.wire_spoofed += 1,
        }
    }
}
