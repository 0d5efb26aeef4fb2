//! Where a packet's way ended, and why: a closed list.

use std::fmt;

macro_rules! stages {
    ($($(#[$meta:meta])* $variant:ident = $text:literal,)+) => {
        /// The check that dropped a packet, or how it arrived. The list is closed: tools match on its texts.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Stage { $($(#[$meta])* $variant),+ }

        impl Stage {
            /// Every stage, in the list's order.
            pub const ALL: &'static [Stage] = &[$(Stage::$variant),+];

            /// Its name.
            pub fn as_str(self) -> &'static str {
                match self { $(Stage::$variant => $text),+ }
            }
        }
    };
}

stages! {
    /// No ingress rule of the interface's groups matches.
    SecurityGroupIngress = "security-group-ingress",
    /// No egress rule of the interface's groups matches.
    SecurityGroupEgress = "security-group-egress",
    /// The interface's groups have no rule at all for that direction.
    SecurityGroupEmpty = "security-group-empty",
    /// The network ACL denies what enters the subnet.
    NaclIngress = "nacl-ingress",
    /// The network ACL denies what leaves the subnet.
    NaclEgress = "nacl-egress",
    /// The route table has no route to the destination.
    NoRoute = "no-route",
    /// The route's target is gone, detached or not running.
    BlackholeRoute = "blackhole-route",
    /// Foreign source leaving, or foreign destination reaching, an interface that checks (semantics 65).
    SourceDestCheck = "source-dest-check",
    /// The frame's source MAC is not the interface's.
    MacSpoofed = "mac-spoofed",
    /// Nothing has the destination address (or MAC, on the link).
    NoSuchAddress = "no-such-address",
    /// Multicast or broadcast (semantics 61).
    Multicast = "multicast",
    /// A link-local destination that nothing serves.
    LinkLocalRange = "link-local-range",
    /// The source has no public address at the internet gateway (semantics 67).
    IgwNoPublicAddress = "igw-no-public-address",
    /// No attached interface has the public address (semantics 69).
    IgwUnknownPublicDestination = "igw-unknown-public-destination",
    /// Unsolicited at an egress-only gateway (semantics 75).
    EigwInbound = "eigw-inbound",
    /// A private destination at an internet gateway (semantics 68).
    PrivateDstAtInternet = "private-dst-at-internet",
    /// A private or shared source from the internet (semantics 68).
    PrivateSrcFromInternet = "private-src-from-internet",
    /// A 100.64.0.0/10 destination at an internet gateway (semantics 68).
    SharedDstAtInternet = "shared-dst-at-internet",
    /// A source that cannot come from that side of the gateway.
    SpoofedAtGateway = "spoofed-at-gateway",
    /// An edge route to an interface without a public address (semantics 16).
    EdgeRtbNoPublicIp = "edge-rtb-no-public-ip",
    /// A NAT gateway serves only its own VPC (semantics 84).
    NatSourceOutsideVpc = "nat-source-outside-vpc",
    /// A NAT gateway knows TCP, UDP and ICMP only (semantics 78).
    NatUnsupportedProtocol = "nat-unsupported-protocol",
    /// No port is left for that destination (semantics 80).
    NatPortExhausted = "nat-port-exhausted",
    /// No mapping: unsolicited, or idle too long (semantics 81, 85).
    NatNoMapping = "nat-no-mapping",
    /// A fragment that is not UDP's at a NAT gateway (semantics 82).
    NatFragment = "nat-fragment",
    /// Reserved for peering.
    PeeringAddressOutsidePeer = "peering-address-outside-peer",
    /// Reserved for transit gateways.
    TgwNoAssociation = "tgw-no-association",
    /// Reserved for transit gateways.
    TgwNoRoute = "tgw-no-route",
    /// Reserved for transit gateways.
    TgwBlackhole = "tgw-blackhole",
    /// Reserved for transit gateways.
    TgwAzNotAttached = "tgw-az-not-attached",
    /// Reserved for virtual private gateways.
    VgwSourceNotEni = "vgw-source-not-eni",
    /// Reserved for gateway endpoints.
    GatewayEndpointProtocol = "gateway-endpoint-protocol",
    /// Reserved for gateway endpoints.
    GatewayEndpointSource = "gateway-endpoint-source",
    /// Reserved for interface endpoints.
    EndpointCannotInitiate = "endpoint-cannot-initiate",
    /// Reserved for load balancers.
    LbNoListener = "lb-no-listener",
    /// Reserved for load balancers.
    LbNoTargets = "lb-no-targets",
    /// Reserved for VPN connections.
    VpnDown = "vpn-down",
    /// The connection table is full (semantics 48).
    TableFull = "table-full",
    /// Not a packet that anything may send.
    Malformed = "malformed",
    /// A later fragment whose first one, which has the ports, did not come in time.
    FragmentAlone = "fragment-alone",
    /// A fragment that overlaps others of its packet, or came again (RFC 5722, RFC 8200 section 4.5).
    FragmentOverlap = "fragment-overlap",
    /// Longer than the path allows, and not to be fragmented (semantics 129, 130).
    MtuExceeded = "mtu-exceeded",
    /// Its hop limit ended.
    HopLimit = "hop-limit",
    /// It came round too often.
    RoutingLoop = "routing-loop",
    /// The interface is not attached to a running instance.
    NotRunning = "not-running",
    /// It reached an interface.
    Delivered = "delivered",
    /// It left for the internet.
    ExitsToInternet = "exits-to-internet",
    /// Reserved for VPN connections.
    ToVpn = "to-vpn",
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
