//! Internet, egress-only and NAT gateways.

use super::*;

impl Trip<'_> {
    /// Out through an internet gateway or an egress-only one (semantics 75).
    pub fn outwards(&mut self, gateway: To, vpc: Option<VpcId>, sender: Option<&NetworkInterface>) -> End {
        let (src, dst) = (self.packet.src, self.packet.dst);
        let vpc = &self.world.vpcs[&vpc.ok_or(Stage::BlackholeRoute)?];
        let enis = self.world.enis_in(vpc.id).filter(|e| is_attached(e));
        let public = enis.flat_map(names).find(|(private, _)| *private == src);
        let only = matches!(gateway, To::EgressOnlyGateway(_));
        // The egress-only one has no public addresses to miss: who is not there has no business with it.
        let inside = vpc.contains(src) && (!only || public.is_some());
        need(inside, Stage::SpoofedAtGateway)?;
        need(!within(dst, &SHARED), Stage::SharedDstAtInternet)?; // semantics 68
        let outside = !within(dst, &PRIVATE) && !vpc.contains(dst); // semantics 62, 68
        need(outside, Stage::PrivateDstAtInternet)?;
        let (_, public) = public.ok_or(Stage::IgwNoPublicAddress)?; // semantics 67
        if let To::InternetGateway(id) = gateway
            && let Some(To::NetworkInterface(appliance)) = longest(self.world.edge_table_of(id), src)
        {
            let by = sender.is_some_and(|sender| sender.id == appliance);
            need(by, Stage::SpoofedAtGateway)?; // semantics 19
        }
        self.fits(1500)?; // semantics 76
        self.hop()?;
        self.rewrite(true, (src, 0), (public, 0)); // semantics 66
        if only {
            self.automatic = true;
            self.goes_on(gateway, true, true);
        }
        self.identity = None;
        match self.is_ours(dst) {
            true => self.inwards(), // semantics 71
            false => Ok((Port::Internet, self.packet)),
        }
    }

    /// Whether outside an interface has this address, or it is an Elastic IP that stands for nothing.
    pub fn is_ours(&self, addr: IpAddr) -> bool {
        let mut elastic = self.world.eips.values();
        self.world.known_as(addr).is_some() || elastic.any(|e| IpAddr::V4(e.public) == addr)
    }

    /// In from outside.
    pub fn inwards(&mut self) -> End {
        let (world, src, dst) = (self.world, self.packet.src, self.packet.dst);
        let known = world.known_as(dst);
        let (eni, private) = known.ok_or(Stage::IgwUnknownPublicDestination)?;
        // IPv6 comes by the way it goes: what the subnet answers through the egress-only gateway, that one judges,
        // also beside an internet gateway. (AWS does not tell how the two share a block.)
        let mut igw = world.gateway_of(eni.vpc);
        match longest(world.table_of(eni.subnet), src) {
            Some(To::EgressOnlyGateway(id)) if dst.is_ipv6() && world.eigws.contains_key(&id) => {
                (self.automatic, igw) = (true, None);
                let owner = To::EgressOnlyGateway(id);
                let known = match quoted(&self.packet) {
                    Some(quoted) => self.known(owner, &quoted, true).is_some(),
                    None => self.goes_on(owner, false, false),
                };
                need(known, Stage::EigwInbound)?; // semantics 75
            }
            _ => need(igw.is_some(), Stage::IgwUnknownPublicDestination)?,
        }
        let local = within(src, &SHARED) || within(src, &PRIVATE);
        need(!local, Stage::PrivateSrcFromInternet)?; // semantics 68
        need(is_attached(eni), Stage::IgwUnknownPublicDestination)?; // semantics 69
        self.fits(1500)?;
        self.hop()?;
        self.rewrite(false, (dst, 0), (private, 0)); // semantics 66
        let next = match longest(igw.and_then(|g| world.edge_table_of(g.id)), private) {
            None | Some(To::Local) => To::NetworkInterface(eni.id),
            Some(target) => self.follow(eni.vpc, target)?,
        };
        if let (To::NetworkInterface(id), IpAddr::V4(_)) = (next, dst) {
            let public = names(&world.enis[&id]).any(|(_, public)| public.is_ipv4());
            need(public, Stage::EdgeRtbNoPublicIp)?; // semantics 16
        }
        self.arrive(None, next, false)
    }

    /// At a NAT gateway, and on from there.
    pub fn translate(&mut self, nat: &NatGateway, eni: &NetworkInterface, on_link: bool) -> End {
        let (p, now) = (self.packet, self.now);
        let back = eni.has_address(p.dst);
        let inside = self.world.vpcs[&nat.vpc].contains(p.src);
        need(back || on_link || inside, Stage::NatSourceOutsideVpc)?; // semantics 84
        let known = matches!(p.protocol, protocol::TCP | protocol::UDP | protocol::ICMP);
        need(known && p.dst.is_ipv4(), Stage::NatUnsupportedProtocol)?; // semantics 78
        let whole = p.fragment.is_none() || p.protocol == protocol::UDP;
        need(whole, Stage::NatFragment)?; // semantics 82
        need(back || !on_link, Stage::NatNoMapping)?; // a route leads to it (79); the link alone does not
        if !back {
            self.hop()?;
        }
        // An error is about a packet that went the other way.
        let error = quoted(&p);
        let wanted = ends(&error.unwrap_or(p), back == error.is_some());
        let maps = &mut self.memory.maps;
        maps.retain(|(.., deadline)| *deadline > now);
        let mut all = maps.iter();
        let known = all.position(|(id, m, ..)| *id == nat.id && mapped(m, back) == wanted);
        let (_, map, mut ended, deadline) = match known {
            Some(known) => maps.remove(known),
            // semantics 81, 85: nothing begins from outside, amid a connection, or with an error.
            None if !back && error.is_none() && begins(&p) => {
                let mut taken = self.taken.iter().filter(|m| Some(m.outside) == eni.primary_ip());
                // None where the walk saw a loop: a way that changes more than eight things.
                let none = [Stage::NatPortExhausted, Stage::RoutingLoop][usize::from(self.legs >= 8)];
                let mut new = *taken.find(|m| mapped(m, false) == wanted).ok_or(none)?;
                let mut others = maps.iter().filter(|(id, ..)| *id == nat.id);
                if new.outside_port < 1024 || others.any(|(_, m, ..)| mapped(m, true) == mapped(&new, true)) {
                    new.outside_port = 0; // semantics 79; the walk's answer will be found to differ
                }
                (nat.id, new, [false; 2], 0)
            }
            _ => return Err(Stage::NatNoMapping),
        };
        ended = if !back && begins(&p) { [false; 2] } else { ended };
        ended[usize::from(back)] |= says(&p, tcp::FIN);
        // By the minute AWS counts connections (80); it tells nothing about resets.
        let seconds = if ended == [true; 2] { 60 } else { 350 }; // semantics 81
        let idle = 1000 * if says(&p, tcp::RST) { 30 } else { seconds };
        let deadline = if error.is_some() { deadline } else { now + idle }; // an error is no sign of life
        maps.push((nat.id, map, ended, deadline));
        let (old, new) = (mapped(&map, back).1, mapped(&map, !back).1);
        if back {
            self.hop()?;
        }
        self.rewrite(!back, old, new);
        (self.automatic, self.identity) = (true, None); // semantics 45, 42
        let next = self.depart(nat.subnet, self.route(nat.subnet))?;
        self.arrive(Some(eni), next, false)
    }

    /// Writes another source or destination, and the opposite into what an error quotes; 0 leaves the port.
    fn rewrite(&mut self, source: bool, old: Side, new: Side) {
        let (error, p) = (self.packet.is_icmp_error(), &mut self.packet);
        *(if source { &mut p.src } else { &mut p.dst }) = new.0;
        let (l4, source) = match p.quote.as_mut().filter(|_| error) {
            Some(quote) => {
                let addr = if source { &mut quote.dst } else { &mut quote.src };
                *addr = if *addr == old.0 { new.0 } else { *addr };
                (&mut quote.l4, !source)
            }
            None => (&mut p.l4, source),
        };
        match l4 {
            _ if new.1 == 0 => {}
            L4::Ports { src, .. } if source => *src = new.1,
            L4::Ports { dst, .. } => *dst = new.1,
            L4::Icmp { id, .. } => *id = new.1,
            L4::Other => {}
        }
    }
}

/// semantics 68
const SHARED: [&str; 1] = ["100.64.0.0/10"];
const PRIVATE: [&str; 4] = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"];
