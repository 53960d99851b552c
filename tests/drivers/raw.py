#!/usr/bin/python3 -IB
"""A load balancer driver that does to its wire what it is told: `raw.py STEP=ACT ...`. A step is `hello`, `open`, `health`,
`close` or a method; what is not named goes well (and `serial_by=WORD` is for the manifest). It knows the frames from docs/driver-protocol.md and takes nothing from the
driver that authors copy, which cannot be made to do any of this."""

import itertools
import json
import os
import signal
import socket
import sys
import threading
import time

WIRE = socket.socket(fileno=os.dup(0))
STREAM = WIRE.makefile("rb")
STEPS = dict(argument.split("=", 1) for argument in sys.argv[1:] if "=" in argument)
HELD = set()  # calls that are answered once they are cancelled
NUMBERS = itertools.count(1)
ANSWERED = itertools.count()

MANIFEST = {
    "name": "raw",
    "version": "1",
    "kind": "load_balancer",
    "interface": "load_balancer/1",
    "methods": ["apply", "observe", "suspend", "enable", "delete", "create_node"],
    "serial_by": STEPS.get("serial_by", "none"),
}


def frame(body):
    return len(body).to_bytes(4, "big") + body


def message(kind, **value):
    return frame(json.dumps({kind: value}).encode())


def receive():
    """The next message; none at the end."""
    head = STREAM.read(4)
    return json.loads(STREAM.read(int.from_bytes(head, "big"))) if len(head) == 4 else None


RESULTS = {"open": None, "close": None, "health": {"message": "raw"}, "observe": {"generation": 0, "load_balancers": []}}


def good(number, step="apply"):
    return message("reply", id=number, result=RESULTS.get(step, {"load_balancers": [], "method": "raw"}))


def ask(service="state.list", **params):
    return message("ask", id=next(NUMBERS), service=service, params=params or {"prefix": ""})


# ---- what may go wrong with an answer; each is given the call's number ----


def say(*pieces):
    WIRE.sendall(b"".join(pieces))


def fall_silent(*pieces):
    """Lets go of the wire, and lives on."""
    say(*pieces)
    for descriptor in (0, 1, WIRE.fileno()):
        os.close(descriptor)
    while True:
        signal.pause()


def end(code, *pieces):
    say(*pieces)
    os._exit(code)


def ask_at_once(number, count):
    """Asks without waiting for answers, then counts them by what they say."""
    say(*(ask() for _ in range(count)))
    found = {}
    for _ in range(count):
        answer = receive()["answer"]
        code = answer["error"]["code"] if "error" in answer else "ok"
        found[code] = found.get(code, 0) + 1
    say(message("reply", id=number, result=found))


def keep_somebody():
    """A grandchild in a session of its own, which holds everything that we have."""
    if os.fork() == 0:
        os.setsid()
        while True:
            signal.pause()


ACTS = {
    "good": lambda number: say(good(number)),
    "never": lambda number: None,
    "once": lambda number: next(ANSWERED) == 0 and say(good(number, "health")),
    "ill_later": lambda number: ACTS["good" if next(ANSWERED) == 0 else "error"](number),
    "until_cancelled": HELD.add,
    "late": lambda number: threading.Timer(0.7, say, (good(number),)).start(),
    "deaf": lambda number: time.sleep(1000),
    "busy": lambda number: (time.sleep(1.5), say(good(number))),
    # Frames that are none.
    "no_json": lambda number: say(frame(b"no json")),
    "no_object": lambda number: say(frame(json.dumps([{"id": number, "result": None}]).encode())),
    "no_utf8": lambda number: say(frame(b'{"log":{"message":"\xff"}}')),
    "no_number": lambda number: say(message("reply", id="seven", result=None)),
    "text": lambda number: say(b"ready to serve\n"),
    "empty": lambda number: say(bytes(4)),
    "huge": lambda number: say(b"\xff\xff\xff\xff"),
    "too_long": lambda number: say((67_174_401).to_bytes(4, "big")),
    "half": lambda number: say(good(number)[:-1]),
    "half_and_end": lambda number: end(0, good(number)[:-1]),
    "half_and_silence": lambda number: fall_silent(good(number)[:-1]),
    "silence": lambda number: fall_silent(),
    # Answers that are none.
    "wrong_id": lambda number: say(good(number + 1000)),
    "twice": lambda number: say(good(number), good(number), good(number)),
    "nothing": lambda number: say(message("reply", id=number)),
    "no_error": lambda number: say(message("reply", id=number, error="broken")),
    "error": lambda number: say(message("reply", id=number, error={"code": "tape_full", "message": "as told", "retry": "moon"})),
    # What means nothing, and bytes as they may come.
    "unknown": lambda number: say(
        message("telepathy", x=[]),
        frame(b"{}"),
        message("reply", id=number, result={"load_balancers": [], "later": 1}, later=[]),
    ),
    "byte_by_byte": lambda number: [say(bytes([byte])) for byte in good(number)],
    "large": lambda number: say(message("reply", id=number, result="x" * (16 << 20))),
    # Ends.
    "exit_0": lambda number: os._exit(0),
    "exit_3": lambda number: os._exit(3),
    "crash": lambda number: os.kill(os.getpid(), signal.SIGSEGV),
    "kept": lambda number: (keep_somebody(), os._exit(0)),
    # Too much of something.
    "asks": lambda number: ask_at_once(number, 2000),
    "unread_asks": lambda number: (say(*(ask() for _ in range(2000)), good(number)), time.sleep(1000)),
    "odd_ask": lambda number: say(message("ask", id=0, call=10**15, service="no.such\nservice"), good(number)),
    "logs": lambda number: say(*(message("log", call=number, message=f"line {line}") for line in range(20_000)), good(number)),
    "one_log": lambda number: say(message("log", level="whisper-is-trace"), message("log", message="one line"), good(number)),
    "prints": lambda number: (os.write(2, b"printed\n" * 20_000), say(good(number))),
    "long_line": lambda number: (os.write(2, b"x" * 100_000 + b"\n"), say(good(number))),
}


# ---- hellos ----


def hello(act):
    known = {"protocol": 1, "features": [], "name": "raw/1", "manifest": MANIFEST}
    hellos = {
        "good": [message("hello", **known)],
        "kind": [message("hello", **{**known, "manifest": {**MANIFEST, "kind": "cloud", "interface": "cloud/1"}})],
        "interface": [message("hello", **{**known, "manifest": {**MANIFEST, "interface": "load_balancer/9"}})],
        "name": [message("hello", **{**known, "manifest": {**MANIFEST, "name": "Raw Driver"}})],
        "nameless": [message("hello", **{**known, "manifest": {"version": "1"}})],
        "no_manifest": [message("hello", protocol=1)],
        "no_protocol": [message("hello", manifest=MANIFEST)],
        "protocol_0": [message("hello", **{**known, "protocol": 0})],
        "unknown": [
            message("telepathy", x=[]),
            message("hello", **{**known, "protocol": 99, "features": ["x"], "y": {}, "manifest": {**MANIFEST, "z": [1]}}),
        ],
        "log_first": [message("log", message="before the hello"), message("hello", **known)],
        "ask_first": [ask(), message("hello", **known)],
        "reply_first": [good(1), message("hello", **known)],
        "twice": [message("hello", **known), message("hello", **known)],
        "failed": [message("failed", found="no licence", expected="one", remedy="buy it")],
        "schema": [message("hello", **{**known, "manifest": {**MANIFEST, "config_schema": {"required": ["url"]}}})],
        "another": [message("hello", **{**known, "manifest": {**MANIFEST, "version": str(os.getpid())}})],
        "text": [b"ready to serve\n"],
        "empty": [bytes(4)],
        "half": [message("hello", **known)[:-1]],
        "never": [],
    }
    say(*hellos[act])


hello(STEPS.get("hello", "good"))
while (received := receive()) is not None:
    [(kind, value)] = received.items()
    if kind == "cancel" and value["id"] in HELD:
        say(message("reply", id=value["id"], error={"code": "cancelled", "message": "as asked"}))
    if kind in ("open", "health", "call", "close"):
        step = value.get("method", kind)
        if step in STEPS:
            ACTS[STEPS[step]](value["id"])
        else:
            say(good(value["id"], step))
            if step == "close":
                break
