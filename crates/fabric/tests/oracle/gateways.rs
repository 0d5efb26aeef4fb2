//! Internet, egress-only and NAT gateways.

use super::*;

impl Trip<'_> {
    fn has_gateway(&self, vpc: VpcId) -> Option<InternetGatewayId> {
        let mut igws = self.world.igws.values();
        igws.find(|g| g.vpc == Some(vpc)).map(|g| g.id)
    }

    /// The edge table's route for an address (semantics 14-19).
    fn edge(&self, igw: InternetGatewayId, addr: IpAddr) -> Option<RouteTarget> {
        let edge = AssociationTarget::InternetGateway(igw);
        let mut tables = self.world.tables.values();
        let table = tables.find(|t| t.associations.values().any(|a| *a == edge))?;
        Self::longest(table, addr)
    }

    /// The attached interface of a VPC that has an address.
    fn holder(&self, vpc: VpcId, addr: IpAddr) -> Option<&NetworkInterface> {
        let enis = self.world.enis.values();
        enis.filter(|e| e.vpc == vpc && self.attached(e))
            .find(|e| e.has_address(addr))
    }

    /// Out through an internet gateway.
    pub(super) fn outwards(&mut self, id: InternetGatewayId, sender: Option<EniId>) -> End {
        let vpc = self.world.igws.get(&id).and_then(|g| g.vpc);
        let vpc = vpc
            .and_then(|v| self.world.vpcs.get(&v))
            .ok_or(Stage::BlackholeRoute)?;
        let (src, dst) = (self.packet.src, self.packet.dst);
        if !vpc.contains(src) {
            return Err(Stage::SpoofedAtGateway);
        }
        self.outside(vpc, dst)?;
        let holder = self.holder(vpc.id, src).ok_or(Stage::IgwNoPublicAddress)?; // semantics 67
        let public = match src {
            IpAddr::V6(_) => src,
            IpAddr::V4(src) => {
                let mut own = holder.private_addresses.iter().filter(|a| a.ip == src);
                let public = own.find_map(|a| a.public).ok_or(Stage::IgwNoPublicAddress)?;
                IpAddr::V4(public.ip)
            }
        };
        if let Some(RouteTarget::NetworkInterface(appliance)) = self.edge(id, src)
            && sender != Some(appliance)
        {
            return Err(Stage::SpoofedAtGateway); // semantics 19
        }
        self.fits(1500)?; // semantics 76
        self.hop()?;
        self.packet.src = public; // semantics 66
        if let Some(quote) = &mut self.packet.quote
            && quote.dst == src
        {
            quote.dst = public;
        }
        self.turn_round()
    }

    /// semantics 68: what can be no destination outside.
    fn outside(&self, vpc: &Vpc, dst: IpAddr) -> Result<(), Stage> {
        if prefix("100.64.0.0/10").contains(dst) {
            return Err(Stage::SharedDstAtInternet);
        }
        // semantics 62: nor an address of the VPC's own.
        if is_private(dst) || vpc.contains(dst) {
            Err(Stage::PrivateDstAtInternet)
        } else {
            Ok(())
        }
    }

    /// Out through an egress-only gateway (semantics 75).
    pub(super) fn out_only(&mut self, id: EgressOnlyGatewayId) -> End {
        let vpc = self
            .world
            .eigws
            .get(&id)
            .and_then(|g| self.world.vpcs.get(&g.vpc));
        let vpc = vpc.ok_or(Stage::BlackholeRoute)?;
        // It has no public addresses to miss: who is not there has no business with it.
        self.holder(vpc.id, self.packet.src)
            .ok_or(Stage::SpoofedAtGateway)?;
        self.outside(vpc, self.packet.dst)?;
        self.fits(1500)?;
        self.hop()?;
        self.automatic = true;
        if !self.reminds(Owner::Gateway(id), true, Gateway) {
            self.remember(Owner::Gateway(id), true, Gateway)?;
        }
        self.turn_round()
    }

    /// Past a gateway: to the internet, or round to another address that is reached from there (semantics 71).
    fn turn_round(&mut self) -> End {
        self.identity = None;
        let dst = self.packet.dst;
        // An Elastic IP that stands for nothing is the region's all the same, and nowhere else.
        let elastic = |e: &ElasticIp| IpAddr::V4(e.public) == dst;
        let ours = self.known_outside(dst) || self.world.eips.values().any(elastic);
        if ours {
            self.legs += 1;
            self.inwards()
        } else {
            Ok((Port::Internet, self.packet))
        }
    }

    /// Whether an interface has this address for those outside.
    pub(super) fn known_outside(&self, addr: IpAddr) -> bool {
        self.world.enis.values().any(|e| is_known_as(e, addr))
    }

    /// In from outside.
    pub(super) fn inwards(&mut self) -> End {
        let world = self.world;
        let (src, dst) = (self.packet.src, self.packet.dst);
        let eni = world.enis.values().find(|e| is_known_as(e, dst));
        let eni = eni.ok_or(Stage::IgwUnknownPublicDestination)?;
        let igw = self.has_gateway(eni.vpc);
        let eigw = world.eigws.values().find(|g| g.vpc == eni.vpc).map(|g| g.id);
        // IPv6 comes by the way it goes: what the subnet answers through the egress-only gateway, that one judges,
        // also beside an internet gateway. (AWS does not tell how the two share a block.)
        let only = dst.is_ipv6()
            && eigw
                .is_some_and(|id| self.target(eni.subnet, src) == Some(RouteTarget::EgressOnlyGateway(id)));
        if let (Some(id), true) = (eigw, only) {
            self.automatic = true;
            if !self.answers(id) {
                return Err(Stage::EigwInbound); // semantics 75
            }
        } else if igw.is_none() {
            return Err(Stage::IgwUnknownPublicDestination);
        }
        if prefix("100.64.0.0/10").contains(src) || is_private(src) {
            return Err(Stage::PrivateSrcFromInternet); // semantics 68
        }
        if !self.attached(eni) {
            return Err(Stage::IgwUnknownPublicDestination); // semantics 69
        }
        self.fits(1500)?;
        self.hop()?;
        if let IpAddr::V4(public) = dst {
            let mut own = eni.private_addresses.iter();
            let own = own.find(|a| a.public.is_some_and(|p| p.ip == public));
            let private = own.map_or(dst, |a| IpAddr::V4(a.ip));
            self.packet.dst = private; // semantics 66
            if let Some(quote) = &mut self.packet.quote
                && quote.src == dst
            {
                quote.src = private;
            }
        }
        let next = match igw
            .filter(|_| !only)
            .and_then(|igw| self.edge(igw, self.packet.dst))
        {
            None | Some(RouteTarget::Local) => Next::Eni(eni.id),
            Some(target) => self.follow(eni.vpc, target)?,
        };
        if let Next::Eni(id) = next
            && dst.is_ipv4()
            && id != eni.id
        {
            // semantics 16
            let appliance = self.eni(id).into_iter().flat_map(|e| &e.private_addresses);
            if appliance.filter(|a| a.public.is_some()).count() == 0 {
                return Err(Stage::EdgeRtbNoPublicIp);
            }
        }
        self.arrive(None, None, next, false)
    }

    /// Whether an egress-only gateway knows what the packet, or the one that it quotes, belongs to.
    fn answers(&mut self, id: EgressOnlyGatewayId) -> bool {
        match self.packet.quote {
            Some(quote) if self.packet.is_icmp_error() => {
                let mut quoted = self.packet;
                (quoted.src, quoted.dst, quoted.protocol, quoted.l4) =
                    (quote.src, quote.dst, quote.protocol, quote.l4);
                let whole = std::mem::replace(&mut self.packet, quoted);
                let (key, now) = (self.key(true), self.now);
                self.packet = whole;
                let mut flows = self.memory.flows.iter();
                flows.any(|f| f.owner == Owner::Gateway(id) && Some(f.key) == key && f.deadline > now)
            }
            _ => self.reminds(Owner::Gateway(id), false, Gateway),
        }
    }

    /// At a NAT gateway, and on from there.
    pub(super) fn translate(&mut self, nat: &NatGateway, eni: &NetworkInterface, on_link: bool) -> End {
        let p = self.packet;
        let back = eni.has_address(p.dst);
        let vpc = self.world.vpcs.get(&nat.vpc);
        if !back && !on_link && !vpc.is_some_and(|v| v.contains(p.src)) {
            return Err(Stage::NatSourceOutsideVpc); // semantics 84
        }
        if !matches!(p.protocol, protocol::TCP | protocol::UDP | protocol::ICMP) || p.dst.is_ipv6() {
            return Err(Stage::NatUnsupportedProtocol); // semantics 78
        }
        if p.fragment.is_some() && p.protocol != protocol::UDP {
            return Err(Stage::NatFragment); // semantics 82
        }
        // A route leads to it (79); the link alone does not.
        if on_link && !back {
            return Err(Stage::NatNoMapping);
        }
        if !back {
            self.hop()?;
        }
        // An error is about a packet that went the other way.
        let about = p.quote.filter(|_| p.is_icmp_error());
        let (number, (near, far)) = match about {
            Some(q) => (q.protocol, ends(q.src, q.dst, q.l4, !back)),
            None => (p.protocol, ends(p.src, p.dst, p.l4, back)),
        };
        let now = self.now;
        let mut known = self.memory.maps.iter_mut().filter(|m| {
            let same = (m.gateway, m.protocol, m.remote) == (nat.id, number, far) && m.deadline > now;
            same && near == if back { m.outside } else { m.inside }
        });
        let map = match known.next() {
            // semantics 85: an identifier makes no answer of a question, nor the other way round.
            Some(_) if about.is_none() && p.protocol == protocol::ICMP && asks(&p) == back => {
                return Err(Stage::NatNoMapping);
            }
            Some(map) => {
                if about.is_none() {
                    map.deadline = now + 350_000; // semantics 81; an error is none of the connection's own packets
                }
                *map
            }
            // semantics 81, 85: nothing begins from outside, amid a connection, or with an error.
            None if back || about.is_some() || !begins(&p) => return Err(Stage::NatNoMapping),
            None => self.map(nat.id, number, near, eni.primary_ip().map(IpAddr::V4), far)?,
        };
        if back {
            self.hop()?;
        }
        self.effect()?;
        let (old, new) = if back {
            (map.outside, map.inside)
        } else {
            (map.inside, map.outside)
        };
        let p = &mut self.packet;
        *(if back { &mut p.dst } else { &mut p.src }) = new.0;
        match &mut p.quote {
            Some(quote) if about.is_some() => {
                let field = if back { &mut quote.src } else { &mut quote.dst };
                assert_eq!(*field, old.0);
                *field = new.0;
                set_port(&mut quote.l4, !back, new.1);
            }
            _ => set_port(&mut p.l4, back, new.1),
        }
        self.automatic = true;
        self.identity = None; // semantics 42
        let next = self.route(nat.subnet);
        let next = self.depart(nat.subnet, next)?;
        self.arrive(Some(nat.subnet), Some(eni.id), next, false)
    }

    /// A new mapping, by the port that the walk took.
    fn map(
        &mut self,
        gateway: NatGatewayId,
        protocol: u8,
        inside: Side,
        own: Option<IpAddr>,
        remote: Side,
    ) -> Result<Map, Stage> {
        let own = own.ok_or(Stage::NatNoMapping)?;
        let mut taken = self.taken.iter();
        let same = |m: &&Mapping| {
            m.protocol == protocol
                && (IpAddr::V4(m.inside), m.inside_port) == inside
                && IpAddr::V4(m.remote) == remote.0
                && m.remote_port == remote.1
        };
        let port = taken.find(same).map_or(0, |m| m.outside_port);
        let deadline = self.now + 350_000;
        let outside = (own, port);
        let map = Map {
            gateway,
            protocol,
            inside,
            outside,
            remote,
            deadline,
        };
        let mut others = self.memory.maps.iter().filter(|m| m.deadline > self.now);
        let key = |m: &Map| (m.gateway, m.protocol, m.outside, m.remote);
        // Port 0: the walk never came here, and its answer will be found to differ.
        if port != 0 && (port < 1024 || others.any(|m| key(m) == key(&map))) {
            self.memory.wrong_port.get_or_insert(map); // semantics 79
        }
        self.memory.maps.push(map);
        Ok(map)
    }
}

fn is_known_as(eni: &NetworkInterface, addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(addr) => {
            let mut publics = eni.private_addresses.iter().filter_map(|a| a.public);
            publics.any(|p| p.ip == addr)
        }
        IpAddr::V6(_) => eni.has_address(addr),
    }
}

/// The gateway's end of a packet and the far one; ICMP's far end has no port.
fn ends(src: IpAddr, dst: IpAddr, l4: L4, to_gateway: bool) -> (Side, Side) {
    let (s, d, far) = match l4 {
        L4::Ports { src, dst, .. } => (src, dst, if to_gateway { src } else { dst }),
        L4::Icmp { id, .. } => (id, id, 0),
        L4::Other => (0, 0, 0),
    };
    if to_gateway {
        ((dst, d), (src, far))
    } else {
        ((src, s), (dst, far))
    }
}

fn set_port(l4: &mut L4, destination: bool, port: u16) {
    match l4 {
        L4::Ports { dst, .. } if destination => *dst = port,
        L4::Ports { src, .. } => *src = port,
        L4::Icmp { id, .. } => *id = port,
        L4::Other => {}
    }
}
