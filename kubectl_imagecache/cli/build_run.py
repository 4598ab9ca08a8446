"""Runs `rebuild`: plan, show, build, go on with a build, or abort one."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from kubectl_imagecache.cli import config
from kubectl_imagecache.cli.answer import Progress, policy, screen
from kubectl_imagecache.cli.build_order import order_of, wishes_of
from kubectl_imagecache.cli.build_progress import teller
from kubectl_imagecache.cli.build_roll import HandOver
from kubectl_imagecache.cli.build_unused import keep_recent
from kubectl_imagecache.cli.connect import Surrounding, connected, http_of, live, scope_of, surrounding
from kubectl_imagecache.cli.options import Flags
from kubectl_imagecache.cli.rebuild_options import BuildFlags
from kubectl_imagecache.cli.sandbox_clock import CONTROL, work_clock
from kubectl_imagecache.cli.vm_run import Interrupted, logged, look_first, must_ask
from kubectl_imagecache.clients.compute_build import BuildCompute
from kubectl_imagecache.clients.compute_preflight import Surroundings
from kubectl_imagecache.clients.google_http import GoogleHttp
from kubectl_imagecache.clients.registry import Registry
from kubectl_imagecache.clients.storage import StoredObject
from kubectl_imagecache.clients.target import gcloud_config
from kubectl_imagecache.core.build import ImageState
from kubectl_imagecache.core.build_requests import unpack_plan
from kubectl_imagecache.core.errors import AlreadyExists, BadUsage, NotFound, NotPermitted, UserError
from kubectl_imagecache.core.plan import BuildPlan, Vm, check_folder
from kubectl_imagecache.core.plan_json import from_json, to_json
from kubectl_imagecache.core.pools import DiskImageRef
from kubectl_imagecache.core.report import PoolStatus
from kubectl_imagecache.core.vm_wish import builder
from kubectl_imagecache.render.output import write
from kubectl_imagecache.render.plan import plan_view
from kubectl_imagecache.render.text import neutral
from kubectl_imagecache.usecases.plan import make_plan
from kubectl_imagecache.usecases.preflight import Look, check_project, name_is_free
from kubectl_imagecache.usecases.preflight_rules import without_credentials
from kubectl_imagecache.usecases.rebuild import Build, abort, not_recorded
from kubectl_imagecache.usecases.status import Options, status

REFUSED = 5
"""Exit code where the checklist of a roll refuses, as `roll` has it."""


@dataclass(frozen=True, slots=True)
class Session:
    """What one run works with."""

    flags: Flags
    build: BuildFlags
    around: Surrounding
    google: GoogleHttp
    settings: config.Settings
    roll: HandOver | None = None
    """What follows the build, with --roll."""

    def compute(self, project: str) -> BuildCompute:
        """Compute in PROJECT."""
        return BuildCompute(self.google, project)


def run(pools: tuple[str, ...], flags: Flags, build: BuildFlags, roll: Mapping[str, Any] | None) -> int:
    """Do what the flags ask for, ROLL being those of a roll that is to follow; the exit code. Raises UserError."""
    path = flags.config or config.find(Path.cwd())
    settings = config.load(path) if path else config.Settings()
    env = dict(os.environ)
    if build.gcp_oauth:
        env["GOOGLE_APPLICATION_CREDENTIALS"] = str(Path(build.gcp_oauth).resolve())
    with surrounding(flags, env) as around:
        # Long work waits by a sandbox's own time, as a roll does.
        around = replace(around, clock=work_clock(around.env)) if around.env.get(CONTROL) else around
        google = GoogleHttp.from_env(around.env, http_of(flags, around.env))
        follows = None if roll is None else HandOver(flags, around, google, roll)
        check_folder(build.gcs_path, "--gcs-path")
        session = Session(flags, build, around, google, settings, follows)
        if build.abort:
            return _abort(session)
        if build.resume:
            return _resume(session)
        saved = _read_plan(build.plan) if build.plan else None
        rolled = saved.pool if saved else next(iter(pools), "")
        if follows and not build.dry_run and follows.is_under_way(rolled, _cluster(session)):
            return follows.go_on(rolled)
        if saved:
            return _go(session, saved, lambda taken: saved)
        wishes = wishes_of(build)
        pool, project = _observed(session, pools)
        if pool and build.unused_for is not None:
            wishes = keep_recent(wishes, pool, build.seen_in, build.unused_for, around.clock.now())
        vm = _vm(session, pool, project)
        order = order_of(flags, build, vm, wishes, policy(flags, settings).rate)
        pin = Registry.from_env(around.env).pinned_many
        return _go(session, make_plan(pool, order, pin), lambda taken: make_plan(pool, order, pin, taken))


def _cluster(session: Session) -> str:
    return live(session.flags, scope_of(session.flags, session.settings), session.around).sources.cluster()


def _observed(session: Session, pools: tuple[str, ...]) -> tuple[PoolStatus | None, str]:
    """The pool's status (None without a cluster), and the cluster's project."""
    flags = session.flags
    if not pools:
        return None, ""
    progress = Progress(sys.stderr)
    options = Options(pools, flags.layers, policy(flags, session.settings))
    try:
        if flags.from_folder:
            with connected(flags, session.settings, session.around.env) as connection:
                report = status(connection.sources, options, progress.say)
        else:
            sources = live(flags, scope_of(flags, session.settings), session.around).sources
            report = status(sources, options, progress.say)
    finally:
        progress.clear()
    for gap in report.gaps:
        sys.stderr.write(f"warning: {neutral(gap.what)} not read: {neutral(gap.why)}\n")
        if gap.what == "pods":
            raise UserError("what the pool uses is not known", gap.hint or "name the images with --image")
    project = report.cluster.split("/")[1] if report.cluster.startswith("projects/") else ""
    return report.pools[0], project


def _vm(session: Session, pool: PoolStatus | None, project: str) -> Vm:
    """Where and on what to build, from flags, the pool, or gcloud's configuration."""
    build, flags = session.build, session.flags
    gcloud = gcloud_config(session.around.env)
    named = build.project_name or flags.project or project or gcloud.project
    if not named:
        raise BadUsage("the project to build in is not known", "name it with --project")
    place = build.zone or (pool.pool.location if pool else "") or gcloud.zone or flags.location or gcloud.region
    zone = place
    if place and place[-1:].isdigit():
        zones = Surroundings(session.google, named).zones(place) if not flags.from_folder else [f"{place}-a"]
        zone = zones[0] if zones else ""
    if not zone:
        raise BadUsage("the zone to build in is not known", "name it with --zone")
    arch = build.arch or (pool.pool.arch if pool else "")
    machine_type = build.machine_type or ("t2a-standard-4" if arch == "arm64" else "e2-standard-4")
    return Vm(
        named,
        zone,
        machine_type,
        build.disk_type,
        build.boot_image,
        build.network,
        build.subnet,
        build.service_account,
        build.external_ip,
        build.spot,
        build.tags,
        build.kms_key,
        build.timeout_s,
    )


def _go(session: Session, plan: BuildPlan, again: Callable[[int], BuildPlan]) -> int:
    """Show PLAN or build it; AGAIN makes it under another name for --force."""
    flags, build = session.flags, session.build
    compute = session.compute(plan.vm.project)
    if build.verify == "boot":
        plan = replace(plan, verify_boot=True)
    warnings = list(not_recorded(plan))
    if build.job_name:
        warnings.append("--job-name is not needed and changes nothing")
    if not build.dry_run:
        check_project(Surroundings(session.google, plan.vm.project), plan.vm.project)
        if build.force:
            plan = _free(compute, plan, again)
        elif name := _same(compute, plan):
            return _then_roll(session, plan, name, _already(session, name))
        plan = _joined(compute, plan)
    if build.preflight and not flags.from_folder:
        warnings += _preflight(session, compute, plan)
    if build.save_plan:
        _save(build.save_plan, plan)
    if build.dry_run:
        sys.stdout.write(write(plan_view(plan, warnings), flags.output, screen(flags, os.environ, sys.stdout)))
        return 0 if session.roll is None or session.roll.fits(plan, plan.output.ref) else REFUSED
    for warning in warnings:
        sys.stderr.write(f"warning: {neutral(warning)}\n")
    asks = must_ask(build.yes, flags.sandbox)
    if asks:
        sys.stderr.write(write(plan_view(plan, ()), "table", screen(flags, os.environ, sys.stderr)))
    if session.roll and not session.roll.fits(plan, plan.output.ref):
        sys.stderr.write("note: nothing was built, as the roll would refuse\n")
        return REFUSED
    if asks:
        then = f", and then move all pods away from {plan.pool}" if session.roll else ""
        click.confirm(f"Build it now{then}?", abort=True, err=True)
    return _then_roll(session, plan, plan.output.ref.name, _build(session, compute, plan))


def _joined(compute: BuildCompute, plan: BuildPlan) -> BuildPlan:
    """PLAN, or that of a build of the very same disk image which is under way in another zone: it is gone on with."""
    try:
        vms = compute.vms_of_plan(plan.hash)
    except NotPermitted:
        return plan  # Two builds of one plan do no harm: the second finds the name taken.
    for vm in vms:
        if vm.name == plan.build:
            continue
        theirs = unpack_plan(vm.packed_plan, vm.name)
        if theirs.output.ref == plan.output.ref:
            sys.stderr.write(
                f"note: {neutral(f'{vm.name} builds it already in {vm.zone}')}: that build is gone on with\n"
            )
            return theirs
    return plan


def _then_roll(session: Session, plan: BuildPlan, name: str, built: int) -> int:
    """BUILT, or how the roll to the disk image NAME came out if one is to follow."""
    if session.roll is None or built:
        return built
    ref = DiskImageRef(plan.vm.project, name)
    if not session.build.yes and not session.flags.sandbox and name != plan.output.ref.name:
        click.confirm(f"Move all pods away from {plan.pool} now?", abort=True, err=True)
    return session.roll.roll(plan, ref)


def _preflight(session: Session, compute: BuildCompute, plan: BuildPlan) -> list[str]:
    anybody = Registry.anonymous(session.around.env, http_of(session.flags, session.around.env))
    more: list[Look] = [
        lambda: name_is_free(compute, plan),
        lambda: list(without_credentials(plan, anybody.has)),
    ]
    return look_first(session.google, builder(plan), more, "it can't be built" if session.build.dry_run else "")


def _same(compute: BuildCompute, plan: BuildPlan) -> str:
    """The disk image of the same plan, finished and left behind by its build; empty if there is none.

    Raises AlreadyExists if there are only deprecated ones.
    """
    ready = [image for image in compute.images("imagecache-plan", plan.hash) if image.state is ImageState.READY]
    found = [image for image in ready if not image.unverified]
    # With its VM still there a build isn't finished: it is gone on with.
    if not found or compute.vm(plan.vm.zone, plan.build) is not None:
        return ""
    usable = [image for image in found if not image.deprecated]
    if not usable:
        name = found[0].name
        raise AlreadyExists(
            f"the disk image {name} holds just this, but it is deprecated",
            f"gcloud compute images deprecate {name} --state ACTIVE --project {compute.project},"
            " or --force builds anew",
        )
    return usable[0].name


def _free(compute: BuildCompute, plan: BuildPlan, again: Callable[[int], BuildPlan]) -> BuildPlan:
    """PLAN under the first name that is free, or whose build is under way: that one is gone on with."""
    for taken in range(1, 100):
        if compute.image(plan.output.ref) is None or compute.vm(plan.vm.zone, plan.build) is not None:
            return plan
        numbered = again(taken)
        if numbered.output.ref == plan.output.ref:
            break
        plan = numbered
    raise BadUsage(f"there is a disk image {plan.output.ref.name} already", "take another name with --image-name")


def _already(session: Session, name: str) -> int:
    if session.flags.output == "name":
        sys.stdout.write(f"diskimage/{name}\n")
    else:
        tell = teller(session.flags, session.build.quiet)
        tell.end("exists", {"diskImage": name}, f"The disk image {name} holds just this already (--force builds anew).")
    return 0


def _build(session: Session, compute: BuildCompute, plan: BuildPlan) -> int:
    tell = teller(session.flags, session.build.quiet)

    def keep(log: Path) -> None:
        tell.clear()
        _store_log(session, compute, plan, log)

    try:
        with logged(session.around.env, plan.build, keep) as log:
            image = Build(compute, plan, session.around.clock, tell.event, log).run()
    except KeyboardInterrupt:
        tell.clear()
        raise Interrupted(
            f"left alone: {plan.build} goes on, for {plan.vm.timeout_s // 60} minutes at the most",
            f"--resume {plan.build} follows it, --abort {plan.build} removes it",
        ) from None
    done = f"The disk image {image.name} is ready: projects/{image.project}/global/images/{image.name}"
    tell.end("ready", {"diskImage": image.name, "project": image.project, "build": plan.build}, done)
    return 0


def _store_log(session: Session, compute: BuildCompute, plan: BuildPlan, log: Path) -> None:
    """Store the VM's log in the folder that --gcs-path names as well; that it can't be is no reason to fail."""
    folder = check_folder(session.build.gcs_path, "--gcs-path")
    if not folder:
        return
    url = f"{folder}/{plan.build}-{session.around.clock.now():%Y%m%dT%H%M%S}.log"
    try:
        compute.storage().put(StoredObject(url, log.read_bytes()))
    except (UserError, OSError) as error:
        sys.stderr.write(f"warning: the log was not stored in {neutral(url)}: {neutral(str(error))}\n")
    else:
        if not session.build.quiet:
            sys.stderr.write(f"the VM's log is in {url}\n")


def _resume(session: Session) -> int:
    name = session.build.resume
    compute = session.compute(_project(session))
    vms = [vm for vm in compute.vms(name) if vm.packed_plan]  # Not the one that reads the disk image back.
    if vms:
        return _build(session, compute, unpack_plan(vms[0].packed_plan, name))
    made = compute.images("imagecache-build", name)
    if any(image.state is ImageState.READY and not image.unverified for image in made):
        return _already(session, made[0].name)
    raise NotFound(f"there is no build {name} in {compute.project}", "it may have been aborted; build the plan again")


def _abort(session: Session) -> int:
    name = session.build.abort
    if must_ask(session.build.yes, session.flags.sandbox):
        click.confirm(f"Remove every trace of {name}?", abort=True, err=True)
    tell = teller(session.flags, session.build.quiet)
    removed = abort(session.compute(_project(session)), name, session.around.clock, tell.event)
    tell.end("aborted", {"build": name, "removed": removed}, f"Removed {', '.join(removed)}.")
    return 0


def _project(session: Session) -> str:
    named = session.build.project_name or session.flags.project or gcloud_config(session.around.env).project
    if not named:
        raise BadUsage("the build's project is not known", "name it with --project")
    return named


def _read_plan(path: Path) -> BuildPlan:
    try:
        return from_json(path.read_bytes(), str(path))
    except OSError as error:
        raise BadUsage(f"{path} can't be read: {error.strerror}") from error


def _save(path: Path, plan: BuildPlan) -> None:
    try:
        path.write_text(to_json(plan), encoding="utf-8")
    except OSError as error:
        raise BadUsage(f"{path} can't be written: {error.strerror}") from error
