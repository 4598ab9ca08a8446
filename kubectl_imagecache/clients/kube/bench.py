"""What a bench needs of a Kubernetes cluster besides its probes: nodes, and the Job that owns a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from kubectl_imagecache.clients.http import segment
from kubectl_imagecache.clients.kube.lists import decoder_of, read_list
from kubectl_imagecache.clients.kube.probe import MERGE, ProbeKube
from kubectl_imagecache.clients.kube.wire import Condition, ListMeta, NodeImage, TaintWire, Wire, parse_time
from kubectl_imagecache.core.bench import BenchNode, BenchPlan, Sample, held
from kubectl_imagecache.core.bench_record import plan_of, plan_text, sample_of, sample_text
from kubectl_imagecache.core.errors import AlreadyExists, BadAnswer, Busy, NotFound
from kubectl_imagecache.core.pools import POOL_LABEL, Taint
from kubectl_imagecache.core.probe import MANAGED_BY, PROGRAM, RUN, Owner, ProbeSpec, manifest
from kubectl_imagecache.core.references import ImageRef

TTL_S = 3600
"""How long after its last sign of life the cluster itself removes a run's owner, and with it its probes."""
_JOBS = "/apis/batch/v1/namespaces"
_PLAN, _HOLDER, _RENEWED = "kubectl-imagecache/plan", "kubectl-imagecache/holder", "kubectl-imagecache/renewed"
_ENDING, _SAMPLE = "kubectl-imagecache/ending", "kubectl-imagecache/sample."


class _Meta(Wire):
    name: str | None = None
    namespace: str | None = None
    uid: str | None = None
    resource_version: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None


class _NodeSpec(Wire):
    unschedulable: bool | None = None
    taints: list[TaintWire] | None = None


class _NodeStatus(Wire):
    conditions: list[Condition] | None = None
    images: list[NodeImage] | None = None


class _Node(Wire):
    metadata: _Meta | None = None
    spec: _NodeSpec | None = None
    status: _NodeStatus | None = None


class _Job(Wire):
    metadata: _Meta | None = None


class _Nodes(Wire):
    metadata: ListMeta | None = None
    items: list[_Node] | None = None


class _Jobs(Wire):
    metadata: ListMeta | None = None
    items: list[_Job] | None = None


# msgspec (0.22) crashes if threads are the first to use a type at the same time: each type is prepared here, by one.
for _kind in (_Nodes, _Jobs):
    msgspec.json.Decoder(_kind)


@dataclass(frozen=True, slots=True)
class Run:
    """A bench's run as its owner tells it."""

    id: str
    namespace: str
    uid: str
    version: str
    """resourceVersion."""
    who: str
    """Who works on it; empty: nobody."""
    renewed: datetime | None
    """Their last sign of life."""
    created: datetime | None
    plan: BenchPlan | None
    """None: it can't be read."""
    samples: tuple[Sample, ...] = ()
    ending: bool = False
    """It is being cleaned up: nothing more is measured."""
    leaving: bool = False
    """Its owner has a deletionTimestamp."""

    @property
    def owner(self) -> Owner:
        """What its probes go with."""
        return Owner("batch/v1", "Job", owner_name(self.id), self.uid)


def owner_name(run: str) -> str:
    """The name of RUN's Job."""
    return f"imagecache-bench-{run}"


class BenchKube(ProbeKube):
    """The calls of Kubernetes that a bench needs: ProbeKube's, and those on nodes and on runs' owners."""

    def nodes(self, pools: Sequence[str], image: ImageRef) -> list[BenchNode]:
        """The nodes of POOLS, and whether they say that they have IMAGE; raises what Transport.get raises."""
        found: list[BenchNode] = []

        def begin() -> Any:
            found.clear()
            return page

        def page(body: bytes) -> str:
            try:
                read: _Nodes = decoder_of(_Nodes).decode(body)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise BadAnswer(f"not a list of nodes: {error}", "is there a proxy in between?") from error
            found.extend(_node_of(node, image) for node in read.items or ())
            return (read.metadata.next if read.metadata else None) or ""

        selector = f"{POOL_LABEL} in ({','.join(pools)})"
        read_list(self._transport, ["/api/v1/nodes"], {"labelSelector": selector}, "nodes", begin)
        return sorted(found, key=lambda node: node.name)

    def runs(self, namespace: str) -> list[Run]:
        """Every run whose owner is in NAMESPACE; raises what Transport.get raises."""
        found: list[Run] = []

        def begin() -> Any:
            found.clear()
            return page

        def page(body: bytes) -> str:
            try:
                read: _Jobs = decoder_of(_Jobs).decode(body)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise BadAnswer(f"not a list of jobs: {error}", "is there a proxy in between?") from error
            found.extend(run for job in read.items or () if (run := _run_of(job)) is not None)
            return (read.metadata.next if read.metadata else None) or ""

        query = {"labelSelector": f"{MANAGED_BY}={PROGRAM},{RUN}"}
        read_list(self._transport, [f"{_JOBS}/{segment(namespace)}/jobs"], query, "jobs", begin)
        return sorted(found, key=lambda run: run.id)

    def begin(self, run: str, namespace: str, plan: BenchPlan, who: str, now: datetime) -> None:
        """Make RUN's owner; one that is there already (a lost answer) is taken for it. Raises as `create` does.

        The Job wants no completions, so that it is complete at once: from then on it is an object that the cluster
        removes TTL_S later with all that it owns, unless that is put off, and its pod template is never used.
        """
        spec = manifest(ProbeSpec("", namespace, plan.image, run, ""))["spec"]
        labels = {MANAGED_BY: PROGRAM, RUN: run}
        metadata = {
            "name": owner_name(run),
            "namespace": namespace,
            "labels": labels,
            "annotations": {_PLAN: plan_text(plan), _HOLDER: who, _RENEWED: now.isoformat()},
        }
        template = {"metadata": {"labels": {MANAGED_BY: PROGRAM}}, "spec": spec}
        job = {"completions": 0, "parallelism": 0, "backoffLimit": 0, "ttlSecondsAfterFinished": TTL_S}
        body = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {**job, "template": template}}
        try:
            self.send("POST", f"{_JOBS}/{segment(namespace)}/jobs", body, f"create jobs {namespace}/{owner_name(run)}")
        except AlreadyExists:
            return

    def note(self, run: Run, sample: Sample) -> None:
        """Write SAMPLE down. Raises as `create` does, Busy, and NotFound if the owner is gone."""
        assert run.plan is not None
        key = f"{_SAMPLE}{run.plan.pools.index(sample.pool)}-{sample.attempt}"
        self._annotate(run, {key: sample_text(sample)})

    def take(self, run: Run, who: str, now: datetime) -> None:
        """Be the one who works on RUN, and put its removal off; Busy if it has changed since it was read.

        Raises as `note` does.
        """
        age = (now - run.created).total_seconds() if run.created else 0.0
        self._annotate(
            run,
            {_HOLDER: who, _RENEWED: now.isoformat()},
            {"ttlSecondsAfterFinished": max(0, int(age)) + TTL_S},
            run.version,
        )

    def mark_ending(self, run: Run) -> None:
        """From now on RUN is cleaned up, by whoever comes. Raises as `note` does."""
        self._annotate(run, {_ENDING: "true"})

    def end(self, run: Run) -> None:
        """Delete RUN's owner; one that is gone is no error. Raises as `create` does."""
        what = f"delete jobs {run.namespace}/{owner_name(run.id)}"
        body = {"propagationPolicy": "Background", "preconditions": {"uid": run.uid}}
        try:
            self.send("DELETE", self._path(run), body, what)
        except (NotFound, AlreadyExists):  # 409: the name is another's by now.
            return

    def _annotate(
        self, run: Run, annotations: dict[str, str], spec: dict[str, Any] | None = None, version: str = ""
    ) -> None:
        metadata: dict[str, Any] = {"annotations": annotations} | ({"resourceVersion": version} if version else {})
        body = {"metadata": metadata} | ({"spec": spec} if spec else {})
        try:
            self.send("PATCH", self._path(run), body, f"patch jobs {run.namespace}/{owner_name(run.id)}", MERGE)
        except AlreadyExists as error:
            raise Busy(error.message, "it is looked at again") from error

    def _path(self, run: Run) -> str:
        return f"{_JOBS}/{segment(run.namespace)}/jobs/{segment(owner_name(run.id))}"


def _node_of(node: _Node, image: ImageRef) -> BenchNode:
    meta, spec, status = node.metadata or _Meta(), node.spec or _NodeSpec(), node.status or _NodeStatus()
    labels = meta.labels or {}
    ready = any(one.type == "Ready" and one.status == "True" for one in status.conditions or ())
    has, kin = held((name for one in status.images or () for name in one.names or ()), image)
    return BenchNode(
        name=meta.name or "",
        pool=labels.get(POOL_LABEL, ""),
        usable=ready and not spec.unschedulable and meta.deletion_timestamp is None,
        has_image=has,
        has_kin=kin,
        taints=tuple(Taint(one.key or "", one.value or "", one.effect or "") for one in spec.taints or ()),
        labels=labels,
        created=parse_time(meta.creation_timestamp),
    )


def _run_of(job: _Job) -> Run | None:
    meta = job.metadata or _Meta()
    run, notes = (meta.labels or {}).get(RUN, ""), meta.annotations or {}
    if meta.name != owner_name(run):
        return None
    samples = (sample_of(text) for key, text in sorted(notes.items()) if key.startswith(_SAMPLE))
    return Run(
        id=run,
        namespace=meta.namespace or "",
        uid=meta.uid or "",
        version=meta.resource_version or "",
        who=notes.get(_HOLDER, ""),
        renewed=parse_time(notes.get(_RENEWED)),
        created=parse_time(meta.creation_timestamp),
        plan=plan_of(notes.get(_PLAN, "")),
        samples=tuple(sorted((one for one in samples if one), key=lambda one: (one.pool, one.attempt))),
        ending=_ENDING in notes or meta.deletion_timestamp is not None,
        leaving=meta.deletion_timestamp is not None,
    )
