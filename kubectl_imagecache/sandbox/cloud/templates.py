"""Instance templates: those of node pools' groups, and others that a scenario adds; they are only read."""

from __future__ import annotations

from collections.abc import Sequence

from kubectl_imagecache.sandbox.cloud.nodes import secondary_disks
from kubectl_imagecache.sandbox.cloud.resources import aggregator, new, put, serve
from kubectl_imagecache.sandbox.cloud.routing import Routes
from kubectl_imagecache.sandbox.cloud.state import COMPUTE_URL, Json, State

ROUTES = Routes()

NODE_IMAGE = "projects/cos-cloud/global/images/cos-117-18613-75-4"


def add(state: State, path: str, machine_type: str, sources: Sequence[str]) -> Json:
    """A template at PATH whose disks are made of SOURCES (paths of images or families), the first to boot from."""
    template = new(state, "instanceTemplate", path)
    template["properties"] = {
        "machineType": machine_type,
        "disks": [
            {
                "kind": "compute#attachedDisk",
                "boot": number == 0,
                "autoDelete": True,
                "type": "PERSISTENT",
                "mode": "READ_WRITE",
                "initializeParams": {"sourceImage": COMPUTE_URL + source},
            }
            for number, source in enumerate(sources)
        ],
        "networkInterfaces": [{"kind": "compute#networkInterface", "name": "nic0"}],
    }
    put(state, template)
    return template


def of_pool(state: State, stem: str, pool: Json) -> Json:
    """The template of a group of POOL, as GKE makes it."""
    sources = [NODE_IMAGE, *(image for image, _ in secondary_disks(pool, state.project))]
    machine_type = str(pool.get("config", {}).get("machineType", "e2-medium"))
    return add(state, f"projects/{state.project}/global/instanceTemplates/{stem}", machine_type, sources)


serve(ROUTES, "global", "instanceTemplates", "instanceTemplate", read_only=True)
serve(ROUTES, "regions/{region}", "instanceTemplates", "instanceTemplate", read_only=True)
ROUTES.add("GET", "projects/{project}/aggregated/instanceTemplates", "compute.instanceTemplates.list")(
    aggregator("instanceTemplates", "instanceTemplate")
)
