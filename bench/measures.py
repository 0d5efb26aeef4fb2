"""What is measured on a path, and by which command."""

import contextlib
import dataclasses
import json
import os

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
    # Where its ends run: TOGETHER, APART or, where the scheduler chooses well, ANYWHERE.
    placed: str = "anywhere"


# A latency: whether both ends share a processor makes it five microseconds or seventy, on any path, and the scheduler
# tosses a coin. On one processor it is the path that is measured, not the waking of another processor.
TOGETHER = "together"
# A flood: the sender has a processor, and the receiver one.
APART = "apart"
ANYWHERE = "anywhere"


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
        placed=TOGETHER,
    ),
    Measure(
        "connect",
        "one new TCP connection after the other",
        (Figure("connect_p50_us", "connect() p50", "µs", False, 1),),
        ("connect", "--threads", "1"),
        placed=TOGETHER,
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
        placed=TOGETHER,
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
        placed=APART,
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
        placed=APART,
    ),
    Measure(
        "udp-below",
        "64-byte datagrams: what is lost of half as many as arrive of a flood, and of four fifths",
        (
            Figure("lost_half", "lost at half the path's rate", "", False, 4),
            Figure("lost_most", "lost at four fifths of the path's rate", "", False, 4),
        ),
        ("below-the-rate",),
        1.5,
        placed=APART,
    ),
]


def figure(measure, key):
    """A figure's description, by its measure's name and its own key."""
    return next(f for what in MEASURES if what.name == measure for f in what.figures if f.key == key)


def places(what, given=None):
    """The processors of the client's and of the server's end: those `given`, or as the measure has it."""
    free = sorted(os.sched_getaffinity(0))
    if given:
        return given
    if what.placed == TOGETHER:
        return free[:1], free[:1]
    if what.placed == APART and len(free) > 1:
        return free[:1], free[1:2]
    return free, free


def bind(process, processors):
    """Binds all threads of a process to these processors."""
    for thread in os.listdir(f"/proc/{process.pid}/task"):
        # A thread may have ended meanwhile.
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread), processors)


def measure(what, path, seconds, load, servers, processors=None):
    """Takes one measurement on a path; gives back the figures by key, and all else that the tool said.

    `load` is the load generator, `servers` what answers on the path, `processors` those of its ends, if given.
    """
    deadline = seconds + 30
    client, server = places(what, processors)
    before = ["taskset", "-c", ",".join(map(str, client))]
    for process in servers:
        bind(process, server)
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


def serve(space, load):
    """Starts what answers all measures in a space; gives back the processes."""
    servers = [
        space.start([load, "serve"], ready="ready"),
        space.start(["iperf3", "-s", "-p", str(IPERF_PORT)]),
    ]
    space.listens(IPERF_PORT)
    return servers
