from __future__ import annotations

from dataclasses import replace

import pytest

from kubectl_imagecache.core.build import BuilderEnd, BuildVm, VmState
from kubectl_imagecache.core.plan import Vm
from kubectl_imagecache.core.pools import DiskImageRef
from kubectl_imagecache.core.reading import ReadAction, ReadObservation, ReadPlan, next_read_step

DONE = BuilderEnd(True)
BROKEN = BuilderEnd(False, "disk", "the disk can't be read", "look at it")
PLAN = ReadPlan(DiskImageRef("p", "d"), "17", "amd64", Vm("p", "z"))


def vm(state: VmState) -> BuildVm:
    return BuildVm("b", "z", state)


def test_a_reading_goes_from_nothing_to_a_whole_report_and_no_vm() -> None:
    assert [
        next_read_step(seen).action
        for seen in (
            ReadObservation(None, False),
            ReadObservation(vm(VmState.STARTING), False, seen_vm=True),
            ReadObservation(vm(VmState.RUNNING), False, seen_vm=True),
            ReadObservation(vm(VmState.RUNNING), False, 3, DONE, seen_vm=True),
            ReadObservation(vm(VmState.RUNNING), True, 0, DONE, seen_vm=True),
            ReadObservation(vm(VmState.STOPPING), True, 0, DONE, seen_vm=True),
            ReadObservation(None, True, 0, DONE, seen_vm=True),
        )
    ] == [
        ReadAction.CREATE_VM,
        ReadAction.WAIT_FOR_BOOT,
        ReadAction.WAIT_FOR_READER,
        ReadAction.WAIT_FOR_READER,
        ReadAction.DELETE_VM,
        ReadAction.DELETE_VM,
        ReadAction.FINISH,
    ]


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        (ReadObservation(None, False, seen_vm=True), "the VM is gone before all of its report had come"),
        (ReadObservation(vm(VmState.STOPPED), False), "the VM was stopped before it was done"),
        (ReadObservation(vm(VmState.RUNNING), False, 1, BROKEN), "the disk can't be read"),
        (
            ReadObservation(vm(VmState.RUNNING), False, 3, DONE, over=True),
            "3 pieces of the VM's report were lost on the serial port",
        ),
    ],
)
def test_what_can_not_come_to_an_end_fails_with_the_reason(seen: ReadObservation, why: str) -> None:
    step = next_read_step(seen)
    assert (step.action, step.why) == (ReadAction.FAIL, why)
    assert step.hint


def test_its_name_is_by_rule_and_no_other_readings() -> None:
    others = [
        replace(PLAN, image_id="18"),
        replace(PLAN, image=DiskImageRef("p", "e")),
        replace(PLAN, contents=True),
        replace(PLAN, vm=Vm("p", "y")),
        replace(PLAN, owner="imagecache-0123456789ab"),
    ]
    assert len({PLAN.name, *(plan.name for plan in others)}) == 6
    assert PLAN.name == replace(PLAN, vm=Vm("p", "z", machine_type="n2-standard-8")).name
    assert [PLAN.build, others[-1].build] == [PLAN.name, "imagecache-0123456789ab"]
