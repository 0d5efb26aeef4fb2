"""`kill -9` while clients create and delete: what was acknowledged is there, and nothing is half-made."""

import os
import random
import tempfile
import threading
import time
import unittest

import botocore.exceptions

from atoll import Daemon, where

KILLS = 5
AMI = "ami-0123456789abcdef0"
GONE = (
    botocore.exceptions.EndpointConnectionError,
    botocore.exceptions.ConnectionClosedError,
    botocore.exceptions.ReadTimeoutError,
    botocore.exceptions.HTTPClientError,
)


class Clients:
    """Threads that create and delete in one subnet until the daemon is gone; what they were told is kept."""

    def __init__(self):
        self.lock = threading.Condition()
        self.alive = {"interface": set(), "group": {}, "instance": set()}
        self.deleted = set()
        # Deletions whose answer never came: the row may be there or not.
        self.unknown = set()
        # Launches whose answer never came, by the token that they can be asked for again with.
        self.open_launches = set()
        self.told = 0
        self.errors = []

    def acknowledge(self, change):
        with self.lock:
            change()
            self.told += 1
            self.lock.notify_all()

    def wait_until_told(self, many):
        with self.lock:
            enough = self.lock.wait_for(lambda: self.told >= many or self.errors, timeout=200)
            assert enough, "the daemon answers too slowly"

    def interfaces(self, ec2, subnet, nth):
        id = ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"]["NetworkInterfaceId"]
        self.acknowledge(lambda: self.alive["interface"].add(id))
        if nth % 3 == 0:
            with self.lock:
                self.alive["interface"].discard(id)
                self.unknown.add(id)
            ec2.delete_network_interface(NetworkInterfaceId=id)
            self.acknowledge(lambda: (self.deleted.add(id), self.unknown.discard(id)))

    def groups(self, ec2, vpc, name):
        id = ec2.create_security_group(VpcId=vpc, GroupName=name, Description="d")["GroupId"]
        self.acknowledge(lambda: self.alive["group"].__setitem__(id, 0))
        ranges = [{"CidrIp": f"10.{n}.0.0/16"} for n in range(20)]
        rule = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": ranges}
        ec2.authorize_security_group_ingress(GroupId=id, IpPermissions=[rule])
        self.acknowledge(lambda: self.alive["group"].__setitem__(id, 20))

    def instances(self, ec2, subnet, token):
        with self.lock:
            self.open_launches.add(token)
        run = launch(ec2, subnet, token)
        self.acknowledge(lambda: (self.alive["instance"].update(run), self.open_launches.discard(token)))

    def work(self, ec2, vpc, subnet, round):
        def until_gone(step):
            nth = 0
            try:
                while True:
                    nth += 1
                    step(nth)
            except GONE:
                pass
            except Exception as error:
                with self.lock:
                    self.errors.append(error)
                    self.lock.notify_all()

        steps = (
            lambda nth: self.interfaces(ec2, subnet, nth),
            lambda nth: self.interfaces(ec2, subnet, nth),
            lambda nth: self.groups(ec2, vpc, f"group-{round}-{nth}"),
            lambda nth: self.instances(ec2, subnet, f"launch-{round}-{nth}"),
        )
        threads = [threading.Thread(target=until_gone, args=(step,)) for step in steps]
        for thread in threads:
            thread.start()
        return threads


def launch(ec2, subnet, token):
    """Two instances, or none."""
    answer = ec2.run_instances(ImageId=AMI, MinCount=2, MaxCount=2, SubnetId=subnet, ClientToken=token)
    return {row["InstanceId"] for row in answer["Instances"]}


class Killed(unittest.TestCase):
    def test_what_was_acknowledged_is_there_after_kill_9(self):
        seed = int(os.environ.get("ATOLL_SEED", time.time_ns() % 1_000_000))
        print(f"ATOLL_SEED={seed}")
        chance = random.Random(seed)
        with tempfile.TemporaryDirectory(prefix="atoll-killed-") as data:
            daemon = Daemon(data)
            self.addCleanup(daemon.close)
            ec2 = daemon.client()
            vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
            subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/18")["Subnet"]["SubnetId"]
            clients = Clients()
            for round in range(KILLS):
                threads = clients.work(ec2, vpc, subnet, round)
                clients.wait_until_told(clients.told + chance.randint(5, 80))
                daemon.kill()
                for thread in threads:
                    thread.join(timeout=200)
                    self.assertFalse(thread.is_alive())
                self.assertEqual(clients.errors, [])
                daemon.start()
                ec2 = daemon.client()
                self.check(ec2, clients, vpc, subnet)

    def check(self, ec2, clients, vpc, subnet):
        here = where(vpc_id=vpc)
        rows = ec2.describe_network_interfaces(Filters=here)["NetworkInterfaces"]
        interfaces = {row["NetworkInterfaceId"]: row for row in rows}
        self.assertLessEqual(clients.alive["interface"], set(interfaces))
        self.assertTrue(clients.deleted.isdisjoint(interfaces))
        free = ec2.describe_subnets(SubnetIds=[subnet])["Subnets"][0]["AvailableIpAddressCount"]
        self.assertEqual(free + len(interfaces), 2**14 - 5, "each interface has one address")
        self.assertEqual(len({row["PrivateIpAddress"] for row in rows}), len(rows))

        groups = {row["GroupId"]: row for row in ec2.describe_security_groups(Filters=here)["SecurityGroups"]}
        for id, told in clients.alive["group"].items():
            ranges = sum(len(rule["IpRanges"]) for rule in groups[id]["IpPermissions"])
            self.assertIn(ranges, (told, 20), "a call's rules are all there or none is")

        seen = [run["Instances"] for run in ec2.describe_instances(Filters=here)["Reservations"]]
        for run in seen:
            self.assertEqual(len(run), 2, "a launch is whole or not at all")
            for instance in run:
                self.assertIn(instance["NetworkInterfaces"][0]["NetworkInterfaceId"], interfaces)
        self.assertLessEqual(clients.alive["instance"], {row["InstanceId"] for run in seen for row in run})
        # Asked for again, a launch whose answer was lost is the one that was made, or is made now.
        for token in sorted(clients.open_launches):
            run = launch(ec2, subnet, token)
            same = ec2.describe_instances(Filters=where(client_token=token))["Reservations"]
            self.assertEqual([{row["InstanceId"] for row in found["Instances"]} for found in same], [run])
            clients.alive["instance"] |= run
        clients.open_launches.clear()


if __name__ == "__main__":
    unittest.main()
