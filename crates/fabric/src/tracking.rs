//! Connection tracking: what belongs to which connection, how its state goes on, how long it is remembered
//! (semantics 43-49).
//!
//! Only pure rules; the state itself is kept in [`crate::flows`].

use atoll_model::network_interface::ConnectionTracking;
use atoll_model::{EniId, Timestamp};

use crate::fabric::Fabric;
use crate::flows::{FlowKey, FlowView, State};
use crate::packet::{L4, Packet, protocol, tcp};

/// Idle times after which connections are forgotten, in milliseconds (semantics 46).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timeouts {
    pub(crate) tcp_established: u32,
    pub(crate) udp_stream: u32,
    pub(crate) udp: u32,
}

/// TCP before the answer, and after both sides or a reset have ended it: not documented by AWS.
const TCP_TRANSIENT: u32 = 60_000;
/// ICMP queries: not documented by AWS; as for a single UDP exchange.
const ICMP: u32 = 30_000;
/// Protocols known by number only (semantics 47).
const OTHER: u32 = 600_000;
/// A gateway's memory of a connection (semantics 81).
pub(crate) const GATEWAY: u32 = atoll_model::nat_gateway::IDLE_SECONDS * 1000;
/// For how long a NAT gateway keeps the port of a connection that both sides have ended: last acknowledgements and FINs
/// that are sent again find their way, and nobody else gets the port meanwhile. The minute by which AWS counts (semantics
/// 80), and for which an operating system keeps the addresses of such a connection to itself.
const NAT_FINISHED: u32 = 60_000;
/// The same after a reset, which nobody repeats and nobody answers: only what was on its way then may still come. Long
/// enough that no answer from before is given any more.
const NAT_RESET: u32 = HOLD_MOST;

/// The longest that an answer is given without a walk, in milliseconds: well below every timeout.
pub(crate) const HOLD_MOST: u32 = 30_000;
/// How long an answer is given while its connection is young, or dropped for want of one.
pub(crate) const HOLD_SHORT: u32 = 1_000;

impl Timeouts {
    pub(crate) fn new(configured: &ConnectionTracking) -> Timeouts {
        let millis = |seconds: Option<u32>, default: u32, from: u32, to: u32| {
            seconds.unwrap_or(default).clamp(from, to) * 1000
        };
        Timeouts {
            tcp_established: millis(configured.tcp_established, 432_000, 60, 432_000),
            udp_stream: millis(configured.udp_stream, 180, 60, 180),
            udp: millis(configured.udp_timeout, 30, 30, 60),
        }
    }

    /// An egress-only gateway's: it forgets as a NAT gateway does.
    pub(crate) const OF_GATEWAY: Timeouts = Timeouts {
        tcp_established: GATEWAY,
        udp_stream: GATEWAY,
        udp: GATEWAY,
    };
}

/// An ICMP query type that has answers: which query, and whether this is the question.
pub(crate) fn icmp_query(packet_protocol: u8, kind: u8) -> Option<(u16, bool)> {
    match (packet_protocol, kind) {
        (protocol::ICMP, 8) => Some((1, true)),
        (protocol::ICMP, 0) => Some((1, false)),
        (protocol::ICMP, 13) => Some((2, true)),
        (protocol::ICMP, 14) => Some((2, false)),
        (protocol::ICMPV6, 128) => Some((3, true)),
        (protocol::ICMPV6, 129) => Some((3, false)),
        _ => None,
    }
}

/// The connection that a packet belongs to, as seen by the owner that it leaves (`outbound`) or reaches; `None`
/// for what is never part of one: ICMP errors need a rule of their own (semantics 51), and so do fragments
/// without ports.
pub(crate) fn flow_key(packet: &Packet, outbound: bool) -> Option<FlowKey> {
    let (local, remote) = if outbound {
        (packet.src, packet.dst)
    } else {
        (packet.dst, packet.src)
    };
    let (local_port, remote_port) = match (packet.protocol, packet.l4) {
        (protocol::TCP | protocol::UDP, L4::Ports { src, dst, .. }) => {
            if outbound {
                (src, dst)
            } else {
                (dst, src)
            }
        }
        (protocol::ICMP | protocol::ICMPV6, L4::Icmp { kind, id, .. }) => {
            let (query, asks) = icmp_query(packet.protocol, kind)?;
            // Both sides may ask under one identifier: who asks is part of the key.
            (id, query << 1 | u16::from(asks == outbound))
        }
        (protocol::TCP | protocol::UDP | protocol::ICMP | protocol::ICMPV6, _) => return None,
        _ => (0, 0),
    };
    Some(FlowKey {
        local,
        remote,
        protocol: packet.protocol,
        local_port,
        remote_port,
    })
}

impl Fabric {
    /// What an interface knows of the connection of a packet that leaves (`outbound`) or reaches it; `None` if it is not
    /// tracked there.
    pub fn tracked(
        &self,
        flows: &impl FlowView,
        eni: EniId,
        packet: &Packet,
        outbound: bool,
        now: Timestamp,
    ) -> Option<State> {
        let owner = self.interfaces.get(eni)?.slot;
        flows.tracked(owner, &flow_key(packet, outbound)?, now)
    }
}

/// What a packet of TCP says; nothing of any other.
pub(crate) fn flags(packet: &Packet) -> u8 {
    match packet.l4 {
        L4::Ports { tcp_flags, .. } if packet.protocol == protocol::TCP => tcp_flags,
        _ => 0,
    }
}

/// Whether a packet begins a TCP connection.
pub(crate) fn is_opening(packet: &Packet) -> bool {
    opens(flags(packet))
}

fn opens(flags: u8) -> bool {
    flags & (tcp::SYN | tcp::ACK) == tcp::SYN
}

/// The state after a connection's first packet, which says this.
pub(crate) fn begun(flags: u8, outbound: bool) -> State {
    after(
        State(if outbound { State::FROM_OWNER } else { 0 }),
        flags,
        outbound,
    )
}

/// The state after one more packet of a connection, which says this; `None` when the packet begins another one where a
/// finished one was.
pub(crate) fn continued(state: State, flags: u8, outbound: bool) -> Option<State> {
    if state.is_closed() && opens(flags) {
        return None;
    }
    let from_first = outbound == state.has(State::FROM_OWNER);
    let mut next = state;
    if !from_first {
        next.0 |= State::REPLIED;
    } else if state.has(State::REPLIED) {
        next.0 |= State::STREAM;
    }
    Some(after(next, flags, outbound))
}

fn after(mut state: State, flags: u8, outbound: bool) -> State {
    if flags & tcp::RST != 0 {
        state.0 |= State::RESET;
    }
    if flags & tcp::FIN != 0 {
        state.0 |= if outbound { State::FIN_OUT } else { State::FIN_IN };
    }
    state
}

/// The state of a NAT gateway's mapping after one more packet, which says this. The gateway does not know which packets the ends take for
/// theirs: a reset that neither has believed is one that others follow, and then the connection lives.
pub(crate) fn mapping_after(state: State, flags: u8, outbound: bool) -> State {
    let begins = outbound && opens(flags);
    let said = if begins { 0 } else { state.0 };
    after(State(said & (State::FIN_IN | State::FIN_OUT)), flags, outbound)
}

/// Idle time after which a mapping in that state is forgotten, in milliseconds (semantics 81).
pub(crate) fn mapping_timeout(state: State) -> u32 {
    if state.has(State::RESET) {
        NAT_RESET
    } else if state.is_closed() {
        NAT_FINISHED
    } else {
        GATEWAY
    }
}

/// Idle time after which a connection in that state is forgotten, in milliseconds.
pub(crate) fn timeout(packet_protocol: u8, state: State, timeouts: &Timeouts) -> u32 {
    match packet_protocol {
        protocol::TCP if state.is_closed() || !state.has(State::REPLIED) => TCP_TRANSIENT,
        protocol::TCP => timeouts.tcp_established,
        protocol::UDP if state.has(State::STREAM) => timeouts.udp_stream,
        protocol::UDP => timeouts.udp,
        protocol::ICMP | protocol::ICMPV6 => ICMP,
        _ => OTHER,
    }
}

/// For how long an answer may be given to later packets of a connection in that state, in milliseconds: not
/// while the next packet changes its state.
pub(crate) fn hold(packet_protocol: u8, state: State, known: bool, timeouts: &Timeouts) -> u32 {
    let settled = || (timeout(packet_protocol, state, timeouts) / 8).min(HOLD_MOST);
    match packet_protocol {
        protocol::TCP if state.is_closed() => 0,
        protocol::TCP if state.has(State::REPLIED) => settled(),
        // A datagram that begins, or follows an answer, may make an exchange or a stream of it (semantics 46).
        protocol::UDP if state.has(State::STREAM) => settled(),
        protocol::UDP if !known || state.has(State::REPLIED) => 0,
        protocol::TCP | protocol::UDP | protocol::ICMP | protocol::ICMPV6 => HOLD_SHORT,
        _ => settled(),
    }
}
