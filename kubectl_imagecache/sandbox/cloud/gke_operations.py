"""GKE's operations: PENDING, RUNNING, DONE, ABORTING, one at a time for each cluster."""

from __future__ import annotations

from collections.abc import Generator

from kubectl_imagecache.sandbox.cloud.errors import RPC_CODES, ApiError
from kubectl_imagecache.sandbox.cloud.routing import Call, Routes
from kubectl_imagecache.sandbox.cloud.state import GKE_URL, Json, State, run

ROUTES = Routes()

_BASE = "projects/{project}/locations/{location}/operations"

Steps = Generator[float, None, None]


def begin(state: State, cluster: str, kind: str, target: str, steps: Steps) -> Json:
    """Begin an operation of KIND on TARGET that takes STEPS, in CLUSTER (a path `projects/p/locations/l/clusters/c`).

    An error that ends the operation early is thrown into STEPS, which clean up and let it pass.
    """
    location = cluster.split("/")[3]
    uuid = "-".join(state.hex(length) for length in (8, 4, 4, 4, 12))
    name = f"operation-{int(state.now().timestamp() * 1000)}-{uuid}"
    base = f"projects/{state.project}/locations/{location}"
    numbered = f"projects/{state.project_number}/"
    operation: Json = {
        "name": name,
        "zone": location,
        "location": location,
        "operationType": kind,
        "status": "PENDING",
        "selfLink": GKE_URL + spelled(f"{numbered}locations/{location}/operations/{name}"),
        "targetLink": GKE_URL + spelled(numbered + target.removeprefix(f"projects/{state.project}/")),
        "startTime": state.gke_time(),
    }
    state.collection(f"{base}/operations")[name] = operation
    state.busy[cluster] = name
    guarded = _guarded(state, operation, kind, target, steps)
    run(state, guarded, lambda error: _end(state, cluster, operation, error))
    return operation


def spelled(path: str) -> str:
    """PATH as GKE writes it: zonal clusters are under `zones`, regional ones under `locations`."""
    parts = path.split("/")
    if len(parts) > 3 and not parts[3][-1:].isdigit() and parts[3] != "-":
        parts[2] = "zones"
    return "/".join(parts)


def check_free(state: State, cluster: str) -> None:
    """Raise ApiError 400 FAILED_PRECONDITION while an operation is under way in CLUSTER."""
    if cluster in state.busy:
        raise ApiError(
            400,
            f"Cluster is running incompatible operation {state.busy[cluster]}.",
            status="FAILED_PRECONDITION",
            reason="failedPrecondition",
            details=[
                {"@type": "type.googleapis.com/google.rpc.RequestInfo", "requestId": f"0x{state.hex(16)}"},
                {
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "domain": "container.googleapis.com",
                    "reason": "CLUSTER_ALREADY_HAS_OPERATION",
                },
            ],
        )


def _guarded(state: State, operation: Json, kind: str, target: str, steps: Steps) -> Steps:
    yield state.timing.gke_pending_s
    if operation["status"] == "PENDING":
        operation["status"] = "RUNNING"
    for seconds in steps:
        yield seconds
        if operation["status"] == "ABORTING":
            steps.throw(ApiError(499, "Operation was aborted.", status="CANCELLED"))
        failure = state.ordered_failure(kind, target)
        if failure is not None:
            steps.throw(failure)


def _end(state: State, cluster: str, operation: Json, error: ApiError | None) -> None:
    operation.update(status="DONE", endTime=state.gke_time())
    state.busy.pop(cluster, None)
    if error is not None:
        operation["error"] = {"code": RPC_CODES.get(error.status, 2), "message": error.message}
        # The older field, which gcloud reads.
        operation["statusMessage"] = error.message


@ROUTES.add("GET", _BASE, "container.operations.list")
def _list(state: State, call: Call) -> Json:
    found = [
        operation
        for path, operations in state.collections.items()
        if path.startswith(f"projects/{call['project']}/locations/") and path.endswith("/operations")
        for operation in operations.values()
        if call["location"] in ("-", operation["location"])
    ]
    return {"operations": found} if found else {}


@ROUTES.add("GET", _BASE + "/{operation}", "container.operations.get")
def _get(state: State, call: Call) -> Json:
    found = state.find(call.path)
    if found is None:
        raise ApiError(404, f"Not found: {spelled(call.path)}.")
    return found


@ROUTES.add("POST", _BASE + "/{operation}:cancel", "container.operations.get")
def _cancel(state: State, call: Call) -> Json:
    operation = state.find(call.path.removesuffix(":cancel"))
    if operation is None:
        raise ApiError(404, f"Not found: {spelled(call.path.removesuffix(':cancel'))}.")
    if operation["status"] not in ("PENDING", "RUNNING"):
        message = f"Operation {operation['name']} cannot be cancelled: it is {operation['status']}."
        raise ApiError(400, message, status="FAILED_PRECONDITION", reason="failedPrecondition")
    operation["status"] = "ABORTING"
    return {}
