"""Servers on loopback, and clients whose waits cost no time."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kubectl_imagecache.clients.http import Http, Limits
from kubectl_imagecache.clients.retry import Pace, Policy
from kubectl_imagecache.sandbox.faults import Fault
from kubectl_imagecache.sandbox.http import Handler, Request, Response, Service, World


@dataclass(slots=True)
class Waits:
    """Virtual time for the retry policy: sleeping moves it on and is written down."""

    now: float = 0.0
    slept: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    @property
    def pace(self) -> Pace:
        return Pace(lambda: self.now, self.sleep, lambda low, high: high)


@dataclass(slots=True)
class Served:
    """A server that runs, and all that it was asked."""

    url: str
    world: World
    requests: list[Request]

    def order(self, **fault: Any) -> None:
        self.world.faults.rules.append(Fault(**fault))

    @property
    def paths(self) -> list[str]:
        return [request.path for request in self.requests]

    @property
    def sent(self) -> list[str]:
        """The Authorization headers, in order."""
        return [request.headers.get("authorization", "") for request in self.requests]


@contextmanager
def served(handler: Handler, error: Callable[[Fault], Response] | None = None, name: str = "test") -> Iterator[Served]:
    world = World()
    requests: list[Request] = []

    def handle(request: Request) -> Response:
        requests.append(request)
        return handler(request)

    def failure(fault: Fault) -> Response:
        headers = {} if fault.retry_after_s is None else {"Retry-After": str(fault.retry_after_s)}
        return Response(fault.status, fault.message.encode(), headers=headers)

    service = Service(name, world, handle, error or failure)
    service.start()
    try:
        yield Served(service.url, world, requests)
    finally:
        service.stop()


def json_response(document: Any, status: int = 200, **headers: str) -> Response:
    return Response(status, json.dumps(document).encode(), headers=headers)


def quick_http(waits: Waits | None = None, limits: Limits | None = None, attempts: int = 3) -> Http:
    return Http(limits or Limits(read_s=5.0), Policy(attempts=attempts), (waits or Waits()).pace)


def program(folder: Path, name: str, script: str) -> Path:
    """A real executable in FOLDER."""
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return file


def home_env(tmp_path: Path, **more: str) -> dict[str, str]:
    """An environment that knows nothing but an empty home and the system's programs."""
    return {"HOME": str(tmp_path), "PATH": f"{tmp_path / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin", **more}


def strings_in(folder: Path) -> bytes:
    """Everything that lies under FOLDER, names and contents."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return b"\n".join(str(file).encode() + b"\n" + file.read_bytes() for file in files)
