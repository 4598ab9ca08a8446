"""`rebuild`: plans a new disk image and builds it."""

from __future__ import annotations

import os
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import click

from kubectl_imagecache.cli.build_roll import chosen, roll_flags
from kubectl_imagecache.cli.options import Command, Flags, with_flags
from kubectl_imagecache.cli.rebuild_options import BuildFlags, with_build_flags
from kubectl_imagecache.core.errors import BadUsage

_EVENT_FORMATS = ("table", "wide", "json", "name")


@click.command(cls=Command)
@with_flags
@with_build_flags
def rebuild(pools: tuple[str, ...], flags: Flags, build: BuildFlags, **roll: Any) -> int:
    """Plan a new disk image for a pool, or for named images alone, and build it.

    \b
    Examples:
      # What would be built for a pool, and what it costs
      {program} rebuild gpu-a100 --dry-run
      # Build it; nothing is left behind but the disk image
      {program} rebuild gpu-a100
      # Build it, and then move the pool to it
      {program} rebuild gpu-a100 --roll --max-unavailable 2 --soak 30m
      # The same on a sandbox
      {program} rebuild inference --sandbox
      # Drop only what nobody has used for a month, as recordings tell
      {program} rebuild gpu-a100 --unused-for 30d --seen-in pulls.jsonl
      # Without any cluster
      {program} rebuild --image nvcr.io/nvidia/tritonserver:24.10-py3 --project p --zone us-central1-a
      # Review a plan, keep it in git, build just that
      {program} rebuild gpu-a100 --dry-run --save-plan plan.json
      {program} rebuild --plan plan.json
      # After a crash, or from another machine
      {program} rebuild --resume imagecache-4b9514f0fba2 --project p

    \b
    Every reference is pinned to a digest first. What the pool uses goes on the
    disk; what nothing uses now is dropped, unless --keep names it or
    --unused-for finds that it was used lately.
    """
    if build.verify_only:
        return _verify_only(pools, flags, build)
    _check(pools, flags, build)
    from kubectl_imagecache.cli.build_run import run

    return run(pools, flags, build, chosen(next(iter(pools), ""), roll, build.roll))


rebuild.params += roll_flags()


def _verify_only(pools: tuple[str, ...], flags: Flags, build: BuildFlags) -> int:
    from kubectl_imagecache.cli.read_run import verify
    from kubectl_imagecache.cli.reading_options import ReadFlags

    if not build.image_name or pools or build.images:
        raise BadUsage("--verify-only checks the disk image that --image-name names", "verify DISK_IMAGE is the same")
    names = {field.name: getattr(build, field.name) for field in fields(ReadFlags)}
    if build.gcp_oauth:
        os.environ["GOOGLE_APPLICATION_CREDENTIALS"] = str(Path(build.gcp_oauth).resolve())
    project = build.project_name or flags.project
    return verify(build.image_name, replace(flags, project=project), ReadFlags(**names))


def _check(pools: tuple[str, ...], flags: Flags, build: BuildFlags) -> None:
    if len(pools) > 1:
        raise BadUsage("one pool at a time", "each has its own disk image")
    whole = [name for name in ("plan", "resume", "abort") if getattr(build, name)]
    if len(whole) > 1:
        raise BadUsage(f"--{whole[0]} and --{whole[1]} exclude each other")
    if whole and (pools or build.images or build.files or build.manifests):
        raise BadUsage(f"--{whole[0]} says what is built: name no pool or image with it")
    if not (whole or pools or build.images or build.files or build.manifests):
        raise BadUsage("nothing is named to build", "name a pool, or images with --image or --from-file")
    if (build.unused_for is not None) != bool(build.seen_in):
        raise BadUsage(
            "--unused-for and --seen-in go together", "`pulls --watch FILE` records what is used: --seen-in FILE"
        )
    if build.seen_in and not pools:
        raise BadUsage("--unused-for needs a pool", "it is about what is on the pool's disk now")
    if build.roll:
        _check_roll(pools, flags, build)
    if not build.dry_run and flags.output not in _EVENT_FORMATS:
        raise BadUsage(f"-o {flags.output} shows a plan only", "add --dry-run, or use -o json or -o name")
    if flags.from_folder and not build.dry_run:
        raise BadUsage("with --from nothing can be built", "add --dry-run, and --save-plan to build it elsewhere")


def _check_roll(pools: tuple[str, ...], flags: Flags, build: BuildFlags) -> None:
    if build.abort or build.resume:
        raise BadUsage("--roll goes with a pool or with --plan", "run the same `rebuild POOL --roll` again: it goes on")
    if not pools and not build.plan:
        raise BadUsage("--roll needs a pool to move", "name it: rebuild POOL --roll")
    if flags.from_folder:
        raise BadUsage("with --from there is no pool to move")
    if flags.output not in ("table", "json"):
        raise BadUsage(f"--roll has no -o {flags.output}", "leave it out, or take -o json")
