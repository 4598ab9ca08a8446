"""Words for completion that must be read first: contexts and pool names; silent where they can't be."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kubectl_imagecache.core.errors import UserError

TIMEOUT_S = 2.0
"""For each request: completion that keeps a shell waiting is worse than none."""
_POOL_LABEL = "cloud.google.com/gke-nodepool"


def contexts(given: Mapping[str, Any]) -> list[str]:
    """The contexts of the kubeconfig; none where it can't be read."""
    from kubectl_imagecache.clients.kube.kubeconfig import find_files, merge
    from kubectl_imagecache.clients.kube.options import KubeOptions

    try:
        options = KubeOptions(kubeconfig=given.get("kubeconfig") or "")
        merged = merge(find_files(options, os.environ, Path.home()))
    except (UserError, OSError):
        return []
    return sorted(merged.sections["contexts"])


def pools(given: Mapping[str, Any]) -> list[str]:
    """Names of the node pools that nodes belong to, of the cluster (or sandbox, or files) that GIVEN flags name."""
    try:
        if folder := given.get("from_folder"):
            return _of_files(Path(folder))
        if scenario := given.get("sandbox"):
            return _of_sandbox(str(scenario), given)
        return _of_cluster(given, os.environ)
    except (UserError, OSError, ValueError):
        return []


def _of_cluster(given: Mapping[str, Any], env: Mapping[str, str]) -> list[str]:
    from kubectl_imagecache.clients.kube import Kube, KubeOptions

    flags = {field.name: given[field.name] for field in dataclasses.fields(KubeOptions) if given.get(field.name)}
    kube = Kube.connect(KubeOptions(**{**flags, "request_timeout_s": TIMEOUT_S}), env)
    found: set[str] = set()
    for page in kube.json_pages("nodes"):
        for node in json.loads(page).get("items") or ():
            found.add(str((node.get("metadata", {}).get("labels") or {}).get(_POOL_LABEL) or ""))
    return sorted(found - {""})


def _of_sandbox(scenario: str, given: Mapping[str, Any]) -> list[str]:
    from kubectl_imagecache.sandbox.embedded import Sandbox, Settings

    with Sandbox(Settings(scenario=scenario)) as sandbox:
        return _of_cluster({}, {**os.environ, **sandbox.env()})


def _of_files(folder: Path) -> list[str]:
    from kubectl_imagecache.clients import bundle
    from kubectl_imagecache.clients.kube.options import Scope

    kube, cloud = bundle.read(folder, Scope(events=False))
    return sorted({pool.name for pool in cloud.pools or ()} | {node.pool for node in kube.nodes if node.pool})
