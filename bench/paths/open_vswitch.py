"""Open vSwitch with its userspace datapath, connection tracking and 60 flows, as Debian packages it."""

import os

from paths.wire import Between
from space import Failed, Skip, command

SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"


class OpenVSwitch(Between):
    name = "ovs"
    about = "Open vSwitch userspace datapath, conntrack, 60 flows"
    tools = ("ovs-vswitchd", "ovsdb-server", "ovs-vsctl", "ovs-ofctl", "ethtool")
    root = True

    def join(self):
        self.same_subnet()
        place = self.processes.directory()
        # Its own sockets, database and logs: nothing of a switch that the machine itself runs is touched.
        environment = dict(os.environ)
        for variable in ("OVS_RUNDIR", "OVS_DBDIR", "OVS_LOGDIR", "OVS_SYSCONFDIR"):
            environment[variable] = str(place)
        database = f"unix:{place}/db.sock"
        quiet = ["-vconsole:off", "-vsyslog:off", f"--log-file={place}/log"]
        try:
            command(["ovsdb-tool", "create", f"{place}/conf.db", SCHEMA], env=environment)
            self.middle.start(
                ["ovsdb-server", f"{place}/conf.db", f"--remote=p{database}", f"--unixctl={place}/ovsdb.ctl", *quiet],
                env=environment,
            )
            vsctl = ["ovs-vsctl", f"--db={database}", "--timeout=20"]
            command([*vsctl, "--retry", "--no-wait", "init"], env=environment)
            self.middle.start(
                ["ovs-vswitchd", database, f"--unixctl={place}/vswitchd.ctl", "--no-chdir", *quiet], env=environment
            )
            command(
                [*vsctl, "add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev", "fail_mode=secure"]
                + ["--", "set", "interface", "br0", "mtu_request=9001"]
                + ["--", "add-port", "br0", "host0", "--", "add-port", "br0", "host1"],
                env=environment,
            )
            said = command([*vsctl, "get", "interface", "host0", "error"], env=environment).strip()
            if said not in ("[]", ""):
                raise Failed(f"ovs-vswitchd: {said}")
            flows = place / "flows"
            flows.write_text("\n".join(self.flows()) + "\n")
            command(["ovs-ofctl", "add-flows", f"unix:{place}/br0.mgmt", str(flows)], env=environment)
        except Failed as failed:
            raise Skip(f"Open vSwitch does not start here: {failed}") from None
        # It neither computes nor carries over checksums that the sender leaves to hardware.
        for space in (self.client, self.server):
            space.run("ethtool", "-K", "eth0", "tx", "off")

    @staticmethod
    def flows():
        yield "table=0,priority=10,arp,actions=NORMAL"
        yield "table=0,priority=10,ip,actions=ct(table=1)"
        yield "table=1,priority=100,ct_state=+trk+est,ip,actions=NORMAL"
        for n in range(57):
            yield (
                f"table=1,priority=50,ct_state=+trk+new,tcp,nw_src=192.0.2.{n},tp_dst={8000 + n},"
                "actions=ct(commit),NORMAL"
            )
        for protocol in ("tcp", "udp"):
            yield f"table=1,priority=10,ct_state=+trk+new,{protocol},nw_src=10.9.0.1,actions=ct(commit),NORMAL"
