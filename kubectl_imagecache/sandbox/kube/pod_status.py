"""A pod's status, step by step, as the kubelet writes it."""

from __future__ import annotations

import hashlib
from typing import Any

from kubectl_imagecache.core.references import ImageRef
from kubectl_imagecache.sandbox.kube.kinds import Obj


def initial_status(pod: Obj, host_ip: str, now: str) -> None:
    """Seen by the kubelet: nothing has been pulled yet."""
    spec, status = pod["spec"], pod["status"]
    inits = spec.get("initContainers") or []
    reason = "PodInitializing" if inits else "ContainerCreating"
    status["startTime"] = now
    if host_ip:
        status["hostIP"] = host_ip
        status["hostIPs"] = [{"ip": host_ip}]
    if inits:
        status["initContainerStatuses"] = [_waiting(c, "PodInitializing") for c in inits]
    status["containerStatuses"] = [_waiting(c, reason) for c in spec["containers"]]
    _set_condition(status, "PodReadyToStartContainers", True, now)
    _set_condition(status, "Initialized", not inits, now, "ContainersNotInitialized")
    _set_condition(status, "Ready", False, now, "ContainersNotReady")
    _set_condition(status, "ContainersReady", False, now, "ContainersNotReady")


def set_waiting(pod: Obj, name: str, reason: str, message: str, restarts: int | None = None) -> None:
    """A container waits, for REASON."""
    status = _status(pod, name)
    if restarts is not None:
        status["lastState"] = {"terminated": {"exitCode": 1, "reason": "Error", "containerID": status["containerID"]}}
        status["restartCount"] = restarts
    status["state"] = {"waiting": {"reason": reason, "message": message}}
    status["ready"] = status["started"] = False


def start_container(pod: Obj, name: str, ref: ImageRef, digest: str, uid: str, now: str) -> None:
    """A container runs."""
    status = _status(pod, name)
    status["image"] = f"{ref.name}:{ref.tag}" if ref.tag else str(ref)
    status["imageID"] = f"{ref.name}@{digest}"
    status["containerID"] = "containerd://" + hashlib.sha256(f"{uid}/{name}".encode()).hexdigest()
    status["state"] = {"running": {"startedAt": now}}
    status["started"] = True
    statuses = pod["status"]["containerStatuses"]
    if all("running" in s["state"] for s in statuses):
        pod["status"]["phase"] = "Running"
        _give_ip(pod, uid)


def fail_start(pod: Obj, name: str, ref: ImageRef, digest: str, uid: str, now: str, message: str) -> None:
    """A container was made, but its command could not be started: the pod's end, if it is never tried again."""
    start_container(pod, name, ref, digest, uid, now)
    status = _status(pod, name)
    # containerd's CRI: exit code 128, reason StartError, and no time of a start.
    over = {"exitCode": 128, "reason": "StartError", "message": message}
    over |= {"startedAt": "1970-01-01T00:00:00Z", "finishedAt": now, "containerID": status["containerID"]}
    status["state"] = {"terminated": over}
    status["started"] = status["ready"] = False
    pod["status"]["phase"] = "Failed"


def finish_init(pod: Obj, name: str, now: str) -> None:
    """An init container has done its work."""
    status = _status(pod, name)
    started = status["state"].get("running", {}).get("startedAt", now)
    done = {"exitCode": 0, "reason": "Completed", "startedAt": started, "finishedAt": now}
    status["state"] = {"terminated": {**done, "containerID": status.get("containerID", "")}}
    status["ready"] = True
    status["started"] = False
    inits = pod["status"]["initContainerStatuses"]
    if all(s["ready"] or "running" in s["state"] for s in inits):
        _set_condition(pod["status"], "Initialized", True, now)


def mark_ready(pod: Obj, now: str) -> None:
    """All probes pass."""
    status = pod["status"]
    for container in status["containerStatuses"]:
        container["ready"] = True
    for container in status.get("initContainerStatuses") or ():
        container["ready"] = True
    for name in ("Initialized", "Ready", "ContainersReady"):
        _set_condition(status, name, True, now)


def mark_finished(pod: Obj, now: str) -> None:
    """All containers have ended well."""
    status = pod["status"]
    status["phase"] = "Succeeded"
    for container in status["containerStatuses"]:
        started = container["state"].get("running", {}).get("startedAt", now)
        done = {"exitCode": 0, "reason": "Completed", "startedAt": started, "finishedAt": now}
        container["state"] = {"terminated": {**done, "containerID": container["containerID"]}}
        container["ready"] = container["started"] = False
    _set_condition(status, "Initialized", True, now)
    for name in ("Ready", "ContainersReady"):
        _set_condition(status, name, False, now, "PodCompleted")


def _waiting(container: Obj, reason: str) -> Obj:
    state = {"waiting": {"reason": reason}}
    status: dict[str, Any] = {"name": container["name"], "state": state, "lastState": {}, "ready": False}
    return {**status, "restartCount": 0, "image": container["image"], "imageID": "", "started": False}


def _status(pod: Obj, name: str) -> Obj:
    status = pod["status"]
    both = (status.get("initContainerStatuses") or []) + status["containerStatuses"]
    found: Obj = next(s for s in both if s["name"] == name)
    return found


def _give_ip(pod: Obj, uid: str) -> None:
    number = int(uid.replace("-", "")[:6], 16)
    ip = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    if pod["spec"].get("hostNetwork"):
        ip = pod["status"].get("hostIP", ip)
    pod["status"]["podIP"] = ip
    pod["status"]["podIPs"] = [{"ip": ip}]


def _set_condition(status: Obj, kind: str, value: bool, now: str, reason: str = "") -> None:
    new: Obj = {"type": kind, "status": "True" if value else "False", "lastProbeTime": None, "lastTransitionTime": now}
    if reason and not value:
        new["reason"] = reason
    conditions = status.setdefault("conditions", [])
    for i, old in enumerate(conditions):
        if old["type"] == kind:
            conditions[i] = (
                {**new, "lastTransitionTime": old["lastTransitionTime"]} if old["status"] == new["status"] else new
            )
            return
    conditions.append(new)
