#!/usr/bin/python3 -IB
"""An API server driver that writes down what it was opened with, into the file that its configuration names as `path`."""

import json
import os
import socket

WIRE = socket.socket(fileno=os.dup(0))
STREAM = WIRE.makefile("rb")
MANIFEST = {
    "name": "remembers",
    "version": "1",
    "kind": "mgm",
    "interface": "mgm/1",
    "methods": ["get_free_count", "add_node", "is_online", "get_url"],
    "serial_by": "none",
}


def say(kind, **value):
    body = json.dumps({kind: value}).encode()
    WIRE.sendall(len(body).to_bytes(4, "big") + body)


say("hello", protocol=1, features=[], name="remembers/1", manifest=MANIFEST)
while len(head := STREAM.read(4)) == 4:
    [(kind, value)] = json.loads(STREAM.read(int.from_bytes(head, "big"))).items()
    if kind == "open":
        with open(value["config"]["path"], "w") as file:
            json.dump(value["config"], file)
    if kind in ("open", "health", "call", "close"):
        say("reply", id=value["id"], result={"message": "well"} if kind == "health" else None)
    if kind == "close":
        break
