"""How a build goes on from what is there: one observation in, the next step out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

FILLED = "filled"
"""Value of the VM's label `imagecache-phase` once its disk is whole."""
VERIFIED = "imagecache-verified"
"""The disk image's label that says how it was read back: `boot`, or `pending` until it was."""
PENDING = "pending"


class VmState(Enum):
    """Compute's status of an instance, as far as it matters here."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class BuildVm:
    """The builder VM as it is now."""

    name: str
    """The build's name."""
    zone: str
    state: VmState
    phase: str = ""
    """The label `imagecache-phase`."""
    plan_hash: str = ""
    """The label `imagecache-plan`."""
    disk: str = ""
    """URL of the cache disk."""
    labels: tuple[tuple[str, str], ...] = ()
    label_fingerprint: str = ""
    packed_plan: str = ""
    """The metadata item `imagecache-plan`."""
    created: str = ""
    """As Compute writes it."""

    @property
    def build(self) -> str:
        """The label `imagecache-build`."""
        return dict(self.labels).get("imagecache-build", "")


class ImageState(Enum):
    """Compute's status of a disk image."""

    PENDING = "PENDING"
    READY = "READY"
    FAILED = "FAILED"
    DELETING = "DELETING"


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """The disk image of the build's name for it, as it is now."""

    project: str
    name: str
    state: ImageState
    build: str = ""
    """The label `imagecache-build`: who made it."""
    plan_hash: str = ""
    family: str = ""
    created: str = ""
    """As Compute writes it."""
    deprecated: bool = False
    id: str = ""
    """Compute's numeric id."""
    unverified: bool = False
    """Whether its label says that it is still to be read back: until then nobody should use it."""
    description: str = ""


@dataclass(frozen=True, slots=True)
class BuilderEnd:
    """How the builder's own report ended."""

    done: bool
    kind: str = ""
    """Of a failure: `no-space`, `registry`, …"""
    message: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Observation:
    """Everything that the next step depends on."""

    build: str
    family: str
    """The plan's; empty if none is wanted."""
    vm: BuildVm | None
    image: BuiltImage | None
    end: BuilderEnd | None = None
    """None while the builder still works, or where its report can't be read."""
    seen_vm: bool = False
    """Whether this run has seen the VM before, so that its absence is a loss and not a beginning."""
    findings: tuple[str, ...] | None = None
    """What reading the disk image back has found wrong; None: it wasn't read in this run."""


class Action(Enum):
    """What can be done next."""

    CREATE_VM = "create the VM"
    WAIT_FOR_BOOT = "wait for the VM"
    WAIT_FOR_BUILDER = "wait for the builder"
    MARK_FILLED = "mark the disk as whole"
    STOP_VM = "stop the VM"
    WAIT_FOR_STOP = "wait until the VM is off"
    CREATE_IMAGE = "create the disk image"
    WAIT_FOR_IMAGE = "wait for the disk image"
    VERIFY = "read the disk image back"
    MARK_VERIFIED = "mark the disk image as verified"
    SET_FAMILY = "add the disk image to its family"
    DELETE_VM = "delete the VM"
    FAIL = "clean up and fail"
    FINISH = "finish"


@dataclass(frozen=True, slots=True)
class Step:
    """The next step; a failure says why."""

    action: Action
    why: str = ""
    hint: str = ""


def next_step(seen: Observation) -> Step:
    """The one step that brings the build SEEN nearer to its end, which is a READY disk image and nothing else."""
    if seen.image is not None:
        return _with_image(seen, seen.image)
    if seen.vm is None:
        if seen.seen_vm:
            return Step(Action.FAIL, "the VM is gone", "it was deleted, by its time limit (--timeout) or by somebody")
        return Step(Action.CREATE_VM)
    return _filled(seen, seen.vm) if seen.vm.phase == FILLED else _filling(seen, seen.vm)


def _with_image(seen: Observation, image: BuiltImage) -> Step:
    if image.build != seen.build:
        return Step(
            Action.FAIL,
            f"there is a disk image {image.name} already, made by {image.build or 'something else'}",
            "take another name with --image-name",
        )
    if image.state is ImageState.FAILED:
        return Step(Action.FAIL, "Compute failed to make the disk image", "run it again")
    if image.state is not ImageState.READY:
        return Step(Action.WAIT_FOR_IMAGE)
    if image.unverified:
        return _unverified(seen.findings)
    # The family late: nobody who follows it meets a disk image that isn't ready.
    if seen.family and image.family != seen.family:
        return Step(Action.SET_FAMILY)
    if seen.vm is None:
        return Step(Action.FINISH)
    return Step(Action.WAIT_FOR_STOP if seen.vm.state is VmState.STOPPING else Action.DELETE_VM)


def _unverified(findings: tuple[str, ...] | None) -> Step:
    if findings is None:
        return Step(Action.VERIFY)
    if not findings:
        return Step(Action.MARK_VERIFIED)
    more = f", and {len(findings) - 1} more" if len(findings) > 1 else ""
    return Step(Action.FAIL, f"read back, the disk image is not what was built: {findings[0]}{more}", "run it again")


def _filled(seen: Observation, vm: BuildVm) -> Step:
    match vm.state:
        case VmState.RUNNING if seen.end is not None and seen.end.done:
            return Step(Action.STOP_VM)
        case VmState.STARTING | VmState.RUNNING:
            # Its start-up script formats the disk again, whatever the label says.
            return Step(Action.FAIL, "somebody has started the VM again after it was done", "run it again")
        case VmState.STOPPING:
            return Step(Action.WAIT_FOR_STOP)
        case VmState.STOPPED:
            return Step(Action.CREATE_IMAGE)


def _filling(seen: Observation, vm: BuildVm) -> Step:
    if seen.end is not None and not seen.end.done:
        return Step(Action.FAIL, seen.end.message, seen.end.hint)
    match vm.state:
        case VmState.STARTING:
            return Step(Action.WAIT_FOR_BOOT)
        case VmState.RUNNING:
            return Step(Action.MARK_FILLED if seen.end is not None else Action.WAIT_FOR_BUILDER)
        case VmState.STOPPING:
            return Step(Action.WAIT_FOR_STOP)
        case VmState.STOPPED:
            return Step(
                Action.FAIL,
                "the VM was stopped before it was done",
                "a spot VM may be: run it again, or without --spot",
            )
