//! What the sender of a dropped packet gets to know: ICMP errors and TCP resets, as far as the rules let them
//! through to it (semantics 31, 51, 81); what is too long between hosts in any case.

use std::net::IpAddr;

use atoll_model::{Direction, SubnetId};
use atoll_net::Family;

use crate::flows::FlowView;
use crate::journey::Journey;
use crate::outcome::Answer;
use crate::packet::{L4, Packet, Port, protocol, tcp};
use crate::trace::Recorder;

impl<'a, V: FlowView + ?Sized, R: Recorder + ?Sized> Journey<'a, V, R> {
    /// ICMP's "fragmentation needed", ICMPv6's "packet too big" (semantics 129, 130).
    pub(crate) fn too_big(&self, mtu: u32) -> Option<Answer> {
        let from = self.error_may_come_from((3, 4), (2, 0))?;
        Some(Answer::TooBig { from, mtu })
    }

    /// The same of the way between two hosts, whatever ACL and groups let in: a VPC takes 9001 bytes everywhere (semantics
    /// 129), so nobody's rules provide for less, and what works on one host would stand still between two.
    pub(crate) fn too_big_for_hosts(&self, mtu: u32) -> Option<Answer> {
        if self.gets_no_error() {
            return None;
        }
        let from = match self.original.ingress {
            Port::Internet => self.original.dst,
            Port::Eni(id) => {
                let interface = self.fabric.interfaces.get(id)?;
                let subnet = self.fabric.subnets.get(&interface.subnet)?;
                subnet.router(self.original.family())?
            }
        };
        Some(Answer::TooBig { from, mtu })
    }

    /// Whether it is one of those about which nobody is told (RFC 1122, 3.2.2).
    fn gets_no_error(&self) -> bool {
        self.original.is_icmp_error() || self.original.fragment.is_some_and(|f| f.offset > 0)
    }

    /// ICMP's and ICMPv6's "time exceeded in transit".
    pub(crate) fn time_exceeded(&self) -> Option<Answer> {
        let from = self.error_may_come_from((11, 0), (3, 0))?;
        Some(Answer::TimeExceeded { from })
    }

    /// Whom an error comes from, by family its type and code, if the sender's ACL and groups let it in.
    fn error_may_come_from(&self, v4: (u8, u8), v6: (u8, u8)) -> Option<IpAddr> {
        let original = self.original;
        if self.gets_no_error() {
            return None;
        }
        let Port::Eni(id) = original.ingress else {
            return Some(original.dst);
        };
        let interface = self.fabric.interfaces.get(id)?;
        let subnet = self.fabric.subnets.get(&interface.subnet)?;
        let from = subnet.router(original.family())?;
        let (icmp, (kind, code)) = match original.family() {
            Family::V4 => (protocol::ICMP, v4),
            Family::V6 => (protocol::ICMPV6, v6),
        };
        let key = Some(u16::from(kind) << 8 | u16::from(code));
        let acl = self.fabric.acls.get(&subnet.acl?)?;
        let (ingress, _) = self.fabric.sets.get(interface.set)?.sides(Direction::Ingress);
        let passes = acl.judge(Direction::Ingress, from, icmp, key).0
            && ingress.allows_address(from, icmp, key).is_some();
        passes.then_some(from)
    }

    /// A reset for a TCP packet whose connection a gateway of that subnet has forgotten: a reply on a connection
    /// that the sender's interface still tracks, so only the ACLs on the way can stop it (semantics 81, 83).
    pub(crate) fn reset(&self, gateway: SubnetId) -> Option<Answer> {
        let packet: &Packet = &self.packet;
        let L4::Ports { src, tcp_flags, .. } = packet.l4 else {
            return None;
        };
        if packet.protocol != protocol::TCP || tcp_flags & tcp::RST != 0 {
            return None;
        }
        let Port::Eni(id) = self.original.ingress else {
            return None;
        };
        let home = self.fabric.interfaces.get(id)?.subnet;
        if home == gateway {
            return Some(Answer::Reset); // semantics 23
        }
        let judge = |subnet: SubnetId, direction: Direction, far: IpAddr| {
            let acl = self.fabric.subnets.get(&subnet).and_then(|s| s.acl)?;
            let acl = self.fabric.acls.get(&acl)?;
            acl.judge(direction, far, protocol::TCP, Some(src))
                .0
                .then_some(())
        };
        judge(gateway, Direction::Egress, packet.src)?;
        judge(home, Direction::Ingress, packet.dst)?;
        Some(Answer::Reset)
    }
}
