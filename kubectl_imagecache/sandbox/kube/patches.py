"""JSON patch, merge patch and strategic merge patch."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from kubectl_imagecache.sandbox.kube.kinds import Obj
from kubectl_imagecache.sandbox.kube.status import ApiError

# patchMergeKey of the lists in k8s.io/api; `ports` differs between containers and services. A list that is not
# named here is atomic. An empty key: a list of plain values that is merged as a set.
_MERGE_KEYS: Mapping[str, str] = {
    "containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "imagePullSecrets": "name",
    "secrets": "name",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
    "conditions": "type",
    "addresses": "type",
    "ownerReferences": "uid",
    "resourceClaims": "name",
    "podIPs": "ip",
    "hostIPs": "ip",
    "finalizers": "",
    "podCIDRs": "",
}


def merge_key(field: str, parent: str) -> str | None:
    """The key by which a list of objects merges; empty for a set of values, None for an atomic list."""
    if field == "ports":
        return "port" if parent == "spec" else "containerPort"
    return _MERGE_KEYS.get(field)


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def strategic_patch(target: Obj, patch: Obj, field: str = "") -> Obj:
    """Kubernetes' strategic merge of PATCH into TARGET."""
    directive = patch.get("$patch")
    if directive == "replace":
        return {key: value for key, value in patch.items() if key != "$patch"}
    if directive == "delete":
        return {}
    merged = dict(target)
    retained = patch.get("$retainKeys")
    if retained is not None:
        merged = {key: value for key, value in merged.items() if key in retained}
    for key, value in patch.items():
        if key.startswith("$deleteFromPrimitiveList/"):
            name = key.partition("/")[2]
            merged[name] = [item for item in merged.get(name) or () if item not in value]
        elif not key.startswith("$"):
            _merge_field(merged, key, value, field)
    for key, order in patch.items():
        if key.startswith("$setElementOrder/"):
            name = key.partition("/")[2]
            if name in merged:
                merged[name] = _ordered(merged[name], order, merge_key(name, field))
    return merged


def _merge_field(merged: Obj, key: str, value: Any, parent: str) -> None:
    if value is None:
        merged.pop(key, None)
    elif isinstance(value, dict):
        old = merged.get(key)
        merged[key] = strategic_patch(old if isinstance(old, dict) else {}, value, key)
    elif isinstance(value, list):
        merged[key] = _merge_list(merged.get(key) or [], value, merge_key(key, parent), key)
    else:
        merged[key] = value


def _merge_list(old: list[Any], patch: list[Any], key: str | None, field: str) -> list[Any]:
    if key is None:
        return [item for item in patch if not (isinstance(item, dict) and "$patch" in item)]
    if key == "":
        return old + [item for item in patch if item not in old]
    if any(item.get("$patch") == "replace" for item in patch):
        return [item for item in patch if "$patch" not in item]
    merged = list(old)
    for item in patch:
        if key not in item:
            raise ApiError(400, f"map: {item} does not contain declared merge key: {key}")
        place = next((i for i, o in enumerate(merged) if o.get(key) == item[key]), None)
        if item.get("$patch") == "delete":
            merged = [o for o in merged if o.get(key) != item[key]]
        elif place is None:
            merged.append(strategic_patch({}, item, field))
        else:
            merged[place] = strategic_patch(merged[place], item, field)
    return merged


def _ordered(items: list[Any], order: list[Any], key: str | None) -> list[Any]:
    wanted = [o.get(key) if isinstance(o, dict) else o for o in order]

    def place(item: Any) -> int:
        value = item.get(key) if isinstance(item, dict) else item
        return wanted.index(value) if value in wanted else len(wanted)

    return sorted(items, key=place)


def json_patch(target: Any, operations: list[Obj]) -> Any:
    """RFC 6902; raise ApiError 422 where an operation can't be done."""
    document = copy.deepcopy(target)
    for operation in operations:
        try:
            document = _apply(document, operation)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ApiError(422, "the server rejected our request due to an error in our request", "Invalid") from error
    return document


def _apply(document: Any, operation: Obj) -> Any:
    name, path = operation["op"], _pointer(operation["path"])
    if name == "test":
        if _at(document, path) != operation.get("value"):
            raise ValueError(f"testing path {operation['path']} value failed")
        return document
    if name in ("copy", "move"):
        source = _pointer(operation["from"])
        value = copy.deepcopy(_at(document, source))
        if name == "move":
            document = _removed(document, source)
        return _added(document, path, value)
    if name == "remove":
        return _removed(document, path)
    if name == "replace":
        _at(document, path)
        return _added(_removed(document, path), path, operation["value"]) if path else operation["value"]
    if name == "add":
        return _added(document, path, operation["value"])
    raise ValueError(f"unexpected kind: {name}")


def _pointer(path: str) -> list[str]:
    if path and not path.startswith("/"):
        raise ValueError(f"not a JSON pointer: {path}")
    return [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:]]


def _at(document: Any, path: list[str]) -> Any:
    for part in path:
        document = document[int(part)] if isinstance(document, list) else document[part]
    return document


def _added(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    parent = _at(document, path[:-1])
    if isinstance(parent, list):
        place = len(parent) if path[-1] == "-" else int(path[-1])
        if not 0 <= place <= len(parent):
            raise IndexError(f"index {place} is out of bounds")
        parent.insert(place, value)
    else:
        parent[path[-1]] = value
    return document


def _removed(document: Any, path: list[str]) -> Any:
    parent = _at(document, path[:-1])
    if isinstance(parent, list):
        del parent[int(path[-1])]
    else:
        del parent[path[-1]]
    return document
