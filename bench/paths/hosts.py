"""Between two hosts: the bare underlay, VXLAN as the kernel has it, Atoll's instances over VXLAN. All over one veth pair."""

import json
import os
import pathlib
import shutil
import subprocess

from paths.wire import Path
from space import ROOT, Skip, Space, veth

HERE = pathlib.Path(__file__).resolve().parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", HERE.parent.parent / "target"))
# The underlay's, and what of it is left within VXLAN over IPv4: as long as an instance's packets.
LONGEST, WITHIN = 9100, 9001


class Held(Space):
    """A namespace that another program holds, by the path of a descriptor of that program's."""

    def __init__(self, processes, path):
        super().__init__(processes, ["nsenter", f"--net={path}"], None)


class Hosts:
    """Two namespaces joined by a veth pair, 192.0.2.1 and 192.0.2.2, each a host with a plane and an instance."""

    made = None

    @classmethod
    def of(cls, processes):
        """The same ones for all paths."""
        if cls.made is None:
            cls.made = cls(processes)
        return cls.made

    def __init__(self, processes):
        if not ROOT:
            raise Skip("needs root")
        if shutil.which("cargo"):
            words = ["cargo", "build", "--quiet", "--locked", "-p", "atoll-plane", "--example", "hosts"]
            subprocess.run(words, cwd=HERE, check=True)
        program = TARGET / "debug/examples/hosts"
        if not program.exists():
            raise Skip(f"{program} is not there, nor cargo to build it")
        process = processes.start([str(program)], stdout=subprocess.PIPE)
        said = process.stdout.readline()
        if not said:
            raise Skip("the kernel takes no programs, or has no VXLAN")
        self.about = json.loads(said)
        self.hosts = [Held(processes, path) for path in self.about["hosts"]]
        self.guests = [Held(processes, path) for path in self.about["guests"]]

    def vxlan(self, name, number, port):
        """A device on each host that leads to the other."""
        for host, own in zip(self.hosts, (1, 2)):
            host.lines(
                f"""
                ip link add {name} mtu {WITHIN} type vxlan id {number} local 192.0.2.{own} remote 192.0.2.{3 - own} dstport {port}
                ip link set {name} up
                """
            )


class Underlay(Path):
    name = "underlay"
    about = "between two hosts: the bare veth pair that joins them"

    def __init__(self, processes):
        super().__init__(processes)
        hosts = Hosts.of(processes)
        self.address = hosts.about["host"]
        self.ends(*hosts.hosts)


class Vxlan(Path):
    name = "vxlan"
    about = "between two hosts: a bare VXLAN device on each"
    address = "10.8.0.2"

    def __init__(self, processes):
        super().__init__(processes)
        hosts = Hosts.of(processes)
        hosts.vxlan("bare", 42, 8472)
        for host, own in zip(hosts.hosts, (1, 2)):
            host.run("ip", "address", "add", f"10.8.0.{own}/24", "dev", "bare")
        self.ends(*hosts.hosts)


class VxlanBridge(Path):
    name = "vxlan-bridge"
    about = "between two hosts: a veth pair, a bridge and a VXLAN device on each"
    address = "10.7.0.2"

    def __init__(self, processes):
        super().__init__(processes)
        hosts = Hosts.of(processes)
        hosts.vxlan("bridged", 43, 8473)
        ends = []
        for host, own in zip(hosts.hosts, (1, 2)):
            end = Space.make(processes)
            ends.append(end)
            veth(end, "eth0", Joined(host, processes), "port", WITHIN)
            host.lines(
                f"""
                ip link add br0 mtu {WITHIN} type bridge forward_delay 0
                ip link set bridged master br0
                ip link set port master br0
                ip link set br0 up
                """
            )
            end.run("ip", "address", "add", f"10.7.0.{own}/24", "dev", "eth0")
        self.ends(*ends)


class Joined(Space):
    """A namespace with a process in it, as `ip link` wants it named."""

    def __init__(self, space, processes):
        holder = processes.hold([*space.prefix, "cat"], "the host's namespace is gone")
        super().__init__(processes, space.prefix, holder.pid)


class Tunnel(Path):
    name = "tunnel"
    about = "between two hosts: Atoll eBPF, from instance to instance over VXLAN"

    def __init__(self, processes):
        super().__init__(processes)
        hosts = Hosts.of(processes)
        self.address = hosts.about["guest"]
        self.ends(*hosts.guests)


PATHS = [Underlay, Vxlan, VxlanBridge, Tunnel]
