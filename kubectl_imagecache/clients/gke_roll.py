"""GKE's node pools as a roll reads and changes them: in GKE's own JSON, so that nothing unknown is lost."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kubectl_imagecache.clients.gke import ROLE, TAINT_EFFECTS, disk_image_ref
from kubectl_imagecache.clients.google_http import Api, GoogleHttp
from kubectl_imagecache.clients.http import Answer, segment
from kubectl_imagecache.clients.target import ClusterTarget
from kubectl_imagecache.core.errors import BadAnswer, NotFound
from kubectl_imagecache.core.pools import Taint
from kubectl_imagecache.core.roll import RollPool, Scaling
from kubectl_imagecache.core.roll_pool import origin_of, scaling_json, scaling_of

Json = dict[str, Any]
ADMIN = "roles/container.clusterAdmin"
VIEWER = "roles/compute.viewer"
INSTANCE_ADMIN = "roles/compute.instanceAdmin.v1"
_GROUP = re.compile(r"projects/[^/]+/zones/[^/]+/instanceGroupManagers/[^/?]+")


@dataclass(frozen=True, slots=True)
class Operation:
    """One of GKE's operations."""

    name: str
    done: bool
    error: str = ""
    """Why it failed; empty if it did not."""


class RollGke:
    """The calls of GKE that a roll needs; those that change something are create, set_scaling, set_size,
    remove and delete."""

    def __init__(self, http: GoogleHttp, target: ClusterTarget) -> None:
        self._http, self.target = http, target
        self._place = f"projects/{segment(target.project)}/locations/{segment(target.location)}"
        self._cluster = f"{self._place}/clusters/{segment(target.name)}"

    def cluster(self) -> Json:
        """The cluster with its pools; raises as Gke.pools does."""
        return self._get(Api.CONTAINER, self._cluster, "container.clusters.get", ROLE)

    def versions(self) -> frozenset[str]:
        """The node versions that GKE offers; raises as Gke.pools does."""
        config = self._get(Api.CONTAINER, f"{self._place}/serverConfig", "container.clusters.list", ROLE)
        return frozenset(str(version) for version in config.get("validNodeVersions") or ())

    def sizes(self, pool: Mapping[str, Any]) -> tuple[int, ...]:
        """How many nodes POOL wants in each of its zones, from its instance groups; raises as Gke.pools does.

        A group that is gone, because GKE deletes the pool, wants none.
        """
        found: list[int] = []
        for url in pool.get("instanceGroupUrls") or ():
            path = _GROUP.search(str(url))
            if path is None:
                raise BadAnswer(f"GKE names an instance group of pool {pool.get('name')} that is none: {url}")
            try:
                group = self._get(Api.COMPUTE, path[0], "compute.instanceGroupManagers.get", VIEWER)
            except NotFound:
                group = {}
            found.append(int(group.get("targetSize") or 0))
        return tuple(found)

    def region(self, zones: Sequence[str]) -> Json:
        """Compute's region of a pool's ZONES, with its quotas; raises as Gke.pools does."""
        region = zones[0].rpartition("-")[0] if zones else self.target.location
        path = f"projects/{segment(self.target.project)}/regions/{segment(region)}"
        return self._get(Api.COMPUTE, path, "compute.regions.get", VIEWER)

    def machine(self, zones: Sequence[str], machine_type: str) -> Json:
        """Compute's description of a machine type; raises as Gke.pools does, NotFound without a zone."""
        zone = segment((*zones, "-")[0])
        path = f"projects/{segment(self.target.project)}/zones/{zone}/machineTypes/{segment(machine_type)}"
        return self._get(Api.COMPUTE, path, "compute.machineTypes.get", VIEWER)

    def operation(self, name: str) -> Operation:
        """An operation as it is now; raises as Gke.pools does."""
        return _operation(self._get(Api.CONTAINER, f"{self._place}/operations/{segment(name)}", _OPERATIONS, ROLE))

    def create(self, pool: Mapping[str, Any]) -> Operation:
        """Begin to create POOL. Not to be sent again before a look at what is there; raises as GoogleHttp.send does."""
        return self._change("POST", f"{self._cluster}/nodePools", {"nodePool": pool})

    def set_scaling(self, pool: str, scaling: Scaling) -> Operation:
        """Begin to set POOL's autoscaling; raises as GoogleHttp.send does."""
        body = {"autoscaling": scaling_json(scaling)}
        return self._change("POST", f"{self._cluster}/nodePools/{segment(pool)}:setAutoscaling", body)

    def set_size(self, pool: str, per_zone: int) -> Operation:
        """Begin to set POOL's size, the same in every zone; raises as GoogleHttp.send does.

        GKE picks the nodes that go where there are too many, whatever runs on them: only ask for more.
        """
        return self._change("POST", f"{self._cluster}/nodePools/{segment(pool)}:setSize", {"nodeCount": per_zone})

    def remove(self, pool: Mapping[str, Any], nodes: Mapping[str, str]) -> None:
        """Begin to delete NODES (name -> zone) of POOL, whose groups then want as many less; those gone are no error.

        GKE's API has no call for it; the open cluster autoscaler (cloudprovider/gce) removes nodes by this one.
        Raises as GoogleHttp.send does, NotFound for a node that is of none of POOL's groups.
        """
        paths = [path[0] for url in pool.get("instanceGroupUrls") or () if (path := _GROUP.search(str(url)))]
        wanted: dict[str, list[str]] = {}
        for name, zone in nodes.items():
            # A node is called after its group: gke-web-0a1b2c3d-x7k2 is of gke-web-0a1b2c3d-grp.
            stem = f"/{name.rpartition('-')[0]}-grp"
            group = next((path for path in paths if path.endswith(stem) and f"/zones/{zone}/" in path), None)
            if group is None:
                raise NotFound(f"{name} in {zone or 'no zone'} is of no instance group of {pool.get('name')}")
            wanted.setdefault(group, []).append(f"zones/{zone}/instances/{name}")
        for group, instances in wanted.items():
            body = {"instances": instances, "skipInstancesOnValidationError": True}
            asked = {"permission": "compute.instanceGroupManagers.update", "on": group, "role": INSTANCE_ADMIN}
            self._http.change(Api.COMPUTE, "POST", f"{group}/deleteInstances", body, **asked)

    def delete(self, pool: str) -> Operation:
        """Begin to delete POOL, whatever runs there: GKE honours no budgets. Raises as GoogleHttp.send does."""
        return self._change("DELETE", f"{self._cluster}/nodePools/{segment(pool)}", {})

    def _get(self, api: Api, path: str, permission: str, role: str) -> Json:
        return _object(self._http.get(api, path, permission=permission, on=path, role=role))

    def _change(self, method: str, path: str, body: Mapping[str, Any]) -> Operation:
        asked = {"permission": "container.clusters.update", "on": self._cluster, "role": ADMIN}
        return _operation(_object(self._http.change(Api.CONTAINER, method, path, body, **asked)))


def roll_pool(pool: Mapping[str, Any], size: int, project: str) -> RollPool:
    """A pool of GKE's JSON as a roll sees it; SIZE is what its instance groups want, PROJECT the cluster's."""
    disks = (pool.get("config") or {}).get("secondaryBootDisks") or ()
    return RollPool(
        name=str(pool.get("name") or ""),
        status=str(pool.get("status") or "RUNNING"),
        disks=tuple(
            disk_image_ref(str(disk.get("diskImage") or ""), project)
            for disk in disks
            if disk.get("mode") == "CONTAINER_IMAGE_CACHE"
        ),
        scaling=scaling_of(pool),
        size=size,
        zones=len(pool.get("locations") or ()) or 1,
        message=str(pool.get("statusMessage") or ""),
        origin=origin_of(pool),
    )


def node_taints(pool: Mapping[str, Any]) -> tuple[Taint, ...]:
    """The taints of the nodes of a pool of GKE's JSON, in Kubernetes' words."""
    found = (pool.get("config") or {}).get("taints") or ()
    return tuple(
        Taint(str(one.get("key") or ""), str(one.get("value") or ""), TAINT_EFFECTS.get(str(one.get("effect")), ""))
        for one in found
    )


_OPERATIONS = "container.operations.get"


def _operation(found: Json) -> Operation:
    error = found.get("error") or {}
    message = str(error.get("message") or found.get("statusMessage") or "") if isinstance(error, dict) else str(error)
    done = found.get("status") == "DONE"
    return Operation(str(found.get("name") or ""), done, message if done else "")


def _object(answer: Answer) -> Json:
    try:
        found = json.loads(answer.body or b"{}")
    except (ValueError, RecursionError) as error:
        raise BadAnswer(f"{answer.host} gives something that is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise BadAnswer(f"{answer.host} gives {type(found).__name__} where an object belongs")
    return found
