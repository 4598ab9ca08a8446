"""Read a disk image on a temporary VM: observe, take one step, observe again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kubectl_imagecache.builder.bundle import reading_script
from kubectl_imagecache.clients.compute_build import BuildCompute, Operation
from kubectl_imagecache.core.build import BuildVm, VmState
from kubectl_imagecache.core.build_requests import DEVICE
from kubectl_imagecache.core.clock import Clock
from kubectl_imagecache.core.errors import AlreadyExists, UserError
from kubectl_imagecache.core.reading import ReadAction, ReadObservation, ReadPlan, ReadStep, next_read_step
from kubectl_imagecache.core.survey import Survey
from kubectl_imagecache.core.survey_wire import EVENT, Pieces
from kubectl_imagecache.usecases.builder_report import ReportReader, follow
from kubectl_imagecache.usecases.patience import FIRST_WAIT_S, OperationFailed, Patience, Tell

OVER = "over"
"""The event after which the VM says nothing more."""
_WAITING = (ReadAction.WAIT_FOR_BOOT, ReadAction.WAIT_FOR_READER, ReadAction.WAIT_FOR_STOP)


class ReadFailed(UserError):
    """A reading ended without a whole report; nothing of it is left in the cloud."""


@dataclass(slots=True)
class Reading:
    """One run of a client at one reading."""

    compute: BuildCompute
    plan: ReadPlan
    clock: Clock
    tell: Tell
    log: Callable[[str], None] = lambda text: None
    """Takes the serial port's text as it comes."""
    first_wait_s: float = FIRST_WAIT_S
    report: ReportReader = field(default_factory=ReportReader)
    pieces: Pieces = field(default_factory=Pieces)
    patience: Patience = field(init=False)
    _over: bool = False
    _seen_vm: bool = False
    _shown: ReadAction | None = None

    def __post_init__(self) -> None:
        self.patience = Patience(self.clock, self.first_wait_s)

    def run(self) -> Survey:
        """Go on until the report is whole and the VM gone; raises ReadFailed, and UserError where Compute refuses.

        Whatever ends this, another run finds the VM by its name and goes on, or begins again.
        """
        return self.patience.until(self._once, self.tell)

    def _once(self) -> Survey | None:
        """Take the next step; the survey once there is none."""
        seen = self._observe()
        step = next_read_step(seen)
        if step.action not in (self._shown, ReadAction.FINISH, ReadAction.FAIL):
            self.tell("step", {"step": step.action.value, "build": self.plan.name})
            self._shown = step.action
        if step.action is ReadAction.FINISH:
            return self._survey()
        self._act(step, seen.vm)
        return None

    def stop(self) -> bool:
        """Begin to delete the VM and its disks, without waiting; whether there was one. Raises what `run` raises."""
        vm = self.compute.vm(self.plan.vm.zone, self.plan.name)
        return vm is not None and self.compute.delete_vm(vm) is not None

    def _survey(self) -> Survey:
        survey = self.pieces.survey()
        if survey is None:
            raise ReadFailed("the VM's report is damaged", "run it again")
        return survey

    def _observe(self) -> ReadObservation:
        vm = self.compute.vm(self.plan.vm.zone, self.plan.name)
        if vm is not None:
            self._seen_vm = True
            if vm.state is not VmState.STARTING and self.pieces.missing:
                follow(self.report, self.compute, vm, self.log, self._hear)
        missing = self.pieces.missing
        return ReadObservation(vm, missing == 0, missing, self.report.end, self._over, self._seen_vm)

    def _hear(self, name: str, fields: Mapping[str, Any]) -> None:
        if name == EVENT:
            self.pieces.take(fields)
            return
        self._over = self._over or name == OVER
        self.tell(name, fields)

    def _act(self, step: ReadStep, vm: BuildVm | None) -> None:
        if step.action in _WAITING:
            self.patience.wait()
            return
        self.patience.reset()
        try:
            if step.action is ReadAction.CREATE_VM:
                self._create()
            elif vm is not None:
                self._finish(self.compute.delete_vm(vm), "deleting the VM")
        except AlreadyExists as error:
            # Somebody else, or an earlier try of which the answer was lost, was faster: look again.
            self.tell("retry", {"why": error.message})
            self.patience.wait()
        if step.action is ReadAction.FAIL:
            raise ReadFailed(step.why, step.hint)

    def _create(self) -> None:
        script = reading_script(f"/dev/disk/by-id/google-{DEVICE}", contents=self.plan.contents)
        self._finish(self.compute.create_reader(self.plan, script), "the VM")
        self._seen_vm = True

    def _finish(self, operation: Operation | None, what: str) -> None:
        hint = f"rebuild --abort {self.plan.build} removes what is left"
        try:
            self.patience.finish(self.compute, operation, what, hint)
        except OperationFailed as error:
            raise ReadFailed(error.message, error.hint) from error
