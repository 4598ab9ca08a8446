"""`disks`: what builds have made and left."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from kubectl_imagecache.cli.disk_images import describe, gc, project_of, span
from kubectl_imagecache.cli.options import Command, Option, OutputFormat, Quantity, Scenario

if TYPE_CHECKING:
    from kubectl_imagecache.cli.connect import Surrounding
    from kubectl_imagecache.clients.compute_build import BuildCompute


class Group(click.Group):
    """A group whose help shows the name that the user typed."""

    command_class = Command

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The help text with its examples."""
        from kubectl_imagecache.cli.main import fill

        for paragraph in fill(self.help or "", ctx.find_root().info_name or ""):
            formatter.write(paragraph)


@click.group("disks", cls=Group, no_args_is_help=True)
def disks() -> None:
    """The disk images of a project: what builds have made, what is orphaned, what nobody needs any more.

    \b
    Examples:
      # What one disk image holds, and what uses it
      {program} disks describe web-2026-01
      # Disk images that nothing uses: what would become of them
      {program} disks gc
      # VMs, disks and disk images that carry a build's label
      {program} disks list --project p
      # What would be removed, and then remove it
      {program} disks sweep --project p
      {program} disks sweep --project p --yes
    """


disks.add_command(describe)
disks.add_command(gc)


def _flags(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("-o", "--output", type=OutputFormat(), default="table", cls=Option, help="As in status."),
        click.option("--no-headers", is_flag=True, cls=Option, help="Only the rows."),
        click.option(
            "--older-than",
            type=Quantity("duration", span),
            default="25h",
            show_default=True,
            cls=Option,
            help="What is younger may belong to a build under way, which lasts 24 h at the most.",
        ),
        click.option("--project", default="", cls=Option, help="Default gcloud's."),
        click.option(
            "--sandbox",
            type=Scenario(),
            default="",
            metavar="[=SCENARIO]",
            cls=Option,
            help="Show it on a sandbox.",
        ),
    ):
        function = option(function)
    return function


@disks.command("list")
@_flags
def list_disks(project: str, older_than: float, output: str, no_headers: bool, sandbox: str) -> None:
    """List the VMs, disks and disk images that carry a build's label.

    \b
    Examples:
      # Everything, orphans marked
      {program} disks list
      # Their names
      {program} disks list -o name
      # On a sandbox
      {program} disks list --sandbox
    """
    from kubectl_imagecache.cli.connect import inside

    with inside(sandbox, os.environ) as around:
        _show(_compute(project, around), around, older_than, output, no_headers)


@disks.command()
@click.option("--yes", is_flag=True, cls=Option, help="Remove; without it nothing is changed.")
@_flags
def sweep(project: str, older_than: float, output: str, no_headers: bool, yes: bool, sandbox: str) -> None:
    """Remove VMs, disks and unfinished disk images that builds have left; finished disk images stay.

    \b
    Examples:
      # What would go
      {program} disks sweep
      # Remove what is older than two hours
      {program} disks sweep --older-than 2h --yes
      # On a sandbox
      {program} disks sweep --sandbox
    """
    from kubectl_imagecache.cli.connect import inside
    from kubectl_imagecache.render.text import neutral
    from kubectl_imagecache.usecases import traces

    with inside(sandbox, os.environ) as around:
        compute = _compute(project, around)
        orphans = _show(compute, around, older_than, output, no_headers)
        if not orphans:
            return
        if not yes:
            sys.stderr.write("note: nothing was removed; add --yes\n")
            return

        def tell(name: str, about: Mapping[str, Any]) -> None:
            if name == "left":
                sys.stderr.write(f"warning: {neutral(about['what'])} stays: {neutral(about['why'])}\n")

        removed = traces.sweep(compute, orphans, around.clock, tell)
        sys.stderr.write("".join(f"removed {neutral(what)}\n" for what in removed))


def _compute(project: str, around: Surrounding) -> BuildCompute:
    from kubectl_imagecache.clients.compute_build import BuildCompute
    from kubectl_imagecache.clients.google_http import GoogleHttp

    return BuildCompute(GoogleHttp.from_env(around.env), project_of(project, around.env))


def _show(compute: BuildCompute, around: Surrounding, older_than: float, output: str, no_headers: bool) -> list[str]:
    from kubectl_imagecache.cli.answer import terminal
    from kubectl_imagecache.core.traces import orphaned_builds
    from kubectl_imagecache.render.output import write
    from kubectl_imagecache.render.traces import traces_view
    from kubectl_imagecache.usecases.traces import traces

    found = traces(compute)
    now = around.clock.now()
    orphans = orphaned_builds(found, now, timedelta(seconds=older_than))
    screen = terminal(output, os.environ, sys.stdout, headers=not no_headers)
    sys.stdout.write(write(traces_view(found, orphans, now, compute.project), output, screen))
    sys.stdout.flush()
    return orphans
