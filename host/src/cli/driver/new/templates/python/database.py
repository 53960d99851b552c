#!/usr/bin/python3 -IB
"""The database driver `@NAME@`: its servers are entries in the host's state. Put your server where the notes say so."""

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


class Database:
    MANIFEST = {
        "name": "@NAME@",
        "version": "0.1.0",
        "vendor": "Your company",
        "description": "Runs your database server",
        "kind": "database",
        "interface": "database/1",
        "serial_by": "instance",
        "methods": ["initialise", "start", "stop", "status"],
        "config_schema": {
            "type": "object",
            "properties": {"data_directory": {"type": "string", "description": "Folder of the server's data"}},
            "additionalProperties": False,
        },
    }

    def __init__(self, host, config):
        self.host = host
        self.turn = threading.Lock()

    def key(self, params):
        server = field(params, "server", str)
        if not server or len(server) > 64 or not all(c in "abcdefghijklmnopqrstuvwxyz0123456789-_" for c in server):
            raise DriverError("invalid_argument", "a server's name is 1 to 64 of a-z, 0-9, - and _")
        return f"server/{server}"

    def state(self, key):
        kept = self.host.state_get(key)
        return kept["value"] if kept else "absent"

    def initialise(self, call, params):
        key = self.key(params)
        with self.turn:
            if self.state(key) == "absent":
                # Here: make the data directory.
                self.host.state_put(key, "stopped")

    def set(self, params, state):
        key = self.key(params)
        with self.turn:
            if self.state(key) == "absent":
                raise DriverError("not_found", "the server was never initialised")
            # Here: start or stop the server.
            self.host.state_put(key, state)

    def start(self, call, params):
        self.set(params, "running")
        return self.status(call, params)

    def stop(self, call, params):
        self.set(params, "stopped")

    def status(self, call, params):
        return {"state": self.state(self.key(params)), "role": "standalone"}


if __name__ == "__main__":
    serve(Database)
