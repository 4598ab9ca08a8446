"""Words for completion that must be read first: contexts, pools, disk images; silent where they can't be."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubectl_imagecache.core.compute_class import CLASS_LABEL
from kubectl_imagecache.core.errors import UserError

if TYPE_CHECKING:
    from kubectl_imagecache.clients.google_http import GoogleHttp
    from kubectl_imagecache.clients.kube import Kube, KubeOptions
    from kubectl_imagecache.clients.target import ClusterTarget
    from kubectl_imagecache.core.views import Gap

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
    """Names of the node pools, from nodes and from GKE, of the cluster (or sandbox, or files) that GIVEN flags name."""
    try:
        if folder := given.get("from_folder"):
            return _of_files(Path(folder))
        if scenario := given.get("sandbox"):
            return _of_sandbox(str(scenario), given)
        return _of_cluster(given, os.environ)
    except (UserError, OSError, ValueError):
        return []


def compute_classes(given: Mapping[str, Any]) -> list[str]:
    """Names of the ComputeClasses that nodes belong to, of the cluster (or sandbox) that GIVEN flags name."""
    try:
        if scenario := given.get("sandbox"):
            return _of_sandbox(str(scenario), given, CLASS_LABEL)
        return _of_cluster(given, os.environ, CLASS_LABEL)
    except (UserError, OSError, ValueError):
        return []


def images(given: Mapping[str, Any]) -> list[str]:
    """Container images that pods run, of the cluster that GIVEN flags name."""
    try:
        if scenario := given.get("sandbox"):
            from kubectl_imagecache.sandbox.embedded import Sandbox, Settings

            with Sandbox(Settings(scenario=str(scenario))) as sandbox:
                return _run_by_pods({}, {**os.environ, **sandbox.env()})
        return _run_by_pods(given, os.environ)
    except (UserError, OSError, ValueError):
        return []


def disk_images(given: Mapping[str, Any]) -> list[str]:
    """Names of the disk images in the project of the cluster that GIVEN flags name, at most 500."""
    try:
        return _in_project(given, os.environ)
    except (UserError, OSError, ValueError):
        return []


def _google(env: Mapping[str, str]) -> GoogleHttp:
    from kubectl_imagecache.clients.google_http import GoogleHttp
    from kubectl_imagecache.clients.http import Http, Limits
    from kubectl_imagecache.clients.retry import ONCE

    return GoogleHttp.from_env(env, Http(Limits(TIMEOUT_S, TIMEOUT_S), ONCE, env=env))


def _target(given: Mapping[str, Any], kube: Kube, env: Mapping[str, str]) -> ClusterTarget | Gap:
    """The cluster on GKE, as far as names alone tell it: its project's clusters are not asked for."""
    from kubectl_imagecache.clients.target import gcloud_config, guess

    project, location, name = (str(given.get(flag) or "") for flag in ("project", "location", "cluster_name"))
    return guess((project, location, name), kube.context, kube.server, None, lambda: gcloud_config(env))


def _in_project(given: Mapping[str, Any], env: Mapping[str, str]) -> list[str]:
    from urllib.parse import quote

    from kubectl_imagecache.clients.google_http import Api
    from kubectl_imagecache.clients.kube import Kube
    from kubectl_imagecache.clients.target import ClusterTarget, gcloud_config

    target = _target(given, Kube.connect(_kube_options(given), env), env)
    chosen = str(given.get("project") or "")
    project = target.project if isinstance(target, ClusterTarget) else chosen or gcloud_config(env).project
    path = f"projects/{quote(project, safe=':')}/global/images"
    answer = _google(env).get(
        Api.COMPUTE,
        f"{path}?maxResults=500",
        permission="compute.images.list",
        on=f"projects/{project}",
        role="roles/compute.viewer",
    )
    return sorted(str(item.get("name") or "") for item in json.loads(answer.body).get("items") or ())


def _run_by_pods(given: Mapping[str, Any], env: Mapping[str, str]) -> list[str]:
    from kubectl_imagecache.clients.kube import Kube
    from kubectl_imagecache.clients.kube.options import Scope

    view = Kube.connect(_kube_options(given), env).view(Scope(events=False))
    return sorted({str(use.ref) for demand in view.demands.values() for use in demand.uses})


def _kube_options(given: Mapping[str, Any]) -> KubeOptions:
    from kubectl_imagecache.clients.kube import KubeOptions

    flags = {field.name: given[field.name] for field in dataclasses.fields(KubeOptions) if given.get(field.name)}
    return KubeOptions(**{**flags, "request_timeout_s": TIMEOUT_S})


def _of_cluster(given: Mapping[str, Any], env: Mapping[str, str], label: str = _POOL_LABEL) -> list[str]:
    from kubectl_imagecache.clients.kube import Kube

    kube = Kube.connect(_kube_options(given), env)
    with ThreadPoolExecutor(1, "pools") as executor:
        # Only pools can be there without a node that tells of them.
        of_gke = executor.submit(_of_gke, given, kube, env) if label == _POOL_LABEL else None
        found: set[str] = set()
        for page in kube.json_pages("nodes"):
            for node in json.loads(page).get("items") or ():
                found.add(str((node.get("metadata", {}).get("labels") or {}).get(label) or ""))
        return sorted(found.union(of_gke.result() if of_gke else ()) - {""})


def _of_gke(given: Mapping[str, Any], kube: Kube, env: Mapping[str, str]) -> set[str]:
    """Pools that GKE knows, those without a node among them; none where it can't be asked."""
    from kubectl_imagecache.clients.gke import Gke
    from kubectl_imagecache.clients.target import ClusterTarget

    target = _target(given, kube, env)
    if not isinstance(target, ClusterTarget):
        return set()
    try:
        return {pool.name for pool in Gke(_google(env)).pools(target)}
    except UserError:
        return set()


def _of_sandbox(scenario: str, given: Mapping[str, Any], label: str = _POOL_LABEL) -> list[str]:
    from kubectl_imagecache.sandbox.embedded import Sandbox, Settings

    with Sandbox(Settings(scenario=scenario)) as sandbox:
        return _of_cluster({}, {**os.environ, **sandbox.env()}, label)


def _of_files(folder: Path) -> list[str]:
    from kubectl_imagecache.clients import bundle
    from kubectl_imagecache.clients.kube.options import Scope

    kube, cloud = bundle.read(folder, Scope(events=False))
    return sorted({pool.name for pool in cloud.pools or ()} | {node.pool for node in kube.nodes if node.pool})
