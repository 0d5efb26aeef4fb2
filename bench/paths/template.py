"""The template that Atoll is measured with, full to AWS's quotas where rules are concerned.

Five groups of 60 rules each on every interface that is measured, 40 rules in each network ACL, 50 routes in each table;
half of the groups' rules refer to groups; the ACLs have as many rules again for IPv6. What lets the measured traffic pass stands last everywhere. The `light`
subnets have a tenth of all that.
"""

FIRST_SERVED, LAST_SERVED = 5201, 7999


def ref(name):
    return {"Ref": name}


def att(name, attribute):
    return {"Fn::GetAtt": [name, attribute]}


def first(of):
    return {"Fn::Select": [0, of]}


def rules(count, clients=None):
    """`count` rules for what nobody here sends, the last two of them for what the group `clients` sends, if named."""
    made = []
    for n in range(count - (2 if clients else 0)):
        port = 20000 + n
        source = (
            {"CidrIp": f"192.0.2.{n}/32"} if n % 2 else {"SourceSecurityGroupId": att("Nobody", "GroupId")}
        )
        made.append({"IpProtocol": "tcp", "FromPort": port, "ToPort": port, **source})
    if clients:
        for protocol in ("tcp", "udp"):
            served = {"IpProtocol": protocol, "FromPort": FIRST_SERVED, "ToPort": LAST_SERVED}
            made.append({**served, "SourceSecurityGroupId": att(clients, "GroupId")})
    return made


class Template:
    def __init__(self):
        self.resources = {}

    def add(self, name, kind, after=None, **properties):
        self.resources[name] = {"Type": f"AWS::EC2::{kind}", "Properties": properties}
        if after:
            self.resources[name]["DependsOn"] = after

    def group(self, name, ingress):
        self.add(name, "SecurityGroup", GroupDescription=name, VpcId=ref("Vpc"), SecurityGroupIngress=ingress)

    def groups(self, prefix, rules_each, clients=None):
        """Five groups, the last of which lets in what the group `clients` sends, if named."""
        names = [f"{prefix}{n}" for n in range(1, 6)]
        for name in names:
            self.group(name, rules(rules_each, clients if name == names[-1] else None))
        return [att(name, "GroupId") for name in names]

    def acl(self, name, each_way):
        self.add(name, "NetworkAcl", VpcId=ref("Vpc"))
        for egress in (False, True):
            for n in range(1, each_way + 1):
                last = n == each_way
                for family, block in (
                    ("", {"CidrBlock": "0.0.0.0/0" if last else f"192.0.2.{8 * n}/29"}),
                    ("6", {"Ipv6CidrBlock": "::/0" if last else f"2001:db8:f:{n}::/64"}),
                ):
                    self.add(
                        f"{name}{'Out' if egress else 'In'}{n}V{family or 4}",
                        "NetworkAclEntry",
                        NetworkAclId=ref(name),
                        # Numbers are of both families together.
                        RuleNumber=10 * n + (5 if family else 0),
                        Egress=egress,
                        RuleAction="allow" if last else "deny",
                        Protocol=-1,
                        **block,
                    )

    def table(self, name, count, last="0.0.0.0/0", **target):
        """A route table with `count` routes to `target`, the last of them for the destination `last`."""
        self.add(name, "RouteTable", VpcId=ref("Vpc"))
        for n in range(1, count + 1):
            self.add(
                f"{name}Route{n}",
                "Route",
                after="Attachment",
                RouteTableId=ref(name),
                DestinationCidrBlock=last if n == count else f"198.18.{n}.0/24",
                **target,
            )

    def subnet(self, name, number, zone, acl, table, public=False):
        self.add(
            name,
            "Subnet",
            after="VpcIpv6",
            VpcId=ref("Vpc"),
            AvailabilityZone={"Fn::Select": [zone, {"Fn::GetAZs": ""}]},
            CidrBlock=f"10.1.{number}.0/24",
            Ipv6CidrBlock={"Fn::Select": [number, {"Fn::Cidr": [first(att("Vpc", "Ipv6CidrBlocks")), 8, 64]}]},
            AssignIpv6AddressOnCreation=True,
            MapPublicIpOnLaunch=public,
        )
        self.add(f"{name}Acl", "SubnetNetworkAclAssociation", SubnetId=ref(name), NetworkAclId=ref(acl))
        self.add(f"{name}Table", "SubnetRouteTableAssociation", SubnetId=ref(name), RouteTableId=ref(table))

    def instance(self, name, subnet, groups):
        self.add(
            "".join(part.title() for part in name.split("-")) + "Instance",
            "Instance",
            # Its subnet's own ACL and routes from the first packet on.
            after=[f"{subnet}Acl", f"{subnet}Table"],
            ImageId="ami-0a701100000000001",
            SubnetId=ref(subnet),
            SecurityGroupIds=groups,
            Tags=[{"Key": "Name", "Value": name}],
        )


def template():
    made = Template()
    made.add("Vpc", "VPC", CidrBlock="10.1.0.0/16")
    made.add("VpcIpv6", "VPCCidrBlock", VpcId=ref("Vpc"), AmazonProvidedIpv6CidrBlock=True)
    made.add("Gateway", "InternetGateway")
    made.add("Attachment", "VPCGatewayAttachment", VpcId=ref("Vpc"), InternetGatewayId=ref("Gateway"))

    made.group("Nobody", [])
    clients = made.groups("Client", 60)
    servers = made.groups("Server", 60, clients="Client5")
    light_clients = made.groups("LightClient", 6)
    light_servers = made.groups("LightServer", 6, clients="LightClient5")

    made.acl("Acl", 20)
    made.acl("LightAcl", 2)
    made.table("Public", 50, GatewayId=ref("Gateway"))
    made.table("Private", 50, NatGatewayId=ref("Nat"))
    made.table("LightTable", 5, GatewayId=ref("Gateway"))

    made.subnet("A", 0, 0, "Acl", "Public")
    made.subnet("B", 1, 1, "Acl", "Public")
    made.subnet("Outward", 2, 0, "Acl", "Public", public=True)
    made.subnet("Inward", 3, 0, "Acl", "Private")
    made.subnet("LightA", 4, 0, "LightAcl", "LightTable")
    made.subnet("LightB", 5, 1, "LightAcl", "LightTable")
    made.add("NatAddress", "EIP", after="Attachment", Domain="vpc")
    made.add("Nat", "NatGateway", SubnetId=ref("Outward"), AllocationId=att("NatAddress", "AllocationId"))

    made.instance("client", "A", clients)
    made.instance("neighbour", "A", servers)
    made.instance("server", "B", servers)
    made.instance("private", "Inward", clients)
    made.instance("public", "Outward", clients)
    made.instance("light-client", "LightA", light_clients)
    made.instance("light-server", "LightB", light_servers)
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "What bench/run measures Atoll with.",
        "Resources": made.resources,
    }
