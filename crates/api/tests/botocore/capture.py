#!/usr/bin/env python3
"""Writes the signed requests beside it: what botocore sends, at a fixed time with an example key.

Run by hand when a request is added: python3 crates/api/tests/botocore/capture.py
"""
import datetime
import pathlib

import botocore.auth
import botocore.awsrequest
import botocore.session

HERE = pathlib.Path(__file__).parent
NOW = datetime.datetime(2026, 1, 31, 9, 30, tzinfo=datetime.timezone.utc)
REQUESTS = {
    "describe_regions": ("ec2", "describe_regions", {"Filters": [{"Name": "region-name", "Values": ["eu-*"]}]}),
    "describe_availability_zones": ("ec2", "describe_availability_zones", {"ZoneIds": ["use1-az1", "use1-az2"]}),
    "describe_account_attributes": ("ec2", "describe_account_attributes", {"AttributeNames": ["default-vpc"]}),
    "describe_regions_dry": ("ec2", "describe_regions", {"DryRun": True}),
    "get_caller_identity": ("sts", "get_caller_identity", {}),
}

botocore.auth.get_current_datetime = lambda remove_tzinfo=True: NOW.replace(tzinfo=None) if remove_tzinfo else NOW
session = botocore.session.Session()
session.set_credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
for name, (service, method, arguments) in REQUESTS.items():
    client = session.create_client(service, region_name="us-east-1", endpoint_url="http://127.0.0.1:4600")
    captured = []

    def capture(request, **_):
        captured.append(request)
        return botocore.awsrequest.AWSResponse(request.url, 200, {}, None)

    client.meta.events.register("before-send", capture)
    try:
        getattr(client, method)(**arguments)
    except Exception:
        pass
    request = captured[0]
    headers = {"Host": "127.0.0.1:4600", **request.headers, "Connection": "close"}
    text = f"{request.method} / HTTP/1.1\r\n"
    for header, value in headers.items():
        if header == "User-Agent" or header.startswith("amz-sdk-"):
            continue  # not signed, and different on every machine
        text += f"{header}: {value.decode() if isinstance(value, bytes) else value}\r\n"
    body = request.body.decode() if isinstance(request.body, bytes) else request.body
    (HERE / f"{name}.http").write_bytes(f"{text}\r\n{body}".encode())
