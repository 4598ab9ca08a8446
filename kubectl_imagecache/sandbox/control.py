"""The sandbox's own API, under `/_sandbox/` on the Kubernetes port: time, faults to order, the request log."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from kubectl_imagecache.sandbox.faults import Fault
from kubectl_imagecache.sandbox.http import CONTROL_PREFIX, Handler, Request, Response, World

REAL_STEP_S = 0.5
"""Time moves by no more than this at once while something in the sandbox goes on in real time."""


class Control:
    """Answers `/_sandbox/…` itself and hands everything else on."""

    def __init__(
        self, world: World, behind: Handler, about: Mapping[str, Any], version: Callable[[], int] = lambda: 0
    ) -> None:
        """VERSION tells the cluster's present resourceVersion."""
        self._world, self._version = world, version
        self._behind = behind
        self._about = about
        self._routes = {
            ("GET", "about"): self._describe,
            ("GET", "now"): self._now,
            ("POST", "advance"): self._advance,
            ("GET", "faults"): self._faults,
            ("POST", "faults"): self._order_fault,
            ("DELETE", "faults"): self._forget_faults,
            ("GET", "calls"): self._calls,
            ("DELETE", "calls"): self._forget_calls,
        }

    def handle(self, request: Request) -> Response:
        """Answer one request; ValueError of ours is the caller's mistake, 400."""
        if not request.path.startswith(CONTROL_PREFIX):
            return self._behind(request)
        what = request.path.removeprefix(CONTROL_PREFIX)
        route = self._routes.get((request.method, what))
        if route is None:
            known = ", ".join(f"{method} {CONTROL_PREFIX}{path}" for method, path in self._routes)
            return _answer({"error": f"no {request.method} {request.path}; there are {known}"}, 404)
        try:
            return _answer(route(json.loads(request.body) if request.body else dict(request.query)))
        except ValueError as error:
            return _answer({"error": str(error)}, 400)

    def _describe(self, _: Any) -> dict[str, Any]:
        return dict(self._about)

    def _now(self, _: Any) -> dict[str, Any]:
        return {"now": self._world.clock.now().isoformat(), "version": self._version()}

    def _advance(self, body: Any) -> dict[str, Any]:
        seconds = body.get("seconds") if isinstance(body, dict) else None
        if (
            isinstance(seconds, bool)
            or not isinstance(seconds, int | float)
            or not math.isfinite(seconds)
            or seconds < 0
        ):
            raise ValueError('send {"seconds": N}, N a number from 0 up')
        before = self._version()
        wakeful = bool(body.get("untilChange"))
        # Who is patient lets as much real time pass where something goes on in it.
        patient = bool(body.get("patient") and self._world.clock.real)
        seconds = min(seconds, REAL_STEP_S) if patient else seconds
        self._world.clock.advance(seconds, lambda: wakeful and self._version() != before)
        return {**self._now(body), **({"real": seconds} if patient else {})}

    def _faults(self, _: Any) -> dict[str, Any]:
        return {"faults": [dataclasses.asdict(fault) for fault in self._world.faults.rules]}

    def _order_fault(self, body: Any) -> dict[str, Any]:
        self._world.faults.rules.append(_fault(body))
        return self._faults(body)

    def _forget_faults(self, body: Any) -> dict[str, Any]:
        self._world.faults.rules.clear()
        return self._faults(body)

    def _calls(self, body: Any) -> dict[str, Any]:
        """The log from number `since` on, and the number that the next call will have."""
        first, world = str(body.get("since", "0") if isinstance(body, dict) else "0"), self._world
        if not first.isdecimal():
            raise ValueError("ask with ?since=N, N the `next` of an earlier answer")
        found = world.calls[max(0, int(first) - world.forgotten) :]
        return {"calls": [dataclasses.asdict(call) for call in found], "next": world.forgotten + len(world.calls)}

    def _forget_calls(self, body: Any) -> dict[str, Any]:
        self._world.forgotten += len(self._world.calls)
        self._world.calls.clear()
        return self._calls(body)


def _fault(body: Any) -> Fault:
    """An ordered fault from JSON, its types checked: what is wrong must show now, not when it strikes."""
    if not isinstance(body, dict):
        raise ValueError("a fault is a JSON object")
    fault = Fault.from_dict(body)
    for name, example in dataclasses.asdict(Fault(retry_after_s=0)).items():
        value = getattr(fault, name)
        whole = isinstance(example, int) and not isinstance(example, bool)
        allowed = (int | None if name == "retry_after_s" else int) if whole else type(example)
        if isinstance(example, float):
            allowed = int | float
        if not isinstance(value, allowed) or (isinstance(value, bool) and not isinstance(example, bool)):
            raise ValueError(f"{name} can't be {value!r}")
    try:
        re.compile(fault.path)
    except re.error as error:
        raise ValueError(f"path is not a regular expression: {error}") from error
    return fault


def _answer(content: Mapping[str, Any], status: int = 200) -> Response:
    return Response(status, json.dumps(content).encode())
