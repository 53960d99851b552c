#!/usr/bin/python3 -IB
"""A load balancer driver in Python: it balances nothing, but keeps what it was told, as a driver of an appliance would ask the
appliance for. It shows the whole contract of the declarative form: all or nothing, applied twice is applied once, an older
generation is refused, a cancelled call changes nothing, and whatever happens to this process, the host's state knows."""

import datetime
import hashlib
import json
import os
import sys
import threading

# The daemon runs this file by its descriptor, so it lies where the environment says, or else where Python found it.
for place in (__file__, os.environ.get("CAPSTAN_DRIVER_FILE", __file__)):
    sys.path.append(os.path.dirname(place))
from capstan_driver import DriverError, serve

PROTOCOLS = ("HTTP", "TCP", "GALERA")
LONGEST_STATE = 64 << 10


def field(params, name, kind, otherwise=None):
    """A parameter of this type. One that is missing is refused unless `otherwise` stands in for it."""
    value = params.get(name, otherwise) if isinstance(params, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise DriverError("invalid_argument", f"{name} is missing or no {kind.__name__}")
    return value


def error(code, message):
    return {"code": code, "message": message}


class LoadBalancer:
    MANIFEST = {
        "name": "python-example",
        "version": "0.1.0",
        "vendor": "Capstan",
        "description": "A load balancer in memory, written in Python",
        "kind": "load_balancer",
        "interface": "load_balancer/1",
        "methods": ["apply", "observe", "suspend", "enable", "delete", "status", "statistics"],
        "serial_by": "device",
        "config_schema": {
            "type": "object",
            "properties": {
                "delay_ms": {
                    "description": "Milliseconds that the appliance takes for an apply",
                    "type": "integer",
                    "minimum": 0,
                    "maximum": 600000,
                }
            },
            "additionalProperties": False,
        },
    }

    def __init__(self, host, config):
        self.delay = config.get("delay_ms", 0) / 1000
        self.begun = datetime.datetime.now(datetime.timezone.utc)
        self.counted = {}  # device: end of its last period
        self.turn = threading.Lock()  # one change at a time, also of calls that bring no device for the host to go by
        host.log("info", "ready", delay_ms=config.get("delay_ms", 0))

    def health(self):
        return "in the host's state"

    # ---- methods ----

    def apply(self, call, params):
        generation, wanted = field(params, "generation", int), field(params, "load_balancers", list)
        results = [self.judge(one) for one in wanted]
        if len({one["id"] for one in results}) < len(results):
            raise DriverError("invalid_argument", "two load balancers have the same id")
        call.wait(self.delay)  # the make-believe appliance; a cancelled call ends here
        with self.turn:
            device = self.recall(call, params)
            self.refuse_older(device, generation)
            skip = params.get("skip_refused_members") is True
            refused = [one["id"] for one in results if "error" in one or (one["members"] and not skip)]
            if refused:
                why = f"not tried, because load balancer {refused[0]} was refused; nothing was changed"
                for one in results:
                    if one["id"] not in refused:
                        one["error"] = error("cancelled", why)
                return {"load_balancers": results, "method": "refused"}
            left_out = {(one["id"], member["id"]) for one in results for member in one["members"]}
            balancers = [self.kept(one, left_out) for one in wanted]
            return {"load_balancers": results, "method": self.keep(call, device, generation, balancers)}

    def observe(self, call, params):
        device = self.recall(call, params)
        found = [
            {
                "id": one["id"],
                "state": "suspended" if one["suspended"] else "running",
                "members": self.members(one),
            }
            for one in self.chosen(device, params)
        ]
        return {"generation": device["generation"], "load_balancers": found}

    def suspend(self, call, params):
        return self.change(call, params, lambda one: {**one, "suspended": True})

    def enable(self, call, params):
        return self.change(call, params, lambda one: {**one, "suspended": False})

    def delete(self, call, params):
        return self.change(call, params, lambda _one: None, may_be_gone=True)

    def status(self, call, params):
        return {"members": [member for one in self.existing(call, params) for member in self.members(one)]}

    def statistics(self, call, params):
        listeners = [
            {"load_balancer": one["id"], "protocol": protocol.lower(), "bytes_out": 0}
            for one in self.existing(call, params)
            for protocol in one["protocols"]
        ]
        end = datetime.datetime.now(datetime.timezone.utc)
        start = self.counted.get(params["device"], self.begun)
        self.counted[params["device"]] = end
        return {"start": f"{start:%F %T.%f}", "end": f"{end:%F %T.%f}", "listeners": listeners}

    # ---- what is wanted ----

    def judge(self, wanted):
        """The result for one load balancer of an apply, with what is refused of it."""
        result = {"id": field(wanted, "id", str), "members": []}
        for listener in field(wanted, "listeners", list, []):
            if (protocol := field(listener, "protocol", str)) not in PROTOCOLS:
                result["error"] = error("not_supported", f"no protocol {protocol}; {', '.join(PROTOCOLS)} are there")
        for pool in field(wanted, "pools", list, []):
            for member in field(pool, "members", list, []):
                if not (field(member, "address", str) and 0 < field(member, "port", int) < 65536):
                    why = error("invalid_argument", "a member has an address and a port from 1 to 65535")
                    result["members"].append({"id": field(member, "id", str), "error": why})
        return result

    def kept(self, wanted, left_out):
        """As much of a load balancer as this driver has to remember."""
        members = [member["id"] for pool in wanted.get("pools", []) for member in pool.get("members", [])]
        return {
            "id": wanted["id"],
            "suspended": wanted.get("admin_state") == "suspended",
            "protocols": [listener["protocol"] for listener in wanted.get("listeners", [])],
            "members": [member for member in members if (wanted["id"], member) not in left_out],
        }

    # ---- what is there ----

    def recall(self, call, params):
        """What a device carries. A name may hold what a key may not, so the key is made of its digest."""
        key = "device/" + hashlib.sha256(field(params, "device", str).encode()).hexdigest()[:32]
        found = call.state_get(key)
        return {"key": key, **(found["value"] if found else {"generation": 0, "load_balancers": []})}

    def keep(self, call, device, generation, balancers):
        """Stores what the device carries from now on, in one piece; answers how that was done."""
        if (generation, balancers) == (device["generation"], device["load_balancers"]):
            return "unchanged"
        value = {"generation": generation, "load_balancers": balancers}
        if len(json.dumps(value)) > LONGEST_STATE:
            raise DriverError("quota_exceeded", "more load balancers and members than this driver can remember")
        call.state_put(device["key"], value)
        call.log("info", "changed", generation=generation, load_balancers=len(balancers))
        return "memory"

    def chosen(self, device, params):
        """The load balancers that a call is about: one, or all."""
        one = params.get("load_balancer")
        return [found for found in device["load_balancers"] if one in (None, found["id"])]

    def existing(self, call, params):
        if not (found := self.chosen(self.recall(call, params), params)):
            raise DriverError("not_found", "the device carries no such load balancer")
        return found

    def members(self, balancer):
        up = not balancer["suspended"]
        return [{"load_balancer": balancer["id"], "id": member, "up": up} for member in balancer["members"]]

    def refuse_older(self, device, generation):
        if generation < device["generation"]:
            why = f"generation {generation} is older than generation {device['generation']}, which runs"
            raise DriverError("conflict", f"{why}; nothing was changed")

    def change(self, call, params, edit, may_be_gone=False):
        """What `edit` makes of each load balancer that the call is about; None removes it."""
        call.check()
        generation = field(params, "generation", int, 0)
        with self.turn:
            device = self.recall(call, params)
            self.refuse_older(device, generation)
            chosen = [one["id"] for one in self.chosen(device, params)]
            if not chosen and not may_be_gone:
                raise DriverError("not_found", "the device carries no such load balancer")
            edited = [edit(one) if one["id"] in chosen else one for one in device["load_balancers"]]
            how = self.keep(call, device, generation, [one for one in edited if one is not None])
            return {"load_balancers": [{"id": one} for one in chosen], "method": how}


serve(LoadBalancer)
