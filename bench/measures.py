"""What is measured on a path, and by which command."""

import dataclasses
import json

IPERF_PORT = 5201


@dataclasses.dataclass(frozen=True)
class Figure:
    """One number of a measure's output."""

    key: str
    about: str
    unit: str
    # True where more is better.
    more: bool
    # Decimals to print.
    decimals: int


@dataclasses.dataclass(frozen=True)
class Measure:
    """A command at the client's end; its first figure is what progress shows."""

    name: str
    about: str
    figures: tuple
    words: tuple
    # Seconds that it takes beside those in which it measures.
    beside: float = 0.3


def streams(name, count):
    stream = "one stream" if count == 1 else f"{count} streams"
    return Measure(
        name,
        f"iperf3, {stream}",
        (Figure(name, f"TCP, {stream}", "Gbit/s", True, 2),),
        ("iperf3", "-P", str(count)),
        0.5,
    )


MEASURES = [
    streams("tcp-1", 1),
    streams("tcp-8", 8),
    Measure(
        "ping-pong",
        "one byte each way over one TCP connection",
        (Figure("p50_us", "ping-pong p50", "µs", False, 1), Figure("p99_us", "ping-pong p99", "µs", False, 1)),
        ("ping-pong",),
    ),
    Measure(
        "connect",
        "one new TCP connection after the other",
        (Figure("connect_p50_us", "connect() p50", "µs", False, 1),),
        ("connect", "--threads", "1"),
    ),
    Measure(
        "connections-rst",
        "new TCP connections, four at a time, closed by RST",
        (Figure("per_second", "new connections/s, one service, RST", "/s", True, 0),),
        ("connect", "--close", "rst"),
    ),
    Measure(
        "connections-fin",
        "the same, closed by FIN",
        (Figure("per_second", "new connections/s, one service, FIN", "/s", True, 0),),
        ("connect", "--close", "fin"),
    ),
    Measure(
        "connections-many",
        "the same by RST, against 64 services in turn",
        (Figure("per_second", "new connections/s, 64 services, RST", "/s", True, 0),),
        ("connect", "--services", "64"),
    ),
    Measure(
        "first-packet",
        "one datagram there and back in a new flow, then a second one",
        (
            Figure("p50_us", "first packet there and back p50", "µs", False, 1),
            Figure("p99_us", "first packet there and back p99", "µs", False, 1),
            Figure("second_p50_us", "second packet there and back p50", "µs", False, 1),
        ),
        ("first-packet",),
    ),
    Measure(
        "udp",
        "64-byte datagrams of one flow, as many as go, counted where they arrive",
        (
            Figure("per_second", "64-byte UDP", "packets/s", True, 0),
            Figure("cpu_us_per_packet", "CPU per packet that arrives of as many as go", "µs", False, 2),
        ),
        ("datagrams",),
        1.0,
    ),
    Measure(
        "udp-paced",
        "64-byte datagrams of one flow, 20,000 a second",
        (
            Figure("cpu_us_per_packet", "CPU per packet at 20,000 packets/s", "µs", False, 2),
            Figure("lost_part", "lost of 20,000 packets/s", "", False, 4),
        ),
        ("datagrams", "--rate", "20000"),
        1.0,
    ),
]


def figure(measure, key):
    """A figure's description, by its measure's name and its own key."""
    return next(f for what in MEASURES if what.name == measure for f in what.figures if f.key == key)


def measure(what, path, seconds, load, before=()):
    """Takes one measurement on a path; gives back the figures by key, and all else that the tool said.

    `load` is the load generator, `before` what stands before each command.
    """
    deadline = seconds + 30
    if path.more_flows:
        path.client.run(load, "flows", path.address, "--count", str(path.more_flows), deadline=60)
    if what.words[0] == "iperf3":
        said = path.client.run(
            *before, "iperf3", "-c", path.address, "-t", str(seconds), "-J", *what.words[1:], deadline=deadline
        )
        end = json.loads(said)["end"]
        return {
            what.name: end["sum_received"]["bits_per_second"] / 1e9,
            "retransmits": end["sum_sent"].get("retransmits"),
        }
    command, *options = what.words
    said = path.client.run(*before, load, command, path.address, "--seconds", str(seconds), *options, deadline=deadline)
    return json.loads(said)


def serve(space, load, before=()):
    """Starts what answers all measures in a space."""
    space.start([*before, load, "serve"], ready="ready")
    space.start([*before, "iperf3", "-s", "-p", str(IPERF_PORT)])
    space.listens(IPERF_PORT)
