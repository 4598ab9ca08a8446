"""Discovery documents: which groups, versions and resources there are, classic and aggregated."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from kubectl_imagecache.sandbox.http import Request, Response
from kubectl_imagecache.sandbox.kube.kinds import Kind, Kinds, Obj

VERSION = "v1.32.4-gke.1415000"
"""The control plane's version."""

_SUB_KINDS: Mapping[str, tuple[str, str, str]] = {
    "scale": ("autoscaling", "v1", "Scale"),
    "eviction": ("policy", "v1", "Eviction"),
    "binding": ("", "v1", "Binding"),
}
_SUB_VERBS: Mapping[str, list[str]] = {
    "eviction": ["create"],
    "binding": ["create"],
    "log": ["get"],
    "finalize": ["update"],
}


def version() -> Obj:
    """What `/version` says."""
    return {
        "major": "1",
        "minor": "32",
        "gitVersion": VERSION,
        "gitCommit": "0000000000000000000000000000000000000000",
        "gitTreeState": "clean",
        "buildDate": "2026-01-05T09:00:00Z",
        "goVersion": "go1.23.8",
        "compiler": "gc",
        "platform": "linux/amd64",
    }


def answer(request: Request, kinds: Kinds) -> Response | None:
    """The discovery document under a path; None if the path is no discovery path."""
    parts = request.path.strip("/").split("/")
    aggregated = "as=APIGroupDiscoveryList" in request.headers.get("accept", "")
    if parts in (["api"], ["apis"]) and aggregated:
        return _aggregated(parts[0] == "api", kinds)
    document: Obj | None = None
    if parts == ["version"]:
        document = version()
    elif parts == ["api"]:
        document = {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
    elif parts == ["apis"]:
        document = {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(g, v) for g, v in _groups(kinds)]}
    elif parts == ["api", "v1"]:
        document = _resources("", "v1", kinds)
    elif len(parts) == 3 and parts[0] == "apis" and (parts[1], parts[2]) in _groups(kinds):
        document = _resources(parts[1], parts[2], kinds)
    elif len(parts) == 2 and parts[0] == "apis":
        document = next((_group(g, v) for g, v in _groups(kinds) if g == parts[1]), None)
        document = document and {"kind": "APIGroup", "apiVersion": "v1", **document}
    elif parts[0] == "openapi":
        document = _openapi(parts[1:], kinds)
    return None if document is None else Response(body=json.dumps(document).encode())


def _groups(kinds: Kinds) -> list[tuple[str, str]]:
    return sorted({(kind.group, kind.version) for kind in kinds.all() if kind.group})


def _group(group: str, version: str) -> Obj:
    entry = {"groupVersion": f"{group}/{version}", "version": version}
    return {"name": group, "versions": [entry], "preferredVersion": entry}


def _resources(group: str, version: str, kinds: Kinds) -> Obj:
    resources: list[Obj] = []
    for kind in kinds.all():
        if (kind.group, kind.version) != (group, version):
            continue
        entry: Obj = {"name": kind.plural, "singularName": kind.kind.lower(), "namespaced": kind.namespaced}
        entry |= {"kind": kind.kind, "verbs": list(kind.verbs)}
        if kind.short:
            entry["shortNames"] = list(kind.short)
        if kind.categories:
            entry["categories"] = list(kind.categories)
        resources.append(entry)
        for sub in kind.subresources:
            resources.append(
                {"name": f"{kind.plural}/{sub}", "singularName": "", "namespaced": kind.namespaced}
                | dict(zip(("group", "version", "kind"), _sub_kind(kind, sub), strict=True))
                | {"verbs": _SUB_VERBS.get(sub, ["get", "patch", "update"])}
            )
    name = f"{group}/{version}" if group else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": name, "resources": resources}


def _sub_kind(kind: Kind, sub: str) -> tuple[str, str, str]:
    return _SUB_KINDS.get(sub, (kind.group, kind.version, kind.kind))


def _aggregated(core: bool, kinds: Kinds) -> Response:
    groups = [("", "v1")] if core else _groups(kinds)
    items = [
        {
            "metadata": {"name": group, "creationTimestamp": None},
            "versions": [{"version": version, "freshness": "Current", "resources": _discovered(group, version, kinds)}],
        }
        for group, version in groups
    ]
    document = {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}
    content_type = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    return Response(body=json.dumps(document).encode(), content_type=content_type)


def _discovered(group: str, version: str, kinds: Kinds) -> list[Obj]:
    found: list[Obj] = []
    for kind in kinds.all():
        if (kind.group, kind.version) != (group, version):
            continue
        entry: Obj = {
            "resource": kind.plural,
            "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "singularResource": kind.kind.lower(),
            "verbs": list(kind.verbs),
        }
        if kind.short:
            entry["shortNames"] = list(kind.short)
        if kind.categories:
            entry["categories"] = list(kind.categories)
        entry["subresources"] = [
            {
                "subresource": sub,
                "responseKind": dict(zip(("group", "version", "kind"), _sub_kind(kind, sub), strict=True)),
                "verbs": _SUB_VERBS.get(sub, ["get", "patch", "update"]),
            }
            for sub in kind.subresources
        ]
        found.append(entry)
    return found


def _openapi(parts: list[str], kinds: Kinds) -> Obj | None:
    """OpenAPI v3 with just what kubectl asks it for: that writes take `fieldValidation` and `dryRun`."""
    if parts == ["v3"]:
        paths = ["api/v1", *(f"apis/{group}/{version}" for group, version in _groups(kinds))]
        return {"paths": {path: {"serverRelativeURL": f"/openapi/v3/{path}?hash=1"} for path in paths}}
    if parts[:2] == ["v3", "api"] and len(parts) == 3:
        return _openapi_group("", parts[2], kinds)
    if parts[:2] == ["v3", "apis"] and len(parts) == 4:
        return _openapi_group(parts[2], parts[3], kinds)
    return None


def _openapi_group(group: str, version: str, kinds: Kinds) -> Obj:
    root = f"/apis/{group}/{version}" if group else f"/api/{version}"
    parameters = [
        {"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}}
        for name in ("dryRun", "fieldManager", "fieldValidation", "force")
    ]
    paths: dict[str, Any] = {}
    for kind in kinds.all():
        if (kind.group, kind.version) == (group, version):
            gvk = {"group": kind.group, "version": kind.version, "kind": kind.kind}
            write = {"parameters": parameters, "x-kubernetes-group-version-kind": gvk, "responses": {}}
            middle = "/namespaces/{namespace}" if kind.namespaced else ""
            paths[f"{root}{middle}/{kind.plural}"] = {"post": write}
            paths[f"{root}{middle}/{kind.plural}/{{name}}"] = {"patch": write, "put": write}
    info = {"title": "Kubernetes", "version": VERSION}
    return {"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": {}}}
