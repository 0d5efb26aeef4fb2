#!/usr/bin/env python3
"""Writes clients.txt: for each operation the bodies that botocore's own serializer makes,
one with every parameter (two items in each list), one with the required ones alone.

Run by hand when operations.txt or the pinned botocore changes:
    python3 crates/shapes/tests/capture.py > crates/shapes/tests/clients.txt
"""
import pathlib
import urllib.parse

import botocore.loaders
import botocore.model
import botocore.serialize

HERE = pathlib.Path(__file__).parent
VERSIONS = {"ec2": "2016-11-15", "sts": "2011-06-15", "cloudformation": "2010-05-15"}


def value(shape, name, required_only):
    kind = shape.type_name
    if kind == "structure":
        # An empty structure inside a list would not be sent at all.
        everything = not required_only or (name and not shape.required_members)
        return {
            member: value(inner, member, required_only)
            for member, inner in shape.members.items()
            if everything or member in shape.required_members
        }
    if kind == "list":
        return [value(shape.member, name, required_only) for _ in range(2)]
    if kind in ("integer", "long"):
        return 7
    if kind in ("double", "float"):
        return 1.5
    if kind == "boolean":
        return True
    if kind == "timestamp":
        return "2026-01-31T09:30:00Z"
    if kind == "blob":
        return b"\x00\xff"
    return shape.enum[0] if getattr(shape, "enum", None) else f"{name} & sons"


loader = botocore.loaders.Loader()
for line in (HERE / "../operations.txt").read_text().splitlines():
    if not line or line.startswith("#"):
        continue
    service, operations = line.split(":")
    model = botocore.model.ServiceModel(
        loader.load_service_model(service, "service-2", VERSIONS[service])
    )
    serializer = botocore.serialize.create_serializer(model.metadata["protocol"], False)
    for name in operations.split():
        operation = model.operation_model(name)
        bodies = []
        for required_only in (False, True):
            given = value(operation.input_shape, "", required_only)
            body = serializer.serialize_to_request(given, operation)["body"]
            bodies.append(urllib.parse.urlencode(body))
        for body in dict.fromkeys(bodies):
            print(body)
