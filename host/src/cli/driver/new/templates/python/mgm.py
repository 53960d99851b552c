#!/usr/bin/python3 -IB
"""The mgm driver `@NAME@`: an API server that is a list in memory. Put your API server where the notes say so."""

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


class ApiServer:
    MANIFEST = {
        "name": "@NAME@",
        "version": "0.1.0",
        "vendor": "Your company",
        "description": "Registers nodes with your API server",
        "kind": "mgm",
        "interface": "mgm/1",
        "serial_by": "none",
        "methods": ["get_free_count", "add_node", "is_online", "get_url"],
        "config_schema": {
            "type": "object",
            "properties": {"url": {"type": "string", "description": "Where the API server is"}},
            "additionalProperties": False,
        },
    }

    def __init__(self, host, config):
        self.url = config.get("url", "http://127.0.0.1:8889")
        self.devices = set()
        self.turn = threading.Lock()

    def get_free_count(self, call, params):
        # Here: ask the API server how many devices nobody uses.
        with self.turn:
            return len(self.devices)

    def add_node(self, call, params):
        name, _address = field(params, "name", str), field(params, "address", str)
        # Here: register the node. One that is there already is no error: the host may repeat a call.
        with self.turn:
            self.devices.add(name)
        return {"accepted": True}

    def is_online(self, call, params):
        return True

    def get_url(self, call, params):
        return self.url


if __name__ == "__main__":
    serve(ApiServer)
