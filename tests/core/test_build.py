from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from kubectl_imagecache.core.build import (
    FILLED,
    Action,
    BuilderEnd,
    BuildVm,
    BuiltImage,
    ImageState,
    Observation,
    VmState,
    next_step,
)

DONE = BuilderEnd(True)
BROKEN = BuilderEnd(False, "registry", "404 Not Found", "push it")


def vm(state: VmState, phase: str = "") -> BuildVm:
    return BuildVm("b", "z", state, phase)


def image(state: ImageState, build: str = "b", family: str = "f") -> BuiltImage:
    return BuiltImage("p", "i", state, build, family=family)


def action(
    machine: BuildVm | None, made: BuiltImage | None, end: BuilderEnd | None = None, *, seen: bool = True
) -> Action:
    return next_step(Observation("b", "f", machine, made, end, seen)).action


def test_a_disk_image_that_is_to_be_read_back_is_so_before_it_is_in_its_family_or_its_vm_is_gone() -> None:
    pending = replace(image(ImageState.READY, family=""), unverified=True)
    for machine in (vm(VmState.STOPPED, FILLED), None):
        seen = Observation("b", "f", machine, pending, None, True)
        assert next_step(seen).action is Action.VERIFY
        assert next_step(replace(seen, findings=())).action is Action.MARK_VERIFIED
        failed = next_step(replace(seen, findings=("one", "two")))
        assert (failed.action, failed.why) == (
            Action.FAIL,
            "read back, the disk image is not what was built: one, and 1 more",
        )


def test_the_family_is_set_even_if_the_vm_has_gone_by_its_own_limit() -> None:
    assert action(None, image(ImageState.READY, family="")) is Action.SET_FAMILY


def test_a_build_goes_from_nothing_to_its_disk_image() -> None:
    assert [
        action(None, None, seen=False),
        action(vm(VmState.STARTING), None),
        action(vm(VmState.RUNNING), None),
        action(vm(VmState.RUNNING), None, DONE),
        action(vm(VmState.RUNNING, FILLED), None, DONE),
        action(vm(VmState.STOPPING, FILLED), None, DONE),
        action(vm(VmState.STOPPED, FILLED), None),
        action(vm(VmState.STOPPED, FILLED), image(ImageState.PENDING, family="")),
        action(vm(VmState.STOPPED, FILLED), image(ImageState.READY, family="")),
        action(vm(VmState.STOPPED, FILLED), image(ImageState.READY)),
        action(vm(VmState.STOPPING, FILLED), image(ImageState.READY)),
        action(None, image(ImageState.READY)),
    ] == [
        Action.CREATE_VM,
        Action.WAIT_FOR_BOOT,
        Action.WAIT_FOR_BUILDER,
        Action.MARK_FILLED,
        Action.STOP_VM,
        Action.WAIT_FOR_STOP,
        Action.CREATE_IMAGE,
        Action.WAIT_FOR_IMAGE,
        Action.SET_FAMILY,
        Action.DELETE_VM,
        Action.WAIT_FOR_STOP,
        Action.FINISH,
    ]


@pytest.mark.parametrize(
    ("machine", "made", "end", "why"),
    [
        (None, None, None, "the VM is gone"),
        (vm(VmState.STOPPED), None, None, "the VM was stopped before it was done"),
        (vm(VmState.STOPPED), None, DONE, "the VM was stopped before it was done"),
        (vm(VmState.RUNNING), None, BROKEN, "404 Not Found"),
        (vm(VmState.STOPPED), None, BROKEN, "404 Not Found"),
        (vm(VmState.RUNNING, FILLED), None, None, "somebody has started the VM again after it was done"),
        (vm(VmState.STARTING, FILLED), None, DONE, "somebody has started the VM again after it was done"),
        (vm(VmState.STOPPED, FILLED), image(ImageState.FAILED), None, "Compute failed to make the disk image"),
        (vm(VmState.STOPPED, FILLED), image(ImageState.READY, "other"), None, "there is a disk image i already"),
        (None, image(ImageState.READY, ""), None, "there is a disk image i already"),
    ],
)
def test_what_can_not_go_on_fails_with_its_reason(
    machine: BuildVm | None, made: BuiltImage | None, end: BuilderEnd | None, why: str
) -> None:
    step = next_step(Observation("b", "f", machine, made, end, True))
    assert step.action is Action.FAIL
    assert step.why.startswith(why)


def test_whatever_is_observed_no_unfinished_disk_becomes_an_image_and_no_image_is_lost() -> None:
    machines = [None, *(vm(state, phase) for state, phase in product(VmState, ("", FILLED)))]
    images = [None, *(image(state, build, f) for state, build, f in product(ImageState, ("b", "x"), ("", "f")))]
    for machine, made, end, seen in product(machines, images, (None, DONE, BROKEN), (True, False)):
        found = action(machine, made, end, seen=seen)
        if found is Action.CREATE_IMAGE:
            assert machine is not None and (machine.state, machine.phase) == (VmState.STOPPED, FILLED)
            assert made is None
        if found is Action.MARK_FILLED:
            assert machine is not None and machine.state is VmState.RUNNING and end is DONE
        if found in (Action.FINISH, Action.DELETE_VM, Action.SET_FAMILY):
            assert made is not None and (made.state, made.build) == (ImageState.READY, "b")
        if found is Action.FINISH:
            assert machine is None
        if found is Action.CREATE_VM:
            assert machine is None and made is None and not seen
