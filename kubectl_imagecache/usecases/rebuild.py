"""Build a disk image as a plan says: observe, take one step, observe again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone

from kubectl_imagecache import __version__
from kubectl_imagecache.builder.bundle import startup_script
from kubectl_imagecache.builder.job import Job, JobImage, RegistryAccess, Target
from kubectl_imagecache.clients.compute_build import BuildCompute, Operation
from kubectl_imagecache.core import record
from kubectl_imagecache.core.build import (
    FILLED,
    Action,
    BuildVm,
    BuiltImage,
    ImageState,
    Observation,
    Step,
    VmState,
    next_step,
)
from kubectl_imagecache.core.build_requests import DEVICE
from kubectl_imagecache.core.clock import Clock
from kubectl_imagecache.core.errors import AlreadyExists, NotFound, Unavailable, UserError
from kubectl_imagecache.core.plan import BuildPlan, contents_of
from kubectl_imagecache.core.pools import DiskImageRef
from kubectl_imagecache.usecases.builder_report import ReportReader
from kubectl_imagecache.usecases.patience import FIRST_WAIT_S, LOOKS, OperationFailed, Patience, Tell

ABORT_WAIT_S = 2.0
BUILDER = f"kubectl-imagecache {__version__}"
_WAITING = (Action.WAIT_FOR_BOOT, Action.WAIT_FOR_BUILDER, Action.WAIT_FOR_STOP, Action.WAIT_FOR_IMAGE)


class BuildFailed(UserError):
    """A build ended without a disk image; nothing of it is left in the cloud."""


@dataclass(slots=True)
class Build:
    """One run of a client at one build."""

    compute: BuildCompute
    plan: BuildPlan
    clock: Clock
    tell: Tell
    log: Callable[[str], None] = lambda text: None
    """Takes the serial port's text as it comes."""
    first_wait_s: float = FIRST_WAIT_S
    report: ReportReader = field(default_factory=ReportReader)
    patience: Patience = field(init=False)
    _seen_vm: bool = False

    def __post_init__(self) -> None:
        self.patience = Patience(self.clock, self.first_wait_s)

    def run(self) -> BuiltImage:
        """Go on until the disk image is READY and the VM gone; raises BuildFailed, and UserError where Compute refuses.

        Whatever ends this, the resources say how far it is, and another run goes on from there.
        """
        failures = 0
        shown: Action | None = None
        while True:
            try:
                seen = self._observe()
                step = next_step(seen)
                if step.action not in (shown, Action.FINISH, Action.FAIL):
                    self.tell("step", {"step": step.action.value, "build": self.plan.build})
                    shown = step.action
                if step.action is Action.FINISH and seen.image is not None:
                    return seen.image
                if step.action is Action.FAIL:
                    self._fail(seen, step)
                if step.action not in _WAITING:
                    self.patience.reset()
                self._act(step.action, seen)
                failures = 0
            except Unavailable as error:
                failures += 1
                if failures >= LOOKS:
                    raise
                self.tell("retry", {"why": error.message})
                self.patience.wait()

    def _observe(self) -> Observation:
        vm = self.compute.vm(self.plan.vm.zone, self.plan.build)
        image = self.compute.image(self.plan.output.ref)
        if vm is not None:
            self._seen_vm = True
            if image is None and vm.state in (VmState.RUNNING, VmState.STOPPED, VmState.STOPPING):
                self._read_report(vm)
        return Observation(self.plan.build, self.plan.output.family, vm, image, self.report.end, self._seen_vm)

    def _read_report(self, vm: BuildVm) -> None:
        try:
            piece = self.compute.serial(vm.zone, vm.name, self.report.offset)
        except NotFound:
            return  # it has just gone; the next look tells
        self.log(piece.text)
        before = self.report.progress
        for event in self.report.take(piece.text, piece.start, piece.next):
            self.tell(event.name, event.fields)
        if self.report.progress != before:
            self.tell("at", {"progress": self.report.progress})

    def _act(self, action: Action, seen: Observation) -> None:
        if action in _WAITING:
            self.patience.wait()
            return
        try:
            self._change(action, seen)
        except AlreadyExists as error:
            # Somebody else, or an earlier try of which the answer was lost, was faster: look again.
            self.tell("retry", {"why": error.message})
            self.patience.wait()

    def _change(self, action: Action, seen: Observation) -> None:
        vm, plan = seen.vm, self.plan
        if action is Action.CREATE_VM:
            self._finish(self.compute.create_vm(plan, startup_script(job_of(plan))), "the VM")
            self._seen_vm = True
        elif action is Action.SET_FAMILY:
            self._finish(self.compute.set_family(plan.output.ref, plan.output.family), "the family")
        elif vm is None:
            raise AssertionError(f"{action} needs a VM")
        elif action is Action.MARK_FILLED:
            self._finish(self.compute.label_vm(vm, "imagecache-phase", FILLED), "the VM's label")
        elif action is Action.STOP_VM:
            self._finish(self.compute.stop_vm(vm), "stopping the VM")
        elif action is Action.CREATE_IMAGE:
            description, labels = describe(plan, self.clock)
            self._finish(self.compute.create_image(plan, vm.disk, description, labels), "the disk image")
        elif action is Action.DELETE_VM:
            self._finish(self.compute.delete_vm(vm), "deleting the VM")

    def _finish(self, operation: Operation | None, what: str) -> None:
        """Wait for OPERATION; raises BuildFailed with Compute's words if it ends badly."""
        hint = f"rebuild --abort {self.plan.build} removes what is left"
        try:
            self.patience.finish(self.compute, operation, what, hint)
        except OperationFailed as error:
            raise BuildFailed(error.message, error.hint) from error

    def _fail(self, seen: Observation, step: Step) -> None:
        """Remove what the build has made, then raise."""
        image = seen.image
        if image is not None and image.build == self.plan.build and image.state is not ImageState.READY:
            self._finish(self.compute.delete_image(self.plan.output.ref), "deleting the disk image")
        if seen.vm is not None:
            self._finish(self.compute.delete_vm(seen.vm), "deleting the VM")
        raise BuildFailed(step.why, step.hint)


def job_of(plan: BuildPlan) -> Job:
    """What the VM is told: no secret is in it."""
    return Job(
        tuple(JobImage(image.ref, image.digest, f"linux/{plan.arch}") for image in plan.images),
        Target(device=f"/dev/disk/by-id/google-{DEVICE}"),
        plan.build,
        plan.hash,
        BUILDER,
        tuple(RegistryAccess(r.host, r.auth, r.source, r.endpoint) for r in plan.registries),
        checksums=plan.checksums,
    )


def describe(plan: BuildPlan, clock: Clock) -> tuple[str, dict[str, str]]:
    """The disk image's description (with the compact record) and labels."""
    now = clock.now()
    contents = contents_of(plan, now, BUILDER)
    packed = record.pack(contents, headline(plan, now.strftime("%Y-%m-%d")))
    return packed.description, record.labels(contents, build=plan.build, arch=plan.arch)


def not_recorded(plan: BuildPlan) -> list[str]:
    """What the disk image's own record will lack, as it finds no room in the description; said before building."""
    packed = record.pack(contents_of(plan, datetime.now(timezone.utc), BUILDER), headline(plan, "2026-01-01"))
    names = ", ".join(image.ref.familiar for image in packed.left_out)
    return [f"the description has no room to record {names}"] if names else []


def headline(plan: BuildPlan, day: str) -> str:
    """The first line of the description, for people."""
    images = "container image" if len(plan.images) == 1 else "container images"
    return f"{len(plan.images)} {images} for GKE nodes ({plan.arch}), built {day}."


def abort(compute: BuildCompute, build: str, clock: Clock, tell: Tell) -> list[str]:
    """Remove every trace of BUILD, whoever runs it, and return what was removed; looks until there is nothing.

    A disk image that is READY stays if the build had come to its end. Raises NotFound if there is no such build.
    """
    removed: list[str] = []
    began = bool(compute.vms(build)) or bool(compute.disks(build))
    while True:
        vms, disks = compute.vms(build), compute.disks(build)
        images = [i for i in compute.images("imagecache-build", build) if began or i.state is not ImageState.READY]
        if not (vms or disks or images):
            break
        # The VM last: as long as it is there, a second --abort knows that the build wasn't finished.
        operations = [(f"disk image {i.name}", compute.delete_image(_ref(i))) for i in images]
        if not images:
            operations += [(f"VM {vm.name}", compute.delete_vm(vm)) for vm in vms]
            operations += [(f"disk {d.name}", compute.delete_disk(d)) for d in disks if not d.used and not vms]
        for name, operation in operations:
            if operation is not None and name not in removed:
                removed.append(name)
                tell("removing", {"what": name})
        clock.sleep(ABORT_WAIT_S)
    if not removed:
        raise NotFound(f"there is nothing to abort of {build}", "`disks list` shows builds under way")
    return removed


def _ref(image: BuiltImage) -> DiskImageRef:
    return DiskImageRef(image.project, image.name)
