"""The canary of a roll: run one pod of a cached image on a new node, measure its pull, and take it away again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from kubectl_imagecache.clients.kube.probe import ProbeKube
from kubectl_imagecache.core import canary
from kubectl_imagecache.core.clock import Clock
from kubectl_imagecache.core.probe import Found, Outcome, Probe, ProbeSpec, outcome

_LOOK_S = 2.0


@dataclass(frozen=True, slots=True)
class Cage:
    """What a canary needs."""

    kube: ProbeKube
    clock: Clock
    pause: Callable[[float], None]
    """Lets seconds pass."""
    interrupted: Callable[[], bool]


def measure(cage: Cage, spec: ProbeSpec) -> Outcome | None:
    """What a pod of SPEC finds out, or one that an earlier run began; None if the user interrupts.

    The pod stays. Raises what ProbeKube raises.
    """
    if not any(_is_it(probe, spec) for probe in cage.kube.probes(spec.namespace, spec.run)):
        cage.kube.create(spec)
    until, found = cage.clock.now() + timedelta(seconds=canary.PATIENCE_S), Outcome(Found.UNPLACED)
    while cage.clock.now() < until and not cage.interrupted():
        cage.pause(_LOOK_S)
        found = _found(cage, spec)
        if found.over:
            return found
    return None if cage.interrupted() else found


def sweep(cage: Cage, pool: str) -> None:
    """Take every canary of POOL's rolls away, and wait until they are gone; raises what ProbeKube raises."""
    while left := cage.kube.probes(canary.NAMESPACE, canary.run_of(pool)):
        for probe in left:
            if not probe.leaving:
                cage.kube.delete(probe)
        if cage.interrupted():
            return
        cage.pause(_LOOK_S)


def _found(cage: Cage, spec: ProbeSpec) -> Outcome:
    for probe in cage.kube.probes(spec.namespace, spec.run):
        if _is_it(probe, spec):
            node = cage.kube.node(probe.node) if probe.node else None
            return outcome(probe, cage.kube.events(probe), node, cage.clock.now())
    return Outcome(Found.FAILED, why="somebody deleted the pod")


def _is_it(probe: Probe, spec: ProbeSpec) -> bool:
    return probe.image == spec.image and not probe.leaving
