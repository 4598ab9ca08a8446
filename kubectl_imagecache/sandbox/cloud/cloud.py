"""The sandbox's Google cloud: GKE and Compute over one state, with the switches that scenarios and tests turn."""

from __future__ import annotations

from typing import Any

from kubectl_imagecache.sandbox.cloud import (
    catalogue,
    clusters,
    disks,
    groups,
    images,
    instances,
    operations,
    pools,
    rules,
    storage,
    templates,
)
from kubectl_imagecache.sandbox.cloud.errors import ApiError, fault_response
from kubectl_imagecache.sandbox.cloud.machines import BootHook
from kubectl_imagecache.sandbox.cloud.nodes import RESTRICTED
from kubectl_imagecache.sandbox.cloud.routing import Routes, answer
from kubectl_imagecache.sandbox.cloud.state import EMPTY, Held, NodeSink, OrderedFailure, State, Timing
from kubectl_imagecache.sandbox.faults import Fault
from kubectl_imagecache.sandbox.http import Request, Response, World

_COMPUTE = Routes()
for _part in (operations, images, disks, instances, groups, templates, catalogue, rules):
    _COMPUTE.extend(_part.ROUTES)


class Cloud:
    """One project in Google's cloud, in memory; callers hold the world's lock."""

    def __init__(
        self,
        world: World,
        nodes: NodeSink,
        *,
        project: str = "sandbox-project",
        project_number: str = "123456789012",
        timing: Timing | None = None,
    ) -> None:
        self.state = State(world, nodes, project, project_number, timing or Timing())
        self.state.on_gone.append(groups.heal)
        for name in (project, *catalogue.PUBLIC_PROJECTS):
            catalogue.furnish(self.state, name)
        for name, family, public in catalogue.PUBLIC_IMAGES:
            link = f"projects/{public}/global/images/{name}"
            arch = "ARM64" if "arm64" in name else "X86_64"
            self.add_image({"name": name, "family": family, "selfLink": link, "architecture": arch})

    def handle_gke(self, request: Request) -> Response:
        """Answer one call of GKE's API."""
        # The older spelling, by zone, has the same shape.
        path = request.path.replace("/zones/", "/locations/", 1)
        older = Request(request.method, path, request.query, request.headers, request.body, request.host)
        return answer(self.state, clusters.ROUTES, older, "/v1/", _gke_denied)

    def handle_compute(self, request: Request) -> Response:
        """Answer one call of Compute's API, or read an object of Cloud Storage."""
        if request.path.startswith((storage.READ, storage.UPLOAD)):
            return storage.perform(self.state, request)
        if request.path.startswith("/batch/compute/"):
            # Only gcloud sends batches; the email packages that read them would slow every start.
            from kubectl_imagecache.sandbox.cloud import batch

            return batch.perform(request, self.handle_compute)
        if request.path.startswith("/compute/v1/"):
            return answer(self.state, _COMPUTE, request, "/compute/v1/", _compute_denied)
        if request.path.startswith("/v2/"):
            return answer(self.state, rules.ROUTES, request, "/v2/", _gke_denied)
        # Resource Manager's testIamPermissions lives directly under /v1.
        return answer(self.state, _COMPUTE, request, "/v1/", _compute_denied)

    def error(self, fault: Fault) -> Response:
        """An ordered error, worded as Google's APIs do."""
        return fault_response(fault)

    def add_cluster(self, name: str, location: str, **fields: Any) -> None:
        """Add a RUNNING cluster in a zone or region; FIELDS are of its REST JSON."""
        collection = self.state.collection(f"projects/{self.state.project}/locations/{location}/clusters")
        collection[name] = clusters.complete(self.state, name, location, fields)

    def add_pool(
        self, cluster: str, pool: dict[str, Any], *, label_prefix: str = RESTRICTED, unlabelled: int = 0
    ) -> None:
        """Add a RUNNING pool, REST JSON, with its nodes, at once.

        LABEL_PREFIX is the spelling of the cache disk's label on its nodes; the first UNLABELLED nodes of each zone
        lack it. Raise ApiError for what GKE would refuse or fail to make; KeyError for an unknown cluster.
        """
        path = self.cluster_path(cluster)
        made = pools.complete(self.state, path, pool)
        pools.place(self.state, path, made, pool.get("status", "RUNNING"), "" if unlabelled else label_prefix)
        if unlabelled:
            for _ in pools.fill(self.state, path, made, unlabelled):
                pass
            self.state.label_prefixes[f"{path}/nodePools/{made['name']}"] = label_prefix
        if made["status"] != "ERROR":
            for _ in pools.fill(self.state, path, made, int(made["initialNodeCount"])):
                pass

    def grow_pool(self, cluster: str, name: str, per_zone: int) -> None:
        """Bring every zone of a pool to PER_ZONE nodes, at once; KeyError for an unknown cluster or pool."""
        path = self.cluster_path(cluster)
        pool = self.state.collections[f"{path}/nodePools"][name]
        for _ in pools.fill(self.state, path, pool, per_zone):
            pass
        pool["initialNodeCount"] = per_zone

    def cluster_path(self, cluster: str) -> str:
        """Where CLUSTER is: `projects/p/locations/l/clusters/c`; KeyError for an unknown one."""
        for path, found in self.state.collections.items():
            if path.endswith("/clusters") and cluster in found:
                return f"{path}/{cluster}"
        raise KeyError(cluster)

    def add_image(self, image: dict[str, Any], held: Held = EMPTY) -> None:
        """Add a disk image, REST JSON; its project is that of its `selfLink` if it has one.

        HELD is what is really on it. An image of the same name is replaced: it was made again.
        """
        project = str(image.get("selfLink", "")).partition("projects/")[2].partition("/")[0] or self.state.project
        path = f"projects/{project}/global/images/{image['name']}"
        self.state.drop(path)
        if project not in self.state.collection("projects"):
            catalogue.furnish(self.state, project)
        self.state.collection(f"projects/{project}/global/images")[image["name"]] = images.complete(self.state, image)
        self.state.held[path] = held

    def add_template(self, name: str, source: str, region: str = "") -> None:
        """Add an instance template with a disk of SOURCE, the path of a disk image or a family."""
        place = f"regions/{region}" if region else "global"
        path = f"projects/{self.state.project}/{place}/instanceTemplates/{name}"
        templates.add(self.state, path, "e2-medium", [source])

    def remove_image(self, name: str) -> None:
        """Take an image of the own project away, behind the back of the pools that use it."""
        self.state.drop(f"projects/{self.state.project}/global/images/{name}")

    def contents(self, path: str) -> frozenset[str]:
        """Chain IDs of the layers on the disk or image at PATH (`projects/p/global/images/x`)."""
        return self.state.holds(path).chain_ids

    def add_object(self, bucket: str, name: str, body: bytes) -> None:
        """Add an object of Cloud Storage."""
        self.state.objects[bucket, name] = body

    def on_boot(self, hook: BootHook) -> None:
        """Call HOOK with a Machine whenever an instance that isn't a node has become RUNNING."""
        self.state.boot_hooks.append(hook)

    def deny(self, *permissions: str) -> None:
        """Refuse PERMISSIONS from now on, in testIamPermissions and in the calls that need them."""
        self.state.denied.update(permissions)

    def allow(self, *permissions: str) -> None:
        """Take a denial back."""
        self.state.denied.difference_update(permissions)

    def add_secret(self, version: str, state: str = "ENABLED") -> None:
        """Add a secret's VERSION, by its whole name, which holds nothing."""
        found = {"name": version, "state": state, "etag": '"1"'}
        self.state.collection(rules.SECRET_STATES)[version] = found

    def limit(self, metric: str, limit: float) -> None:
        """Set a quota (`CPUS`, `INSTANCES`, `SSD_TOTAL_GB`, …) of every region."""
        self.state.quotas[metric] = limit

    def fail_operation(
        self,
        kind: str,
        target: str = "",
        *,
        code: int = 503,
        reason: str,
        message: str,
        status: str = "",
        times: int = 1,
    ) -> None:
        """Let operations begin well and end with an error: the next TIMES of KIND (`insert`, `CREATE_NODE_POOL`; empty
        is any) on a path that ends in TARGET. REASON is Compute's code (`ZONE_RESOURCE_POOL_EXHAUSTED`), STATUS
        google.rpc's.
        """
        error = ApiError(code, message, status=status, reason=reason)
        self.state.failures.append(OrderedFailure(kind, target, error, times))


def _gke_denied(permission: str, path: str) -> str:
    return f'Required "{permission}" permission(s) for "{path}".'


def _compute_denied(permission: str, path: str) -> str:
    return f"Required '{permission}' permission for '{path}'"
