"""Every fault that the sandbox knows, at every call that a roll makes; a sample of them unless ROLL_FAULT_STRIDE=1."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubectl_imagecache.sandbox.embedded import Sandbox
from kubectl_imagecache.sandbox.faults import KINDS, Fault, Faults
from kubectl_imagecache.usecases.roll_tools import Stopped
from tests.usecases.roll_stage import settings
from tests.usecases.roll_ways import TIMEOUT_S, WAYS

STRIDE = int(os.environ.get("ROLL_FAULT_STRIDE", "211"))
FAULTS = (
    Fault(kind="status", status=503),
    Fault(kind="status", status=503, applied=True),
    Fault(kind="status", status=429, retry_after_s=3),
    Fault(kind="reset"),
    Fault(kind="reset", applied=True),
    Fault(kind="truncate"),
    Fault(kind="slow", seconds=1.5 * TIMEOUT_S),
)
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


def strikes(first: int) -> Iterator[tuple[int, Fault]]:
    """Numbers of calls and faults, without an end: every STRIDEth of all, from the FIRST on."""
    for count in itertools.count(first % STRIDE, STRIDE):
        yield count // len(FAULTS) + 1, FAULTS[count % len(FAULTS)]


@pytest.mark.parametrize("name", WAYS)
def test_a_fault_at_any_call_does_not_change_the_end(tmp_path: Path, name: str) -> None:
    way, struck = WAYS[name], 0
    for number, fault in strikes(13 * list(WAYS).index(name)):
        with Sandbox(settings()) as sandbox:
            rest = way.begin(sandbox, tmp_path)
            faults = sandbox.world.faults = At(fault, number)
            assert (number, fault, rest()) == (number, fault, way.end)
            assert (number, fault, way.state(sandbox)) == (number, fault, way.final)
            if faults.seen < number:
                break
            struck += 1
    assert struck * STRIDE > 20 * len(FAULTS)
    print(f"{struck} faults struck")


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.kind}-{fault.status}-{fault.applied}")
@pytest.mark.parametrize("name", ["pool", "batches", "class"])
def test_a_fault_at_every_few_calls_changes_no_end_and_at_most_stops_a_run(
    tmp_path: Path, name: str, fault: Fault
) -> None:
    way = WAYS[name]
    with Sandbox(settings()) as sandbox:
        rest = way.begin(sandbox, tmp_path)
        # A look takes some eleven calls: a server that is too slow within each of them is not to be worked with.
        sandbox.world.faults = At(fault, 1, every=17 if fault.kind == "slow" else 5)
        try:
            assert rest() == way.end
        except Stopped:
            # It was the same call each time: a roll gives up what never works.
            sandbox.world.faults = Faults()
            assert rest() == way.end
        sandbox.world.faults = Faults()
        assert way.state(sandbox) == way.final


def test_a_node_that_is_never_deleted_stops_a_roll_in_batches_and_a_second_run_ends_it(tmp_path: Path) -> None:
    way = WAYS["batches"]
    with Sandbox(settings()) as sandbox:
        rest = way.begin(sandbox, tmp_path)
        sandbox.world.faults = Faults([Fault(path="/deleteInstances", times=-1)])
        with pytest.raises(Stopped, match=r"gke-empty-web-\S+ of web is still there after 3 requests to delete it"):
            rest()
        sandbox.world.faults = Faults()
        assert (rest(), way.state(sandbox)) == (way.end, way.final)
