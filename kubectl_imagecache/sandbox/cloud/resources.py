"""What all collections of Compute have in common: get, list, aggregated list, labels, permissions."""

from __future__ import annotations

import re
from collections.abc import Iterator

from kubectl_imagecache.sandbox.cloud.errors import ApiError, already_exists, invalid_field, not_found
from kubectl_imagecache.sandbox.cloud.links import check_name
from kubectl_imagecache.sandbox.cloud.listing import page
from kubectl_imagecache.sandbox.cloud.operations import start
from kubectl_imagecache.sandbox.cloud.routing import Call, Handler, Routes
from kubectl_imagecache.sandbox.cloud.state import COMPUTE_URL, Json, State, fingerprint

_LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")


def existing(state: State, path: str) -> Json:
    """The resource at PATH; raise Compute's 404."""
    found = state.find(path)
    if found is None:
        raise not_found(path)
    return found


def new(state: State, kind: str, path: str) -> Json:
    """The fields that every new resource begins with; raise 400 for a bad name, 409 if PATH is taken."""
    check_name(path.rpartition("/")[2])
    if state.find(path) is not None:
        raise already_exists(path)
    return {
        "kind": f"compute#{kind}",
        "id": state.new_id(),
        "creationTimestamp": state.compute_time(),
        "name": path.rpartition("/")[2],
        "selfLink": COMPUTE_URL + path,
    }


def put(state: State, resource: Json) -> None:
    """Add RESOURCE where its selfLink says."""
    parent, _, name = str(resource["selfLink"]).removeprefix(COMPUTE_URL).rpartition("/")
    state.collection(parent)[name] = resource


def checked_labels(labels: Json | None) -> dict[str, str]:
    """LABELS if Compute takes them; raise 400."""
    if labels is not None and len(labels) > 64:
        raise invalid_field("resource.labels", len(labels), "The number of labels must not exceed 64.")
    for key, value in (labels or {}).items():
        if not _LABEL_KEY.fullmatch(key):
            raise invalid_field("resource.labels.key", key, "Must be a match of regex '[a-z][a-z0-9_-]{0,62}'")
        if not _LABEL_VALUE.fullmatch(str(value)):
            raise invalid_field("resource.labels.value", value, "Must be a match of regex '[a-z0-9_-]{0,63}'")
    return dict(labels or {})


def label(resource: Json, labels: Json | None) -> None:
    """Set LABELS and the fingerprint that goes with them; raise 400 for illegal ones."""
    checked = checked_labels(labels)
    if checked:
        resource["labels"] = checked
    else:
        resource.pop("labels", None)
    resource["labelFingerprint"] = fingerprint(checked)


def require_fingerprint(given: object, current: object, what: str) -> None:
    """Raise 412 unless GIVEN is the CURRENT fingerprint of WHAT (`labels`, `metadata`)."""
    if given != current:
        raise ApiError(412, f"Supplied fingerprint does not match current {what} fingerprint.")


def pause(seconds: float) -> Iterator[float]:
    """The steps of an operation that only takes its time."""
    yield seconds


def serve(routes: Routes, place: str, collection: str, kind: str, read_only: bool = False) -> None:
    """Add get and list, aggregated too if zonal, and unless READ_ONLY also setLabels and testIamPermissions."""
    base = f"projects/{{project}}/{place + '/' if place else ''}{collection}"
    routes.add("GET", base, f"compute.{collection}.list")(_lister(kind))
    routes.add("GET", base + "/{name}", f"compute.{collection}.get")(_getter)
    if place.startswith("zones"):
        routes.add("GET", f"projects/{{project}}/aggregated/{collection}", f"compute.{collection}.list")(
            aggregator(collection, kind)
        )
    if not read_only:
        routes.add("POST", base + "/{name}/setLabels", f"compute.{collection}.setLabels")(_set_labels)
        routes.add("POST", base + "/{name}/testIamPermissions")(test_permissions)


def _getter(state: State, call: Call) -> Json:
    return existing(state, call.path)


def _lister(kind: str) -> Handler:
    def handler(state: State, call: Call) -> Json:
        items, token = page(state.collection(call.path).values(), call.query)
        listed = {"kind": f"compute#{kind}List", "id": call.path, "selfLink": COMPUTE_URL + call.path}
        return listed | ({"items": items} if items else {}) | ({"nextPageToken": token} if token else {})

    return handler


def aggregator(collection: str, kind: str) -> Handler:
    """The handler that lists a COLLECTION of all zones, regions and the global scope."""

    def handler(state: State, call: Call) -> Json:
        project = f"projects/{call['project']}/"
        parts = tuple(f"{project}{place}" for place in ("zones/", "regions/", "global/"))
        everything = [
            item
            for path, items in sorted(state.collections.items())
            if path.startswith(parts) and path.endswith(f"/{collection}")
            for item in items.values()
        ]
        items, token = page(everything, call.query)
        scopes: Json = {
            f"zones/{zone}": _nothing(zone) for zone in state.collection(f"projects/{call['project']}/zones")
        }
        for item in items:
            place = str(item["selfLink"]).partition(project)[2].rpartition(f"/{collection}/")[0]
            scope = scopes.setdefault(place, {})
            scope.pop("warning", None)
            scope.setdefault(collection, []).append(item)
        listed = {"kind": f"compute#{kind}AggregatedList", "id": call.path, "selfLink": COMPUTE_URL + call.path}
        return listed | {"items": scopes} | ({"nextPageToken": token} if token else {})

    return handler


def _nothing(zone: str) -> Json:
    return {
        "warning": {
            "code": "NO_RESULTS_ON_PAGE",
            "message": f"There are no results for scope 'zones/{zone}' on this page.",
            "data": [{"key": "scope", "value": f"zones/{zone}"}],
        }
    }


def _set_labels(state: State, call: Call) -> Json:
    path = call.path.removesuffix("/setLabels")
    resource = existing(state, path)
    require_fingerprint(call.body.get("labelFingerprint"), resource["labelFingerprint"], "labels")
    label(resource, call.body.get("labels"))
    return start(state, call, "setLabels", path, pause(state.timing.compute_s))


def test_permissions(state: State, call: Call) -> Json:
    """Those of the asked permissions that the caller has."""
    held = [permission for permission in call.body.get("permissions", []) if permission not in state.denied]
    return {"permissions": held} if held else {}
