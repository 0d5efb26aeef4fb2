"""A whole VPC's life by boto3: made, looked at from all sides, wrongly asked for, and deleted."""

import ipaddress
import unittest

from atoll import Daemon, refused, soon, tagged, where

AMI = "ami-0123456789abcdef0"
ABSENT = "0123456789abcdef0"
# Every Describe operation of a noun that a VPC's life makes and deletes: its answer's list, and the id in it.
NOUNS = {
    "describe_vpcs": ("Vpcs", "VpcId"),
    "describe_subnets": ("Subnets", "SubnetId"),
    "describe_route_tables": ("RouteTables", "RouteTableId"),
    "describe_internet_gateways": ("InternetGateways", "InternetGatewayId"),
    "describe_egress_only_internet_gateways": ("EgressOnlyInternetGateways", "EgressOnlyInternetGatewayId"),
    "describe_network_acls": ("NetworkAcls", "NetworkAclId"),
    "describe_security_groups": ("SecurityGroups", "GroupId"),
    "describe_security_group_rules": ("SecurityGroupRules", "SecurityGroupRuleId"),
    "describe_network_interfaces": ("NetworkInterfaces", "NetworkInterfaceId"),
}


class VpcLife(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon()
        cls.ec2 = cls.daemon.client()

    @classmethod
    def tearDownClass(cls):
        cls.daemon.close()

    def everything(self):
        seen = {op: {row[key] for row in self.all(op)} for op, (_, key) in NOUNS.items()}
        seen["addresses"] = {row["AllocationId"] for row in self.ec2.describe_addresses()["Addresses"]}
        return seen

    def all(self, operation, size=5, **parameters):
        """All rows by the operation's paginator, in pages of `size`; no row comes twice."""
        rows, key = [], NOUNS[operation][1]
        pages = self.ec2.get_paginator(operation).paginate(PaginationConfig={"PageSize": size}, **parameters)
        for page in pages:
            self.assertLessEqual(len(page[NOUNS[operation][0]]), size)
            rows += page[NOUNS[operation][0]]
        self.assertEqual(len(rows), len({row[key] for row in rows}))
        return rows

    def found(self, operation, row, **filters):
        """Each filter alone finds the row, and its value with something added does not."""
        listed, key = NOUNS[operation]
        call = getattr(self.ec2, operation)
        for name, value in filters.items():
            with self.subTest(operation=operation, filter=name):
                ids = lambda wanted: [r[key] for r in call(Filters=where(**{name: wanted}))[listed]]
                self.assertIn(row, ids(value))
                self.assertNotIn(row, ids(value + "0"))

    def test_a_two_tier_vpc_from_first_to_last(self):
        ec2, before = self.ec2, self.everything()
        vpc = ec2.create_vpc(
            CidrBlock="10.0.0.0/16", AmazonProvidedIpv6CidrBlock=True, TagSpecifications=tagged("vpc", "life")
        )["Vpc"]
        id = vpc["VpcId"]
        soon(ec2.get_waiter("vpc_available"), VpcIds=[id])
        ec2.modify_vpc_attribute(VpcId=id, EnableDnsHostnames={"Value": True})
        attribute = ec2.describe_vpc_attribute(VpcId=id, Attribute="enableDnsHostnames")
        self.assertTrue(attribute["EnableDnsHostnames"]["Value"])
        self.found("describe_vpcs", id, cidr="10.0.0.0/16", cidr_block="10.0.0.0/16", state="available", vpc_id=id)
        self.found("describe_vpcs", id, **{"tag:Name": "life"})

        six = ipaddress.ip_network(vpc["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"])
        self.assertEqual(six.prefixlen, 56)
        sixes = [str(block) for block in six.subnets(new_prefix=64)]
        public, private = [
            ec2.create_subnet(
                VpcId=id, CidrBlock=block, AvailabilityZone=zone, Ipv6CidrBlock=block6, TagSpecifications=tagged("subnet", name)
            )["Subnet"]["SubnetId"]
            for name, block, zone, block6 in (
                ("public", "10.0.1.0/24", "us-east-1a", sixes[1]),
                ("private", "10.0.2.0/24", "us-east-1b", sixes[2]),
            )
        ]
        soon(ec2.get_waiter("subnet_available"), SubnetIds=[public, private])
        ec2.modify_subnet_attribute(SubnetId=public, MapPublicIpOnLaunch={"Value": True})
        self.found("describe_subnets", public, availability_zone="us-east-1a", cidr_block="10.0.1.0/24", subnet_id=public)
        both = ec2.describe_subnets(Filters=where(vpc_id=id, cidr_block="10.0.*"))["Subnets"]
        self.assertEqual({row["AvailableIpAddressCount"] for row in both}, {251})

        gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=id)
        self.found("describe_internet_gateways", gateway, attachment__vpc_id=id, internet_gateway_id=gateway)
        outward = ec2.create_egress_only_internet_gateway(VpcId=id)["EgressOnlyInternetGateway"]
        outward = outward["EgressOnlyInternetGatewayId"]
        table = ec2.create_route_table(VpcId=id)["RouteTable"]["RouteTableId"]
        ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
        ec2.create_route(RouteTableId=table, DestinationIpv6CidrBlock="::/0", EgressOnlyInternetGatewayId=outward)
        association = ec2.associate_route_table(RouteTableId=table, SubnetId=public)["AssociationId"]
        self.found("describe_route_tables", table, association__subnet_id=public, route__gateway_id=gateway)
        main = ec2.describe_route_tables(Filters=where(vpc_id=id, association__main="true"))["RouteTables"]
        self.assertEqual(len(main), 1)

        address = ec2.allocate_address(Domain="vpc")
        nat = ec2.create_nat_gateway(SubnetId=public, AllocationId=address["AllocationId"])["NatGateway"]["NatGatewayId"]
        soon(ec2.get_waiter("nat_gateway_available"), NatGatewayIds=[nat])
        ec2.create_route(RouteTableId=main[0]["RouteTableId"], DestinationCidrBlock="0.0.0.0/0", NatGatewayId=nat)
        held = ec2.describe_addresses(AllocationIds=[address["AllocationId"]])["Addresses"][0]
        gateway_interface = ec2.describe_network_interfaces(NetworkInterfaceIds=[held["NetworkInterfaceId"]])
        self.assertEqual(gateway_interface["NetworkInterfaces"][0]["InterfaceType"], "nat_gateway")

        acl = ec2.create_network_acl(VpcId=id)["NetworkAcl"]["NetworkAclId"]
        for egress in (False, True):
            ec2.create_network_acl_entry(
                NetworkAclId=acl, RuleNumber=100, Protocol="-1", RuleAction="allow", Egress=egress, CidrBlock="0.0.0.0/0"
            )
        default = ec2.describe_network_acls(Filters=where(vpc_id=id, default="true"))["NetworkAcls"][0]
        link = [row for row in default["Associations"] if row["SubnetId"] == private][0]
        ec2.replace_network_acl_association(AssociationId=link["NetworkAclAssociationId"], NetworkAclId=acl)
        self.found("describe_network_acls", acl, association__subnet_id=private, entry__rule_number="100")

        web, database = [
            ec2.create_security_group(GroupName=name, Description=name, VpcId=id)["GroupId"] for name in ("web", "database")
        ]
        ec2.authorize_security_group_ingress(GroupId=web, IpProtocol="tcp", FromPort=80, ToPort=80, CidrIp="0.0.0.0/0")
        reference = {"IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432, "UserIdGroupPairs": [{"GroupId": web}]}
        rules = ec2.authorize_security_group_ingress(GroupId=database, IpPermissions=[reference])["SecurityGroupRules"]
        self.assertEqual(rules[0]["ReferencedGroupInfo"]["GroupId"], web)
        self.found("describe_security_groups", database, ip_permission__group_id=web, ip_permission__to_port="5432")
        self.found("describe_security_group_rules", rules[0]["SecurityGroupRuleId"], group_id=database)

        launch = {"ImageId": AMI, "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1}
        runs = [
            ec2.run_instances(
                SubnetId=subnet, SecurityGroupIds=[group], TagSpecifications=tagged("instance", name), UserData="#!/bin/sh\n", **launch
            )["Instances"][0]["InstanceId"]
            for name, subnet, group in (("web", public, web), ("database", private, database))
        ]
        soon(ec2.get_waiter("instance_running"), InstanceIds=runs)
        soon(ec2.get_waiter("instance_status_ok"), InstanceIds=runs)
        front = ec2.describe_instances(Filters=where(**{"tag:Name": "web"}))["Reservations"][0]["Instances"][0]
        self.assertTrue(front["PublicIpAddress"])
        self.assertTrue(ipaddress.ip_address(front["PrivateIpAddress"]) in ipaddress.ip_network("10.0.1.0/24"))
        user_data = ec2.describe_instance_attribute(InstanceId=runs[0], Attribute="userData")["UserData"]["Value"]
        self.assertEqual(user_data, "IyEvYmluL3NoCg==")

        # One that none of those got that took what they were given.
        there = ec2.describe_network_interfaces(Filters=where(subnet_id=public))["NetworkInterfaces"]
        taken = {row["PrivateIpAddress"] for row in there}
        own = next(own for own in map("10.0.1.{}".format, range(50, 60)) if own not in taken)
        interface = ec2.create_network_interface(SubnetId=public, Groups=[web], PrivateIpAddress=own)
        interface = interface["NetworkInterface"]["NetworkInterfaceId"]
        soon(ec2.get_waiter("network_interface_available"), NetworkInterfaceIds=[interface])
        ec2.assign_private_ip_addresses(NetworkInterfaceId=interface, SecondaryPrivateIpAddressCount=1)
        ec2.assign_ipv6_addresses(NetworkInterfaceId=interface, Ipv6AddressCount=1)
        attachment = ec2.attach_network_interface(NetworkInterfaceId=interface, InstanceId=runs[0], DeviceIndex=1)
        self.found("describe_network_interfaces", interface, attachment__attachment_id=attachment["AttachmentId"])
        elastic = ec2.allocate_address(Domain="vpc")["AllocationId"]
        ec2.associate_address(AllocationId=elastic, NetworkInterfaceId=interface, PrivateIpAddress=own)

        # Nothing that something else stands on can go first.
        for call, parameters in (
            (ec2.delete_vpc, {"VpcId": id}),
            (ec2.delete_subnet, {"SubnetId": public}),
            (ec2.delete_security_group, {"GroupId": web}),
            (ec2.delete_network_acl, {"NetworkAclId": acl}),
            (ec2.delete_route_table, {"RouteTableId": table}),
            (ec2.delete_internet_gateway, {"InternetGatewayId": gateway}),
            (ec2.detach_internet_gateway, {"InternetGatewayId": gateway, "VpcId": id}),
        ):
            with self.subTest(in_use=parameters):
                self.assertEqual(refused(call, **parameters)[0], "DependencyViolation")

        ec2.disassociate_address(AssociationId=self.association(elastic))
        ec2.detach_network_interface(AttachmentId=attachment["AttachmentId"])
        soon(ec2.get_waiter("network_interface_available"), NetworkInterfaceIds=[interface])
        ec2.stop_instances(InstanceIds=runs[:1])
        soon(ec2.get_waiter("instance_stopped"), InstanceIds=runs[:1])
        ec2.start_instances(InstanceIds=runs[:1])
        ec2.terminate_instances(InstanceIds=runs)
        soon(ec2.get_waiter("instance_terminated"), InstanceIds=runs)
        ec2.delete_network_interface(NetworkInterfaceId=interface)
        ec2.delete_nat_gateway(NatGatewayId=nat)
        soon(ec2.get_waiter("nat_gateway_deleted"), NatGatewayIds=[nat])
        blackhole = ec2.describe_route_tables(Filters=where(vpc_id=id, route__state="blackhole"))["RouteTables"]
        self.assertEqual([row["RouteTableId"] for row in blackhole], [main[0]["RouteTableId"]])
        for allocation in (elastic, address["AllocationId"]):
            ec2.release_address(AllocationId=allocation)
        ec2.delete_security_group(GroupId=database)
        ec2.delete_security_group(GroupId=web)
        ec2.disassociate_route_table(AssociationId=association)
        ec2.delete_route_table(RouteTableId=table)
        ec2.delete_egress_only_internet_gateway(EgressOnlyInternetGatewayId=outward)
        ec2.detach_internet_gateway(InternetGatewayId=gateway, VpcId=id)
        ec2.delete_internet_gateway(InternetGatewayId=gateway)
        for subnet in (public, private):
            ec2.delete_subnet(SubnetId=subnet)
        ec2.delete_network_acl(NetworkAclId=acl)
        ec2.delete_vpc(VpcId=id)
        self.assertEqual(self.everything(), before)

    def association(self, allocation):
        return self.ec2.describe_addresses(AllocationIds=[allocation])["Addresses"][0]["AssociationId"]

    def test_pages_hold_every_row_once(self):
        ec2 = self.ec2
        vpc = ec2.create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
        subnets = {
            ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.1.{n}.0/28")["Subnet"]["SubnetId"] for n in range(13)
        }
        for operation in NOUNS:
            with self.subTest(operation=operation):
                self.all(operation)
        rows = self.all("describe_subnets", Filters=where(vpc_id=vpc))
        self.assertEqual({row["SubnetId"] for row in rows}, subnets)
        # A token belongs to the call that gave it.
        token = ec2.describe_subnets(MaxResults=5)["NextToken"]
        self.assertEqual(refused(ec2.describe_vpcs, MaxResults=5, NextToken=token)[0], "InvalidNextToken")
        self.assertEqual(refused(ec2.describe_subnets, MaxResults=5, NextToken="x")[0], "InvalidNextToken")
        for subnet in subnets:
            ec2.delete_subnet(SubnetId=subnet)
        ec2.delete_vpc(VpcId=vpc)

    def test_a_wrong_request_has_awss_code_and_changes_nothing(self):
        ec2 = self.ec2
        vpc = ec2.create_vpc(CidrBlock="10.2.0.0/16")["Vpc"]["VpcId"]
        subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.2.1.0/28")["Subnet"]["SubnetId"]
        for _ in range(11):
            ec2.create_network_interface(SubnetId=subnet)
        before = self.everything()
        launch = {"ImageId": AMI, "MinCount": 1, "MaxCount": 1}
        for code, call, parameters in (
            ("InvalidVpc.Range", ec2.create_vpc, {"CidrBlock": "10.0.0.0/8"}),
            ("InvalidParameterValue", ec2.create_vpc, {"CidrBlock": "10.0.0/16"}),
            ("MissingParameter", ec2.create_vpc, {}),
            ("InvalidVpc.Range", ec2.associate_vpc_cidr_block, {"VpcId": vpc, "CidrBlock": "10.2.0.0/20"}),
            ("InvalidSubnet.Conflict", ec2.create_subnet, {"VpcId": vpc, "CidrBlock": "10.2.1.8/28"}),
            ("InvalidSubnet.Conflict", ec2.create_subnet, {"VpcId": vpc, "CidrBlock": "10.2.0.0/20"}),
            ("InvalidSubnet.Range", ec2.create_subnet, {"VpcId": vpc, "CidrBlock": "10.3.1.0/24"}),
            ("InvalidSubnet.Range", ec2.create_subnet, {"VpcId": vpc, "CidrBlock": "10.2.9.0/29"}),
            ("InsufficientFreeAddressesInSubnet", ec2.create_network_interface, {"SubnetId": subnet}),
            ("InsufficientFreeAddressesInSubnet", ec2.run_instances, {"SubnetId": subnet, **launch}),
            ("InvalidVpcID.NotFound", ec2.describe_vpcs, {"VpcIds": ["vpc-" + ABSENT]}),
            ("InvalidVpcID.Malformed", ec2.describe_vpcs, {"VpcIds": ["vpc-x"]}),
            ("InvalidSubnetID.NotFound", ec2.delete_subnet, {"SubnetId": "subnet-" + ABSENT}),
            ("InvalidGroup.NotFound", ec2.describe_security_groups, {"GroupIds": ["sg-" + ABSENT]}),
            ("InvalidInstanceID.NotFound", ec2.terminate_instances, {"InstanceIds": ["i-" + ABSENT]}),
            ("InvalidInstanceID.Malformed", ec2.describe_instances, {"InstanceIds": ["i-x"]}),
            ("InvalidRouteTableID.NotFound", ec2.delete_route_table, {"RouteTableId": "rtb-" + ABSENT}),
            ("NatGatewayNotFound", ec2.delete_nat_gateway, {"NatGatewayId": "nat-" + ABSENT}),
            ("InvalidAllocationID.NotFound", ec2.release_address, {"AllocationId": "eipalloc-" + ABSENT}),
            ("InvalidNetworkInterfaceID.NotFound", ec2.delete_network_interface, {"NetworkInterfaceId": "eni-" + ABSENT}),
            ("InvalidParameterValue", ec2.describe_vpcs, {"Filters": where(no_such_filter="x")}),
            ("InvalidAction", ec2.describe_volumes, {}),
            ("DryRunOperation", ec2.create_subnet, {"VpcId": vpc, "CidrBlock": "10.2.2.0/24", "DryRun": True}),
        ):
            with self.subTest(code=code, parameters=parameters):
                self.assertEqual(refused(call, **parameters)[0], code)
        self.assertEqual(self.everything(), before)
        for row in ec2.describe_network_interfaces(Filters=where(vpc_id=vpc))["NetworkInterfaces"]:
            ec2.delete_network_interface(NetworkInterfaceId=row["NetworkInterfaceId"])
        ec2.delete_subnet(SubnetId=subnet)
        ec2.delete_vpc(VpcId=vpc)

    def test_only_the_right_key_signs(self):
        wrong = self.daemon.client(aws_secret_access_key="x" * 40)
        self.assertEqual(refused(wrong.describe_vpcs)[0], "AuthFailure")
        unknown = self.daemon.client(aws_access_key_id="AKIAIOSFODNN7EXAMPLE")
        self.assertEqual(refused(unknown.describe_vpcs)[0], "AuthFailure")
        self.assertEqual(refused(self.daemon.client("sts", aws_secret_access_key="x").get_caller_identity)[0], "SignatureDoesNotMatch")
        elsewhere = self.daemon.client(region_name="eu-west-1")
        self.assertEqual(refused(elsewhere.describe_vpcs)[0], "AuthFailure")
        self.assertEqual(self.daemon.client("sts").get_caller_identity()["Account"], "123456789012")

    def test_a_body_over_the_limit_is_refused_whole(self):
        long = [{"Key": "k", "Value": "v" * (1024 * 1024)}]
        specification = [{"ResourceType": "vpc", "Tags": long}]
        before = self.everything()
        code, message = refused(self.ec2.create_vpc, CidrBlock="10.4.0.0/16", TagSpecifications=specification)
        self.assertEqual(code, "RequestEntityTooLarge", message)
        self.assertEqual(self.everything(), before)

    def test_tags_are_found_by_resource_and_key(self):
        ec2 = self.ec2
        vpc = ec2.create_vpc(CidrBlock="10.5.0.0/16")["Vpc"]["VpcId"]
        ec2.create_tags(Resources=[vpc], Tags=[{"Key": "team", "Value": ""}, {"Key": "Name", "Value": "é<&>\u20ac"}])
        tags = ec2.describe_tags(Filters=where(resource_id=vpc))["Tags"]
        self.assertEqual({tag["Key"]: tag["Value"] for tag in tags}, {"team": "", "Name": "é<&>\u20ac"})
        ec2.delete_tags(Resources=[vpc], Tags=[{"Key": "team"}])
        self.assertEqual([tag["Key"] for tag in ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"][0]["Tags"]], ["Name"])
        ec2.delete_vpc(VpcId=vpc)


if __name__ == "__main__":
    unittest.main()
