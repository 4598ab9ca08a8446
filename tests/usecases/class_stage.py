"""A cluster whose nodes a ComputeClass makes, for rolls of the class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kubectl_imagecache.clients.kube import Kube
from kubectl_imagecache.clients.kube.classes import ClassKube
from kubectl_imagecache.clients.kube.options import KubeOptions
from kubectl_imagecache.core.class_roll import MANAGER, change_of
from kubectl_imagecache.core.compute_class import CLASS_LABEL, exactly, patterns, secondary_disks
from kubectl_imagecache.sandbox.embedded import Sandbox
from kubectl_imagecache.sandbox.scenarios.stage import PROJECT
from kubectl_imagecache.usecases.class_roll import ClassTools
from tests.usecases.roll_stage import NEW, OLD, budget, controller, tools

NAME = "models"
CACHE = "CONTAINER_IMAGE_CACHE"


def compute_class(*rules: dict[str, Any], creates: bool = True) -> dict[str, Any]:
    """A ComputeClass `models`; its rules are those given, else one of n2 machines with the disk image cache-1."""
    priorities = list(rules) or [rule("n2", OLD.name)]
    spec = {"nodePoolAutoCreation": {"enabled": creates}, "priorities": priorities}
    return {"apiVersion": "cloud.google.com/v1", "kind": "ComputeClass", "metadata": {"name": NAME}, "spec": spec}


def rule(family: str, disk: str = "") -> dict[str, Any]:
    disks = [{"diskImageName": disk, "mode": CACHE}] if disk else []
    return {"machineFamily": family} | ({"storage": {"bootDiskSize": 100, "secondaryBootDisks": disks}} if disk else {})


def claimed(made: dict[str, Any], claim: str) -> dict[str, Any]:
    """The workload MADE, its pods with the PersistentVolumeClaim CLAIM."""
    made["spec"]["template"]["spec"]["volumes"] = [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]
    return made


def volume(claim: str, zone: str) -> dict[str, Any]:
    """A PersistentVolume of ZONE that CLAIM is bound to."""
    place = {"key": "topology.kubernetes.io/zone", "operator": "In", "values": [zone]}
    spec = {
        "capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteOnce"],
        "csi": {"driver": "pd.csi.storage.gke.io", "volumeHandle": "h"},
        "claimRef": {"namespace": "default", "name": claim},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [place]}]}},
    }
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": f"pv-{claim}"}, "spec": spec}


def class_stage(sandbox: Sandbox, replicas: int = 3, spare: int = 1, found: dict[str, Any] | None = None) -> None:
    """The class (FOUND, if not the usual), an allowlist for its disk image, a Deployment whose pods take a node each.

    Its budget allows SPARE disruptions.
    """
    for disk in (OLD, NEW):
        sandbox.cloud.add_image({"name": disk.name, "diskSizeGb": "10", "architecture": "X86_64"})
    sandbox.kube.create(found or compute_class())
    spec = {"allowedResourcePatterns": [exactly(OLD)]}
    allowlist = {"apiVersion": "node.gke.io/v1", "kind": "GCPResourceAllowlist", "metadata": {"name": "disks"}}
    sandbox.kube.create({**allowlist, "spec": spec})
    front = controller("Deployment", "front", {CLASS_LABEL: NAME}, replicas)
    container = front["spec"]["template"]["spec"]["containers"][0]
    container["resources"] = {"requests": {"cpu": "5"}}
    sandbox.kube.create(front)
    sandbox.kube.create(controller("DaemonSet", "agent", {}))
    sandbox.kube.create(budget("front", replicas - spare))
    with sandbox.world.lock:
        sandbox.world.clock.advance(900)


def class_tools(sandbox: Sandbox, home: Path, timeout_s: float | None = None) -> ClassTools:
    """What the roll of the class works with, in virtual time; TIMEOUT_S for one answer (real)."""
    mine = tools(sandbox, [], home, timeout_s=timeout_s, rolled=f"class.{NAME}")
    kube = Kube.connect(
        KubeOptions(request_timeout_s=timeout_s), {**sandbox.env(), "HOME": str(home)}, home, mine.clock
    )
    return ClassTools(mine, ClassKube(kube.transport), NAME, PROJECT)


def class_note(sandbox: Sandbox) -> dict[str, Any]:
    """What the roll has written down: its note on the class, and what its own allowlist allows."""
    (found,) = sandbox.kube.objects("ComputeClass")
    note = change_of(found)
    lists = [one for one in sandbox.kube.objects("GCPResourceAllowlist") if one["metadata"]["name"] == MANAGER]
    said = {"to": sorted(disk.name for disk in note.to), "back": note.back} if note else {}
    return {**said, "allowed": [text for one in lists for text in patterns(one)]}


def class_state(sandbox: Sandbox) -> dict[str, Any]:
    """What must be the same however the roll got there: the class's disks, its nodes' disks, its pods, cordons."""
    (found,) = sandbox.kube.objects("ComputeClass")
    nodes = {node["metadata"]["name"]: node for node in sandbox.kube.objects("Node")}
    mine = [node for node in nodes.values() if node["metadata"]["labels"].get(CLASS_LABEL) == NAME]
    pods = [pod for pod in sandbox.kube.objects("Pod") if pod["metadata"]["labels"]["app"] == "front"]
    running = [pod for pod in pods if pod["spec"].get("nodeName") and _ready(pod)]
    return {
        "class": [[disk["diskImageName"] for disk in secondary_disks(one)] for one in found["spec"]["priorities"]],
        "nodes": sorted({disk for node in mine for disk in _shown(node)}),
        "pods": len(running),
        "cordoned": sum(bool(node["spec"].get("unschedulable")) for node in nodes.values()),
        "marks": sum("kubectl-imagecache/" in str(node["metadata"].get("annotations")) for node in nodes.values()),
    }


def _shown(node: dict[str, Any]) -> list[str]:
    labels = node["metadata"]["labels"]
    return [key.partition("boot-disk-")[2] for key in labels if "gke-secondary-boot-disk-" in key]


def _ready(pod: dict[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions", ())
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
    return ready and "deletionTimestamp" not in pod["metadata"]
