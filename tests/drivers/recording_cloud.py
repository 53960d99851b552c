#!/usr/bin/python3 -IB
"""A cloud that writes down what its nodes are told at their first start, in `FOLDER/user-data-1`, `-2` and so on. The first time it is asked
for a node it makes none and gives no clear answer, as a cloud does whose reply is lost on a request that was lost as well."""

import os
import sys
import threading

for place in (__file__, os.environ.get("CAPSTAN_DRIVER_FILE", __file__)):
    sys.path.append(os.path.dirname(os.path.abspath(place)))
from capstan_driver import DriverError, serve


class Cloud:
    MANIFEST = {
        "name": "recording",
        "version": "1",
        "kind": "cloud",
        "interface": "cloud/1",
        "serial_by": "none",
        "methods": ["list_nodes", "create_node", "destroy_node", "get_node", "list_images", "list_sizes"],
    }

    def __init__(self, host, config):
        self.folder = config["extra_params"]["folder"]
        self.nodes, self.asked = {}, 0
        self.turn = threading.Lock()

    def list_nodes(self, call, params):
        with self.turn:
            return {"items": list(self.nodes.values())}

    def create_node(self, call, params):
        with self.turn:
            self.asked += 1
            path = f"{self.folder}/user-data-{self.asked}"
            with open(path + ".new", "w", encoding="utf-8") as file:
                file.write(params["user_data"])
            os.rename(path + ".new", path)
            if self.asked == 1:
                raise DriverError("unavailable", "the connection was lost")
            node = {
                "id": f"node-{self.asked}",
                "name": params["name"],
                "state": "running",
                "public_ips": ["127.0.0.1"],
                "tags": params.get("tags", {}),
            }
            self.nodes[node["id"]] = node
            return node

    def found(self, params):
        if params["id"] not in self.nodes:
            raise DriverError("not_found", "there is no such node")
        return self.nodes[params["id"]]

    def destroy_node(self, call, params):
        with self.turn:
            del self.nodes[self.found(params)["id"]]

    def get_node(self, call, params):
        with self.turn:
            return self.found(params)

    def list_images(self, call, params):
        return {"items": [{"id": "debian-12", "name": "debian-12"}]}

    def list_sizes(self, call, params):
        return {"items": [{"id": "small", "name": "small", "ram_mib": 1024, "disk_gib": 10, "vcpus": 1}]}


if __name__ == "__main__":
    serve(Cloud)
