//! Whole templates, read and planned: what is accepted, in which order it would be made, and what is
//! refused with which words before anything is made.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;

use atoll_stack::intrinsic::Made;
use atoll_stack::{TemplateError, Value};
use common::{Empty, plan};

const WORDPRESS: &str = include_str!("data/wordpress.yaml");
const PASSWORD: (&str, &str) = ("DatabasePassword", "correcthorse");

/// Every resource returns its own id and attribute as text, or one block for `CidrBlock`.
struct Echo;

impl Made for Echo {
    fn reference(&self, logical_id: &str) -> Option<Value> {
        Some(format!("<{logical_id}>").into())
    }

    fn attribute(&self, logical_id: &str, attribute: &str) -> Result<Option<Value>, TemplateError> {
        Ok(Some(match attribute {
            "CidrBlock" => "10.20.0.0/16".into(),
            "Ipv6CidrBlocks" => Value::List(vec!["2001:db8:100::/56".into()]),
            _ => format!("<{logical_id}.{attribute}>").into(),
        }))
    }
}

fn refused(text: &str) -> String {
    plan(text, &[]).unwrap_err().to_string()
}

/// A template with these resources (in YAML's flow style), and more sections before.
fn with(sections: &str, resources: &str) -> String {
    format!("{sections}\nResources: {{{resources}}}\n")
}

#[test]
fn a_two_tier_template_is_planned() {
    let plan = plan(WORDPRESS, &[PASSWORD]).unwrap();
    assert!(
        !plan.resources.contains_key("WebB"),
        "its condition does not hold"
    );
    let needs = |id: &str| {
        plan.resources[id]
            .depends_on
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
    };
    assert_eq!(needs("PublicA"), ["Vpc"]);
    assert_eq!(
        needs("WebA"),
        ["Database", "PublicA", "PublicARoutes", "ToInternet", "WebGroup"]
    );
    // Implied: nothing in the template says that these need the attachment.
    assert!(needs("ToInternet").contains(&"Attachment"));
    assert!(needs("NatAddress").contains(&"Attachment"));
    assert!(!needs("ThroughNat").contains(&"Attachment"));
    let signals = plan.resources["WebA"].signals.unwrap();
    assert_eq!((signals.count, signals.timeout_millis), (1, 600_000));
    assert_eq!(plan.exports["Url"], "blog-url");
    assert!(plan.parameters["DatabasePassword"].no_echo);
    assert_eq!(
        plan.parameters["Image"].found.as_deref(),
        Some("ami-0a70110000000001")
    );

    let subnet = plan.properties("PublicB", &Empty, &Echo).unwrap();
    assert_eq!(subnet["CidrBlock"], "10.20.1.0/24".into());
    assert_eq!(subnet["AvailabilityZone"], "us-east-1b".into());
    let vpc = plan.properties("Vpc", &Empty, &Echo).unwrap();
    let tags = vpc["Tags"].to_json();
    assert_eq!(
        tags,
        serde_json::json!([{"Key": "Name", "Value": "blog-vpc"}, {"Key": "Owner", "Value": "us"}])
    );
    let web = plan.properties("WebA", &Empty, &Echo).unwrap();
    let data = atoll_stack::base64::decode(&web["UserData"].text().unwrap()).unwrap();
    let data = String::from_utf8(data).unwrap();
    assert!(data.contains("database=<Database.PrivateIp>:3306\""), "{data}");
    assert!(
        data.contains("--stack blog --resource WebA --region us-east-1"),
        "{data}"
    );
    let database = plan.properties("Database", &Empty, &Echo).unwrap();
    let data = String::from_utf8(atoll_stack::base64::decode(&database["UserData"].text().unwrap()).unwrap())
        .unwrap();
    assert!(
        data.contains("literally ${PORT}") && data.contains("on $PORT,") && data.contains("'correcthorse'"),
        "{data}"
    );
    let outputs = plan.outputs(&Empty, &Echo).unwrap();
    assert_eq!(
        outputs,
        BTreeMap::from([("Url".to_owned(), "http://<WebA.PublicIp>/".to_owned())])
    );
}

#[test]
fn parameters_choose() {
    let plan = plan(WORDPRESS, &[PASSWORD, ("Stage", "production")]).unwrap();
    let web = plan.properties("WebB", &Empty, &Echo).unwrap();
    assert_eq!(web["InstanceType"], "t3.small".into());
    assert_eq!(web["KeyName"], "operators".into());
    assert!(
        plan.warnings
            .iter()
            .any(|w| w.logical_id == "WebB" && w.to_string() == "Property KeyName is not in effect")
    );
    assert_eq!(
        plan.outputs(&Empty, &Echo).unwrap()["SecondUrl"],
        "http://<WebB.PublicIp>/"
    );
}

#[test]
fn parameters_are_constrained() {
    for (name, value, wanted) in [
        ("Stage", "live", "Parameter 'Stage' must be one of AllowedValues"),
        (
            "DatabasePassword",
            "short",
            "Parameter 'DatabasePassword' must contain at least 8 characters",
        ),
        (
            "DatabasePassword",
            "not-alphanumeric",
            "Parameter 'DatabasePassword' must match pattern [a-zA-Z0-9]*",
        ),
        (
            "DatabasePort",
            "80",
            "Parameter 'DatabasePort' must be a number not less than 1024",
        ),
        (
            "DatabasePort",
            "many",
            "Parameter 'DatabasePort' must be a number.",
        ),
        (
            "VpcCidr",
            "10.0.0.0",
            "Parameter VpcCidr failed to satisfy constraint: must be a block such as 10.20.0.0/16",
        ),
        (
            "Image",
            "/my/own",
            "Unable to fetch parameters [/my/own] from parameter store for this account.",
        ),
        (
            "Colour",
            "red",
            "Parameters: [Colour] do not exist in the template",
        ),
    ] {
        let parameters = [PASSWORD, (name, value)];
        assert_eq!(
            plan(WORDPRESS, &parameters).unwrap_err().to_string(),
            wanted,
            "{name}={value}"
        );
    }
    assert_eq!(
        plan(WORDPRESS, &[]).unwrap_err().to_string(),
        "Parameters: [DatabasePassword] must have values"
    );
}

#[test]
fn what_the_cdk_synthesizes_is_planned() {
    let templates = [
        (
            "default_vpc",
            include_str!("data/cdk_default_vpc.json"),
            vec!["CDKMetadata: This resource is not in effect"],
        ),
        (
            "isolated",
            include_str!("data/cdk_isolated_subnets.json"),
            vec!["CDKMetadata: This resource is not in effect"],
        ),
        (
            "without_nat",
            include_str!("data/cdk_without_nat_gateways.json"),
            vec!["CDKMetadata: This resource is not in effect"],
        ),
        (
            "dual_stack",
            include_str!("data/cdk_dual_stack.json"),
            vec!["CDKMetadata: This resource is not in effect"],
        ),
        (
            "restricted",
            include_str!("data/cdk_restricted_default_group.json"),
            vec![
                "CDKMetadata: This resource is not in effect",
                "CustomVpcRestrictDefaultSGCustomResourceProviderHandlerDC833E5E: This resource is not in effect",
                "CustomVpcRestrictDefaultSGCustomResourceProviderRole26592FE0: This resource is not in effect",
            ],
        ),
    ];
    for (name, text, warnings) in templates {
        let plan = plan(text, &[]).unwrap_or_else(|e| panic!("{name}: {e}"));
        let found: Vec<String> = plan
            .warnings
            .iter()
            .map(|w| format!("{}: {w}", w.logical_id))
            .collect();
        assert_eq!(found, warnings, "{name}");
        for id in plan.resources.keys() {
            plan.properties(id, &Empty, &Echo)
                .unwrap_or_else(|e| panic!("{name}: {e}"));
        }
    }
    for text in [
        include_str!("data/cdk_nat_instance.json"),
        include_str!("data/cdk_instance_and_flow_logs.json"),
    ] {
        let plan = plan(text, &[]).unwrap();
        assert_eq!(plan.capability(), Some("CAPABILITY_IAM"));
        for id in plan.resources.keys() {
            plan.properties(id, &Empty, &Echo).unwrap();
        }
    }
}

#[test]
fn a_dual_stack_subnet_of_the_cdk_gets_its_share_of_the_block() {
    let plan = plan(include_str!("data/cdk_dual_stack.json"), &[]).unwrap();
    let subnet = plan
        .properties("VPrivateSubnet1Subnet9B75F0E7", &Empty, &Echo)
        .unwrap();
    assert_eq!(subnet["Ipv6CidrBlock"], "2001:db8:100:2::/64".into());
    assert!(
        plan.resources["VPrivateSubnet1Subnet9B75F0E7"]
            .depends_on
            .contains("Vipv6cidr9236183E")
    );
}

#[test]
fn an_old_bootstrap_is_refused_by_the_cdks_own_rule() {
    let text = include_str!("data/cdk_default_vpc.json").replace("\"5\"", "\"21\"");
    let e = plan(&text, &[]).unwrap_err();
    assert!(
        matches!(&e, TemplateError::Rule { rule, .. } if rule == "CheckBootstrapVersion"),
        "{e}"
    );
    assert!(e.to_string().contains("CDK bootstrap stack version 6 required"));
}

#[test]
fn what_is_wrong_is_named_before_anything_is_made() {
    let vpc = "V: {Type: 'AWS::EC2::VPC', Properties: {CidrBlock: 10.0.0.0/16}}";
    let subnet =
        |properties: &str| format!("{vpc}, S: {{Type: 'AWS::EC2::Subnet', Properties: {{{properties}}}}}");
    for (text, wanted) in [
        (
            with("", &subnet("VpcId: !Ref X")),
            "Template format error: Unresolved resource dependencies [X] in the Resources block of the template",
        ),
        (
            with("", &subnet("VpcId: !Sub '${Y}'")),
            "Template format error: Unresolved resource dependencies [Y] in the Resources block of the template",
        ),
        (
            with("", &subnet("VpcId: !GetAtt X.VpcId")),
            "Template error: instance of Fn::GetAtt references undefined resource X",
        ),
        (
            with("", &subnet("VpcId: !GetAtt V.Arn")),
            "Template error: resource V does not support attribute type Arn in Fn::GetAtt",
        ),
        (
            with("", &subnet("VpcId: !Ref V, Colour: red")),
            "Resource S (AWS::EC2::Subnet): Encountered unsupported property Colour",
        ),
        (
            with("", &subnet("CidrBlock: 10.0.0.0/24")),
            "Resource S (AWS::EC2::Subnet): Property VpcId cannot be empty.",
        ),
        (
            with("", &subnet("VpcId: [!Ref V]")),
            "Resource S (AWS::EC2::Subnet): Value of property VpcId must be of type String",
        ),
        (
            with("", &subnet("VpcId: !Ref V, Tags: {Key: a}")),
            "Resource S (AWS::EC2::Subnet): Value of property Tags must be of type List",
        ),
        (
            with("", &subnet("VpcId: !Ref V, MapPublicIpOnLaunch: maybe")),
            "Resource S (AWS::EC2::Subnet): Value of property MapPublicIpOnLaunch must be of type Boolean",
        ),
        (
            with("", &subnet("VpcId: !Ref V, OutpostArn: x")),
            "Resource S (AWS::EC2::Subnet): Property OutpostArn is not supported here: there are no Outposts here",
        ),
        (
            with("", &subnet("VpcId: !Ref V, Tags: [{Key: a}]")),
            "Resource S (AWS::EC2::Subnet): Property Tags[0].Value cannot be empty.",
        ),
        (
            with(
                "",
                "B: {Type: 'AWS::S3::Bucket'}, L: {Type: 'AWS::Lambda::Function', Properties: {Handler: x}}",
            ),
            "Template format error: Unrecognized resource types: [AWS::S3::Bucket]",
        ),
        (
            with("", "L: {Type: 'AWS::Lambda::Function', Properties: {Handler: x}}"),
            "Template format error: Unrecognized resource types: [AWS::Lambda::Function]",
        ),
        (
            with(
                "",
                "A: {Type: 'AWS::EC2::VPC', Properties: {CidrBlock: !GetAtt B.CidrBlock}}, B: {Type: 'AWS::EC2::VPC', DependsOn: A}",
            ),
            "Circular dependency between resources: [A, B]",
        ),
        (
            with("", "V: {Type: 'AWS::EC2::VPC', DependsOn: W}"),
            "Template format error: Unresolved resource dependencies [W] in the Resources block of the template",
        ),
        (
            with("Outputs: {O: {Value: !Ref X}}", vpc),
            "Template format error: Unresolved resource dependencies [X] in the Outputs block of the template",
        ),
        (
            with("Outputs: {O: {Value: !Split ['.', !Ref AWS::Region]}}", vpc),
            "Template format error: The Value field of every Outputs member must evaluate to a String. (O)",
        ),
        (
            with("Conditions: {C: !Equals [!Ref V, x]}", vpc),
            "Template format error: Unresolved dependencies [V]. Cannot reference resources in the Conditions block of the template",
        ),
        (
            with("Conditions: {C: !Condition D, D: !Not [!Condition C]}", vpc),
            "Template format error: Circular dependency between conditions: [C, D]",
        ),
        (
            with("Conditions: {C: !Condition D}", vpc),
            "Template format error: Unresolved condition dependency D in the Conditions block of the template",
        ),
        (
            with("", &subnet("VpcId: !If [C, !Ref V, x]")),
            "Template error: unresolved condition dependency: C",
        ),
        // What is not made has no id.
        (
            with(
                "Conditions: {C: !Equals [a, b]}",
                &format!(
                    "{}, T: {{Type: 'AWS::EC2::Subnet', Condition: C, Properties: {{VpcId: !Ref V}}}}, U: {{Type: 'AWS::EC2::SubnetCidrBlock', Properties: {{SubnetId: !Ref T, Ipv6CidrBlock: x}}}}",
                    vpc
                ),
            ),
            "Template format error: Unresolved resource dependencies [T] in the Resources block of the template",
        ),
        (
            with("", &subnet("VpcId: !Select [3, [a, b]]")),
            "Template error: Fn::Select cannot select nonexistent value at index 3",
        ),
        (
            with("", &subnet("VpcId: !FindInMap [M, a, b]")),
            "Template error: Mapping named 'M' is not present in the 'Mappings' section of template.",
        ),
        (
            with(
                "Mappings: {M: {a: {c: d}}}",
                &subnet("VpcId: !FindInMap [M, a, b]"),
            ),
            "Template error: Unable to get mapping for M::a::b",
        ),
        (
            with("", &subnet("VpcId: !ImportValue nobody")),
            "No export named nobody found.",
        ),
        (
            with("", &subnet("VpcId: !Sub '${a b}'")),
            "Template error: variable names in Fn::Sub syntax must contain only alphanumeric characters, underscores, periods, and colons",
        ),
        (
            with("", &subnet("VpcId: !Join [',']")),
            "Template error: every Fn::Join object requires two parameters, (1) a string delimiter and (2) a list of strings to be joined or a function that returns a list of strings (such as Fn::GetAZs) to be joined.",
        ),
        (
            with("", &subnet("VpcId: {'Fn::Length': [1]}")),
            "Template error: unsupported intrinsic function Fn::Length (at /Resources/S/Properties/VpcId/Fn::Length)",
        ),
        (
            with("", &subnet("VpcId: '{{resolve:secretsmanager:x}}'")),
            "Template error: the dynamic reference {{resolve:secretsmanager:x}} at /Resources/S/Properties/VpcId is not supported here",
        ),
        (
            with("", &subnet("VpcId: {Ref: V, x: y}")),
            "Template format error: [/Resources/S/Properties/VpcId] the function Ref must be the only key of its map",
        ),
        (
            with("Parameters: {P: {Type: Text}}", vpc),
            "Template format error: Unrecognized parameter type: Text (parameter P)",
        ),
        (
            with(
                "Parameters: {P: {Type: String, AllowedPattern: '(?=x)', Default: x}}",
                vpc,
            ),
            "Template format error: AllowedPattern of parameter P is not a supported regular expression (look-around and back-references are not): (?=x)",
        ),
    ] {
        assert_eq!(refused(&text), wanted, "{text}");
    }
}

#[test]
fn functions_have_the_documented_values() {
    let of = |expression: &str| {
        let text = with(
            "Parameters: {L: {Type: CommaDelimitedList, Default: 'a, b,c'}, N: {Type: List<Number>, Default: '1,2'}}\nConditions: {Always: !Equals [true, 'true'], Never: !Not [!Condition Always]}",
            &format!("V: {{Type: 'AWS::SSM::Parameter', Properties: {{Type: String, Value: {expression}}}}}"),
        );
        plan(&text, &[])
            .unwrap_or_else(|e| panic!("{text}: {e}"))
            .properties("V", &Empty, &Echo)
            .unwrap()["Value"]
            .text()
            .unwrap()
    };
    for (expression, wanted) in [
        ("!Join ['-', !Ref L]", "a-b-c"),
        ("!Select ['1', !Ref N]", "2"),
        ("!Join ['', [x, !If [Never, y, !Ref 'AWS::NoValue'], z]]", "xz"),
        ("!Select [2, !Split ['|', 'a||c']]", "c"),
        ("!Base64 AWS", "QVdT"),
        (
            "!Sub ['${A}/${AWS::Region}/${!B}/$C/${A}', {A: !If [Always, 1.10, x]}]",
            "1.10/us-east-1/${B}/$C/1.10",
        ),
        ("!Select [0, !GetAZs eu-west-1]", "eu-west-1a"),
        (
            "!Select [5, !Cidr [192.168.0.0/24, '6', '5']]",
            "192.168.0.160/27",
        ),
        ("!ImportValue shared-vpc", "vpc-0123456789abcdef0"),
        ("!Ref AWS::Partition", "aws"),
        ("!Sub 'ec2.${AWS::URLSuffix}'", "ec2.amazonaws.com"),
        (
            "'{{resolve:ssm:/aws/service/ami-amazon-linux-latest/x:1}}'",
            "ami-0a70110000000001",
        ),
        ("!Sub '{unclosed ${'", "{unclosed ${"),
    ] {
        assert_eq!(of(expression), wanted, "{expression}");
    }
}

#[test]
fn rules_look_objects_up() {
    let rule = |assert: &str| {
        let rules = format!(
            "Parameters: {{Vpc: {{Type: 'AWS::EC2::VPC::Id', Default: vpc-11111111}}, Vpcs: {{Type: CommaDelimitedList, Default: 'vpc-11111111,vpc-33333333'}}}}\nRules: {{R: {{Assertions: [{{Assert: {assert}, AssertDescription: so}}]}}}}"
        );
        plan(&with(&rules, "G: {Type: 'AWS::EC2::InternetGateway'}"), &[]).map(|_| ())
    };
    for (assert, holds) in [
        ("!Contains [!RefAll 'AWS::EC2::VPC::Id', !Ref Vpc]", true),
        ("!EachMemberIn [!Ref Vpcs, !RefAll 'AWS::EC2::VPC::Id']", false),
        ("!Equals [!ValueOf [Vpc, Tags.Name], name-of-vpc-11111111]", true),
        (
            "!EachMemberEquals [!ValueOfAll ['AWS::EC2::VPC::Id', Tags.Name], x]",
            false,
        ),
        ("!And [!Equals [a, a], !Not [!Contains [[x, y], z]]]", true),
    ] {
        match rule(assert) {
            Ok(()) => assert!(holds, "{assert}"),
            Err(e) => assert!(
                !holds && e.to_string() == "Template error: Rule 'R' does not hold: so",
                "{assert}: {e}"
            ),
        }
    }
}

#[test]
fn what_a_parameter_names_must_exist() {
    let sections = "Parameters: {Vpc: {Type: 'AWS::EC2::VPC::Id'}, Image: {Type: 'AWS::EC2::Image::Id', Default: ami-87654321}, Zones: {Type: 'List<AWS::EC2::AvailabilityZone::Name>', Default: 'us-east-1a,us-east-1b'}}";
    let text = with(sections, "G: {Type: 'AWS::EC2::InternetGateway'}");
    assert!(plan(&text, &[("Vpc", "vpc-11111111")]).is_ok());
    for (name, value) in [
        ("Vpc", "vpc-33333333"),
        ("Vpc", "subnet-11111111"),
        ("Zones", "us-east-1a,eu-west-1a"),
    ] {
        let e = plan(
            &text,
            &[("Vpc", "vpc-11111111"), (name, value)][usize::from(name == "Vpc")..],
        )
        .unwrap_err();
        let missing = value.rsplit(',').next().unwrap();
        let wanted = format!(
            "Parameter validation failed: parameter value {missing} for parameter name {name} does not exist"
        );
        assert_eq!(e.to_string(), wanted);
    }
}

#[test]
fn growth_by_powers_is_stopped() {
    let mut value = "!Sub '0123456789'".to_owned();
    for _ in 0..30 {
        value = format!("!Sub ['${{a}}${{a}}${{a}}${{a}}', {{a: {value}}}]");
    }
    let text = with(
        "",
        &format!("V: {{Type: 'AWS::SSM::Parameter', Properties: {{Type: String, Value: {value}}}}}"),
    );
    assert!(refused(&text).contains("the evaluated template is larger than"));
}
