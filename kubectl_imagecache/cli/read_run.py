"""Runs `inspect` and `verify`: finds the disk image, reads it on a VM if need be, shows and records what was found."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import click

from kubectl_imagecache.cli.answer import screen
from kubectl_imagecache.cli.build_progress import Teller
from kubectl_imagecache.cli.connect import Surrounding, http_of, kube_options, surrounding
from kubectl_imagecache.cli.options import Flags
from kubectl_imagecache.cli.reading_options import ReadFlags
from kubectl_imagecache.cli.vm_run import Interrupted, logged, look_first, must_ask
from kubectl_imagecache.clients import google_auth
from kubectl_imagecache.clients.compute import Compute
from kubectl_imagecache.clients.compute_build import BuildCompute
from kubectl_imagecache.clients.compute_preflight import Surroundings
from kubectl_imagecache.clients.gke import disk_image_ref
from kubectl_imagecache.clients.google_http import GoogleHttp
from kubectl_imagecache.clients.kube import Kube
from kubectl_imagecache.clients.registry import Registry
from kubectl_imagecache.clients.target import ClusterTarget, gcloud_config, guess
from kubectl_imagecache.core.adopt import Adoption
from kubectl_imagecache.core.contents import Contents
from kubectl_imagecache.core.errors import BadUsage, UserError
from kubectl_imagecache.core.inspection import Inspection, disagreements
from kubectl_imagecache.core.plan import Vm
from kubectl_imagecache.core.pools import DiskImage
from kubectl_imagecache.core.reading import READER_DISK, ReadPlan
from kubectl_imagecache.core.survey import Survey
from kubectl_imagecache.core.vm_wish import reader
from kubectl_imagecache.render.inspection import inspection_view, verification_view
from kubectl_imagecache.render.output import write
from kubectl_imagecache.render.text import neutral
from kubectl_imagecache.render.view import View
from kubectl_imagecache.usecases import inspect as usecase
from kubectl_imagecache.usecases.patience import Patience
from kubectl_imagecache.usecases.read_disk import Reading

BAD = 3
"""Exit code of `verify` for a disk image that was read and isn't as it should be."""


@dataclass(frozen=True, slots=True)
class Session:
    """What one run works with."""

    flags: Flags
    read: ReadFlags
    around: Surrounding
    google: GoogleHttp
    registry: Registry
    image: DiskImage
    vm: Vm | None
    """Where a VM would read; None: the zone isn't known."""
    tell: Teller

    @property
    def compute(self) -> BuildCompute:
        """Compute in the disk image's own project."""
        return BuildCompute(self.google, self.image.ref.project)


def inspect(disk_image: str, flags: Flags, read: ReadFlags, *, boot: bool, adopt: bool) -> int:
    """Show what DISK_IMAGE holds, and with ADOPT write it there; the exit code. Raises UserError."""
    with _session(disk_image, flags, read) as session:
        if adopt:
            usecase.check_adoptable(session.image)
        must_read = boot or not isinstance(session.image.contents, Contents)
        question = [_reads(session, _plan(session, contents=False))] if must_read else []
        question += [f"write its record to the description and labels of {session.image.ref}"] if adopt else []
        if must_read:
            _look_first(session, _plan(session, contents=False), adopt)
        if read.dry_run:
            return _would(question)
        if question:
            _ask(session, question)
        if must_read:
            survey = _survey(session, _plan(session, contents=False))
            inspection = usecase.of_survey(session.image, survey, session.registry.facts_many)
        else:
            inspection = usecase.of_record(session.image, session.registry.facts_many)
        _show(session, inspection_view(inspection))
        if adopt:
            _say_adopted(inspection, _adopt(session, inspection))
        return 0


def verify(disk_image: str, flags: Flags, read: ReadFlags) -> int:
    """Read DISK_IMAGE and say what is wrong with it; BAD if anything is. Raises UserError."""
    with _session(disk_image, flags, read) as session:
        plan = _plan(session, contents=True)
        _look_first(session, plan, adopt=False)
        if read.dry_run:
            return _would([_reads(session, plan)])
        _ask(session, [_reads(session, plan)])
        inspection = usecase.of_survey(session.image, _survey(session, plan), session.registry.facts_many)
        findings = [*inspection.findings, *disagreements(inspection)]
        _show(session, verification_view(inspection, findings))
        return BAD if findings else 0


@contextmanager
def _session(disk_image: str, flags: Flags, read: ReadFlags) -> Iterator[Session]:
    with surrounding(flags, os.environ) as around:
        http = http_of(flags, around.env)
        auth = google_auth.from_env(around.env, http)
        google = GoogleHttp.from_env(around.env, http, auth)
        project, place = _where(flags, around)
        ref = disk_image_ref(disk_image, project)
        if not ref.project:
            raise BadUsage(f"the project of the disk image {disk_image} is not known", "name it with --project")
        image = usecase.readable_image(Compute(google), ref)
        zone = read.zone or place
        if zone[-1:].isdigit():
            zone = next(iter(Surroundings(google, ref.project).zones(zone)), "")
        vm = _vm(read, image, zone) if zone else None
        tell = Teller(sys.stdout, sys.stderr, "table", read.quiet)
        yield Session(flags, read, around, google, Registry.from_env(around.env, http, auth), image, vm, tell)


def _where(flags: Flags, around: Surrounding) -> tuple[str, str]:
    """The project and the zone or region that are meant; empty where they aren't known."""
    gcloud = gcloud_config(around.env)
    project, place = flags.project or gcloud.project, flags.location or gcloud.zone or gcloud.region
    if project and place:
        return project, place
    try:
        kube = Kube.connect(kube_options(flags), around.env)
        found = guess(
            (flags.project, flags.location, flags.cluster_name), kube.context, kube.server, None, lambda: gcloud
        )
    except UserError:
        return project, place  # no cluster is needed for this
    if not isinstance(found, ClusterTarget):
        return project, place
    return project or found.project, place or found.location


def _vm(read: ReadFlags, image: DiskImage, zone: str) -> Vm:
    machine_type = read.machine_type or ("t2a-standard-2" if image.arch == "arm64" else "e2-standard-2")
    return Vm(
        image.ref.project,
        zone,
        machine_type,
        READER_DISK,
        read.boot_image,
        read.network,
        read.subnet,
        tags=read.tags,
        kms_key=read.kms_key,
        timeout_s=read.timeout_s,
    )


def _plan(session: Session, contents: bool) -> ReadPlan:
    image = session.image
    if session.vm is None:
        raise BadUsage("the zone to read in is not known", "name it with --zone")
    return ReadPlan(image.ref, image.id, image.arch or "amd64", session.vm, contents)


def _reads(session: Session, plan: ReadPlan) -> str:
    size = f" of {session.image.size_gb} GiB" if session.image.size_gb else ""
    return (
        f"read {plan.image} with the temporary VM {plan.name} ({plan.vm.machine_type}, {plan.vm.zone}) and a copy{size}"
    )


def _look_first(session: Session, plan: ReadPlan, adopt: bool) -> None:
    """Warn of what may keep the VM of PLAN from reading; raises the first of what certainly will."""
    if not session.read.preflight:
        return
    wish = reader(plan, session.image.size_gb or 0, adopt)
    for warning in look_first(session.google, wish, (), "it can't be read" if session.read.dry_run else ""):
        sys.stderr.write(f"warning: {neutral(warning)}\n")


def _would(actions: list[str]) -> int:
    words = [f"Would {neutral(action)}.\n" for action in actions] or ["Would only read the disk image's record.\n"]
    sys.stdout.write("".join(words))
    return 0


def _ask(session: Session, actions: list[str]) -> None:
    """Ask first if the user is to be asked."""
    if not must_ask(session.read.yes, session.flags.sandbox):
        return
    for action in actions:
        sys.stderr.write(f"This will {neutral(action)}.\n")
    click.confirm("Do it now?", abort=True, err=True)


def _survey(session: Session, plan: ReadPlan) -> Survey:
    reading = Reading(session.compute, plan, session.around.clock, session.tell.event)
    try:
        with logged(session.around.env, plan.name) as reading.log:
            return reading.run()
    except KeyboardInterrupt:
        session.tell.clear()
        raise _stopped(reading, plan) from None
    finally:
        session.tell.clear()


def _stopped(reading: Reading, plan: ReadPlan) -> Interrupted:
    """Clean up after Ctrl-C, and say what is left."""
    try:
        removed = reading.stop()
    except UserError as error:
        minutes = plan.vm.timeout_s // 60
        return Interrupted(
            f"stopped; the VM {plan.name} could not be deleted ({error.message}), but is gone within {minutes} minutes",
            f"rebuild --abort {plan.build} --project {plan.vm.project} removes it",
        )
    return Interrupted(f"stopped; the VM {plan.name} is being deleted with its disks" if removed else "stopped")


def _adopt(session: Session, inspection: Inspection) -> Adoption:
    patience = Patience(session.around.clock)
    try:
        return usecase.adopt(session.compute, inspection, patience, session.tell.event)
    finally:
        session.tell.clear()


def _say_adopted(inspection: Inspection, adopted: Adoption) -> None:
    ref = inspection.disk_image.ref
    words = f"{ref} says so already." if adopted.nothing else f"The record was written to {ref}."
    sys.stderr.write(f"{neutral(words)}\n")
    for image in adopted.left_out:
        sys.stderr.write(f"warning: the description has no room to record {neutral(image.ref.familiar)}\n")
    missing = [found for found in inspection.images if found.image not in inspection.contents.images]
    for found in missing:
        sys.stderr.write(f"warning: not recorded, as layers of it are missing: {neutral(found.image.ref.familiar)}\n")


def _show(session: Session, view: View) -> None:
    sys.stdout.write(write(view, session.flags.output, screen(session.flags, os.environ, sys.stdout)))
    sys.stdout.flush()
