"""Server-side apply: which manager owns which field, and what follows from it."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

from kubectl_imagecache.sandbox.kube.kinds import Kind, Obj
from kubectl_imagecache.sandbox.kube.patches import merge_key
from kubectl_imagecache.sandbox.kube.status import ApiError

Path = tuple[str, ...]
"""As FieldsV1 writes it: `f:spec`, `k:{"name":"web"}`; a list item itself ends with `.`."""

_IDENTITY = {"apiVersion", "kind"}
_SERVER_FIELDS = {
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "generateName",
    "selfLink",
}


def apply(kind: Kind, current: Obj | None, config: Obj, manager: str, force: bool, now: str) -> Obj:
    """CURRENT with CONFIG applied by MANAGER; raise ApiError 409 if other managers own what CONFIG would change."""
    if "managedFields" in config.get("metadata", {}):
        raise ApiError(400, "metadata.managedFields must be nil")
    base = current if current is not None else {**config, "metadata": {}}
    wanted, present = dict(leaves(kind, config)), dict(leaves(kind, base))
    owned = _owners(base)
    mine = (manager, "Apply")
    changed = {path for path, value in wanted.items() if path in present and present[path] != value}
    conflicts = {who: paths & changed for who, paths in owned.items() if who != mine and paths & changed}
    if conflicts and not force:
        raise _conflict(kind, conflicts)
    for who, paths in conflicts.items():
        owned[who] -= paths
    others = set().union(*(paths for who, paths in owned.items() if who != mine))
    dropped = owned.get(mine, set()) - set(wanted) - others
    merged = _merge(copy.deepcopy(base), config, custom=kind.custom)
    # Whole list items first: once an item has lost its key it can't be found any more.
    for path in sorted(dropped, key=lambda path: (path[-1] != ".", -len(path), path)):
        _drop(merged, path)
    owned[mine] = set(wanted)
    return _with_owners(kind, merged, owned, mine, now)


def track(kind: Kind, old: Obj | None, new: Obj, manager: str, now: str) -> Obj:
    """NEW with MANAGER owning what it changed by an ordinary write."""
    before = dict(leaves(kind, old)) if old is not None else {}
    after = dict(leaves(kind, new))
    changed = {path for path, value in after.items() if before.get(path, ...) != value}
    owned = _owners(old or {})
    if not changed and set(before) == set(after):
        if old is not None and "managedFields" in old["metadata"]:
            new["metadata"]["managedFields"] = old["metadata"]["managedFields"]
        return new
    owned = {who: {p for p in paths if p in after and p not in changed} for who, paths in owned.items()}
    mine = (manager, "Update")
    owned[mine] = owned.get(mine, set()) | changed
    return _with_owners(kind, new, owned, mine, now)


def leaves(kind: Kind, obj: Obj) -> Iterator[tuple[Path, Any]]:
    """Every owned field of an object with its value."""
    for key, value in obj.items():
        if key in _IDENTITY or key == "status":
            continue
        if key == "metadata":
            value = {name: item for name, item in value.items() if name not in _SERVER_FIELDS}
            if not value:
                continue
        yield from _walk((f"f:{key}",), value, key, "", kind.custom)


def _walk(path: Path, value: Any, field: str, parent: str, custom: bool) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _walk((*path, f"f:{key}"), item, key, field, custom)
        return
    key_field = None if custom and path[0] != "f:metadata" else merge_key(field, parent)
    if isinstance(value, list) and key_field is not None and value:
        for item in value:
            if key_field == "":
                yield (*path, f"v:{json.dumps(item)}"), item
            elif isinstance(item, dict) and key_field in item:
                at = (*path, "k:" + json.dumps({key_field: item[key_field]}))
                yield (*at, "."), {}
                yield from _walk(at, item, field, parent, custom)
        return
    if value is not None:
        yield path, value


def _owners(obj: Obj) -> dict[tuple[str, str], set[Path]]:
    owners: dict[tuple[str, str], set[Path]] = {}
    for entry in obj.get("metadata", {}).get("managedFields") or ():
        paths = set(_paths(entry.get("fieldsV1") or {}, ()))
        owners.setdefault((entry["manager"], entry["operation"]), set()).update(paths)
    return owners


def _paths(tree: Obj, path: Path) -> Iterator[Path]:
    for key, branch in tree.items():
        if branch:
            yield from _paths(branch, (*path, key))
        else:
            yield (*path, key)


def _with_owners(kind: Kind, obj: Obj, owned: dict[tuple[str, str], set[Path]], mine: tuple[str, str], now: str) -> Obj:
    times = {(e["manager"], e["operation"]): e.get("time", now) for e in obj["metadata"].get("managedFields") or ()}
    entries = []
    for (manager, operation), paths in owned.items():
        if not paths:
            continue
        tree: Obj = {}
        for path in sorted(paths):
            branch = tree
            for part in path:
                branch = branch.setdefault(part, {})
        entry = {"manager": manager, "operation": operation, "apiVersion": kind.api_version}
        at = now if (manager, operation) == mine else times.get((manager, operation), now)
        entries.append({**entry, "time": at, "fieldsType": "FieldsV1", "fieldsV1": tree})
    obj["metadata"]["managedFields"] = entries
    return obj


def _merge(base: Any, config: Any, custom: bool, field: str = "", parent: str = "") -> Any:
    if isinstance(base, dict) and isinstance(config, dict):
        for key, value in config.items():
            base[key] = _merge(base.get(key), value, custom, key, field)
        return base
    key_field = merge_key(field, parent) if not custom or field in ("finalizers", "ownerReferences") else None
    if isinstance(base, list) and isinstance(config, list) and key_field is not None:
        if key_field == "":
            return base + [item for item in config if item not in base]
        for item in config:
            found = next((i for i, old in enumerate(base) if old.get(key_field) == item.get(key_field)), None)
            if found is None:
                base.append(item)
            else:
                base[found] = _merge(base[found], item, custom, field, parent)
        return base
    return config


def _drop(obj: Obj, path: Path) -> None:
    at: Any = obj
    for part in path[:-1]:
        at = _step(at, part)
        if at is None:
            return
    last = path[-1]
    if last == ".":
        parent = obj
        for part in path[:-2]:
            parent = _step(parent, part)
        if at in parent:
            parent.remove(at)  # type: ignore[attr-defined] # a list: AT was found in it
    elif last.startswith("f:") and isinstance(at, dict):
        at.pop(last[2:], None)
    elif last.startswith("v:") and isinstance(at, list) and json.loads(last[2:]) in at:
        at.remove(json.loads(last[2:]))


def _step(at: Any, part: str) -> Any:
    if part.startswith("f:"):
        return at.get(part[2:]) if isinstance(at, dict) else None
    if part.startswith("k:") and isinstance(at, list):
        wanted = json.loads(part[2:])
        return next((item for item in at if all(item.get(k) == v for k, v in wanted.items())), None)
    return None


def _conflict(kind: Kind, conflicts: dict[tuple[str, str], set[Path]]) -> ApiError:
    causes = []
    lines = []
    for (manager, operation), paths in conflicts.items():
        how = "" if operation == "Apply" else f" using {kind.api_version}"
        for path in sorted(paths):
            field = "".join(map(_shown, path))
            message = f'conflict with "{manager}"{how}'
            causes.append({"reason": "FieldManagerConflict", "message": message, "field": field})
            lines.append(f"{message}: {field}")
    count = f"{len(lines)} conflict{'s' if len(lines) > 1 else ''}"
    text = (
        f"Apply failed with {count}: {lines[0]}"
        if len(lines) == 1
        else f"Apply failed with {count}: " + "; ".join(lines)
    )
    return ApiError(409, text, "Conflict", {"causes": causes})


def _shown(part: str) -> str:
    """PART of a path as messages have it: `.spec`, `[name="web"]`."""
    if part == ".":
        return ""
    if part.startswith("f:"):
        return f".{part[2:]}"
    if part.startswith("k:"):
        return "[" + ",".join(f"{key}={json.dumps(value)}" for key, value in json.loads(part[2:]).items()) + "]"
    return f"[={part[2:]}]" if part.startswith("v:") else f"[{part[2:]}]"
