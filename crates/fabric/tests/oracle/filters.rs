//! Network ACLs, security groups, and the connections that they remember.

use super::*;

/// What is remembered of a connection.
#[derive(Clone, Copy, Default)]
pub struct Life {
    from_owner: bool,
    replied: bool,
    stream: bool,
    /// By the far side and by the owner; a reset closes both.
    closed: [bool; 2],
    deadline: u64,
}

impl Trip<'_> {
    /// semantics 22: in order of number, the first that matches decides; after the last one, deny.
    pub fn network_acl(&self, subnet: SubnetId, outgoing: bool) -> Go {
        let (acl, (_, _, (remote, _), _)) = (self.world.acl_of(subnet), ends(&self.packet, outgoing));
        let (rules, denied) = match outgoing {
            true => (&acl.egress, Stage::NaclEgress),
            false => (&acl.ingress, Stage::NaclIngress),
        };
        let mut matching = rules.values().filter(|r| matches(r.traffic, &self.packet));
        let first = matching.find(|r| r.cidr.contains(remote));
        need(first.is_some_and(|rule| rule.action == RuleAction::Allow), denied)
    }

    pub fn security_groups(&mut self, eni: &NetworkInterface, outgoing: bool) -> Go {
        let owner = To::NetworkInterface(eni.id);
        if self.goes_on(owner, outgoing, false) {
            return Ok(()); // semantics 43
        }
        let (one, other, denied) = match outgoing {
            true => (Direction::Egress, Direction::Ingress, Stage::SecurityGroupEgress),
            false => (Direction::Ingress, Direction::Egress, Stage::SecurityGroupIngress),
        };
        let rules = self.world.rules_of(eni, one);
        need(!rules.is_empty(), Stage::SecurityGroupEmpty)?;
        let mut matching = rules.iter().filter(|r| matches(r.traffic, &self.packet));
        need(matching.any(|r| self.is_peer(eni, r.peer, outgoing)), denied)?;
        if self.automatic || !self.open_both_ways(eni, one, other) {
            self.goes_on(owner, outgoing, true);
        }
        Ok(())
    }

    /// Whether a rule is about the far side.
    fn is_peer(&self, eni: &NetworkInterface, peer: Peer, outgoing: bool) -> bool {
        let (_, _, (remote, _), _) = ends(&self.packet, outgoing);
        let mut holders = self.world.enis_in(eni.vpc).filter(|e| e.has_address(remote));
        match peer {
            Peer::Cidr { block } => block.contains(remote),
            // semantics 38: private addresses of members; 21, 42: and, of a source, nothing stood between.
            Peer::Group { id, .. } => {
                holders.any(|e| e.groups.contains(&id) && (outgoing || self.identity == Some(e.id)))
            }
            Peer::PrefixList { .. } => false,
        }
    }

    /// semantics 44: TCP and UDP allowed from everywhere, while the other direction allows everything, are not
    /// tracked; nor are their answers, which look the same the other way round.
    fn open_both_ways(&self, eni: &NetworkInterface, one: Direction, other: Direction) -> bool {
        let (p, mut answer) = (self.packet, self.packet);
        match &mut answer.l4 {
            L4::Ports { src, dst, .. } => std::mem::swap(src, dst),
            _ => return false,
        }
        let everyone = |peer| matches!(peer, Peer::Cidr { block } if block.is_all() && block.contains(p.src));
        let allowed = |direction, l4| {
            let rules = self.world.rules_of(eni, direction);
            let mut open = rules.iter().filter(|r| everyone(r.peer));
            open.any(|r| matches(r.traffic, &Packet { l4, ..p }))
        };
        (allowed(one, p.l4) && allowed(other, L4::Other))
            || (allowed(other, answer.l4) && allowed(one, L4::Other))
    }

    /// What an owner remembers of a packet's connection; nothing of what answers to nothing.
    pub fn known(&self, owner: To, p: &Packet, outgoing: bool) -> Option<Life> {
        let life = self.memory.flows.get(&(owner, ends(p, outgoing)))?;
        (life.deadline > self.now && !p.is_icmp_error()).then_some(*life)
    }

    /// Whether the packet belongs to a connection that its owner knows, or that may be new: it goes on.
    pub fn goes_on(&mut self, owner: To, outgoing: bool, new: bool) -> bool {
        let p = self.packet;
        let known = self.known(owner, &p, outgoing);
        // A new connection may take the ports of one that is over.
        let known = known.filter(|life| life.closed != [true; 2] || !begins(&p));
        if p.is_icmp_error() || (known.is_none() && !new) {
            return false;
        }
        let mut life = known.unwrap_or_default();
        life.from_owner = known.map_or(outgoing, |life| life.from_owner);
        life.stream |= life.replied && outgoing == life.from_owner;
        life.replied |= outgoing != life.from_owner;
        let reset = says(&p, tcp::RST);
        life.closed[usize::from(outgoing)] |= reset || says(&p, tcp::FIN);
        life.closed[usize::from(!outgoing)] |= reset;
        let mut enis = self.world.enis.values();
        let eni = enis.find(|e| owner == To::NetworkInterface(e.id));
        let own = eni.map(|e| e.connection_tracking);
        let seconds = match (p.protocol, own) {
            // AWS tells no time for connections before the answer and after the end: a minute here.
            (protocol::TCP, _) if !life.replied || life.closed == [true; 2] => 60,
            (protocol::TCP | protocol::UDP, None) => 350, // AWS tells nothing: as a NAT gateway (81)
            (protocol::TCP, Some(own)) => own.tcp_established.unwrap_or(432_000), // semantics 46
            (protocol::UDP, Some(own)) if life.stream => own.udp_stream.unwrap_or(180),
            (protocol::UDP, Some(own)) => own.udp_timeout.unwrap_or(30),
            (protocol::ICMP | protocol::ICMPV6, _) => 30, // AWS tells none: as a single exchange of UDP
            _ => 600,                                     // semantics 47
        };
        life.deadline = self.now + 1000 * u64::from(seconds);
        self.memory.flows.insert((owner, ends(&p, outgoing)), life);
        true
    }
}

/// Whether a rule's protocol part is about the packet. Without ports only rules about every port are.
fn matches(traffic: Traffic, p: &Packet) -> bool {
    match (traffic, p.protocol) {
        (Traffic::All, _) => true,
        (Traffic::Other { number }, protocol) => number == protocol,
        (Traffic::Tcp { ports }, protocol::TCP) | (Traffic::Udp { ports }, protocol::UDP) => match p.l4 {
            L4::Ports { dst, .. } => ports.contains(dst),
            _ => ports.is_all(),
        },
        (Traffic::Icmp { icmp }, protocol::ICMP) | (Traffic::Icmpv6 { icmp }, protocol::ICMPV6) => {
            match p.l4 {
                L4::Icmp { kind, code, .. } => icmp.matches(kind, code), // semantics 50
                _ => icmp == IcmpMatch::ANY,
            }
        }
        _ => false,
    }
}
