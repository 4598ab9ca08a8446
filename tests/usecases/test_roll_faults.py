"""Every fault that the sandbox knows, at every call that a roll makes; a sample of them unless ROLL_FAULT_STRIDE=1."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kubectl_imagecache.core.roll import Done, Evict, RollEvent, RollPlan
from kubectl_imagecache.sandbox.embedded import Sandbox
from kubectl_imagecache.sandbox.faults import KINDS, Fault, Faults
from kubectl_imagecache.usecases.roll import roll
from kubectl_imagecache.usecases.roll_tools import Interrupted, Tools
from tests.usecases.roll_stage import NEW, OLD, SCALING, settings, stage, state_of, tools

STRIDE = int(os.environ.get("ROLL_FAULT_STRIDE", "41"))
ROLLED = {"pools": {"web-r2": ("RUNNING", SCALING, str(NEW))}, "pods": {"web-r2": 3}, "cordoned": []}
AS_IT_WAS = {"pools": {"web": ("RUNNING", SCALING, str(OLD))}, "pods": {"web": 3}, "cordoned": []}
FAULTS = (
    Fault(kind="status", status=503),
    Fault(kind="status", status=503, applied=True),
    Fault(kind="status", status=429, retry_after_s=3),
    Fault(kind="reset"),
    Fault(kind="reset", applied=True),
    Fault(kind="truncate"),
    Fault(kind="slow", seconds=0.9),
)
TIMEOUT_S = 0.6
"""Shorter than what is slow takes."""
assert {fault.kind for fault in FAULTS} == set(KINDS)


class At(Faults):
    """One fault, at the call of that number; with EVERY at each so-manieth from there on."""

    def __init__(self, fault: Fault, number: int, every: int = 0) -> None:
        super().__init__()
        self._fault, self._number, self._every = fault, number, every
        self.seen = 0

    def strike(self, service: str, method: str, target: str) -> Fault | None:
        self.seen += 1
        late = self.seen - self._number
        return self._fault if late == 0 or (late > 0 and self._every and late % self._every == 0) else None


def begin(sandbox: Sandbox, home: Path, back: bool) -> tuple[Tools, RollPlan, Done]:
    """A roll that has not begun, or one that has evicted a pod and now goes BACK."""
    stage(sandbox, nodes=1)
    mine = tools(sandbox, [], home, timeout_s=TIMEOUT_S)
    if not back:
        return mine, RollPlan("web", NEW), Done("web is replaced by web-r2")
    seen: list[RollEvent] = []
    halted = replace(mine, say=seen.append, interrupted=lambda: any(isinstance(one.step, Evict) for one in seen[:-1]))
    with pytest.raises(Interrupted):
        roll(halted, RollPlan("web", NEW))
    return mine, RollPlan("web", back=True), Done("web is as it was", back=True)


def strikes(back: bool) -> Iterator[tuple[int, Fault]]:
    """Numbers of calls and faults, without an end: every STRIDEth of all."""
    count = 0
    number = 0
    while True:
        number += 1
        for fault in FAULTS:
            count += 1
            if count % STRIDE == int(back) % STRIDE:
                yield number, fault


@pytest.mark.parametrize("back", [False, True], ids=["forward", "back"])
def test_a_fault_at_any_call_does_not_change_the_end(tmp_path: Path, back: bool) -> None:
    struck = 0
    for number, fault in strikes(back):
        with Sandbox(settings()) as sandbox:
            mine, plan, end = begin(sandbox, tmp_path, back)
            faults = sandbox.world.faults = At(fault, number)
            assert (number, fault, roll(mine, plan)) == (number, fault, end)
            assert (number, fault, state_of(sandbox)) == (number, fault, AS_IT_WAS if back else ROLLED)
            if faults.seen < number:
                break
            struck += 1
    assert struck * STRIDE > 30 * len(FAULTS)
    print(f"{struck} faults struck")


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.kind}-{fault.status}-{fault.applied}")
def test_a_fault_at_every_few_calls_does_not_change_the_end(tmp_path: Path, fault: Fault) -> None:
    with Sandbox(settings()) as sandbox:
        mine, plan, end = begin(sandbox, tmp_path, back=False)
        # A look takes some eleven calls: a server that is too slow within each of them is not to be worked with.
        sandbox.world.faults = At(fault, 1, every=17 if fault.kind == "slow" else 5)
        assert roll(mine, plan) == end
        sandbox.world.faults = Faults()
        assert state_of(sandbox) == ROLLED
