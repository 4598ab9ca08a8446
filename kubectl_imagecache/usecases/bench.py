"""`bench`: observe, decide, take one step, and observe again, until every pool's pulls are measured; then tidy up."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from kubectl_imagecache.clients.kube.bench import Run
from kubectl_imagecache.core.bench import (
    PINNED,
    BenchNode,
    BenchPlan,
    BenchView,
    CreatePool,
    Finish,
    GiveUp,
    Record,
    Remove,
    Sample,
    Seen,
    Start,
    Step,
    Wait,
    decide,
    probe_name,
)
from kubectl_imagecache.core.bench_pools import (
    PoolFacts,
    facts_from_nodes,
    facts_of,
    made_pools,
    pool_json,
    pool_names,
    run_id,
    with_nodes,
)
from kubectl_imagecache.core.errors import Busy, NotFound, Unavailable, UserError
from kubectl_imagecache.core.pools import Taint
from kubectl_imagecache.core.probe import Found, Probe, ProbeSpec, outcome
from kubectl_imagecache.core.references import parse
from kubectl_imagecache.usecases.bench_sweep import BUSY_S, PATIENCE, Tools, clean, follow, patiently, pause, sweep

RENEW_S = 30.0
"""How often a sign of life is given."""
_MARGIN_S = 600.0
"""Beyond a probe's own time-out, without any step: then something hangs that nobody thought of."""


class Lost(UserError):
    """The run's owner was deleted."""

    exit_code = 5


class Taken(Lost):
    """The run is somebody else's by now: what there is is theirs."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a run has measured."""

    run: str
    plan: BenchPlan
    samples: tuple[Sample, ...]
    pools: tuple[dict[str, Any], ...]
    """GKE's JSON of the pools that it made."""
    nodes: tuple[BenchNode, ...]
    ended: str = ""
    """Why it ended before its end; empty if it didn't."""


@dataclass(slots=True)
class _Memory:
    """What one process remembers: none of it is needed to go on after a crash."""

    nodes: tuple[BenchNode, ...] = ()
    pools: tuple[dict[str, Any], ...] = ()
    every: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """GKE's JSON of all pools, by name; read while pools are made."""
    first: dict[tuple[str, str], datetime] = field(default_factory=dict)
    """When a probe (its UID) was first seen to be `there`, `made` or `over`."""

    def since(self, probe: Probe, what: str, now: datetime) -> float:
        """Seconds since PROBE was first seen so."""
        return (now - self.first.setdefault((probe.uid, what), now)).total_seconds()


def bench(tools: Tools, plan: BenchPlan, namespace: str) -> Measured:
    """Measure what PLAN asks for, or go on with a run that was given up, and leave nothing behind.

    Raises Lost, and what the clients raise for what waiting does not mend; but for Taken, what there is is cleaned up
    first.
    """
    left = sweep(tools, namespace, plan)
    run = _taken(tools, left.resumed, namespace) if left.resumed else _begun(tools, plan, namespace)
    plan = run.plan or plan
    memory = _Memory()
    try:
        found = _measure(tools, plan, run, memory)
    except Taken:
        raise
    except UserError:
        _tidy(tools, plan, run)
        raise
    try:
        _tidy(tools, plan, run)
    except UserError as error:
        # What was measured is worth more than an error, and a sweep can come later.
        why = f"what it made could not be removed ({error.message}): kubectl imagecache bench --sweep does that"
        return replace(found, ended=f"{found.ended}; {why}" if found.ended else why)
    return found


def _tidy(tools: Tools, plan: BenchPlan, run: Run) -> None:
    tools.say("removing the pods" + (" and pools" if plan.make_pools else ""))
    # Whoever asked for the end gets it whole; who asks again gets it at once.
    clean(replace(tools, interrupted=lambda: False), run)


def _begun(tools: Tools, plan: BenchPlan, namespace: str) -> Run:
    """A new run, its owner made."""
    new = run_id(tools.who, tools.clock.now())
    if plan.make_pools:
        plan = replace(plan, pools=pool_names(new))
    patiently(tools, lambda: tools.kube.begin(new, namespace, plan, tools.who, tools.clock.now()))
    found = patiently(tools, lambda: _find(tools, new, namespace))
    if not isinstance(found, Run):
        raise Lost(f"the owner of the bench {new} is gone", "somebody deleted it: run it again")
    return found


def _taken(tools: Tools, run: Run, namespace: str) -> Run:
    tools.tell(f"going on with the bench {run.id}, of which {len(run.samples)} probes are done")

    def take() -> Run | None:
        now = _find(tools, run.id, namespace)
        if now is not None and now.who != tools.who:
            tools.kube.take(now, tools.who, tools.clock.now())
            return _find(tools, run.id, namespace)
        return now

    found = patiently(tools, take)
    if not isinstance(found, Run) or found.who != tools.who:
        raise Taken(f"the bench {run.id} is somebody else's by now", "run it again")
    return found


def _find(tools: Tools, wanted: str, namespace: str) -> Run | None:
    return next((run for run in tools.kube.runs(namespace) if run.id == wanted), None)


def _measure(tools: Tools, plan: BenchPlan, run: Run, memory: _Memory) -> Measured:
    trouble, moved, samples = 0, tools.clock.now(), run.samples

    def result(ended: str = "") -> Measured:
        return Measured(run.id, plan, samples, memory.pools, memory.nodes, ended)

    while True:
        now = tools.clock.now()
        if tools.interrupted():
            return result("interrupted")
        try:
            owner = _own(tools, run)
            samples = owner.samples
            step = decide(plan, run.id, _observe(tools, plan, owner, memory))
            if isinstance(step, Finish):
                return result()
            if isinstance(step, GiveUp):
                return result(f"{step.why} ({step.hint})")
            if isinstance(step, Wait):
                why, wait_s = step.why, step.seconds
            else:
                _act(tools, plan, owner, step, memory)
                moved, why, wait_s = tools.clock.now(), "", 0.0
            trouble = 0
        except Busy as error:
            why, wait_s = error.message, BUSY_S
        except Unavailable as error:
            # Whether an unanswered call was done shows in what is there: so look again, never send again.
            trouble += 1
            if trouble >= PATIENCE:
                return result(error.message)
            why, wait_s = error.message, min(30.0, 2.0 * trouble)
        if why and now - moved > timedelta(seconds=plan.timeout_s + _MARGIN_S):
            return result(f"nothing has moved for {plan.timeout_s + _MARGIN_S:.0f} s: {why}")
        if why:
            tools.say(why)
            pause(tools, wait_s)


def _own(tools: Tools, run: Run) -> Run:
    """RUN as it is now, with a sign of life; raises Lost."""
    found = _find(tools, run.id, run.namespace)
    if found is None or found.ending:
        raise Lost(f"the owner of the bench {run.id} is gone", "somebody deleted it: run it again")
    if found.who != tools.who:
        raise Taken(f"{found.who} works on the bench {run.id} by now", "leave it to them, or run it again later")
    now = tools.clock.now()
    if found.renewed is None or now - found.renewed > timedelta(seconds=RENEW_S):
        tools.kube.take(found, tools.who, now)
    return found


def _observe(tools: Tools, plan: BenchPlan, run: Run, memory: _Memory) -> BenchView:
    probes = tools.kube.probes(run.namespace, run.id)
    if not probes or not memory.nodes:
        # While a pull runs nodes are not looked at: there may be hundreds.
        memory.nodes = tuple(tools.kube.nodes(plan.pools, parse(plan.image)))
        if plan.make_pools and tools.gke is not None:
            every = tools.gke.cluster().get("nodePools") or ()
            memory.every = {str(pool.get("name")): pool for pool in every}
            memory.pools = tuple(pool for pool in every if pool.get("name") in plan.pools)
    found = tuple(_seen(tools, probe, memory) for probe in probes)
    return BenchView(memory.nodes, found, run.samples, made_pools(memory.every.values(), run.id))


def _seen(tools: Tools, probe: Probe, memory: _Memory) -> Seen:
    now = tools.clock.now()
    age_s = memory.since(probe, "made", now)
    if not probe.node:
        return Seen(probe, outcome(probe, (), None, now), age_s)
    known = probe.ended or probe.started
    if probe.there and known is not None:
        # The cluster's present, whatever this machine's clock says.
        now = known + timedelta(seconds=memory.since(probe, "there", now))
    events = tools.kube.events(probe)
    found = outcome(probe, events, None, now)
    if found.found is Found.PULLED:
        found = outcome(probe, events, tools.kube.node(probe.node), now)
    return Seen(probe, found, age_s, memory.since(probe, "over", tools.clock.now()) if found.over else 0.0)


def _act(tools: Tools, plan: BenchPlan, run: Run, step: Step, memory: _Memory) -> None:
    """Take STEP; raises Busy and Unavailable where a new look is due, and what else the clients raise."""
    if isinstance(step, Start):
        where = f"on {step.node}" if step.node else "on a node that the autoscaler is to bring"
        tools.tell(f"{step.pool}: pulling {plan.image} {where}")
        tools.kube.create(_spec(tools, plan, run, step, memory))
    elif isinstance(step, Record):
        tools.tell(_told(step.sample))
        tools.kube.note(run, step.sample)
    elif isinstance(step, Remove):
        tools.kube.delete(step.probe)
    elif isinstance(step, CreatePool):
        _create_pool(tools, plan, run, step.pool, memory)


def _spec(tools: Tools, plan: BenchPlan, run: Run, step: Start, memory: _Memory) -> ProbeSpec:
    return ProbeSpec(
        name=probe_name(run.id, plan.pools.index(step.pool), step.attempt),
        namespace=run.namespace,
        image=plan.image,
        run=run.id,
        pool=step.pool,
        node=step.node,
        avoid=step.avoid,
        taints=_taints(tools, step.pool, memory),
        owner=run.owner,
        limit_s=plan.timeout_s,
        command=plan.command,
        service_account=plan.service_account,
        annotations={PINNED: step.node} if step.node else {},
    )


def _taints(tools: Tools, pool: str, memory: _Memory) -> tuple[Taint, ...]:
    """Those that POOL's nodes have, or will have: of an empty pool GKE's own word is asked."""
    nodes = [node for node in memory.nodes if node.pool == pool]
    raw: Mapping[str, Any] = {"name": pool}
    if not nodes and tools.gke is not None:
        every = tools.gke.cluster().get("nodePools") or ()
        raw = next((one for one in every if one.get("name") == pool), raw)
    return with_nodes(facts_of(raw, ""), nodes).taints


def _create_pool(tools: Tools, plan: BenchPlan, run: Run, name: str, memory: _Memory) -> None:
    if tools.gke is None:
        raise UserError(
            "GKE can't be asked to make pools", "name the cluster with --project, --location, --cluster-name"
        )
    like = memory.every.get(plan.like)
    if like is None:
        raise NotFound(f"pool {plan.like} is not in this cluster", "name another with --like")
    tools.tell(f"creating pool {name}: {plan.wanted} nodes like those of {plan.like}")
    expires = _expires(plan, tools.clock.now())
    operation = tools.gke.create(pool_json(plan, run.id, name, like, run.namespace, expires))
    follow(tools, operation, beat=lambda: _own(tools, run))


def _expires(plan: BenchPlan, now: datetime) -> datetime:
    """When a run's pools are surely not needed any more: every pull at its time-out, and two hours."""
    return now + timedelta(seconds=plan.timeout_s * plan.wanted * max(1, len(plan.pools)) + 7200)


def _told(sample: Sample) -> str:
    found = sample.outcome
    where = f"{sample.pool}: {found.node or 'no node'}"
    if found.found is Found.PULLED:
        return f"{where}: pulled in {found.seconds:.3g} s"
    if found.found is Found.PRESENT:
        return f"{where}: had the image already, which counts for nothing"
    return f"{where}: {found.why}"


def survey(tools: Tools, plan: BenchPlan) -> tuple[tuple[PoolFacts, ...], tuple[BenchNode, ...]]:
    """The facts of PLAN's pools, from GKE where it can be asked and else from the nodes' labels, and their nodes.

    Raises NotFound for a pool that is not there, and what the clients raise.
    """
    nodes = tuple(tools.kube.nodes(plan.pools, parse(plan.image)))
    cluster = tools.gke.cluster() if tools.gke is not None else {}
    project = tools.gke.target.project if tools.gke is not None else ""
    found = []
    for name in plan.pools:
        mine = [node for node in nodes if node.pool == name]
        facts = pool_facts(cluster, name, project, mine)
        if facts is None:
            every = sorted({str(pool.get("name")) for pool in cluster.get("nodePools") or ()})
            near = difflib.get_close_matches(name, every, 1)
            there = f"there are {', '.join(every)}" if every else "no node has its label"
            raise NotFound(f"no node pool {name!r} in this cluster", f"did you mean {near[0]}?" if near else there)
        found.append(facts)
    return tuple(found), nodes


def pool_facts(cluster: Mapping[str, Any], name: str, project: str, nodes: Sequence[BenchNode]) -> PoolFacts | None:
    """The facts of the pool NAME of CLUSTER (GKE's JSON; empty: GKE can't be asked); None if there is no such pool."""
    defaults = (cluster.get("nodePoolDefaults") or {}).get("nodeConfigDefaults") or {}
    streaming = bool((defaults.get("gcfsConfig") or {}).get("enabled"))
    for pool in cluster.get("nodePools") or ():
        if pool.get("name") == name:
            return with_nodes(facts_of(pool, project, streaming), nodes)
    return facts_from_nodes(name, nodes) if nodes and not cluster else None
