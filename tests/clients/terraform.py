"""The calls that Terraform's AWS provider makes for a VPC, in its order and with its parameters.

Terraform itself is not needed: what counts is that each of its calls is answered in the way its next step builds on.
"""

import unittest

from atoll import Daemon, refused, soon, tagged, where

ALL = {"IpProtocol": "-1", "FromPort": 0, "ToPort": 0}
V4, V6 = {"IpRanges": [{"CidrIp": "0.0.0.0/0"}]}, {"Ipv6Ranges": [{"CidrIpv6": "::/0"}]}


class Terraform(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon()
        cls.ec2 = cls.daemon.client()
        cls.vpc = cls.ec2.create_vpc(
            CidrBlock="10.0.0.0/16",
            AmazonProvidedIpv6CidrBlock=False,
            InstanceTenancy="default",
            TagSpecifications=tagged("vpc", "main"),
        )["Vpc"]["VpcId"]
        cls.subnet = cls.ec2.create_subnet(VpcId=cls.vpc, CidrBlock="10.0.1.0/24", AvailabilityZone="us-east-1a")
        cls.subnet = cls.subnet["Subnet"]["SubnetId"]

    @classmethod
    def tearDownClass(cls):
        cls.daemon.close()

    def only(self, rows):
        self.assertEqual(len(rows), 1, rows)
        return rows[0]

    def test_provider_and_data_sources(self):
        ec2 = self.ec2
        self.assertEqual(self.daemon.client("sts").get_caller_identity()["Account"], "123456789012")
        self.only(ec2.describe_account_attributes(AttributeNames=["supported-platforms"])["AccountAttributes"])
        zones = ec2.describe_availability_zones(Filters=where(state="available", opt_in_status="opt-in-not-required"))
        self.assertGreaterEqual(len(zones["AvailabilityZones"]), 2)
        default = self.only(ec2.describe_vpcs(Filters=where(isDefault="true"))["Vpcs"])
        ec2.describe_vpcs(Filters=where(cidr=default["CidrBlock"], dhcp_options_id=default["DhcpOptionsId"], state="available"))
        ec2.describe_subnets(Filters=where(vpc_id=default["VpcId"], defaultForAz="true", availabilityZone="us-east-1a"))
        ec2.describe_subnets(Filters=where(availabilityZoneId="use1-az1", cidrBlock="172.31.0.0/20"))
        ec2.describe_images(Owners=["amazon"], Filters=where(name="al2023-*", root_device_type="ebs", state="available"))

    def test_aws_vpc(self):
        ec2, vpc = self.ec2, self.vpc
        ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": True})
        for attribute in ("enableDnsHostnames", "enableDnsSupport", "enableNetworkAddressUsageMetrics"):
            answer = ec2.describe_vpc_attribute(VpcId=vpc, Attribute=attribute)
            self.assertIn("Value", answer[attribute[0].upper() + attribute[1:]])
        self.only(ec2.describe_network_acls(Filters=where(default="true", vpc_id=vpc))["NetworkAcls"])
        main = ec2.describe_route_tables(Filters=where(association__main="true", vpc_id=vpc))["RouteTables"]
        self.assertTrue(self.only(self.only(main)["Associations"])["Main"])
        self.only(ec2.describe_security_groups(Filters=where(group_name="default", vpc_id=vpc))["SecurityGroups"])

    def test_aws_subnet(self):
        ec2, subnet = self.ec2, self.subnet
        for name, value in (
            ("MapPublicIpOnLaunch", {"Value": True}),
            ("EnableDns64", {"Value": False}),
            ("EnableResourceNameDnsARecordOnLaunch", {"Value": False}),
            ("EnableResourceNameDnsAAAARecordOnLaunch", {"Value": False}),
            ("PrivateDnsHostnameTypeOnLaunch", "ip-name"),
        ):
            ec2.modify_subnet_attribute(SubnetId=subnet, **{name: value})
        row = self.only(ec2.describe_subnets(SubnetIds=[subnet])["Subnets"])
        self.assertTrue(row["MapPublicIpOnLaunch"])
        self.assertEqual(row["PrivateDnsNameOptionsOnLaunch"]["HostnameType"], "ip-name")
        self.assertTrue(row["SubnetArn"].endswith(subnet))
        # Before a subnet or a group goes, interfaces that services left in it are looked for.
        for filters in (
            {"subnet_id": subnet, "description": "AWS Lambda VPC ENI*"},
            {"subnet_id": subnet, "requester_id": "*:*", "status": "available"},
        ):
            self.assertEqual(ec2.describe_network_interfaces(Filters=where(**filters))["NetworkInterfaces"], [])

    def test_aws_route_table_and_main_association(self):
        ec2, vpc = self.ec2, self.vpc
        gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
        table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
        ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
        routes = self.only(ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"])["Routes"]
        made = self.only([route for route in routes if route["DestinationCidrBlock"] == "0.0.0.0/0"])
        self.assertEqual((made["GatewayId"], made["State"], made["Origin"]), (gateway, "active", "CreateRoute"))
        association = ec2.associate_route_table(RouteTableId=table, SubnetId=self.subnet)["AssociationId"]
        self.only(ec2.describe_route_tables(Filters=where(association__route_table_association_id=association))["RouteTables"])
        main = self.only(ec2.describe_route_tables(Filters=where(association__main="true", vpc_id=vpc))["RouteTables"])
        link = main["Associations"][0]["RouteTableAssociationId"]
        link = ec2.replace_route_table_association(AssociationId=link, RouteTableId=table)["NewAssociationId"]
        ec2.replace_route_table_association(AssociationId=link, RouteTableId=main["RouteTableId"])
        ec2.delete_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0")
        again = refused(ec2.delete_route, RouteTableId=table, DestinationCidrBlock="0.0.0.0/0")
        self.assertEqual(again[0], "InvalidRoute.NotFound")
        ec2.disassociate_route_table(AssociationId=association)
        self.assertEqual(refused(ec2.disassociate_route_table, AssociationId=association)[0], "InvalidAssociationID.NotFound")
        ec2.delete_route_table(RouteTableId=table)
        self.assertEqual(refused(ec2.describe_route_tables, RouteTableIds=[table])[0], "InvalidRouteTableID.NotFound")
        ec2.detach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
        self.assertEqual(refused(ec2.detach_internet_gateway, InternetGatewayId=gateway, VpcId=vpc)[0], "Gateway.NotAttached")
        ec2.delete_internet_gateway(InternetGatewayId=gateway)

    def test_aws_eip_without_a_ptr_record(self):
        ec2 = self.ec2
        id = ec2.allocate_address(Domain="vpc")["AllocationId"]
        self.only(ec2.describe_addresses(AllocationIds=[id])["Addresses"])
        # The provider reads on only after this code with these words.
        code, message = refused(ec2.describe_addresses_attribute, AllocationIds=[id], Attribute="domain-name")
        self.assertEqual(code, "InvalidAction")
        self.assertIn("not valid for this web service", message)
        ec2.release_address(AllocationId=id)
        self.assertEqual(refused(ec2.describe_addresses, AllocationIds=[id])[0], "InvalidAllocationID.NotFound")

    def test_aws_security_group_and_its_rules(self):
        ec2 = self.ec2
        group = ec2.create_security_group(GroupName="terraform-1", Description="Managed by Terraform", VpcId=self.vpc)["GroupId"]
        ec2.revoke_security_group_egress(GroupId=group, IpPermissions=[{**ALL, **V4}])
        # A VPC without IPv6 has no such rule, and the provider takes this code for that.
        code, _ = refused(ec2.revoke_security_group_egress, GroupId=group, IpPermissions=[{**ALL, **V6}])
        self.assertEqual(code, "InvalidPermission.NotFound")
        ec2.authorize_security_group_egress(GroupId=group, IpPermissions=[{**ALL, **V4}])
        http = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [{"CidrIp": "0.0.0.0/0", "Description": "w"}]}
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[http])
        row = self.only(ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"])
        self.assertEqual(self.only(row["IpPermissions"])["IpRanges"], http["IpRanges"])
        self.assertEqual(self.only(row["IpPermissionsEgress"])["IpProtocol"], "-1")
        again = refused(ec2.authorize_security_group_ingress, GroupId=group, IpPermissions=[http])
        self.assertEqual(again[0], "InvalidPermission.Duplicate")
        # aws_vpc_security_group_ingress_rule
        https = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, **V4}
        rule = ec2.authorize_security_group_ingress(
            GroupId=group, IpPermissions=[https], TagSpecifications=tagged("security-group-rule", "https")
        )
        rule = self.only(rule["SecurityGroupRules"])["SecurityGroupRuleId"]
        wider = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 444, "CidrIpv4": "0.0.0.0/0"}
        ec2.modify_security_group_rules(
            GroupId=group, SecurityGroupRules=[{"SecurityGroupRuleId": rule, "SecurityGroupRule": wider}]
        )
        seen = self.only(ec2.describe_security_group_rules(SecurityGroupRuleIds=[rule])["SecurityGroupRules"])
        self.assertEqual((seen["ToPort"], seen["Tags"]), (444, [{"Key": "Name", "Value": "https"}]))
        ec2.revoke_security_group_ingress(GroupId=group, SecurityGroupRuleIds=[rule])
        gone = refused(ec2.describe_security_group_rules, SecurityGroupRuleIds=[rule])
        self.assertEqual(gone[0], "InvalidSecurityGroupRuleId.NotFound")
        ec2.delete_security_group(GroupId=group)
        self.assertEqual(refused(ec2.describe_security_groups, GroupIds=[group])[0], "InvalidGroup.NotFound")

    def test_aws_instance(self):
        ec2 = self.ec2
        run = ec2.run_instances(
            ImageId="ami-0123456789abcdef0",
            InstanceType="t3.micro",
            MinCount=1,
            MaxCount=1,
            SubnetId=self.subnet,
            ClientToken="terraform-1",
            DisableApiStop=False,
            DisableApiTermination=False,
            EbsOptimized=False,
            Monitoring={"Enabled": False},
            MetadataOptions={"HttpEndpoint": "enabled", "HttpTokens": "required", "HttpPutResponseHopLimit": 2},
            # Sent with every launch, empty where the configuration says nothing.
            Placement={"AvailabilityZone": "", "GroupName": ""},
            IamInstanceProfile={"Name": ""},
            TagSpecifications=tagged("instance", "web"),
        )
        id = self.only(run["Instances"])["InstanceId"]
        soon(ec2.get_waiter("instance_running"), InstanceIds=[id])
        row = self.only(self.only(ec2.describe_instances(InstanceIds=[id])["Reservations"])["Instances"])
        # No volumes and no CPU credits: the provider does not go on to ask for them, which would be InvalidAction.
        self.assertEqual(row["BlockDeviceMappings"], [])
        self.assertNotIn("IamInstanceProfile", row)
        # What was asked for is found again, or each plan would change it.
        shown = {name: row["MetadataOptions"][name] for name in ("State", "HttpTokens", "HttpPutResponseHopLimit")}
        self.assertEqual(shown, {"State": "applied", "HttpTokens": "required", "HttpPutResponseHopLimit": 2})
        kind = self.only(ec2.describe_instance_types(InstanceTypes=["t3.micro"])["InstanceTypes"])
        self.assertFalse(kind["BurstablePerformanceSupported"])
        for attribute in ("disableApiStop", "disableApiTermination", "instanceInitiatedShutdownBehavior"):
            answer = ec2.describe_instance_attribute(InstanceId=id, Attribute=attribute)
            self.assertIn("Value", answer[attribute[0].upper() + attribute[1:]])
        self.assertNotIn("Value", ec2.describe_instance_attribute(InstanceId=id, Attribute="userData").get("UserData", {}))
        template = where(resource_id=id, key="aws:ec2launchtemplate:id")
        self.assertEqual(ec2.describe_tags(Filters=template)["Tags"], [])
        ec2.modify_instance_attribute(InstanceId=id, DisableApiTermination={"Value": False})
        ec2.modify_instance_attribute(InstanceId=id, DisableApiStop={"Value": False})
        ec2.terminate_instances(InstanceIds=[id])
        soon(ec2.get_waiter("instance_terminated"), InstanceIds=[id])


if __name__ == "__main__":
    unittest.main()
