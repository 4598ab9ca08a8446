"""Build a disk image as a plan says: observe, take one step, observe again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

from kubectl_imagecache import __version__
from kubectl_imagecache.builder.bundle import startup_script
from kubectl_imagecache.builder.job import Job, JobImage, RegistryAccess, Target
from kubectl_imagecache.clients.compute_build import BuildCompute, Operation
from kubectl_imagecache.clients.storage import StoredObject
from kubectl_imagecache.core import record
from kubectl_imagecache.core.build import (
    FILLED,
    PENDING,
    VERIFIED,
    Action,
    BuildVm,
    BuiltImage,
    ImageState,
    Observation,
    Step,
    VmState,
    next_step,
)
from kubectl_imagecache.core.build_requests import DEVICE, unpack_plan
from kubectl_imagecache.core.clock import Clock
from kubectl_imagecache.core.errors import AlreadyExists, BadUsage, NotFound, UserError
from kubectl_imagecache.core.plan import BuildPlan, contents_of
from kubectl_imagecache.core.pools import DiskImageRef
from kubectl_imagecache.core.reading import ReadPlan, reader_vm
from kubectl_imagecache.core.survey import Survey
from kubectl_imagecache.usecases.builder_report import ReportReader, follow
from kubectl_imagecache.usecases.patience import FIRST_WAIT_S, OperationFailed, Patience, Tell
from kubectl_imagecache.usecases.read_disk import ReadFailed, Reading
from kubectl_imagecache.usecases.stored_record import Forgotten, forget

ABORT_WAIT_S = 2.0
ABORT_PATIENCE_S = 300.0
"""Before an abort gives up what Compute doesn't remove; a disk image or a VM takes it a minute or two."""
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
    _findings: tuple[str, ...] | None = None
    _shown: Action | None = None

    def __post_init__(self) -> None:
        self.patience = Patience(self.clock, self.first_wait_s)

    def run(self) -> BuiltImage:
        """Go on until the disk image is READY and the VM gone; raises BuildFailed, and UserError where Compute refuses.

        Whatever ends this, the resources say how far it is, and another run goes on from there.
        """
        return self.patience.until(self._once, self.tell)

    def _once(self) -> BuiltImage | None:
        """Take the next step; the disk image once there is none."""
        seen = self._observe()
        step = next_step(seen)
        if step.action not in (self._shown, Action.FINISH, Action.FAIL):
            self.tell("step", {"step": step.action.value, "build": self.plan.build})
            self._shown = step.action
        if step.action is Action.FINISH:
            return seen.image
        if step.action is Action.FAIL:
            self._fail(seen, step)
        if step.action not in _WAITING:
            self.patience.reset()
        self._act(step.action, seen)
        return None

    def _observe(self) -> Observation:
        vm = self.compute.vm(self.plan.vm.zone, self.plan.build)
        image = self.compute.image(self.plan.output.ref)
        if vm is not None:
            self._seen_vm = True
            if image is None and vm.state in (VmState.RUNNING, VmState.STOPPED, VmState.STOPPING):
                follow(self.report, self.compute, vm, self.log, self.tell)
        family = self.plan.output.family
        return Observation(self.plan.build, family, vm, image, self.report.end, self._seen_vm, self._findings)

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
        elif action is Action.VERIFY and seen.image is not None:
            self._findings = self._read_back(seen.image)
        elif action is Action.MARK_VERIFIED:
            found = self.compute.described(plan.output.ref)
            labels = {**found.labels, VERIFIED: "boot"}
            operation = self.compute.label_image(plan.output.ref, labels, found.label_fingerprint)
            self._finish(operation, "the disk image's label")
        elif vm is None:
            raise AssertionError(f"{action} needs a VM")
        elif action is Action.MARK_FILLED:
            self._finish(self.compute.label_vm(vm, "imagecache-phase", FILLED), "the VM's label")
        elif action is Action.STOP_VM:
            self._finish(self.compute.stop_vm(vm), "stopping the VM")
        elif action is Action.CREATE_IMAGE:
            about = describe(plan, built_at(vm, self.clock))
            if about.record:
                # First, so that no disk image points to nothing.
                self.compute.storage().put(about.record)
            labels = about.labels | ({VERIFIED: PENDING} if plan.verify_boot else {})
            self._finish(self.compute.create_image(plan, vm.disk, about.text, labels), "the disk image")
        elif action is Action.DELETE_VM:
            self._finish(self.compute.delete_vm(vm), "deleting the VM")

    def _read_back(self, image: BuiltImage) -> tuple[str, ...]:
        """What is wrong with the disk image, read by a VM of its own; raises BuildFailed if that can't be done."""
        plan = self.plan
        reads = ReadPlan(plan.output.ref, image.id, plan.arch, reader_vm(plan.vm), contents=True, owner=plan.build)
        try:
            survey = Reading(self.compute, reads, self.clock, self.tell, self.log, self.first_wait_s).run()
        except ReadFailed as error:
            raise BuildFailed(
                f"the disk image could not be read back: {error.message}",
                f"rebuild --resume {plan.build} tries again, rebuild --abort {plan.build} removes it",
            ) from error
        return tuple(differences(plan, survey))

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
        mine = image is not None and image.build == self.plan.build
        if image is not None and mine and (image.unverified or image.state is not ImageState.READY):
            self._finish(self.compute.delete_image(self.plan.output.ref), "deleting the disk image")
        if seen.vm is not None:
            if image is None or image.build == self.plan.build:
                _forget(self.compute, _link(self.plan, seen.vm, self.clock), self.tell)
            self._finish(self.compute.delete_vm(seen.vm), "deleting the VM")
        raise BuildFailed(step.why, step.hint)


def differences(plan: BuildPlan, survey: Survey) -> list[str]:
    """What SURVEY found wrong with the disk, and how it is not what PLAN says; a line each."""
    held = {layer.chain_id for layer in survey.layers}
    listed = {image.digest for image in survey.images}
    missing = [f"the layer {chain_id} is missing" for chain_id in plan.layers if chain_id not in held]
    unlisted = [f"{image.ref} is not listed" for image in plan.images if image.digest not in listed]
    return [*survey.findings, *missing, *unlisted]


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
        # Without checksums there is nothing to compare with that would be worth reading all of it.
        verify=plan.checksums,
    )


@dataclass(frozen=True, slots=True)
class Description:
    """What a disk image says of itself."""

    text: str
    """Its description, with the compact record or a link to the full one."""
    labels: dict[str, str]
    record: StoredObject | None
    """The full record, if the description has no room for it and the plan names a folder."""


def describe(plan: BuildPlan, built: datetime) -> Description:
    """The disk image's description of what was BUILT when; the same moment gives the same."""
    contents = contents_of(plan, built, BUILDER)
    head = headline(plan, built.strftime("%Y-%m-%d"))
    packed = record.pack(contents, head)
    labels = record.labels(contents, build=plan.build, arch=plan.arch)
    if not packed.left_out or not plan.output.contents_url:
        return Description(packed.description, labels, None)
    body = record.to_json(contents).encode()
    sha256 = hashlib.sha256(body).hexdigest()
    full = StoredObject(f"{plan.output.contents_url}/{record.object_name(plan.output.ref.name, sha256)}", body)
    return Description(record.link(head, full.url, sha256), labels, full)


def built_at(vm: BuildVm, clock: Clock) -> datetime:
    """When VM was made, so that a second run describes the same build in the same words; else now."""
    try:
        return datetime.fromisoformat(vm.created.replace("Z", "+00:00"))
    except ValueError:
        return clock.now()


def not_recorded(plan: BuildPlan) -> list[str]:
    """What the disk image's own record will lack, or where else it goes, for want of room; said before building."""
    about = describe(plan, datetime.now(timezone.utc))
    if about.record:
        return [
            f"the description has no room for the record of {len(plan.images)} images: it goes to"
            f" {plan.output.contents_url}, with its SHA-256 in the description"
        ]
    packed = record.pack(contents_of(plan, datetime.now(timezone.utc), BUILDER), headline(plan, "2026-01-01"))
    names = ", ".join(image.ref.familiar for image in packed.left_out)
    hint = "(--contents-url gs://BUCKET keeps a whole record)"
    return [f"the description has no room to record {names} {hint}"] if names else []


def headline(plan: BuildPlan, day: str) -> str:
    """The first line of the description, for people."""
    images = "container image" if len(plan.images) == 1 else "container images"
    return f"{len(plan.images)} {images} for GKE nodes ({plan.arch}), built {day}."


def _link(plan: BuildPlan, vm: BuildVm, clock: Clock) -> record.RecordLink | None:
    """Where the build of PLAN on VM stores its full record, if it needs one."""
    return record.own_link(plan.output.ref.name, describe(plan, built_at(vm, clock)).text)


def _forget(compute: BuildCompute, link: record.RecordLink | None, tell: Tell) -> Forgotten:
    """Delete the record behind LINK, if there is one; that it has to stay is told."""
    gone = forget(compute.storage(), link) if link else Forgotten(False)
    if link and gone.stays:
        tell("left", {"what": f"record {link.url}", "why": gone.stays})
    return gone


def abort(compute: BuildCompute, build: str, clock: Clock, tell: Tell) -> list[str]:
    """Remove every trace of BUILD, whoever runs it, and return what was removed; looks until there is nothing.

    A disk image that is READY, and verified if it was to be, stays if the build had come to its end. Raises NotFound if
    there is no such build, and UserError for what is still there after ABORT_PATIENCE_S.
    """
    removed: list[str] = []
    kept: set[record.RecordLink] = set()
    until = clock.now() + timedelta(seconds=ABORT_PATIENCE_S)
    # A VM that only reads the disk image back has another name: by itself it doesn't make a finished one unfinished.
    names = {vm.name for vm in compute.vms(build)} | {disk.name for disk in compute.disks(build)}
    began = bool(names & {build, f"{build}-cache"})
    while True:
        vms, disks = compute.vms(build), compute.disks(build)
        made = compute.images("imagecache-build", build)
        images = [i for i in made if began or i.unverified or i.state is not ImageState.READY]
        if not (vms or disks or images):
            break
        if clock.now() > until:
            there = ", ".join([*(i.name for i in images), *(vm.name for vm in vms), *(d.name for d in disks)])
            raise UserError(f"Compute doesn't remove {there} of {build}", "look at them with gcloud, and abort again")
        # Records first: without its disk image nothing tells where one lies.
        links = [record.own_link(i.name, i.description) for i in images] or [_stored_by(vm, clock) for vm in vms]
        for link in set(filter(None, links)) - kept:
            gone = _forget(compute, link, tell)
            removed += [f"record {link.url}"] if gone.deleted else []
            kept |= {link} if gone.stays else set()
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


def _stored_by(vm: BuildVm, clock: Clock) -> record.RecordLink | None:
    if vm.phase != FILLED:
        return None  # Nothing is stored before the disk is whole.
    try:
        return _link(unpack_plan(vm.packed_plan, vm.name), vm, clock)
    except BadUsage:
        return None  # The plan in its metadata is no plan: nobody can have built it.


def _ref(image: BuiltImage) -> DiskImageRef:
    return DiskImageRef(image.project, image.name)
