"""A registry whose answers a test scripts: tokens, redirects, broken connections, wrong bytes."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.builder.factories import OCI, Layer, digest


@dataclass
class Answer:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    """Send so many bytes of the body, then break off."""


@dataclass
class Asked:
    path: str
    headers: dict[str, str]


Rule = Callable[[Asked], Answer | None]


class Scripted:
    """Serves what it holds, unless a rule has another answer; remembers what it was asked."""

    def __init__(self) -> None:
        self.bodies: dict[str, bytes] = {}
        self.rules: list[Rule] = []
        self.asked: list[Asked] = []
        self.host = ""

    def add(self, repository: str, layers: list[Layer], architecture: str = "amd64") -> str:
        """Hold an image; its manifest's digest."""
        diff_ids = [layer.diff_id or digest(layer.tar) for layer in layers]
        rootfs = {"type": "layers", "diff_ids": diff_ids}
        config = json.dumps({"os": "linux", "architecture": architecture, "rootfs": rootfs}).encode()
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": OCI,
                "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **describe(config)},
                "layers": [{"mediaType": layer.media_type, **describe(layer.blob)} for layer in layers],
            }
        ).encode()
        for blob in [config, *(layer.blob for layer in layers)]:
            self.bodies[f"/v2/{repository}/blobs/{digest(blob)}"] = blob
        self.bodies[f"/v2/{repository}/manifests/{digest(manifest)}"] = manifest
        return digest(manifest)

    def paths(self, part: str) -> list[str]:
        return [asked.path for asked in self.asked if part in asked.path]

    def answer(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        for rule in self.rules:
            if (answer := rule(asked)) is not None:
                return answer
        body = self.bodies.get(asked.path)
        if body is None:
            return error(404, "BLOB_UNKNOWN", "no such blob")
        return ranged(asked, body)


def describe(blob: bytes) -> dict[str, object]:
    return {"digest": digest(blob), "size": len(blob)}


def ranged(asked: Asked, body: bytes) -> Answer:
    start = asked.headers.get("range", "").removeprefix("bytes=").removesuffix("-")
    return Answer(206, body[int(start) :]) if start else Answer(200, body)


def error(status: int, code: str, message: str, **headers: str) -> Answer:
    body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
    return Answer(status, body, {key.replace("_", "-"): value for key, value in headers.items()})


def times(count: int, part: str, answer: Callable[[Asked], Answer]) -> Rule:
    """ANSWER to the first COUNT requests whose path has PART in it."""
    left = [count]

    def rule(asked: Asked) -> Answer | None:
        if part not in asked.path or not left[0]:
            return None
        left[0] -= 1
        return answer(asked)

    return rule


@contextmanager
def scripted() -> Iterator[Scripted]:
    registry = Scripted()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            headers = {key.lower(): value for key, value in self.headers.items()}
            answer = registry.answer(Asked(self.path, headers))
            self.send_response(answer.status)
            for key, value in answer.headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body if answer.cut is None else answer.body[: answer.cut])
            if answer.cut is not None:
                self.wfile.flush()
                self.close_connection = True

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """Clients may leave when they like."""

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    registry.host = f"127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        server.server_close()
