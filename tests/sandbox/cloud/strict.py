"""Judges everything that the sandbox's cloud says and hears by Google's own protobuf messages."""

from __future__ import annotations

import json
import re
from typing import Any

from google.cloud import compute_v1, container_v1
from google.protobuf import json_format
from google.rpc import status_pb2

from kubectl_imagecache.sandbox.http import Request, Response

COMPUTE_BODIES = {
    r"projects/[^/]+/global/images": compute_v1.Image,
    r".*/images/[^/]+/deprecate": compute_v1.DeprecationStatus,
    r".*/images/[^/]+/setLabels": compute_v1.GlobalSetLabelsRequest,
    r".*/images/[^/]+": compute_v1.Image,
    r".*/disks": compute_v1.Disk,
    r".*/disks/[^/]+/resize": compute_v1.DisksResizeRequest,
    r".*/disks/[^/]+/setLabels": compute_v1.ZoneSetLabelsRequest,
    r".*/instances": compute_v1.Instance,
    r".*/instances/[^/]+/setLabels": compute_v1.InstancesSetLabelsRequest,
    r".*/instances/[^/]+/setMetadata": compute_v1.Metadata,
    r".*/instances/[^/]+/attachDisk": compute_v1.AttachedDisk,
    r".*testIamPermissions": compute_v1.TestPermissionsRequest,
}
COMPUTE_WITHOUT_KIND = {
    r".*/listManagedInstances": compute_v1.InstanceGroupManagersListManagedInstancesResponse,
    r".*testIamPermissions": compute_v1.TestPermissionsResponse,
    r".*/imageFamilyViews/[^/]+": compute_v1.ImageFamilyView,
}
GKE_BODIES = {
    r"POST .*/clusters": container_v1.CreateClusterRequest,
    r"POST .*/nodePools": container_v1.CreateNodePoolRequest,
    r"PUT .*/nodePools/[^/:]+": container_v1.UpdateNodePoolRequest,
    r"POST .*:setSize": container_v1.SetNodePoolSizeRequest,
    r"POST .*:setAutoscaling": container_v1.SetNodePoolAutoscalingRequest,
    r"POST .*:setManagement": container_v1.SetNodePoolManagementRequest,
    r"POST .*:cancel": container_v1.CancelOperationRequest,
}
GKE_ANSWERS = {
    r"GET .*/clusters": container_v1.ListClustersResponse,
    r"GET .*/clusters/[^/]+": container_v1.Cluster,
    r"GET .*/nodePools": container_v1.ListNodePoolsResponse,
    r"GET .*/nodePools/[^/]+": container_v1.NodePool,
    r"GET .*/operations": container_v1.ListOperationsResponse,
    r"GET .*/serverConfig": container_v1.ServerConfig,
    r"(POST|PUT|DELETE) .*/(clusters|nodePools)(/[^/]+)?": container_v1.Operation,
    r"GET .*/operations/[^/]+": container_v1.Operation,
}


def judge(service: str, request: Request, response: Response) -> list[str]:
    """What Google's messages refuse in this exchange."""
    if "/services/" in request.path or "/storage/" in request.path or request.path.startswith("/batch/"):
        return []
    where = f"{service} {request.method} {request.path}"
    found = []
    if request.body and response.status < 400:
        body = COMPUTE_BODIES if service == "compute" else GKE_BODIES
        found += _parse(f"{where}: request", request.body, _message(body, service, request))
    if response.status >= 400:
        return found + _error(f"{where}: error", response)
    if service == "compute":
        return found + _compute_answer(f"{where}: answer", request, response)
    return found + _parse(f"{where}: answer", response.body, _message(GKE_ANSWERS, service, request))


def _message(table: dict[str, Any], service: str, request: Request) -> Any:
    target = request.path if service == "compute" else f"{request.method} {request.path}"
    target = target.replace("/compute/v1/", "")
    return next((message for pattern, message in table.items() if re.fullmatch(pattern, target)), None)


def _compute_answer(where: str, request: Request, response: Response) -> list[str]:
    answer = json.loads(response.body)
    if "kind" in answer:
        name = answer["kind"].removeprefix("compute#")
        return _parse(where, response.body, getattr(compute_v1, name[0].upper() + name[1:], None))
    if answer == {}:
        return []
    return _parse(where, response.body, _message(COMPUTE_WITHOUT_KIND, "compute", request))


def _parse(where: str, body: bytes, message: Any) -> list[str]:
    if message is None:
        return [] if body == b"{}" else [f"{where}: no message is known for {body[:80]!r}"]
    try:
        json_format.Parse(body, message.pb(message()), ignore_unknown_fields=False)
    except json_format.ParseError as error:
        return [f"{where}: {error}"]
    return []


def _error(where: str, response: Response) -> list[str]:
    error = json.loads(response.body)["error"]
    extra = set(error) - {"code", "message", "status", "errors", "details"}
    found = [f"{where}: unknown {extra}"] if extra else []
    if error["code"] != response.status or not error["message"] or not error["status"].isupper():
        found.append(f"{where}: {error}")
    try:
        rest = {"code": error["code"], "message": error["message"]}
        json_format.ParseDict(rest, status_pb2.Status(), ignore_unknown_fields=False)
    except json_format.ParseError as problem:
        found.append(f"{where}: {problem}")
    return found
