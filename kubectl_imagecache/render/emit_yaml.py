"""A rolled pool, or a rolled ComputeClass, as Kubernetes manifests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from kubectl_imagecache.core import compute_class as classes
from kubectl_imagecache.core.emit import EFFECTS, Replacement
from kubectl_imagecache.core.pools import DiskImageRef

Json = dict[str, Any]
ALLOWLIST = "kubectl-imagecache"
"""The name of our GCPResourceAllowlist."""
_KARPENTER_DISKS = frozenset(
    {
        *("hyperdisk-balanced", "hyperdisk-extreme", "hyperdisk-throughput", "hyperdisk-ml"),
        *("pd-balanced", "pd-extreme", "pd-ssd", "pd-standard", "hyperdisk-balanced-high-availability"),
    }
)


def compute_class(what: Replacement) -> str:
    """A ComputeClass whose auto-created pools are like the new pool, and the allowlist that its disk image needs."""
    manifest = {
        "apiVersion": classes.API,
        "kind": classes.KIND,
        "metadata": {"name": what.old},
        "spec": {
            "nodePoolAutoCreation": {"enabled": True},
            "nodePoolConfig": _class_config(what),
            "priorities": [_rule(what)],
        },
    }
    head = (
        f"A ComputeClass that makes nodes like those of {what.name}. Workloads select it with "
        f"nodeSelector {classes.CLASS_LABEL}: {what.old}; the pool itself is no part of it."
    )
    return _documents(head, [manifest, allowlist((what.disk,))])


def rolled_class(found: Mapping[str, Any], disk: DiskImageRef) -> str:
    """The ComputeClass FOUND with DISK, without what only the server writes, and the allowlist for it."""
    meta = found.get("metadata") or {}
    kept = {key: value for key, value in (meta.get("annotations") or {}).items() if not _local(key)}
    metadata = {"name": meta.get("name")} | ({"labels": meta["labels"]} if meta.get("labels") else {})
    spec = {**(found.get("spec") or {}), "priorities": classes.with_disk(classes.rules(found), disk)}
    manifest = {
        "apiVersion": classes.API,
        "kind": classes.KIND,
        "metadata": metadata | ({"annotations": kept} if kept else {}),
        "spec": spec,
    }
    return _documents(f"ComputeClass {meta.get('name')} with the disk image {disk}.", [manifest, allowlist((disk,))])


def allowlist(disks: tuple[DiskImageRef, ...]) -> Json:
    """A GCPResourceAllowlist for DISKS alone."""
    return {
        "apiVersion": classes.ALLOWLIST_API,
        "kind": classes.ALLOWLIST_KIND,
        "metadata": {"name": ALLOWLIST},
        "spec": {"allowedResourcePatterns": [classes.exactly(disk) for disk in disks]},
    }


def karpenter(what: Replacement) -> str:
    """A GCENodeClass of karpenter-provider-gcp with the pool's disks, service account, tags and labels."""
    # https://github.com/cloudpilot-ai/karpenter-provider-gcp/blob/main/pkg/apis/v1alpha1/gcenodeclass.go
    config = what.config
    category = str(config.get("diskType") or "pd-balanced")
    kind = {"category": category} if category in _KARPENTER_DISKS else {}
    disks: list[Json] = [{"boot": True, "sizeGiB": int(config.get("diskSizeGb") or 100), **kind}]
    for image, mode in what.disks:
        disk = {"boot": False, "sizeGiB": 10, **kind, "secondaryBootImage": image}
        disks.append(disk | ({"secondaryBootMode": mode} if mode else {}))
    family = "Ubuntu" if "UBUNTU" in str(config.get("imageType") or "").upper() else "ContainerOptimizedOS"
    account = str(config.get("serviceAccount") or "default")
    spec: Json = {
        **({"serviceAccount": account} if "@" in account else {}),
        "imageSelectorTerms": [{"alias": f"{family}@latest"}],
        "disks": disks,
        **({"networkTags": list(config["tags"])} if config.get("tags") else {}),
        **({"labels": what.labels} if what.labels else {}),
    }
    manifest = {
        "apiVersion": "karpenter.k8s.gcp/v1alpha1",
        "kind": "GCENodeClass",
        "metadata": {"name": what.old},
        "spec": spec,
    }
    head = (
        f"A GCENodeClass that makes nodes with the disks of {what.name}. Secondary disks grow to their image's "
        "size; raise sizeGiB where your version asks for it. A NodePool refers to it by nodeClassRef."
    )
    return _documents(head, [manifest])


def _class_config(what: Replacement) -> Json:
    config = what.config
    account = str(config.get("serviceAccount") or "default")
    taints = [_taint(one) for one in config.get("taints") or ()]
    return {
        "imageStreaming": {"enabled": True},
        "imageType": str(config.get("imageType") or "COS_CONTAINERD").lower(),
        **({"serviceAccount": account} if account != "default" else {}),
        **({"nodeLabels": dict(config["labels"])} if config.get("labels") else {}),
        **({"taints": taints} if taints else {}),
    }


def _rule(what: Replacement) -> Json:
    config = what.config
    rule: Json = {"machineType": str(config.get("machineType") or "e2-medium")}
    if config.get("spot"):
        rule["spot"] = True
    accelerators = list(config.get("accelerators") or ())
    if len(accelerators) == 1:
        one = accelerators[0]
        rule["gpu"] = {"type": one.get("acceleratorType"), "count": int(one.get("acceleratorCount") or 1)}
    if what.pool.get("locations"):
        rule["location"] = {"zones": list(what.pool["locations"])}
    rule["storage"] = {
        "bootDiskType": str(config.get("diskType") or "pd-balanced"),
        "bootDiskSize": int(config.get("diskSizeGb") or 100),
        "secondaryBootDisks": [_data_disk(image) for image, mode in what.disks if mode != classes.CACHE],
    }
    return classes.with_disk([rule], what.disk)[0]


def _data_disk(image: str) -> Json:
    project = image.removeprefix("projects/").partition("/")[0] if image.startswith("projects/") else ""
    return {"diskImageName": image.rpartition("/")[2]} | ({"project": project} if project else {})


def _taint(one: Mapping[str, Any]) -> Json:
    effect = str(one.get("effect") or "")
    return {"key": one.get("key"), "value": one.get("value") or "", "effect": EFFECTS.get(effect, effect)}


def _local(annotation: str) -> bool:
    return annotation.startswith(("kubectl-imagecache/", "kubectl.kubernetes.io/last-applied-configuration"))


def _documents(head: str, manifests: list[Json]) -> str:
    import yaml  # only here: it takes 20 ms

    text = "---\n".join(yaml.safe_dump(one, sort_keys=False, allow_unicode=False, width=120) for one in manifests)
    return f"# {json.dumps(head)[1:-1]}\n{text}"
