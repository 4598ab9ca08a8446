"""`disks`: what builds have made and left."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from kubectl_imagecache.cli.disk_images import describe, gc
from kubectl_imagecache.cli.options import Command, Option, OutputFormat, Quantity

if TYPE_CHECKING:
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


def _age(text: str) -> float:
    from kubectl_imagecache.cli.quantities import span

    return span(text)


def _flags(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("-o", "--output", type=OutputFormat(), default="table", cls=Option, help="As in status."),
        click.option("--no-headers", is_flag=True, cls=Option, help="Only the rows."),
        click.option(
            "--older-than",
            type=Quantity("duration", _age),
            default="25h",
            show_default=True,
            cls=Option,
            help="What is younger may belong to a build under way, which lasts 24 h at the most.",
        ),
        click.option("--project", default="", cls=Option, help="Default gcloud's."),
    ):
        function = option(function)
    return function


@disks.command("list")
@_flags
def list_disks(project: str, older_than: float, output: str, no_headers: bool) -> None:
    """List the VMs, disks and disk images that carry a build's label.

    \b
    Examples:
      # Everything, orphans marked
      {program} disks list
      # Their names
      {program} disks list -o name
    """
    _show(_compute(project, os.environ), older_than, output, no_headers)


@disks.command()
@click.option("--yes", is_flag=True, cls=Option, help="Remove; without it nothing is changed.")
@_flags
def sweep(project: str, older_than: float, output: str, no_headers: bool, yes: bool) -> None:
    """Remove VMs, disks and unfinished disk images that builds have left; finished disk images stay.

    \b
    Examples:
      # What would go
      {program} disks sweep
      # Remove what is older than two hours
      {program} disks sweep --older-than 2h --yes
    """
    from kubectl_imagecache.cli.connect import clock
    from kubectl_imagecache.render.text import neutral
    from kubectl_imagecache.usecases import traces

    compute = _compute(project, os.environ)
    orphans = _show(compute, older_than, output, no_headers)
    if not orphans:
        return
    if not yes:
        sys.stderr.write("note: nothing was removed; add --yes\n")
        return
    removed = traces.sweep(compute, orphans, clock(os.environ), lambda name, about: None)
    sys.stderr.write("".join(f"removed {neutral(what)}\n" for what in removed))


def _compute(project: str, env: Mapping[str, str]) -> BuildCompute:
    from kubectl_imagecache.clients.compute_build import BuildCompute
    from kubectl_imagecache.clients.google_http import GoogleHttp
    from kubectl_imagecache.clients.target import gcloud_config
    from kubectl_imagecache.core.errors import BadUsage

    named = project or gcloud_config(env).project
    if not named:
        raise BadUsage("the project is not known", "name it with --project")
    return BuildCompute(GoogleHttp.from_env(env), named)


def _show(compute: BuildCompute, older_than: float, output: str, no_headers: bool) -> list[str]:
    from kubectl_imagecache.cli.connect import clock
    from kubectl_imagecache.core.traces import orphaned_builds
    from kubectl_imagecache.render.output import write
    from kubectl_imagecache.render.screen import Screen
    from kubectl_imagecache.render.traces import traces_view
    from kubectl_imagecache.usecases.traces import traces

    found = traces(compute)
    now = clock(os.environ).now()
    orphans = orphaned_builds(found, now, timedelta(seconds=older_than))
    screen = Screen(headers=not no_headers, wide=output == "wide")
    sys.stdout.write(write(traces_view(found, orphans, now, compute.project), output, screen))
    return orphans
