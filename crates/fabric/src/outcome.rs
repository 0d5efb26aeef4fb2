//! What a walk answers.

use std::net::IpAddr;

use atoll_net::Mac;

use crate::component::Dependencies;
use crate::flows::Effects;
use crate::packet::{L4, Packet, Port};
use crate::stage::Stage;
use crate::trace::{Place, RuleRef};
use crate::wire::Wire;

/// Longest IP packet inside a VPC, in bytes (semantics 129).
pub const MTU_INSIDE: u32 = 9001;
/// Longest IP packet through an internet gateway, in bytes (semantics 76).
pub const MTU_INTERNET: u32 = 1500;

/// New header fields; `None` leaves a field as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rewrite {
    /// Source address.
    pub src: Option<IpAddr>,
    /// Destination address.
    pub dst: Option<IpAddr>,
    /// Source port; for ICMP queries and answers, [`Rewrite::icmp_id`] instead.
    pub src_port: Option<u16>,
    /// Destination port.
    pub dst_port: Option<u16>,
    /// ICMP identifier.
    pub icmp_id: Option<u16>,
}

impl Rewrite {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        *self == Rewrite::default()
    }

    /// What turns one packet's addresses and ports into another's.
    pub(crate) fn between(
        (src0, dst0, l40): (IpAddr, IpAddr, L4),
        (src1, dst1, l41): (IpAddr, IpAddr, L4),
    ) -> Rewrite {
        let changed = |a: IpAddr, b: IpAddr| (a != b).then_some(b);
        let mut rewrite = Rewrite {
            src: changed(src0, src1),
            dst: changed(dst0, dst1),
            ..Rewrite::default()
        };
        match (l40, l41) {
            (L4::Ports { src: s0, dst: d0, .. }, L4::Ports { src: s1, dst: d1, .. }) => {
                rewrite.src_port = (s0 != s1).then_some(s1);
                rewrite.dst_port = (d0 != d1).then_some(d1);
            }
            (L4::Icmp { id: i0, .. }, L4::Icmp { id: i1, .. }) => {
                rewrite.icmp_id = (i0 != i1).then_some(i1);
            }
            _ => {}
        }
        rewrite
    }
}

/// How to forward a packet, and the later ones of its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Action {
    /// Where it goes out.
    pub out: Port,
    /// Source MAC to write: the router's of the receiving subnet, or the sender's on the link. Zero towards
    /// [`Port::Internet`], whose MACs are the data plane's own matter.
    pub src_mac: Mac,
    /// Destination MAC to write: the receiving interface's; zero towards [`Port::Internet`].
    pub dst_mac: Mac,
    /// The header's changes.
    pub rewrite: Rewrite,
    /// Of an ICMP error: the quoted header's changes (and with them the quoted checksums').
    pub quote: Rewrite,
    /// By how much hop limit or TTL falls. A packet with no more than that must be walked, not forwarded.
    pub hop_limit_decrement: u8,
    /// Longest IP packet that the path takes, in bytes. A longer one ([`Packet::length`]) of IPv4 without DF is
    /// to be fragmented to it by the data plane; one with DF, or IPv6, must be walked, which answers
    /// `mtu-exceeded` (semantics 129, 130).
    pub mtu: u32,
    /// The largest MSS a SYN may announce, where the path clamps it.
    pub clamp_mss: Option<u16>,
}

/// What is sent back to the sender of a dropped packet. The rules have already let it pass (semantics 31, 51):
/// it is to be delivered as it stands, to [`Packet::ingress`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// ICMP 3/4 or ICMPv6 type 2, with the MTU in bytes.
    TooBig {
        /// Whom it comes from.
        from: IpAddr,
        /// What would fit.
        mtu: u32,
    },
    /// ICMP 11/0 or ICMPv6 3/0.
    TimeExceeded {
        /// Whom it comes from.
        from: IpAddr,
    },
    /// A TCP reset that seems to come from the packet's destination (semantics 81).
    Reset,
}

/// Why a packet ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Drop {
    /// The check.
    pub stage: Stage,
    /// The component.
    pub at: Place,
    /// Its rule, where one decided.
    pub rule: Option<RuleRef>,
    /// What the sender gets to know.
    pub answer: Option<Answer>,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It goes on.
    Forward(Action),
    /// It ends.
    Drop(Drop),
}

/// What a walk answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// What becomes of the packet.
    pub verdict: Verdict,
    /// What changes in the flows' state. To be committed whatever the verdict: what a packet did on earlier legs
    /// before it was dropped stays done, as it would on another host. The first leg counts as a whole: what its
    /// groups let out, and its own subnet's ACL or route then drops, neither begins nor refreshes a connection of
    /// the sender's.
    pub effects: Effects,
    /// Every component consulted, absence included: the answer holds until one of them changes.
    pub dependencies: Dependencies,
    /// For how many milliseconds the answer may be given to later packets of the same flow before one must be
    /// walked again (which refreshes the flow's state); 0: not at all. Give [`crate::Flows::commit`] the time
    /// for which it is really kept, and [`crate::Cells::begin`] what is committed.
    pub hold: u32,
    /// Where the way goes on at another host: what to send there, by the verdict's action, whose MACs are the wire's. `None`
    /// where it ends here.
    pub onward: Option<Box<Wire>>,
}

impl Outcome {
    /// Whether the answer holds for later packets of the same flow (port, MACs, addresses, protocol, ports or
    /// ICMP type, code and id).
    pub fn cacheable(&self) -> bool {
        self.hold > 0
    }

    /// How it ended.
    pub fn stage(&self) -> Stage {
        match &self.verdict {
            Verdict::Drop(drop) => drop.stage,
            Verdict::Forward(Action {
                out: Port::Internet, ..
            }) => Stage::ExitsToInternet,
            Verdict::Forward(_) => Stage::Delivered,
        }
    }

    /// The packet as it goes out; `None` when dropped. (Its MACs are the action's.)
    pub fn forwarded(&self, packet: &Packet) -> Option<Packet> {
        let Verdict::Forward(action) = &self.verdict else {
            return None;
        };
        let mut out = *packet;
        out.src_mac = action.src_mac;
        out.dst_mac = action.dst_mac;
        out.hop_limit = packet.hop_limit.saturating_sub(action.hop_limit_decrement);
        rewritten(&action.rewrite, &mut out.src, &mut out.dst, &mut out.l4);
        if let Some(quote) = &mut out.quote {
            rewritten(&action.quote, &mut quote.src, &mut quote.dst, &mut quote.l4);
        }
        Some(out)
    }
}

fn rewritten(rewrite: &Rewrite, src: &mut IpAddr, dst: &mut IpAddr, l4: &mut L4) {
    *src = rewrite.src.unwrap_or(*src);
    *dst = rewrite.dst.unwrap_or(*dst);
    match l4 {
        L4::Ports { src, dst, .. } => {
            *src = rewrite.src_port.unwrap_or(*src);
            *dst = rewrite.dst_port.unwrap_or(*dst);
        }
        L4::Icmp { id, .. } => *id = rewrite.icmp_id.unwrap_or(*id),
        L4::Other => {}
    }
}
