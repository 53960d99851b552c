#!/usr/bin/python3 -IB
"""The cloud driver `@NAME@`: its nodes are entries in memory. Put your cloud's API where the notes say so."""

import os
import sys
import threading

# The daemon runs this file by its descriptor; the environment says where it lies.
for place in (__file__, os.environ.get("CAPSTAN_DRIVER_FILE", __file__)):
    sys.path.append(os.path.dirname(os.path.abspath(place)))
from capstan_driver import DriverError, serve


def field(params, name, kind):
    """A parameter of this type; one that is missing is refused."""
    value = params.get(name) if isinstance(params, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise DriverError("invalid_argument", f"{name} is missing or no {kind.__name__}")
    return value


class Cloud:
    MANIFEST = {
        "name": "@NAME@",
        "version": "0.1.0",
        "vendor": "Your company",
        "description": "Nodes of your cloud",
        "kind": "cloud",
        "interface": "cloud/1",
        "serial_by": "none",
        "methods": ["list_nodes", "create_node", "destroy_node", "get_node", "list_images", "list_sizes"],
        "secrets": ["password"],
        # What a cloud of the farm has.
        "config_schema": {
            "type": "object",
            "properties": {
                "user": {"type": "string"},
                "password": {"type": "string", "writeOnly": True, "x-capstan-secret": True},
                "extra_params": {
                    "type": "object",
                    "properties": {"endpoint": {"type": "string", "description": "Where the cloud's API is"}},
                    "additionalProperties": False,
                },
            },
            "additionalProperties": False,
        },
    }

    def __init__(self, host, config):
        # Here: a client of the cloud's API, made of config.get("user"), config.get("password") and config.get("extra_params").
        self.nodes, self.tokens, self.made = {}, {}, 0
        self.turn = threading.Lock()

    def list_nodes(self, call, params):
        with self.turn:
            return {"items": list(self.nodes.values())}

    def create_node(self, call, params):
        name, image, size = (field(params, key, str) for key in ("name", "image", "size"))
        token = params.get("client_token", "")
        call.check()
        with self.turn:
            # The same token never makes a second node: the host repeats a call whose answer it has lost.
            if token and self.tokens.get(token) in self.nodes:
                return self.nodes[self.tokens[token]]
            # Here: ask the cloud for a node.
            self.made += 1
            node = {"id": f"node-{self.made}", "name": name, "state": "running", "image": image, "size": size}
            self.nodes[node["id"]] = node
            self.tokens[token] = node["id"]
            return node

    def found(self, params):
        name = field(params, "id", str)
        if name not in self.nodes:
            raise DriverError("not_found", f"there is no node {name!r}")
        return self.nodes[name]

    def destroy_node(self, call, params):
        with self.turn:
            del self.nodes[self.found(params)["id"]]

    def get_node(self, call, params):
        with self.turn:
            return self.found(params)

    def list_images(self, call, params):
        return {"items": [{"id": "image-1", "name": "An image"}]}

    def list_sizes(self, call, params):
        return {"items": [{"id": "size-1", "name": "A size", "ram_mib": 1024, "disk_gib": 10, "vcpus": 1}]}


if __name__ == "__main__":
    serve(Cloud)
