"""The peers that are a kernel's own work: bare veth, the tcx floor, a bridge, a router."""

import os
import pathlib

from space import ROOT, Failed, Skip, Space, command, needs, veth

HERE = pathlib.Path(__file__).resolve().parent


class Path:
    """Two ends, and what lies between."""

    # Whose figures a path's are compared with is decided by name: see `wanted.py`.
    name = ""
    about = ""
    address = "10.9.0.2"
    # Flows to be there beside those that are measured.
    more_flows = 0

    def __init__(self, processes):
        self.processes = processes

    def ends(self, client, server):
        self.client, self.server = client, server
        for space in (client, server):
            space.end_point()


class Veth(Path):
    name = "veth"
    about = "bare veth pair"
    client_address = "10.9.0.1"
    # The prefix's length, and what else `ip` is told of an address.
    added = ("/24",)

    def __init__(self, processes):
        super().__init__(processes)
        client = Space.make(processes)
        server = Space.make(processes, client)
        veth(client, "eth0", server, "eth0")
        length, *words = self.added
        for space, address in ((client, self.client_address), (server, self.address)):
            space.run("ip", "address", "add", f"{address}{length}", "dev", "eth0", *words)
        self.ends(client, server)


class VethLong(Veth):
    """As instances' interfaces are: what `crates/instance/src/offload.rs` allows them."""

    name = "veth-long"
    about = "bare veth pair, super-segments as long as an instance's"

    def __init__(self, processes):
        super().__init__(processes)
        for space in (self.client, self.server):
            try:
                space.run("python3", str(HERE / "longer.py"), "eth0", "196608")
            except Failed as failed:
                raise Skip(f"this kernel has none: {failed}") from None


class Veth6(Veth):
    name = "veth6"
    about = "bare veth pair, IPv6"
    client_address = "fd00:9::1"
    address = "fd00:9::2"
    added = ("/64", "nodad")


class Between(Path):
    """A client and a server, each with a veth into a space between them that holds the host ends."""

    tools = ()
    # Whether a user namespace of its own will not do.
    root = False

    def __init__(self, processes):
        super().__init__(processes)
        if self.root and not ROOT:
            raise Skip("needs root")
        needs(*self.tools)
        self.middle = Space.make(processes)
        self.middle.set(ipv6__conf__all__disable_ipv6=1, ipv6__conf__default__disable_ipv6=1)
        client, server = Space.make(processes, self.middle), Space.make(processes, self.middle)
        veth(client, "eth0", self.middle, "host0")
        veth(server, "eth0", self.middle, "host1")
        self.ends(client, server)
        self.join()

    def same_subnet(self):
        self.client.run("ip", "address", "add", "10.9.0.1/24", "dev", "eth0")
        self.server.run("ip", "address", "add", "10.9.0.2/24", "dev", "eth0")


class Bridge(Between):
    name = "bridge"
    about = "Linux bridge"

    def join(self):
        self.same_subnet()
        self.middle.lines(
            """
            ip link add br0 mtu 9001 type bridge forward_delay 0
            ip link set host0 master br0
            ip link set host1 master br0
            ip link set br0 up
            """
        )


def rules(family, others, clients):
    """A router's 60 rules, the last of which let pass what is measured."""
    absent = "".join(f"{family} saddr {others}{n} tcp dport {8000 + n} accept\n" for n in range(57))
    return f"""
        table {family} filter {{
          chain forward {{
            type filter hook forward priority filter; policy drop;
            ct state established,related accept
            {absent}
            {family} saddr {clients} tcp dport 1024-9000 accept
            {family} saddr {clients} udp dport 1024-9000 accept
          }}
        }}
    """


class Router(Between):
    name = "router"
    about = "Linux router, nftables conntrack, 60 rules"
    address = "10.9.1.2"
    tools = ("nft",)

    def join(self):
        for space, name, net in ((self.client, "host0", "10.9.0"), (self.server, "host1", "10.9.1")):
            self.middle.run("ip", "address", "add", f"{net}.1/24", "dev", name)
            space.run("ip", "address", "add", f"{net}.2/24", "dev", "eth0")
            space.run("ip", "route", "add", "default", "via", f"{net}.1")
        self.middle.set(ipv4__ip_forward=1)
        self.middle.run("nft", "-f", "-", input=rules("ip", "192.0.2.", "10.9.0.0/24"))


class Router6(Between):
    name = "router6"
    about = "Linux router, nftables conntrack, 60 rules, IPv6"
    address = "fd00:9:1::2"
    tools = ("nft",)

    def join(self):
        self.middle.set(ipv6__conf__all__disable_ipv6=0, ipv6__conf__default__disable_ipv6=0)
        for space, name, net in ((self.client, "host0", "fd00:9:0"), (self.server, "host1", "fd00:9:1")):
            self.middle.set(**{f"ipv6__conf__{name}__disable_ipv6": 0})
            self.middle.run("ip", "address", "add", f"{net}::1/64", "dev", name, "nodad")
            space.run("ip", "address", "add", f"{net}::2/64", "dev", "eth0", "nodad")
            space.run("ip", "route", "add", "default", "via", f"{net}::1")
        self.middle.set(ipv6__conf__all__forwarding=1)
        self.middle.run("nft", "-f", "-", input=rules("ip6", "2001:db8::", "fd00:9::/64"))


class Floor(Between):
    name = "tcx"
    about = "tcx redirect_peer behind an LRU flow map: the floor"
    tools = ("clang", "bpftool")
    root = True

    def join(self):
        self.same_subnet()
        directory = self.processes.directory()
        program, pins = directory / "floor.o", directory / "pins"
        pins.mkdir()
        index = {
            line.split(":")[1].strip().split("@")[0]: int(line.split(":")[0])
            for line in self.middle.run("ip", "-o", "link").splitlines()
        }
        machine = os.uname().machine
        try:
            command(
                ["clang", "-O2", "-g", "-target", "bpf", f"-I/usr/include/{machine}-linux-gnu"]
                + [f"-DPORT_{n}={index[f'host{n}']}" for n in (0, 1)]
                + ["-c", str(HERE / "floor.bpf.c"), "-o", str(program)]
            )
            # The file system of pins is mounted in a mount namespace of the process's own, and ends with it.
            self.middle.start(
                ["unshare", "--mount", "sh", "-ec"]
                + [
                    f"mount -t bpf bpf {pins}; bpftool prog load {program} {pins}/floor type classifier; "
                    f"exec python3 {HERE / 'attach.py'} {pins}/floor {index['host0']} {index['host1']}"
                ],
                ready="attached",
            )
        except Failed as failed:
            raise Skip(f"the program does not load here: {failed}") from None
