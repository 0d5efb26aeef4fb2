//! What a client sees of the HTTP surface, from a real server on loopback.
#![allow(clippy::unwrap_used)]

mod support;

use atoll_api::MAX_BODY;
use atoll_api::auth::Auth;
use support::Server;

const EC2: &str = "Version=2016-11-15";

#[test]
fn requests_that_botocore_signed_are_answered() {
    let server = Server::start(Auth::SigV4);
    let zones = server.send(include_bytes!("botocore/describe_availability_zones.http"));
    assert_eq!(zones.status, 200, "{zones:?}");
    let two = [
        "<zoneName>us-east-1a</zoneName>",
        "<zoneName>us-east-1b</zoneName>",
        "<zoneId>use1-az2</zoneId>",
    ];
    assert!(two.iter().all(|part| zones.body.contains(part)), "{}", zones.body);
    assert_eq!(zones.body.matches("<item>").count(), 2);
    assert_eq!(zones.header("content-type"), "text/xml;charset=UTF-8");
    assert_eq!(zones.header("x-amzn-requestid"), zones.element("requestId"));

    let regions = server.send(include_bytes!("botocore/describe_regions.http"));
    assert!(regions.body.contains(
        "<regionInfo><item><optInStatus>opt-in-not-required</optInStatus><regionName>eu-west-1</regionName>\
         <regionEndpoint>ec2.eu-west-1.amazonaws.com</regionEndpoint></item></regionInfo>"
    ), "{}", regions.body);

    let attributes = server.send(include_bytes!("botocore/describe_account_attributes.http"));
    assert_eq!(
        (
            attributes.element("attributeName"),
            attributes.element("attributeValue")
        ),
        ("default-vpc", "none")
    );

    let caller = server.send(include_bytes!("botocore/get_caller_identity.http"));
    assert_eq!(caller.element("Account"), "123456789012");
    assert_eq!(caller.element("Arn"), "arn:aws:iam::123456789012:root");
    assert_eq!(caller.header("x-amzn-requestid"), caller.element("RequestId"));

    let dry = server.send(include_bytes!("botocore/describe_regions_dry.http"));
    let would = "Request would have succeeded, but DryRun flag is set.";
    assert_eq!(dry.error(), (412, "DryRunOperation", would));
}

#[test]
fn a_changed_request_is_refused_in_its_services_words() {
    let server = Server::start(Auth::SigV4);
    let changed = |request: &[u8], from: &str, to: &str| {
        let text = std::str::from_utf8(request).unwrap();
        assert!(text.contains(from));
        server.send(text.replace(from, to).as_bytes())
    };
    let ec2 = include_bytes!("botocore/describe_regions.http");
    let (status, code, _) = {
        let answer = changed(ec2, "eu-%2A", "us-%2A");
        let (status, code, message) = answer.error();
        (status, code.to_owned(), message.to_owned())
    };
    assert_eq!((status, code.as_str()), (401, "AuthFailure"));
    let unknown = changed(ec2, "AKIDEXAMPLE", "AKIDANOTHER");
    assert_eq!((unknown.error().0, unknown.error().1), (401, "AuthFailure"));
    assert!(unknown.body.contains("<RequestID>"));
    let sts = changed(
        include_bytes!("botocore/get_caller_identity.http"),
        "Signature=",
        "Signature=0",
    );
    assert!(sts.status >= 400 && sts.element("Type") == "Sender", "{sts:?}");
    let unsigned = server.post(&format!("Action=DescribeRegions&{EC2}"), &[]);
    assert_eq!(
        (unsigned.error().0, unsigned.error().1),
        (403, "MissingAuthenticationToken")
    );
}

#[test]
fn without_authentication_everybody_is_the_default_account_in_the_region_they_name() {
    let server = Server::start(Auth::None);
    let body = format!("Action=DescribeAvailabilityZones&{EC2}");
    assert_eq!(server.post(&body, &[]).element("regionName"), "us-east-1");
    let scope = |region: &str| {
        format!(
            "AWS4-HMAC-SHA256 Credential=any/20260131/{region}/ec2/aws4_request, SignedHeaders=host, Signature={}",
            "0".repeat(64)
        )
    };
    assert_eq!(
        server
            .post(&body, &[("Authorization", &scope("eu-west-1"))])
            .element("regionName"),
        "eu-west-1"
    );
    let elsewhere = server.post(&body, &[("Authorization", &scope("eu-west-9"))]);
    assert_eq!(
        elsewhere.error(),
        (
            401,
            "AuthFailure",
            "Credential should be scoped to a region that is served here, not 'eu-west-9': us-east-1, eu-west-1",
        )
    );
    let get = format!(
        "GET /?Action=DescribeRegions&{EC2}&RegionName.1=eu-west-1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    );
    assert_eq!(server.send(get.as_bytes()).element("regionName"), "eu-west-1");
}

#[test]
fn what_is_not_offered_is_refused_by_name() {
    let server = Server::start(Auth::None);
    let sts = "Version=2011-06-15";
    for (body, status, code, message) in [
        (
            format!("Action=DescribeSpotFleet&{EC2}"),
            400,
            "InvalidAction",
            "The action DescribeSpotFleet is not valid for this web service.",
        ),
        (
            format!("Action=GetCallerIdentity&{EC2}"),
            400,
            "InvalidAction",
            "The action GetCallerIdentity is not valid for this web service.",
        ),
        (
            format!("Action=AssumeRole&{sts}"),
            400,
            "InvalidAction",
            "Could not find operation AssumeRole for version 2011-06-15",
        ),
        (
            EC2.to_owned(),
            400,
            "MissingAction",
            "The request is missing an action: the parameter Action names one",
        ),
        (
            "Action=DescribeRegions".to_owned(),
            400,
            "MissingParameter",
            "The request must contain the parameter Version",
        ),
        (
            "Action=DescribeRegions&Version=2014-10-01".to_owned(),
            400,
            "NoSuchVersion",
            "The version 2014-10-01 is not one of ec2's; 2016-11-15 is",
        ),
        (
            format!("Action=DescribeRegions&{EC2}&Colour=red"),
            400,
            "UnknownParameter",
            "The parameter Colour is not recognized",
        ),
        (
            format!("Action=DescribeRegions&{EC2}&DryRun=maybe"),
            400,
            "InvalidParameterValue",
            "Value (maybe) for parameter DryRun is invalid. Expected true or false.",
        ),
        (
            format!("Action=DescribeRegions&{EC2}&Filter.1.Name=colour&Filter.1.Value.1=red"),
            400,
            "InvalidParameterValue",
            "The filter 'colour' is invalid",
        ),
        (
            format!("Action=DescribeRegions&{EC2}&RegionName.1=mars-1"),
            400,
            "InvalidParameterValue",
            "Value (mars-1) for parameter RegionName is invalid. Served here: eu-west-1, us-east-1.",
        ),
        (
            format!("Action=GetCallerIdentity&{sts}&X=1"),
            400,
            "ValidationError",
            "The parameter X is not recognized",
        ),
    ] {
        let answer = server.post(&body, &[]);
        assert_eq!(answer.error(), (status, code, message), "{body}");
    }
}

#[test]
fn bodies_paths_and_methods_are_limited() {
    let server = Server::start(Auth::None);
    let body = |size: usize| format!("Action=DescribeRegions&{EC2}&X={}", "a".repeat(size));
    let fits = server.post(&body(MAX_BODY - 100), &[]);
    assert_eq!(fits.error().1, "UnknownParameter");
    let large = server.post(&body(MAX_BODY), &[]);
    assert_eq!((large.error().0, large.error().1), (413, "RequestEntityTooLarge"));
    // A client that sends all before it reads gets its answer too: the connection is not reset on it.
    let larger = server.post(&body(8 * MAX_BODY), &[]);
    assert_eq!(
        (larger.error().0, larger.error().1),
        (413, "RequestEntityTooLarge")
    );
    let request = |line: &str| {
        server.send(format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
    };
    assert_eq!(request("GET /console").error().0, 404);
    assert_eq!(request("PUT /").error().0, 405);
}

#[test]
fn a_web_page_cannot_call() {
    let server = Server::of(|memory| {
        let listen = "127.0.0.1:4600".parse().unwrap();
        atoll_api::Api::new(memory, Auth::None, atoll_api::Hosts::of(listen, &[]))
    });
    let body = format!("Action=CreateVpc&{EC2}&CidrBlock=10.0.0.0/16");
    let post = |host: &str, header: &str| {
        let length = body.len();
        server.send(
            format!(
                "POST / HTTP/1.1\r\nHost: {host}\r\n{header}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            )
            .as_bytes(),
        )
    };
    for (host, header, message) in [
        (
            "localhost:4600",
            "Origin: https://evil.example\r\n",
            "The request has the header Origin: https://evil.example, so a web page sent it; pages may not call this endpoint",
        ),
        (
            "127.0.0.1:4600",
            "Sec-Fetch-Site: cross-site\r\n",
            "The request has the header Sec-Fetch-Site: cross-site, so a web page sent it; pages may not call this endpoint",
        ),
        (
            "rebound.example:4600",
            "",
            "This endpoint is not called 'rebound.example' but localhost or 127.0.0.1; to call it by another name, give that \
             name to atoll serve with --allowed-host",
        ),
    ] {
        assert_eq!(post(host, header).error(), (403, "AccessDenied", message));
    }
    let get = |query: &str, header: &str| {
        server.send(
            format!("GET /?{query} HTTP/1.1\r\nHost: 127.0.0.1\r\n{header}Connection: close\r\n\r\n")
                .as_bytes(),
        )
    };
    let image = get(&body, "");
    assert_eq!(
        (image.error().0, image.error().1),
        (403, "MissingAuthenticationToken")
    );
    let vpcs = || {
        let answer = get(&format!("Action=DescribeVpcs&{EC2}"), "");
        answer.body.matches("<vpcId>").count()
    };
    assert_eq!(vpcs(), 0, "an image may read");
    assert_eq!(get(&body, "Authorization: x\r\n").status, 200);
    assert_eq!(post("localhost:4600", "").status, 200);
    assert_eq!(vpcs(), 2);
}
