#!/usr/bin/python3 -IB
"""The load balancer driver `@NAME@`: it keeps what it is told in memory. Put your appliance where the notes say so."""

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


class Balancer:
    MANIFEST = {
        "name": "@NAME@",
        "version": "0.1.0",
        "vendor": "Your company",
        "description": "Balances on your appliance",
        "kind": "load_balancer",
        "interface": "load_balancer/1",
        "serial_by": "device",
        "methods": ["apply", "observe", "suspend", "enable", "delete"],
        "config_schema": {
            "type": "object",
            "properties": {"address": {"type": "string", "description": "Where the appliance is"}},
            "additionalProperties": False,
        },
    }

    def __init__(self, host, config):
        # Here: connect to the appliance, or raise a DriverError for the operator.
        self.address = config.get("address", "")
        self.devices = {}
        self.turn = threading.Lock()
        host.log("info", "ready", address=self.address)

    def device(self, params, generation):
        """What the device carries; an older generation than that is refused."""
        device = self.devices.setdefault(field(params, "device", str), {"generation": 0, "balancers": {}})
        if generation and generation < device["generation"]:
            raise DriverError("conflict", f"generation {generation} is older than {device['generation']}")
        return device

    def apply(self, call, params):
        generation, wanted = field(params, "generation", int), field(params, "load_balancers", list)
        names = [field(one, "id", str) for one in wanted]
        call.check()
        with self.turn:
            device = self.device(params, generation)
            # Here: make the appliance what `wanted` says. Applied twice is applied once.
            device["generation"] = generation
            device["balancers"] = {name: one.get("admin_state", "up") for name, one in zip(names, wanted)}
        return {"load_balancers": [{"id": name, "members": []} for name in names], "method": "memory"}

    def observe(self, call, params):
        with self.turn:
            device = self.devices.get(field(params, "device", str), {"generation": 0, "balancers": {}})
            # Here: ask the appliance what really runs.
            seen = [
                {"id": name, "state": "running" if state == "up" else "suspended", "members": []}
                for name, state in device["balancers"].items()
            ]
            return {"generation": device["generation"], "load_balancers": seen}

    def change(self, params, change):
        generation = params.get("generation", 0) if isinstance(params, dict) else 0
        if not isinstance(generation, int):
            raise DriverError("invalid_argument", "generation is no number")
        with self.turn:
            device = self.device(params, generation)
            only = params.get("load_balancer")
            # Here: tell the appliance.
            for name in [name for name in device["balancers"] if only in (None, name)]:
                change(device["balancers"], name)
            device["generation"] = max(generation, device["generation"])
            return {"load_balancers": [{"id": name, "members": []} for name in device["balancers"]], "method": "memory"}

    def suspend(self, call, params):
        return self.change(params, lambda balancers, name: balancers.update({name: "suspended"}))

    def enable(self, call, params):
        return self.change(params, lambda balancers, name: balancers.update({name: "up"}))

    def delete(self, call, params):
        return self.change(params, lambda balancers, name: balancers.pop(name))


if __name__ == "__main__":
    serve(Balancer)
