"""Writes botocore.json: requests as botocore signs them, for tests/goldens.rs.

Needs botocore (PyPI). The clock is fixed, so the output is the same each time.
"""

import datetime
import json
import pathlib

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

NOW = datetime.datetime(2026, 2, 28, 23, 59, 59)
botocore.auth.get_current_datetime = lambda remove_tzinfo=True: NOW

KEY, SECRET = "AKIA2222222222222222", "abcdefghijklmnopqrstuvwxyz/+ABCDEFGHIJ12"
FORM = "application/x-www-form-urlencoded; charset=utf-8"
CASES = [
    ("ec2 describe", "ec2", "us-east-1", "POST", "http://127.0.0.1:4600/", {"Content-Type": FORM},
     "Action=DescribeVpcs&Version=2016-11-15"),
    ("ec2 with encoded values", "ec2", "eu-central-1", "POST", "http://localhost:4600/", {"Content-Type": FORM},
     "Action=CreateTags&ResourceId.1=vpc-0&Tag.1.Key=a%2Fb&Tag.1.Value=%C3%A9+x&Version=2016-11-15"),
    ("sts", "sts", "us-west-2", "POST", "http://127.0.0.1:4600/", {"Content-Type": FORM, "User-Agent": "x"},
     "Action=GetCallerIdentity&Version=2011-06-15"),
    ("cloudformation get with query", "cloudformation", "us-east-1", "GET",
     "http://127.0.0.1:4600/?StackName=a%2Fb&Action=DescribeStacks&Version=2010-05-15", {}, ""),
    ("folded whitespace", "ec2", "us-east-1", "POST", "http://h.example/", {"X-Note": "  a   b  "}, "x"),
    ("path of several segments", "ec2", "us-east-1", "GET", "http://h.example/a/../b//c%20d/", {}, ""),
    ("empty body", "ec2", "us-east-1", "POST", "http://h.example", {}, ""),
]

out = []
for name, service, region, method, url, headers, body in CASES:
    request = AWSRequest(method=method, url=url, headers=headers, data=body.encode())
    botocore.auth.SigV4Auth(Credentials(KEY, SECRET), service, region).add_auth(request)
    sent = botocore.auth.urlsplit(url)
    all_headers = [[k, v] for k, v in request.headers.items()]
    if not any(k.lower() == "host" for k, _ in all_headers):
        all_headers.append(["Host", sent.netloc])
    out.append({
        "name": name, "service": service, "region": region, "method": method,
        "path": sent.path, "query": sent.query, "headers": all_headers, "body": body,
    })
path = pathlib.Path(__file__).with_name("botocore.json")
path.write_text(json.dumps({"access_key": KEY, "secret": SECRET, "requests": out}, indent=1) + "\n")
