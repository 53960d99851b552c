"""Submits one Gearman job and prints its result: the protocol as its document tells it, with nothing of Capstan's in it."""

import json
import socket
import struct
import sys

SUBMIT_JOB, JOB_CREATED, WORK_STATUS, WORK_COMPLETE = 7, 8, 12, 13


def read(stream, count):
    data = b""
    while len(data) < count:
        part = stream.recv(count - len(data))
        if not part:
            raise SystemExit("the job server closed the connection")
        data += part
    return data


def submit(port, function, unique, payload):
    with socket.create_connection(("127.0.0.1", port), timeout=60) as stream:
        body = b"\0".join([function.encode(), unique.encode(), payload])
        stream.sendall(b"\0REQ" + struct.pack(">II", SUBMIT_JOB, len(body)) + body)
        while True:
            magic, kind, length = struct.unpack(">4sII", read(stream, 12))
            body = read(stream, length)
            if magic != b"\0RES" or kind not in (JOB_CREATED, WORK_STATUS, WORK_COMPLETE):
                raise SystemExit(f"packet {kind}: {body!r}")
            if kind == WORK_COMPLETE:
                return body.split(b"\0", 1)[1]


def main():
    port, message = int(sys.argv[1]), json.loads(sys.argv[2])
    reply = submit(port, "libra_pool_mgm", "python-1", json.dumps(message).encode())
    print(json.dumps(json.loads(reply)))


main()
