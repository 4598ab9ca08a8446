"""How a disk image is read on a temporary VM: one observation in, the next step out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from enum import Enum

from kubectl_imagecache.core.build import BuilderEnd, BuildVm, VmState
from kubectl_imagecache.core.plan import Vm
from kubectl_imagecache.core.pools import DiskImageRef

READER_DISK = "pd-balanced"
"""Type of the disk that is made of the disk image to be read."""


def reader_vm(builder: Vm) -> Vm:
    """Where a disk image is read back that BUILDER has built: beside it, with less than it had."""
    hyper = builder.disk_type.startswith("hyperdisk")  # its machine type may take no other disks
    disk_type = "hyperdisk-balanced" if hyper else READER_DISK
    return replace(builder, disk_type=disk_type, service_account="", external_ip=False)


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """Everything that decides a reading."""

    image: DiskImageRef
    image_id: str
    """Compute's numeric id: a disk image that was made again under its name is another one."""
    arch: str
    vm: Vm
    contents: bool = False
    """Whether every file is read and compared, or the metadata alone."""
    owner: str = ""
    """The build that wants it, which then answers for it; empty: it is on its own."""

    @property
    def name(self) -> str:
        """The VM's and its disks', by rule: who reads the same disk image in the same way comes to the same name."""
        how = "contents" if self.contents else "metadata"
        text = f"read {how} {self.image} {self.image_id} {self.vm.project}/{self.vm.zone} {self.owner}"
        return f"imagecache-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    @property
    def build(self) -> str:
        """The label `imagecache-build`, by which an abort or a sweep finds it."""
        return self.owner or self.name


@dataclass(frozen=True, slots=True)
class ReadObservation:
    """Everything that the next step depends on."""

    vm: BuildVm | None
    whole: bool
    """Whether all of the report has come through."""
    missing: int = 0
    """Pieces of the report that have not."""
    end: BuilderEnd | None = None
    over: bool = False
    """Whether the VM has said it for the last time."""
    seen_vm: bool = False
    """Whether this run has seen the VM before, so that its absence is a loss and not a beginning."""


class ReadAction(Enum):
    """What can be done next."""

    CREATE_VM = "create a VM that reads the disk image"
    WAIT_FOR_BOOT = "wait for the VM"
    WAIT_FOR_READER = "wait for the reading"
    WAIT_FOR_STOP = "wait until the VM is off"
    DELETE_VM = "delete the VM"
    FAIL = "clean up and fail"
    FINISH = "finish"


@dataclass(frozen=True, slots=True)
class ReadStep:
    """The next step; a failure says why."""

    action: ReadAction
    why: str = ""
    hint: str = ""


def next_read_step(seen: ReadObservation) -> ReadStep:
    """The one step that brings the reading SEEN nearer to its end, which is a whole report and no VM."""
    if seen.vm is None:
        if seen.whole:
            return ReadStep(ReadAction.FINISH)
        if seen.seen_vm:
            why = "the VM is gone before all of its report had come"
            return ReadStep(ReadAction.FAIL, why, "run it again; somebody has deleted the VM, or its --timeout has")
        return ReadStep(ReadAction.CREATE_VM)
    if seen.whole:
        return ReadStep(ReadAction.DELETE_VM)
    if seen.end is not None and not seen.end.done:
        return ReadStep(ReadAction.FAIL, seen.end.message, seen.end.hint)
    if seen.over:
        why = f"{seen.missing} pieces of the VM's report were lost on the serial port"
        return ReadStep(ReadAction.FAIL, why, "run it again")
    match seen.vm.state:
        case VmState.STARTING:
            return ReadStep(ReadAction.WAIT_FOR_BOOT)
        case VmState.RUNNING:
            return ReadStep(ReadAction.WAIT_FOR_READER)
        case VmState.STOPPING:
            return ReadStep(ReadAction.WAIT_FOR_STOP)
        case VmState.STOPPED:
            return ReadStep(ReadAction.FAIL, "the VM was stopped before it was done", "run it again")
