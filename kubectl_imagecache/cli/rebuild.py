"""`rebuild`: plans a new disk image and builds it."""

from __future__ import annotations

import click

from kubectl_imagecache.cli.options import Command, Flags, with_flags
from kubectl_imagecache.cli.rebuild_options import BuildFlags, with_build_flags


@click.command(cls=Command)
@with_flags
@with_build_flags
def rebuild(pools: tuple[str, ...], flags: Flags, build: BuildFlags) -> int:
    """Plan a new disk image for a pool, or for named images alone, and build it.

    \b
    Examples:
      # What would be built for a pool, and what it costs
      {program} rebuild gpu-a100 --dry-run
      # Build it; nothing is left behind but the disk image
      {program} rebuild gpu-a100
      # The same on a sandbox
      {program} rebuild inference --sandbox
      # Without any cluster
      {program} rebuild --image nvcr.io/nvidia/tritonserver:24.10-py3 --project p --zone us-central1-a
      # Review a plan, keep it in git, build just that
      {program} rebuild gpu-a100 --dry-run --save-plan plan.json
      {program} rebuild --plan plan.json
      # After a crash, or from another machine
      {program} rebuild --resume imagecache-4b9514f0fba2 --project p

    \b
    Every reference is pinned to a digest first. What the pool uses goes on the
    disk; what nothing uses now is dropped, unless --keep names it.
    """
    from kubectl_imagecache.cli.build_run import run

    return run(pools, flags, build)
