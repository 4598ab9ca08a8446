"""Steering a sandbox: time, faults, the request log."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from kubectl_imagecache.sandbox.clock import EPOCH
from kubectl_imagecache.sandbox.control import Control
from kubectl_imagecache.sandbox.faults import Fault
from kubectl_imagecache.sandbox.http import Request, Response, Service, World

ABOUT = {"scenario": "none", "seed": 3}


class Rig:
    def __init__(self) -> None:
        self.world = World()
        self.version = 0
        control = Control(self.world, self._behind, ABOUT, lambda: self.version)
        self.service = Service("kube", self.world, control.handle, self._error)

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.service.url}{path}", data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    @staticmethod
    def _behind(request: Request) -> Response:
        return Response(body=json.dumps({"path": request.path}).encode())

    @staticmethod
    def _error(fault: Fault) -> Response:
        return Response(fault.status, b'{"fault": true}')


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    rig.service.start()
    yield rig
    rig.service.stop()


def test_everything_else_goes_to_the_handler_behind(rig: Rig) -> None:
    assert rig.call("GET", "/api/v1/nodes") == (200, {"path": "/api/v1/nodes"})


def test_it_tells_what_sandbox_it_is(rig: Rig) -> None:
    assert rig.call("GET", "/_sandbox/about") == (200, ABOUT)


def test_time_moves_only_when_it_is_told_to(rig: Rig) -> None:
    done: list[str] = []
    rig.world.clock.call_later(50, lambda: done.append("due"))
    assert rig.call("GET", "/_sandbox/now") == (200, {"now": EPOCH.isoformat(), "version": 0})
    later = {"now": "2026-01-15T10:00:00+00:00", "version": 0}
    assert rig.call("POST", "/_sandbox/advance", {"seconds": 3600}) == (200, later)
    assert done == ["due"]


def test_time_may_stop_where_something_changes(rig: Rig) -> None:
    rig.world.clock.call_later(20, lambda: None)
    rig.world.clock.call_later(50, lambda: setattr(rig, "version", 7))
    changed = {"now": "2026-01-15T09:00:50+00:00", "version": 7}
    assert rig.call("POST", "/_sandbox/advance", {"seconds": 3600, "untilChange": True}) == (200, changed)
    later = {"now": "2026-01-15T10:00:50+00:00", "version": 7}
    assert rig.call("POST", "/_sandbox/advance", {"seconds": 3600, "untilChange": True}) == (200, later)


@pytest.mark.parametrize("body", [{}, {"seconds": -1}, {"seconds": "1"}, {"seconds": True}, [], {"seconds": 1e999}])
def test_time_moves_by_a_number_of_seconds_or_not_at_all(rig: Rig, body: Any) -> None:
    status, answer = rig.call("POST", "/_sandbox/advance", body)
    assert (status, answer) == (400, {"error": 'send {"seconds": N}, N a number from 0 up'})
    assert rig.world.clock.now() == EPOCH


def test_ordered_fault_strikes_is_shown_and_is_forgotten(rig: Rig) -> None:
    status, answer = rig.call("POST", "/_sandbox/faults", {"status": 429, "path": "/nodes", "times": -1})
    assert status == 200
    assert [(fault["status"], fault["path"], fault["seen"]) for fault in answer["faults"]] == [(429, "/nodes", 0)]
    assert rig.call("GET", "/api/v1/nodes") == (429, {"fault": True})
    assert rig.call("GET", "/api/v1/pods")[0] == 200
    assert rig.call("GET", "/_sandbox/faults")[1]["faults"][0]["seen"] == 1
    assert rig.call("DELETE", "/_sandbox/faults") == (200, {"faults": []})
    assert rig.call("GET", "/api/v1/nodes")[0] == 200


def test_no_fault_locks_its_orderer_out(rig: Rig) -> None:
    rig.call("POST", "/_sandbox/faults", {"kind": "reset", "times": -1})
    with pytest.raises(OSError):
        rig.call("GET", "/api/v1/nodes")
    assert rig.call("DELETE", "/_sandbox/faults") == (200, {"faults": []})


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"kind": "fire"}, "kind 'fire' is not one of"),
        ({"colour": "red"}, "colour"),
        ({"status": "503"}, "status can't be '503'"),
        ({"times": True}, "times can't be True"),
        ({"applied": 1}, "applied can't be 1"),
        ({"retry_after_s": "soon"}, "retry_after_s can't be 'soon'"),
        ({"path": "("}, "path is not a regular expression"),
        ([], "a fault is a JSON object"),
    ],
)
def test_fault_that_makes_no_sense_is_refused_when_ordered(rig: Rig, body: Any, says: str) -> None:
    status, answer = rig.call("POST", "/_sandbox/faults", body)
    assert status == 400
    assert says in answer["error"]
    assert rig.world.faults.rules == []


def test_request_log_tells_service_method_target_and_status_but_not_our_steering(rig: Rig) -> None:
    rig.call("POST", "/api/v1/pods?x=1", {})
    rig.call("GET", "/_sandbox/now")
    call = {"service": "kube", "method": "POST", "target": "/api/v1/pods?x=1", "status": 200}
    assert rig.call("GET", "/_sandbox/calls") == (200, {"calls": [call], "next": 1})
    assert rig.call("DELETE", "/_sandbox/calls") == (200, {"calls": [], "next": 1})


def test_request_log_goes_on_from_where_a_reader_was_and_forgets_the_oldest(rig: Rig) -> None:
    rig.world.most_calls = 10
    for number in range(12):
        rig.call("GET", f"/{number}")
    for since, targets in ((0, ["/5", "/6", "/7", "/8", "/9", "/10", "/11"]), (10, ["/10", "/11"]), (12, [])):
        _, answer = rig.call("GET", f"/_sandbox/calls?since={since}")
        assert ([call["target"] for call in answer["calls"]], answer["next"]) == (targets, 12)
    assert rig.call("GET", "/_sandbox/calls?since=x")[0] == 400


def test_unknown_path_tells_the_known_ones(rig: Rig) -> None:
    status, answer = rig.call("GET", "/_sandbox/advance")
    assert status == 404
    assert "POST /_sandbox/advance" in answer["error"]
    assert rig.call("POST", "/_sandbox/advance", None)[0] == 400
