"""The driver's half of Capstan's driver protocol, version 1, with Python's standard library alone.

Copy this file beside your driver; docs/driver-protocol.md is what it implements. A driver is a class with a manifest, whose
methods are called from many threads at once, each with a `Call` and the parameters:

    class Acme:
        MANIFEST = {"name": "acme", "version": "1.0", "kind": "mgm", "interface": "mgm/1", "methods": ["get_url"]}

        def __init__(self, host, config):           # open; an error is shown to the operator
            self.url = config["url"]

        def get_url(self, call, params):            # answers what JSON can say, or raises DriverError
            return self.url

        # Where they are there: health(self), which answers a line for the operator, and close(self).

    serve(Acme)
"""

import itertools
import json
import os
import queue
import socket
import sys
import threading
import time
import traceback

LONGEST_FRAME = 67_174_400


class DriverError(Exception):
    """A call that failed. `code` is one of the protocol's; `message` may be shown to a tenant, `operator_message` may not.
    `retry` says whether the same call may come again: "never", "now" or {"after_ms": 2000}."""

    def __init__(self, code, message, operator_message="", retry="never", **_of_a_later_host):
        super().__init__(message)
        self.body = {"code": code, "message": message, "operator_message": operator_message, "retry": retry}

    @property
    def code(self):
        return self.body["code"]


class Pending:
    """Answer of a call that goes on in the background: the host calls `poll` with the token after this time."""

    def __init__(self, token, poll_after_ms):
        self.body = {"token": token, "poll_after_ms": poll_after_ms}


class Host:
    """What the host does for a driver, from any thread. What it refuses is raised as a DriverError."""

    def __init__(self, server, call_id=0):
        self._server = server
        self.id = call_id

    def ask(self, service, **params):
        """Calls a host service and waits for its answer."""
        return self._server.ask(self.id, service, params)

    def state_get(self, key):
        """What is kept under a key: {"value", "version"}, or None."""
        return self.ask("state.get", key=key)

    def state_put(self, key, value, expected=None):
        """Keeps a value of at most 64 KiB of JSON, on disk when this returns; answers its version. With `expected` only when
        the key has that version (0: is not there), else DriverError `conflict`."""
        return self.ask("state.put", key=key, value=value, expected=expected)

    def state_delete(self, key):
        """Forgets a key; one that is not there is no error."""
        return self.ask("state.delete", key=key)

    def state_list(self, prefix=""):
        """The keys that begin so, sorted."""
        return self.ask("state.list", prefix=prefix)

    def secret(self, name):
        """A secret of the configuration, by its dotted name, as it is now."""
        return self.ask("secret.get", name=name)

    def log(self, level, message, **fields):
        """A line in the daemon's log; `level` is error, warn, info, debug or trace."""
        self._server.send("log", {"call": self.id, "level": level, "message": message, "fields": fields})

    @property
    def ending(self):
        """The instance is about to be closed; for threads of your own."""
        return self._server.ending.is_set()


class Call(Host):
    """One call: its id, deadline and cancel flag, and the host's services on its behalf."""

    def __init__(self, server, call_id, request):
        super().__init__(server, call_id)
        self.deadline = time.monotonic() + request["deadline_ms"] / 1000
        self.request_id = request.get("request_id", "")
        self._stop = threading.Event()

    def cancel(self):
        self._stop.set()

    def time_left(self):
        """Seconds until the deadline; 0 once it has passed."""
        return max(0.0, self.deadline - time.monotonic())

    def check(self):
        """Raises once the call should stop. To be called between two steps."""
        if self.time_left() == 0:
            raise DriverError("timeout", "the deadline passed before the driver was done")
        if self._stop.is_set():
            raise DriverError("cancelled", "the call was cancelled")

    def wait(self, seconds):
        """Sleeps, unless the call should stop before: then it raises as `check` does."""
        self._stop.wait(min(seconds, self.time_left()))
        self.check()

    def progress(self, done, total, what=""):
        """Tells whoever waits how far the call is."""
        self.ask("progress", done=done, total=total, what=what)


class _Server:
    """Reads frames and has a thread answer each; a `cancel` is seen while calls run, for nothing here waits for them."""

    def __init__(self, driver_class, frames):
        self._class = driver_class
        self._driver = None
        self._socket = socket.socket(fileno=frames)
        self._turn = threading.Lock()
        self._calls = {}
        self._questions = {}
        self._numbers = itertools.count(1)
        self.ending = threading.Event()

    def send(self, kind, value):
        body = json.dumps({kind: value}, allow_nan=False).encode()
        if len(body) > LONGEST_FRAME:
            raise ValueError(f"a message of {len(body)} bytes, at most {LONGEST_FRAME} fit into a frame")
        with self._turn:
            self._socket.sendall(len(body).to_bytes(4, "big") + body)

    def ask(self, call_id, service, params):
        number, answer = next(self._numbers), queue.SimpleQueue()
        self._questions[number] = answer
        try:
            self.send("ask", {"id": number, "call": call_id, "service": service, "params": params})
        except ValueError as error:
            del self._questions[number]
            raise DriverError("invalid_argument", f"{service} cannot be asked for: {error}") from error
        found = answer.get()
        if "error" in found:
            raise DriverError(**found["error"])
        return found["result"]

    def run(self):
        manifest = self._class.MANIFEST
        name = f"{manifest['name']}/{manifest['version']}"
        self.send("hello", {"protocol": 1, "features": [], "name": name, "manifest": manifest})
        stream = self._socket.makefile("rb")
        # The end of the stream, also inside a frame, means that the daemon is gone.
        while len(head := stream.read(4)) == 4:
            length = int.from_bytes(head, "big")
            if not 1 <= length <= LONGEST_FRAME or len(body := stream.read(length)) < length:
                break
            for kind, value in json.loads(body).items():
                # A kind of message that we do not know means nothing to us.
                getattr(self, f"_take_{kind}", lambda _value: None)(value)

    def _take_open(self, message):
        def work():
            self._driver = self._class(Host(self), message["config"])

        self._start(message["id"], work)

    def _take_call(self, message):
        method, request = message["method"], message["request"]
        call = self._calls[message["id"]] = Call(self, message["id"], request)

        def work():
            if method not in self._class.MANIFEST["methods"]:
                raise DriverError("not_supported", f"the driver does not support {method}")
            return getattr(self._driver, method)(call, request.get("params") or {})

        self._start(message["id"], work)

    def _take_cancel(self, message):
        if call := self._calls.get(message["id"]):
            call.cancel()

    def _take_health(self, message):
        health = getattr(self._driver, "health", lambda: "")
        self._start(message["id"], lambda: {"message": health() or ""})

    def _take_answer(self, message):
        if question := self._questions.pop(message["id"], None):
            question.put(message)

    def _take_ending(self, _message):
        self.ending.set()

    def _take_close(self, message):
        self._start(message["id"], getattr(self._driver, "close", lambda: None), last=True)

    def _start(self, number, work, last=False):
        def run():
            self._reply(number, work)
            if last:
                os._exit(0)

        threading.Thread(target=run, daemon=True).start()

    def _reply(self, number, work):
        try:
            result = work()
            reply = {"pending": result.body} if isinstance(result, Pending) else {"result": result}
        except DriverError as error:
            reply = {"error": error.body}
        except BaseException as error:  # whatever it is, it costs this call only
            traceback.print_exc()
            reply = {"error": DriverError("internal", "the driver failed", repr(error)).body}
        self._calls.pop(number, None)
        try:
            self.send("reply", {"id": number, **reply})
        except (TypeError, ValueError) as error:
            error = DriverError("internal", "the driver's answer cannot be sent", str(error))
            self.send("reply", {"id": number, "error": error.body})
        except OSError:
            pass  # the daemon is gone; the reader sees it as well


def serve(driver_class):
    """Serves one instance of the driver until the daemon lets go of it; does not return."""
    if "CAPSTAN_PROTOCOL" not in os.environ:
        sys.exit("this is a Capstan driver: name it as `command` of an entry in known_drivers, and the daemon starts it")
    if "CAPSTAN_DESCRIPTOR" in os.environ:
        frames = int(os.environ["CAPSTAN_DESCRIPTOR"])
        os.set_inheritable(frames, False)
    else:
        # Out of the way of code that reads and prints: what is printed goes to the log from here on.
        frames, nothing = os.dup(0), os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(2, 1)
        os.close(nothing)
    sys.stdout.reconfigure(line_buffering=True)
    try:
        _Server(driver_class, frames).run()
    except BaseException:
        traceback.print_exc()
        os._exit(70)
    # Calls may still be out, and nobody waits for them.
    os._exit(0)
