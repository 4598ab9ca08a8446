"""Compute's operations: how they begin, run for a while, fail, and are waited for."""

from __future__ import annotations

from collections.abc import Iterator

from kubectl_imagecache.sandbox.cloud.errors import ApiError, not_found
from kubectl_imagecache.sandbox.cloud.listing import page
from kubectl_imagecache.sandbox.cloud.routing import Call, Routes
from kubectl_imagecache.sandbox.cloud.state import COMPUTE_URL, Json, State, run

WAIT_S = 120.0
"""`wait` answers after this time even if the operation isn't done: virtual seconds."""

ROUTES = Routes()


def start(state: State, call: Call, kind: str, target: str, steps: Iterator[float]) -> Json:
    """Begin an operation of KIND on TARGET (a path) that takes STEPS; its requestId is remembered: it begins once."""
    request = call.query.get("requestId", "")
    scope = _scope(target)
    name = f"operation-{int(state.now().timestamp() * 1000)}-{state.hex(13)}-{state.hex(8)}-{state.hex(8)}"
    now = state.compute_time()
    operation: Json = {
        "kind": "compute#operation",
        "id": state.new_id(),
        "name": name,
        "operationType": kind,
        "targetLink": COMPUTE_URL + target,
        "targetId": (state.find(target) or {}).get("id", ""),
        "status": "RUNNING",
        "user": "sandbox@example.com",
        "progress": 0,
        "insertTime": now,
        "startTime": now,
        "selfLink": f"{COMPUTE_URL}{scope}/operations/{name}",
    }
    area, _, place = scope.removeprefix(f"projects/{target.split('/')[1]}/").partition("/")
    if place:
        operation[area.rstrip("s")] = COMPUTE_URL + scope
    state.collection(f"{scope}/operations")[name] = operation
    if request:
        state.requests[request] = operation
    run(state, _failing(state, kind, target, steps), lambda error: _end(state, operation, error))
    # What is inserted exists from the first step on.
    operation["targetId"] = operation["targetId"] or (state.find(target) or {}).get("id") or state.new_id()
    return operation


def _failing(state: State, kind: str, target: str, steps: Iterator[float]) -> Iterator[float]:
    failure = state.ordered_failure(kind, target)
    if failure is None:
        yield from steps
        return
    yield state.timing.compute_s
    raise failure


def _end(state: State, operation: Json, error: ApiError | None) -> None:
    operation.update(status="DONE", progress=100, endTime=state.compute_time())
    if error is not None:
        operation["error"] = {"errors": [{"code": error.reason, "message": error.message}]}
        operation["httpErrorStatusCode"] = error.code
        operation["httpErrorMessage"] = error.status.replace("_", " ")


def _scope(target: str) -> str:
    parts = target.split("/")
    return "/".join(parts[:4]) if parts[2] in ("zones", "regions") else f"{parts[0]}/{parts[1]}/global"


def _found(state: State, call: Call, path: str) -> Json:
    operation = state.find(path)
    if operation is None:
        raise not_found(path)
    return operation


def _get(state: State, call: Call) -> Json:
    return _found(state, call, call.path)


def _wait(state: State, call: Call) -> Json:
    operation = _found(state, call, call.path.removesuffix("/wait"))
    clock = state.world.clock
    until = state.now().timestamp() + WAIT_S
    while operation["status"] != "DONE" and state.now().timestamp() < until:
        if clock.speed:
            # Lets other calls in; time goes on by itself.
            state.world.changed.wait(0.02)
            clock.catch_up()
        else:
            due = clock.next_due()
            left = until - state.now().timestamp()
            clock.advance(left if due is None else min(due, left))
    return operation


def _list(state: State, call: Call) -> Json:
    items, token = page(state.collection(call.path).values(), call.query)
    listed: Json = {
        "kind": "compute#operationList",
        "id": call.path,
        "items": items,
        "selfLink": COMPUTE_URL + call.path,
    }
    return listed | ({"nextPageToken": token} if token else {})


def _delete(state: State, call: Call) -> Json:
    _found(state, call, call.path)
    state.drop(call.path)
    return {}


for _place, _word in (("zones/{zone}", "zone"), ("regions/{region}", "region"), ("global", "global")):
    _base = f"projects/{{project}}/{_place}/operations"
    ROUTES.add("GET", _base, f"compute.{_word}Operations.list")(_list)
    ROUTES.add("GET", _base + "/{operation}", f"compute.{_word}Operations.get")(_get)
    ROUTES.add("POST", _base + "/{operation}/wait", f"compute.{_word}Operations.get")(_wait)
    ROUTES.add("DELETE", _base + "/{operation}", f"compute.{_word}Operations.delete")(_delete)
