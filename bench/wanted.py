"""What Atoll's data planes are wanted to reach, as ratios against other paths of the same run."""

import dataclasses

from measures import figure
from space import ROOT


@dataclasses.dataclass(frozen=True)
class Want:
    """A figure of a measure against another path's, or itself: at least or at most `ratio`."""

    measure: str
    figure: str
    against: str | None
    ratio: float

    @property
    def least(self):
        """Whether the ratio is the least that is wanted, or the most."""
        return figure(self.measure, self.figure).more

    def met(self, ratio):
        return ratio >= self.ratio if self.least else ratio <= self.ratio


EBPF = [
    Want("tcp-1", "tcp-1", "veth", 0.97),
    Want("tcp-1", "tcp-1", "router", 1.0),
    Want("tcp-8", "tcp-8", "veth", 0.97),
    Want("tcp-8", "tcp-8", "router", 1.0),
    Want("ping-pong", "p50_us", "veth", 1.08),
    Want("ping-pong", "p50_us", "router", 0.85),
    Want("udp", "per_second", "veth", 0.9),
    Want("udp", "per_second", "tcx", 0.95),
    Want("udp", "per_second", "router", 1.5),
    Want("connections-rst", "per_second", "veth", 0.9),
    Want("connections-rst", "per_second", "router", 1.15),
    Want("connections-fin", "per_second", "veth", 0.9),
    Want("connections-fin", "per_second", "router", 1.15),
    Want("connect", "connect_p50_us", "veth", 1.2),
    Want("connect", "connect_p50_us", "router", 0.95),
]
USERSPACE = [
    Want("tcp-1", "tcp-1", "veth", 0.85 if ROOT else 0.3),
    *([Want("connections-rst", "per_second", "veth", 0.45)] if ROOT else []),
]
# Instance to instance on two hosts, against the hosts' own VXLAN devices.
TUNNEL = [
    Want("tcp-1", "tcp-1", "vxlan", 0.9),
    Want("ping-pong", "p50_us", "vxlan", 1.2),
    Want("udp", "per_second", "vxlan", 0.85),
    Want("connections-rst", "per_second", "vxlan", 0.5),
]
# At a rate that it can carry, a plane loses nothing. At four fifths of all that it carries on this machine, whose ends
# share its processors, a pause of a few milliseconds may cost some: that is told beside the router's, and no more.
LOSSLESS = [Want("udp-paced", "lost_part", None, 0.0), Want("udp-below", "lost_half", None, 0.0)]
# Translation, rules, routes and flows may cost as much.
SHARE = 0.05


def between_hosts(path):
    """Whether a path leads from one host to another."""
    return path in ("underlay", "vxlan", "vxlan-bridge", "tunnel")


def beside(path, peer):
    """The peer that a path is held against: of its own family where there is one."""
    return f"{peer}6" if path.endswith("6") and peer in ("veth", "router") else peer


def wants(path):
    """What is wanted of a path, by its name."""
    plane, _, way = path.partition("-")
    if path == "tunnel":
        yield from LOSSLESS
        yield from TUNNEL
    if plane not in ("ebpf", "userspace"):
        return
    table = EBPF if plane == "ebpf" else USERSPACE
    yield from LOSSLESS
    if way in ("same", "routed"):
        yield from table
    elif way == "routed6":
        yield from (want for want in table if want.against != "tcx")
    elif way in ("nat", "internet") and plane == "ebpf":
        for want in table:
            share = 1 - SHARE if want.least else 1 + SHARE
            yield dataclasses.replace(want, ratio=round(want.ratio * share, 3))
    elif way == "flows" and plane == "ebpf":
        yield from shares(f"{plane}-routed")
    if way == "routed" and plane == "ebpf":
        yield from shares(f"{plane}-light")


def shares(other):
    """Every figure within SHARE of another path's."""
    for measure, figure, ratio in (
        ("tcp-1", "tcp-1", 1 - SHARE),
        ("ping-pong", "p50_us", 1 + SHARE),
        ("udp", "per_second", 1 - SHARE),
        ("connections-rst", "per_second", 1 - SHARE),
        ("connect", "connect_p50_us", 1 + SHARE),
    ):
        yield Want(measure, figure, other, ratio)
