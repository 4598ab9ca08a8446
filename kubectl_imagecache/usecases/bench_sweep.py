"""Take away what benches leave: probes, pools and owners of runs on which nobody works any more."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from kubectl_imagecache.clients.gke_roll import Operation, RollGke
from kubectl_imagecache.clients.kube.bench import BenchKube, Run
from kubectl_imagecache.core.bench import BenchPlan, same_wish, slot_of
from kubectl_imagecache.core.bench_pools import made_pools, runs_of
from kubectl_imagecache.core.clock import Clock
from kubectl_imagecache.core.errors import Busy, NotFound, NotPermitted, Unavailable, UserError

LASTS_S = 120.0
"""Whoever works on a run and has given no sign of life for so long is gone."""
LOOK_ON_S = 45.0
"""How long a run is looked on at whose last sign of life is old by this machine's clock."""
PATIENCE = 12
"""Failures in a row that are waited out."""
BUSY_S = 10.0
"""Between two tries where something else goes on in the cluster: GKE does one thing at a time, and takes minutes."""
_POLL_S, _SLICE_S = 5.0, 3.0


@dataclass(frozen=True, slots=True)
class Tools:
    """What a bench works with."""

    kube: BenchKube
    gke: RollGke | None
    """None: GKE can't be asked."""
    clock: Clock
    who: str
    """USER@HOST/PID."""
    say: Callable[[str], None]
    """Takes a line of progress, which the next one replaces."""
    tell: Callable[[str], None]
    """Takes a line that stays."""
    gone: Callable[[str], bool] = lambda who: False
    """Whether somebody is known to have ended (a process of this machine that is no more)."""
    interrupted: Callable[[], bool] = lambda: False


@dataclass(frozen=True, slots=True)
class Left:
    """What a sweep found."""

    cleaned: tuple[str, ...] = ()
    """Runs whose remains were (or, in a dry run, would be) deleted."""
    busy: tuple[str, ...] = ()
    """Runs that somebody works on, with who."""
    resumed: Run | None = None
    """A run that was given up and asks for the same: it is not cleaned up but gone on with."""


def sweep(tools: Tools, namespace: str, plan: BenchPlan | None = None, dry_run: bool = False) -> Left:
    """Clean up every run in NAMESPACE, and every bench pool of the cluster, that nobody works on.

    A run that asks for what PLAN does, and whose measurements can go on, is kept for that. Raises what the clients
    raise for what waiting does not mend.
    """
    cleaned, busy, resumed = [], [], None
    for run, works in _watched(tools, namespace):
        if works:
            busy.append(f"{run.id} ({run.who})")
        elif plan is not None and resumed is None and _may_go_on(run, plan):
            resumed = run
        else:
            cleaned.append(run.id)
            if not dry_run:
                tools.tell(f"removing what is left of the bench {run.id}")
                clean(tools, run)
    for run_id in sorted(_of_pods(tools, namespace) | _of_pools(tools)):
        cleaned.append(run_id)
        if not dry_run:
            tools.tell(f"removing what is left of the bench {run_id}")
            _until_done(tools, partial(_clean_ownerless, tools, run_id, namespace))
    return Left(tuple(cleaned), tuple(busy), resumed)


def _watched(tools: Tools, namespace: str) -> list[tuple[Run, bool]]:
    """Every run in NAMESPACE, and whether somebody works on it."""
    runs: list[Run] = patiently(tools, partial(tools.kube.runs, namespace))
    doubtful = {run.id: run.version for run in runs if not alive(tools, run) and run.who and not tools.gone(run.who)}
    if doubtful:
        # Clocks differ: whoever still works on it shows that within the time of two signs of life.
        tools.say(f"looking on whether anybody still works on the bench {', '.join(sorted(doubtful))}")
        tools.clock.sleep(LOOK_ON_S)
        runs = patiently(tools, partial(tools.kube.runs, namespace))
    return [(run, alive(tools, run) or doubtful.get(run.id, run.version) != run.version) for run in runs]


def alive(tools: Tools, run: Run) -> bool:
    """Whether somebody works on RUN."""
    if not run.who or run.renewed is None or tools.gone(run.who):
        return False
    return tools.clock.now() - run.renewed <= timedelta(seconds=LASTS_S)


def clean(tools: Tools, run: Run) -> None:
    """Delete RUN's probes and pools, and then its owner; can be begun again at any point.

    Raises what the clients raise for what waiting does not mend.
    """
    _until_done(tools, lambda: _clean_once(tools, run))


def patiently(tools: Tools, ask: Callable[[], Any]) -> Any:
    """What ASK gives, asked again while the server is busy or away."""
    for failures in range(1, PATIENCE + 1):
        try:
            return ask()
        except (Busy, Unavailable):
            if failures == PATIENCE:
                raise
            tools.clock.sleep(min(30.0, 2.0 * failures))
    raise AssertionError("the last failure is raised")


def pause(tools: Tools, seconds: float) -> None:
    """Let SECONDS pass, less if the user interrupts."""
    while seconds > 0 and not tools.interrupted():
        tools.clock.sleep(min(seconds, _SLICE_S))
        seconds -= _SLICE_S


def follow(tools: Tools, operation: Operation, beat: Callable[[], object] = lambda: None) -> None:
    """Wait for OPERATION's end, or until the user interrupts, with a BEAT now and then.

    Raises UserError with GKE's words if it failed, and what BEAT raises.
    """
    assert tools.gke is not None
    while not operation.done and operation.name and not tools.interrupted():
        tools.clock.sleep(_POLL_S)
        beat()
        try:
            operation = tools.gke.operation(operation.name)
        except NotFound:
            return
    if operation.error:
        raise UserError(f"GKE: {operation.error}", "kubectl imagecache bench --sweep removes what is left")


def _may_go_on(run: Run, plan: BenchPlan) -> bool:
    return run.plan is not None and not run.ending and same_wish(run.plan, plan)


def _until_done(tools: Tools, once: Callable[[], bool]) -> None:
    """ONCE until it says that nothing is left, looking anew after every failure that may pass."""
    trouble = 0
    while True:
        try:
            if once():
                return
            trouble = 0
        except (Busy, Unavailable):
            trouble += 1
            if trouble >= PATIENCE:
                raise
            tools.clock.sleep(min(30.0, 2.0 * trouble))


def _clean_once(tools: Tools, run: Run) -> bool:
    if not run.ending:
        with contextlib.suppress(NotFound):
            tools.kube.mark_ending(run)
    probes = tools.kube.probes(run.namespace, run.id)
    for probe in probes:
        if not probe.leaving:
            tools.kube.delete(probe)
    if run.plan is None or run.plan.make_pools:
        if tools.gke is None:
            hint = "name the cluster with --project, --location and --cluster-name"
            raise UserError(f"the bench {run.id} may have made node pools, and GKE can't be asked", hint)
        if not _remove_pools(tools, run.id):
            return False
    if probes:
        tools.clock.sleep(1.0)
        return False
    tools.kube.end(run)
    return not any(one.uid == run.uid and not one.leaving for one in tools.kube.runs(run.namespace))


def _remove_pools(tools: Tools, run_id: str) -> bool:
    """Take a step towards RUN_ID's having no pools; whether it has none."""
    assert tools.gke is not None
    pools = made_pools(tools.gke.cluster().get("nodePools") or (), run_id)
    if not pools:
        return True
    going = [pool for pool in pools if pool.status == "STOPPING"]
    if going:
        tools.clock.sleep(_POLL_S)
        return False
    tools.say(f"deleting pool {pools[0].name}")
    try:
        operation = tools.gke.delete(pools[0].name)
    except Busy as error:
        # Its own creation may still be going on. That ends, and giving up would leave what costs money.
        tools.say(f"waiting to delete pool {pools[0].name}: {error.message}")
        tools.clock.sleep(BUSY_S)
        return False
    follow(tools, operation)
    return False


def _of_pods(tools: Tools, namespace: str) -> set[str]:
    """Runs that have probes in NAMESPACE and no owner, so that the cluster's own collector would come for them."""
    probes = patiently(tools, partial(tools.kube.probes, namespace))
    mine = {probe.run for probe in probes if slot_of(probe.name, probe.run) is not None}
    return mine - {run.id for run in patiently(tools, partial(tools.kube.runs, namespace))} if mine else set()


def _clean_ownerless(tools: Tools, run_id: str, namespace: str) -> bool:
    probes = tools.kube.probes(namespace, run_id)
    for probe in probes:
        if not probe.leaving:
            tools.kube.delete(probe)
    if probes:
        tools.clock.sleep(1.0)
    return (tools.gke is None or _remove_pools(tools, run_id)) and not probes


def _of_pools(tools: Tools) -> set[str]:
    """Runs that have pools and no owner."""
    gke = tools.gke
    if gke is None:
        return set()
    pools = patiently(tools, lambda: gke.cluster().get("nodePools") or ())
    found: set[str] = set()
    for run_id, (namespace, expires) in runs_of(pools).items():
        expired = tools.clock.now().timestamp() > expires
        try:
            there = {run.id: run for run in patiently(tools, partial(tools.kube.runs, namespace))}
        except NotPermitted:  # Somebody else's namespace: the pool's own word counts.
            found |= {run_id} if expired else set()
            continue
        if run_id not in there or (expired and not alive(tools, there[run_id])):
            found.add(run_id)
    return found
