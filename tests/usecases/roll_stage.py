"""A small cluster in the sandbox to roll a pool of, and virtual time for those who roll it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kubectl_imagecache.cli.sandbox_clock import work_clock
from kubectl_imagecache.clients.gke_roll import RollGke
from kubectl_imagecache.clients.google_http import GoogleHttp
from kubectl_imagecache.clients.http import Http, Limits
from kubectl_imagecache.clients.kube import Kube
from kubectl_imagecache.clients.kube.options import KubeOptions
from kubectl_imagecache.clients.kube.probe import ProbeKube
from kubectl_imagecache.clients.kube.roll import RollKube
from kubectl_imagecache.clients.retry import Pace
from kubectl_imagecache.clients.target import ClusterTarget
from kubectl_imagecache.core.pools import DiskImageRef
from kubectl_imagecache.core.roll_event import RollEvent
from kubectl_imagecache.sandbox.cloud import Held
from kubectl_imagecache.sandbox.embedded import Sandbox, Settings
from kubectl_imagecache.sandbox.scenarios import shelf
from kubectl_imagecache.sandbox.scenarios.stage import CACHE, LOCATION, PROJECT
from kubectl_imagecache.usecases.roll_lock import Lock
from kubectl_imagecache.usecases.roll_tools import Tools

OLD, NEW = DiskImageRef(PROJECT, "cache-1"), DiskImageRef(PROJECT, "cache-2")
IMAGE = f"{shelf.REDIS}:7.4.1-alpine"
BIG = f"{shelf.EMBEDDER}:1.3.0"
"""An image that no pod of the stage runs, and whose pull takes its time."""
SCALING = {"enabled": True, "minNodeCount": 1, "maxNodeCount": 4}


def stage(sandbox: Sandbox, nodes: int = 2, pinned: bool = False, zones: str = "a", cached: Sequence[str] = ()) -> None:
    """A pool `web` with autoscaling, NODES in each of ZONES, and on it a Deployment with a budget, and a DaemonSet."""
    layers = frozenset(layer.chain_id for one in cached for layer in sandbox.catalog.cached(one, "amd64").layers)
    for disk in (OLD, NEW):
        sandbox.cloud.add_image({"name": disk.name, "diskSizeGb": "10", "architecture": "X86_64"}, Held(layers))
    add_pool(sandbox, nodes, zones)
    select = {"cloud.google.com/gke-nodepool": "web"} if pinned else {"role": "web"}
    for kind, name in (("Deployment", "front"), ("DaemonSet", "agent")):
        sandbox.kube.create(controller(kind, name, select if kind == "Deployment" else {}))
    sandbox.kube.create(budget("front", 2))
    sandbox.world.clock.advance(300)


def add_pool(sandbox: Sandbox, nodes: int, zones: str = "a") -> None:
    """The pool `web`, its nodes there at once."""
    sandbox.cloud.add_pool(sandbox.cluster, pool_json(nodes, zones))


def pool_json(nodes: int, zones: str = "a") -> dict[str, Any]:
    """The pool `web` in GKE's JSON."""
    config = {
        "machineType": "n2-standard-8",
        "labels": {"role": "web"},
        "gcfsConfig": {"enabled": True},
        "secondaryBootDisks": [{"diskImage": str(OLD), "mode": CACHE}],
        "futureField": {"kept": True},
    }
    places = [f"europe-west4-{zone}" for zone in zones]
    pool = {"name": "web", "initialNodeCount": nodes, "locations": places, "config": config}
    return {**pool, "autoscaling": SCALING}


def controller(kind: str, name: str, select: dict[str, str], replicas: int = 3, image: str = IMAGE) -> dict[str, Any]:
    """A Deployment or a DaemonSet."""
    container = {"name": "main", "image": image, "resources": {"requests": {"cpu": "500m"}}}
    spec = {"selector": {"matchLabels": {"app": name}}, **({"replicas": replicas} if kind == "Deployment" else {})}
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container], "nodeSelector": select}}
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": metadata, "spec": {**spec, "template": template}}


def budget(name: str, least: int) -> dict[str, Any]:
    """A PodDisruptionBudget."""
    spec = {"minAvailable": least, "selector": {"matchLabels": {"app": name}}}
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": metadata, "spec": spec}


def add_stuck(sandbox: Sandbox, replicas: int = 1, least: int = 1) -> None:
    """A Deployment `stuck` on the pool, with a budget that wants LEAST of its REPLICAS."""
    sandbox.kube.create(controller("Deployment", "stuck", {"role": "web"}, replicas=replicas))
    sandbox.kube.create(budget("stuck", least))


def tools(
    sandbox: Sandbox,
    events: list[RollEvent],
    home: Path,
    who: str = "me@here/1",
    timeout_s: float | None = None,
    rolled: str = "web",
) -> Tools:
    """What the roll of ROLLED works with, in virtual time, its retries too; TIMEOUT_S for one answer (real)."""
    env = {**sandbox.env(), "HOME": str(home)}
    clock = work_clock(env)
    transport = Kube.connect(KubeOptions(request_timeout_s=timeout_s), env, home, clock).transport
    kube = RollKube(transport, clock.reached)
    pace = Pace(lambda: clock.now().timestamp(), clock.sleep)
    target = ClusterTarget(PROJECT, LOCATION, sandbox.cluster, "")
    gke = RollGke(
        GoogleHttp.from_env(env, Http(Limits(read_s=timeout_s) if timeout_s else Limits(), env=env, pace=pace)), target
    )
    lock = Lock(kube, clock, rolled, who)
    lock.take()
    return Tools(kube, gke, clock, lock, events.append, probes=ProbeKube(transport))


def settings() -> Settings:
    """An empty cluster."""
    return Settings("empty")


def state_of(sandbox: Sandbox) -> dict[str, Any]:
    """What must be the same however the roll got there: pools, and where workload pods are, by pool."""
    pools = {
        pool["name"]: (pool["status"], pool.get("autoscaling"), pool["config"]["secondaryBootDisks"][0]["diskImage"])
        for pool in sandbox.cloud.state.collection(
            f"projects/{PROJECT}/locations/{LOCATION}/clusters/{sandbox.cluster}/nodePools"
        ).values()
        if pool["name"] != "default-pool"
    }
    nodes = {node["metadata"]["name"]: node for node in sandbox.kube.objects("Node")}
    running: dict[str, int] = {}
    for pod in sandbox.kube.objects("Pod"):
        node = nodes.get(pod["spec"].get("nodeName", ""))
        where = node["metadata"]["labels"]["cloud.google.com/gke-nodepool"] if node else "none"
        if pod["metadata"]["labels"]["app"] in ("front", "stuck") and _ready(pod):
            running[where] = running.get(where, 0) + 1
    cordoned = sorted(name for name, node in nodes.items() if node["spec"].get("unschedulable"))
    return {"pools": pools, "pods": running, "cordoned": cordoned}


def _ready(pod: dict[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions", ())
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
    return ready and "deletionTimestamp" not in pod["metadata"]
