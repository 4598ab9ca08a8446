"""What probes need of a Kubernetes cluster: to be made, looked at and taken away again, with what owns them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from kubectl_imagecache.clients.kube.lists import decoder_of, read_list
from kubectl_imagecache.clients.kube.probe_wire import PodPage, probe_of
from kubectl_imagecache.clients.kube.pull_feed import event_record, node_record
from kubectl_imagecache.clients.kube.pull_wire import EventPage, Timed
from kubectl_imagecache.clients.kube.refusal import words_of
from kubectl_imagecache.clients.kube.transport import Transport
from kubectl_imagecache.core.errors import (
    AlreadyExists,
    BadAnswer,
    Busy,
    NotFound,
    NotPermitted,
    Unavailable,
    UserError,
)
from kubectl_imagecache.core.kubelet_words import may_matter
from kubectl_imagecache.core.probe import MANAGED_BY, PROGRAM, RUN, Probe, ProbeSpec, manifest
from kubectl_imagecache.core.pull_records import EventRecord, NodeRecord

JSON = "application/json"
MERGE = "application/merge-patch+json"
_ROLE = "the ClusterRole in docs/rbac/bench.yaml"


class ProbeKube:
    """The calls of Kubernetes that probes need; those that change something are create, delete and the owners'."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, spec: ProbeSpec) -> None:
        """Make the probe; one of that name that is there already is taken for it (an answer may have been lost).

        Raises UserError where a quota or an admission rule says no, NotPermitted, NotFound (no such namespace),
        Unauthenticated, Unavailable (not known whether it was made: look), BadAnswer.
        """
        path = f"/api/v1/namespaces/{quote(spec.namespace, safe='')}/pods"
        try:
            self.send("POST", path, manifest(spec), f"create pods {spec.namespace}/{spec.name}")
        except AlreadyExists:
            return

    def probes(self, namespace: str, run: str = "") -> list[Probe]:
        """The probes of RUN (empty: of every run) in NAMESPACE, by name; raises what Transport.get raises."""
        selector = f"{RUN}={run}" if run else f"{MANAGED_BY}={PROGRAM},{RUN}"
        found: list[Probe] = []

        def begin() -> Any:
            found.clear()
            return page

        def page(body: bytes) -> str:
            try:
                read: PodPage = decoder_of(PodPage).decode(body)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise BadAnswer(f"not a list of pods: {error}", "is there a proxy in between?") from error
            found.extend(probe_of(pod) for pod in read.items or ())
            return (read.metadata.next if read.metadata else None) or ""

        path = f"/api/v1/namespaces/{quote(namespace, safe='')}/pods"
        read_list(self._transport, [path], {"labelSelector": selector}, "pods", begin)
        return sorted(found, key=lambda probe: probe.name)

    def events(self, probe: Probe) -> list[EventRecord]:
        """The events about PROBE and about images on its node.

        Events on the node say which way an image came; where they may not be read they are left out. Raises what
        Transport.get raises.
        """
        found = self._events(probe.namespace, f"involvedObject.uid={probe.uid}")
        if probe.node:
            # GKE writes its events about nodes into the namespace `default`.
            about = f"involvedObject.kind=Node,involvedObject.name={probe.node}"
            with contextlib.suppress(NotPermitted):
                found += self._events("default", about)
        return found

    def node(self, name: str) -> NodeRecord | None:
        """A node as pulls look at it; None if it is gone or may not be read. Raises what Transport.get raises."""
        try:
            body = self._transport.get(f"/api/v1/nodes/{quote(name, safe='')}", {}, "nodes")
            return node_record(decoder_of(Timed).decode(body))
        except (NotFound, NotPermitted):
            return None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadAnswer(f"not a node: {error}") from error

    def delete(self, probe: Probe) -> None:
        """Delete this very pod and no namesake; one that is gone is no error. Raises as `create` does."""
        path = f"/api/v1/namespaces/{quote(probe.namespace, safe='')}/pods/{quote(probe.name, safe='')}"
        body = {"preconditions": {"uid": probe.uid}} if probe.uid else {}
        try:
            self.send("DELETE", path, body, f"delete pods {probe.namespace}/{probe.name}")
        except (NotFound, AlreadyExists):  # 409: the name is another pod's by now.
            return

    def send(
        self, method: str, path: str, body: Mapping[str, Any], what: str, content_type: str = JSON
    ) -> dict[str, Any]:
        """One change; what the server answers. WHAT is the verb, the resource and the object, for errors.

        Raises AlreadyExists on 409 (there already, or changed since it was read), and as `create` does.
        """
        status, content, _ = self._transport.send(method, path, json.dumps(body).encode(), content_type, what)
        words = words_of(content)
        if status not in (200, 201, 202):
            raise self._refusal(status, words, what)
        try:
            found = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise Unavailable(f"{what}: the answer makes no sense: {error}", "what was done is looked at") from error
        return found if isinstance(found, dict) else {}

    def _refusal(self, status: int, words: str, what: str) -> UserError:
        if status == 403 and "exceeded quota" in words:
            return UserError(f"a quota doesn't allow it: {what}: {words}", "take another --namespace, or raise it")
        if status == 403 and ("violates PodSecurity" in words or "denied the request" in words):
            hint = "an admission rule of this namespace refuses the pod: take another --namespace"
            return UserError(f"{what}: {words}", hint)
        if status == 403:
            return NotPermitted(what, f"the cluster at {self._transport.address}", _ROLE)
        if status == 404:
            return NotFound(f"{what}: {words}")
        if status == 409:
            return AlreadyExists(f"{what}: {words}")
        if status == 429:
            return Busy(f"{what}: {words}", "it is asked again")
        return BadAnswer(f"the Kubernetes API at {self._transport.address} refuses: {what}: {words}")

    def _events(self, namespace: str, fields: str) -> list[EventRecord]:
        found: list[EventRecord] = []

        def begin() -> Any:
            found.clear()
            return page

        def page(body: bytes) -> str:
            try:
                read: EventPage = decoder_of(EventPage).decode(body)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise BadAnswer(f"not a list of events: {error}", "is there a proxy in between?") from error
            found.extend(event_record(one) for one in read.items or () if one.reason and may_matter(one.reason))
            return (read.metadata.next if read.metadata else None) or ""

        path = f"/api/v1/namespaces/{quote(namespace, safe='')}/events"
        read_list(self._transport, [path], {"fieldSelector": fields}, "events", begin)
        return found
