"""The kubelets: pods bound to a node pull their images, start and become Ready."""

from __future__ import annotations

import random
from dataclasses import dataclass

from kubectl_imagecache.core.references import ImageRef
from kubectl_imagecache.sandbox.kube import words
from kubectl_imagecache.sandbox.kube.images import ImageInfo
from kubectl_imagecache.sandbox.kube.kinds import NODE, POD, Obj
from kubectl_imagecache.sandbox.kube.node_images import NodeImages, PullPlan, Pulls, reference
from kubectl_imagecache.sandbox.kube.objects import Objects
from kubectl_imagecache.sandbox.kube.pod_status import (
    fail_start,
    finish_init,
    initial_status,
    mark_finished,
    mark_ready,
    set_waiting,
    start_container,
)
from kubectl_imagecache.sandbox.kube.store import Change, Entry, stamp

BEHAVIOUR = "sandbox.imagecache/behaviour"
"""Annotation on a pod: `crash` (CrashLoopBackOff), `unready` (never Ready), `finish` (Succeeded after a while)."""
FINISH_AFTER = "sandbox.imagecache/finish-after-seconds"
"""Annotation: how long a pod that finishes runs; 5 s unless told."""
_BACK_OFF_MAX_S = 300.0
_FOLDERS = ("/bin/", "/usr/", "/sbin/", "/app/", "/opt/")
"""Where images have commands: a container that is to start one of another folder can't."""


@dataclass(frozen=True, slots=True)
class _Run:
    """One pod on one node, from binding to Ready."""

    namespace: str
    name: str
    uid: str
    node: str


@dataclass(frozen=True, slots=True)
class _Container:
    """One container with the image it will run."""

    place: int
    """Among init containers and containers."""
    spec: Obj
    ref: ImageRef
    image: ImageInfo


class Kubelets:
    """Every node's kubelet, in virtual time."""

    def __init__(self, objects: Objects, pulls: Pulls, seed: int) -> None:
        self._objects = objects
        self._store = objects.store
        self._clock = objects.store.clock
        self._pulls = pulls
        self._random = random.Random(f"kubelet-{seed}")

    def note(self, change: Change) -> None:
        """Take in a change of a pod or a node."""
        if change.table == "nodes" and change.new is None and change.old is not None:
            self._pulls.forget(change.old.name)
        entry, old = change.new, change.old
        if change.table != "pods" or entry is None or not entry.pod.node or entry.pod.phase != "Pending":
            return
        if entry.pod.terminating or (old is not None and old.pod.node == entry.pod.node):
            return
        pod = entry.parsed(POD)
        if pod["status"].get("containerStatuses"):
            return
        run = _Run(entry.namespace, entry.name, pod["metadata"]["uid"], entry.pod.node)
        self._clock.call_later(self._random.uniform(0.2, 0.8), lambda: self._begin(run))

    def _pod(self, run: _Run) -> Obj | None:
        """The pod as it is now; None if it is gone or going: whoever asks then stops."""
        entry: Entry | None = self._store.get(POD, run.namespace, run.name)
        if entry is None or entry.pod.terminating:
            return None
        pod = entry.parsed(POD)
        return pod if pod["metadata"]["uid"] == run.uid else None

    def _images(self, run: _Run) -> NodeImages | None:
        node = self._store.get(NODE, "", run.node)
        known = self._pulls.node(run.node)
        if node is None or known is not None:
            return known if node is not None else None
        pods = (e.parsed(POD) for e in self._store.pods_on(POD, run.node) if e.pod.phase == "Running")
        return self._pulls.meet(node.parsed(NODE), pods, self._clock.now())

    def _begin(self, run: _Run) -> None:
        pod, node = self._pod(run), self._store.get(NODE, "", run.node)
        if pod is None or node is None:
            return
        addresses = self._store.view(NODE, node).get("status", {}).get("addresses") or ()
        host = next((a["address"] for a in addresses if a["type"] == "InternalIP"), "")
        initial_status(pod, host, stamp(self._clock.now()))
        self._store.put(POD, pod)
        self._container(run, 0)

    def _container(self, run: _Run, place: int) -> None:
        """Bring up the container at PLACE (init containers first), then the next."""
        pod, images = self._pod(run), self._images(run)
        if pod is None or images is None:
            return
        inits = pod["spec"].get("initContainers") or []
        order = inits + pod["spec"]["containers"]
        if place == len(order):
            self._all_started(run, pod)
            return
        self._ensure_image(run, place, order[place], images, 0)

    def _ensure_image(self, run: _Run, place: int, container: Obj, images: NodeImages, attempt: int) -> None:
        pod = self._pod(run)
        if pod is None:
            return
        text, name = container["image"], container["name"]
        ref = reference(text)
        if ref is None:
            set_waiting(pod, name, "InvalidImageName", f'Failed to apply default image tag "{text}"')
            self._store.put(POD, pod)
            self._say(pod, name, "InspectFailed", f'Failed to apply default image tag "{text}"', warning=True)
            return
        here = images.names.get(str(ref))
        policy = container.get("imagePullPolicy", "IfNotPresent")
        if here is not None and policy != "Always":
            self._say(pod, name, "Pulled", words.present(text, images.version, name))
            found = _Container(place, container, ref, here)
            self._clock.call_later(0.1, lambda: self._start(run, found))
            return
        if policy == "Never":
            set_waiting(
                pod, name, "ErrImageNeverPull", f'Container image "{text}" is not present with pull policy of Never'
            )
            self._store.put(POD, pod)
            return
        self._say(pod, name, "Pulling", words.pulling(text, images.version, name))
        image = self._pulls.resolve(str(ref), images.arch)
        if image is None:
            seconds = self._random.uniform(0.4, 1.2)
            self._clock.call_later(seconds, lambda: self._pull_failed(run, place, container, images, attempt))
            return
        plan = self._pulls.plan(images, image, self._clock.now())
        made = _Container(place, container, ref, image)
        self._clock.call_later(plan.waiting_s, lambda: self._pulled(run, made, images, plan))

    def _pulled(self, run: _Run, made: _Container, images: NodeImages, plan: PullPlan) -> None:
        images.keep(made.ref, made.image)
        entry = self._store.get(NODE, "", run.node)
        if entry is None:
            return
        node = entry.parsed(NODE)
        node["status"]["images"] = images.status()
        self._store.put(NODE, node)
        self._say_how(node, str(made.ref), plan.method)
        pod = self._pod(run)
        if pod is None:
            return
        text, name = made.spec["image"], made.spec["name"]
        message = words.pulled(text, plan.seconds, plan.waiting_s, made.image.compressed, images.version, name)
        self._say(pod, name, "Pulled", message)
        self._clock.call_later(0.1, lambda: self._start(run, made))

    def _say_how(self, node: Obj, ref: str, method: str) -> None:
        about = {**node, "metadata": {**node["metadata"], "uid": node["metadata"]["name"]}}
        host = node["metadata"]["name"]
        if method == "streaming":
            message = f"Image {ref} is backed by image streaming."
            self._objects.event(about, "ImageStreaming", message, source="gcfs-snapshotter", host=host)
        elif method == "disk":
            message = f"Image {ref} is backed by secondary disk cache."
            self._objects.event(about, "SecondaryDiskCachin", message, source="gcfs-snapshotter", host=host)

    def _pull_failed(self, run: _Run, place: int, container: Obj, images: NodeImages, attempt: int) -> None:
        pod = self._pod(run)
        if pod is None:
            return
        text, name = container["image"], container["name"]
        message = words.failed(text, str(reference(text)))
        set_waiting(pod, name, "ErrImagePull", message)
        self._store.put(POD, pod)
        self._say(pod, name, "Failed", message, warning=True)
        self._say(pod, name, "Failed", "Error: ErrImagePull", warning=True)
        self._clock.call_later(1.0, lambda: self._back_off(run, container))
        again = min(_BACK_OFF_MAX_S, 10.0 * 2**attempt)
        self._clock.call_later(again, lambda: self._ensure_image(run, place, container, images, attempt + 1))

    def _back_off(self, run: _Run, container: Obj) -> None:
        pod = self._pod(run)
        if pod is None:
            return
        text, name = container["image"], container["name"]
        set_waiting(pod, name, "ImagePullBackOff", f'Back-off pulling image "{text}"')
        self._store.put(POD, pod)
        self._say(pod, name, "BackOff", f'Back-off pulling image "{text}"')
        self._say(pod, name, "Failed", "Error: ImagePullBackOff", warning=True)

    def _start(self, run: _Run, made: _Container) -> None:
        pod, images = self._pod(run), self._images(run)
        if pod is None or images is None:
            return
        name, place = made.spec["name"], made.place
        colon = ": " if images.version >= 32 else " "
        self._say(pod, name, "Created", f"Created container{colon}{name}")
        command = str((made.spec.get("command") or [""])[0])
        # One that is tried again and again plays no part here: `crash` as behaviour is for that.
        absent = command.startswith("/") and not command.startswith(_FOLDERS)
        if absent and pod["spec"].get("restartPolicy") == "Never":
            self._start_failed(run, pod, made, command)
            return
        self._say(pod, name, "Started", f"Started container {name}")
        start_container(pod, name, made.ref, made.image.digest, run.uid, stamp(self._clock.now()))
        self._store.put(POD, pod)
        inits = pod["spec"].get("initContainers") or []
        if place < len(inits) and made.spec.get("restartPolicy") != "Always":
            self._clock.call_later(self._random.uniform(0.5, 1.5), lambda: self._init_done(run, place, name))
        else:
            self._clock.call_later(0.05, lambda: self._container(run, place + 1))

    def _start_failed(self, run: _Run, pod: Obj, made: _Container, command: str) -> None:
        message = words.no_command(command)
        now = stamp(self._clock.now())
        fail_start(pod, made.spec["name"], made.ref, made.image.digest, run.uid, now, message)
        self._store.put(POD, pod)
        self._say(pod, made.spec["name"], "Failed", f"Error: {message}", warning=True)

    def _init_done(self, run: _Run, place: int, name: str) -> None:
        pod = self._pod(run)
        if pod is not None:
            finish_init(pod, name, stamp(self._clock.now()))
            self._store.put(POD, pod)
            self._container(run, place + 1)

    def _all_started(self, run: _Run, pod: Obj) -> None:
        annotations = pod["metadata"].get("annotations") or {}
        behaviour = annotations.get(BEHAVIOUR, "")
        owners = [owner["kind"] for owner in pod["metadata"].get("ownerReferences") or ()]
        if behaviour == "crash":
            self._clock.call_later(1.0, lambda: self._crash(run, 1))
            return
        if behaviour == "finish" or "Job" in owners:
            seconds = float(annotations.get(FINISH_AFTER, "5"))
            self._clock.call_later(seconds, lambda: self._finish(run))
        if behaviour == "unready":
            return
        probes = [c.get("readinessProbe") or {} for c in pod["spec"]["containers"]]
        delay = max((float(probe.get("initialDelaySeconds", 0)) for probe in probes), default=0.0)
        self._clock.call_later(delay + self._random.uniform(0.1, 0.9), lambda: self._ready(run))

    def _ready(self, run: _Run) -> None:
        pod = self._pod(run)
        if pod is not None and pod["status"]["phase"] == "Running":
            mark_ready(pod, stamp(self._clock.now()))
            self._store.put(POD, pod)

    def _finish(self, run: _Run) -> None:
        pod = self._pod(run)
        if pod is not None:
            mark_finished(pod, stamp(self._clock.now()))
            self._store.put(POD, pod)

    def _crash(self, run: _Run, restarts: int) -> None:
        pod = self._pod(run)
        if pod is None:
            return
        for container in pod["spec"]["containers"]:
            name = container["name"]
            message = f"back-off restarting failed container={name} pod={run.name}"
            set_waiting(pod, name, "CrashLoopBackOff", message, restarts=restarts)
            self._say(
                pod, name, "BackOff", f"Back-off restarting failed container {name} in pod {run.name}", warning=True
            )
        self._store.put(POD, pod)
        again = min(_BACK_OFF_MAX_S, 10.0 * 2 ** (restarts - 1))
        self._clock.call_later(again, lambda: self._crash(run, restarts + 1))

    def _say(self, pod: Obj, container: str, reason: str, message: str, *, warning: bool = False) -> None:
        inits = {c["name"] for c in pod["spec"].get("initContainers") or ()}
        field = "initContainers" if container in inits else "containers"
        about = {**pod, "fieldPath": f"spec.{field}{{{container}}}"}
        self._objects.event(about, reason, message, source="kubelet", host=pod["spec"]["nodeName"], warning=warning)
