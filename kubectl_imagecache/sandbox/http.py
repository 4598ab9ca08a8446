"""Real HTTP/1.1 on loopback ports: requests in, handlers called under one lock, faults applied."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote, urlsplit

from kubectl_imagecache.sandbox.clock import VirtualClock
from kubectl_imagecache.sandbox.faults import Fault, Faults


@dataclass(frozen=True, slots=True)
class Request:
    """One request, decoded as far as every service needs."""

    method: str
    path: str
    """Percent-decoded, no query."""
    query: Mapping[str, str]
    """The last value of each parameter."""
    headers: Mapping[str, str]
    """Lower-case names."""
    body: bytes
    host: str
    """`127.0.0.1:PORT`, as the client said it."""


@dataclass(frozen=True, slots=True)
class Response:
    """One answer: a body, or a stream of chunks."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    stream: Iterator[bytes] | None = None
    """Sent chunk by chunk outside the world's lock, until it ends or the client leaves."""


CONTROL_PREFIX = "/_sandbox/"
"""Paths that steer the sandbox itself: no fault strikes them, and the request log leaves them out."""

CALLS = 200_000
"""Lines of the request log that are kept, some 50 MB of them."""

Handler = Callable[[Request], Response]
ErrorMaker = Callable[[Fault], Response]
"""How a service words an ordered status: Kubernetes' Status, Google's error object, a registry's errors list."""


@dataclass(frozen=True, slots=True)
class Call:
    """One line of the request log."""

    service: str
    method: str
    target: str
    """Path and query."""
    status: int
    """0: the connection was reset."""


@dataclass(slots=True)
class World:
    """What all services of one sandbox share."""

    clock: VirtualClock = field(default_factory=VirtualClock)
    faults: Faults = field(default_factory=Faults)
    lock: threading.RLock = field(default_factory=threading.RLock)
    changed: threading.Condition = field(init=False)
    """Notified after every request that isn't a GET and after time passed; watches wait on it."""
    calls: list[Call] = field(default_factory=list)
    """The newest ones."""
    most_calls: int = CALLS
    forgotten: int = 0
    """How many calls came before those."""
    closing: bool = False
    """Streams end."""

    def __post_init__(self) -> None:
        self.changed = threading.Condition(self.lock)

    def log(self, call: Call) -> None:
        """Remember CALL; of too many the older half is forgotten."""
        self.calls.append(call)
        if len(self.calls) > self.most_calls:
            self.forgotten += self.most_calls // 2
            del self.calls[: self.most_calls // 2]


class Service:
    """One API on one port of 127.0.0.1, served by threads."""

    def __init__(self, name: str, world: World, handler: Handler, error: ErrorMaker, port: int = 0) -> None:
        self.name = name
        self._server = _Server(("127.0.0.1", port), _handler_class(name, world, handler, error))
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True, name=f"sandbox-{name}"
        )

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Stop answering and close the port."""
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Stay silent when a client leaves: that is its right."""


def _folded(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Lower-case names; a header that is sent in several lines has all its values (RFC 9110, 5.3), as Go clients do."""
    folded: dict[str, str] = {}
    for name, value in headers:
        key = name.lower()
        folded[key] = f"{folded[key]}, {value}" if key in folded else value
    return folded


def _handler_class(name: str, world: World, handle: Handler, error: ErrorMaker) -> type[BaseHTTPRequestHandler]:
    class Connection(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Without it each keep-alive reply waits for the client's delayed ACK, some 44 ms.
        disable_nagle_algorithm = True
        wbufsize = -1

        def date_time_string(self, timestamp: float | None = None) -> str:
            """The world's time, for the header Date."""
            return formatdate(world.clock.now().timestamp() if timestamp is None else timestamp, usegmt=True)

        def log_message(self, format: str, *args: object) -> None:
            """Stay silent; the request log is world.calls."""

        def _serve(self) -> None:
            url = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            request = Request(
                self.command,
                unquote(url.path),
                dict(parse_qsl(url.query, keep_blank_values=True)),
                _folded(self.headers.items()),
                self.rfile.read(length) if length else b"",
                self.headers.get("Host", ""),
            )
            control = request.path.startswith(CONTROL_PREFIX)
            with world.lock:
                world.clock.catch_up()
                fault = None if control else world.faults.strike(name, request.method, self.path)
                if fault is None or fault.applied or fault.kind in ("slow", "truncate"):
                    response = handle(request)
                    if request.method != "GET":
                        world.changed.notify_all()
                if fault is not None and fault.kind == "status":
                    response = error(fault)
                reset = fault is not None and fault.kind == "reset"
                if not control:
                    world.log(Call(name, request.method, self.path, 0 if reset else response.status))
            if fault is not None and fault.kind == "slow":
                time.sleep(fault.seconds)
            if reset:
                self.close_connection = True
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                self.connection.close()
                return
            self._send(response, truncate=fault is not None and fault.kind == "truncate")

        def _send(self, response: Response, truncate: bool) -> None:
            self.send_response(response.status)
            self.send_header("Content-Type", response.content_type)
            for key, value in response.headers.items():
                self.send_header(key, value)
            if response.stream is not None:
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                # A watch may stay silent for long; its client waits for the headers.
                self.wfile.flush()
                for chunk in response.stream:
                    if truncate:
                        self.wfile.write(b"%x\r\n%s" % (len(chunk), chunk[: len(chunk) // 2]))
                        self.close_connection = True
                        return
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
                    self.wfile.flush()
                self.wfile.write(b"0\r\n\r\n")
                return
            if "Content-Length" not in response.headers:
                self.send_header("Content-Length", str(len(response.body)))
            self.end_headers()
            body = b"" if self.command == "HEAD" else response.body
            if truncate:
                body = body[: len(body) // 2]
                self.close_connection = True
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _serve

    return Connection
