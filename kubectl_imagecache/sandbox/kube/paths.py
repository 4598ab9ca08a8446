"""Paths of the API, and what a request to one is called."""

from __future__ import annotations

from dataclasses import dataclass

from kubectl_imagecache.sandbox.http import Request
from kubectl_imagecache.sandbox.kube.kinds import BUILT_IN, Kind, Kinds
from kubectl_imagecache.sandbox.kube.status import ApiError

_VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True, slots=True)
class Target:
    """What a path means."""

    kind: Kind
    namespace: str
    name: str
    subresource: str


def target_of(path: str, kinds: Kinds) -> Target | None:
    """What PATH means; None if it is no path of a kind that is served."""
    parts = path.strip("/").split("/")
    if parts[:2] == ["api", "v1"]:
        group, version, rest = "", "v1", parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    namespace = ""
    if len(rest) > 2 and rest[0] == "namespaces" and rest[2] not in ("status", "finalize"):
        namespace, rest = rest[1], rest[2:]
    kind = kinds.at(group, version, rest[0]) if rest else None
    if kind is None or (namespace and not kind.namespaced):
        return None
    return Target(kind, namespace, rest[1] if len(rest) > 1 else "", "/".join(rest[2:]))


def is_built_in(path: str) -> bool:
    """Whether PATH is of a group of Kubernetes' own kinds, where a Status tells what is amiss and not plain text."""
    root, *rest = path.strip("/").split("/")
    return root == "api" or (bool(rest) and any(kind.group == rest[0] for kind in BUILT_IN))


def verb_of(request: Request, target: Target) -> str:
    """What RBAC calls it to send REQUEST to TARGET; raise ApiError 405 where nothing is."""
    if request.method in ("GET", "HEAD") and not target.subresource:
        if request.query.get("watch") in ("true", "1"):
            return "watch"
        return "get" if target.name else "list"
    if request.method == "DELETE" and not target.name:
        return "deletecollection"
    if request.method not in _VERBS or (request.method == "POST" and target.name and not target.subresource):
        raise ApiError(405, "the server does not allow this method on the requested resource")
    return _VERBS[request.method]
