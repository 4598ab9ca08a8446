"""`diff`: what a pool uses against what its cache disk holds."""

from __future__ import annotations

import click

from kubectl_imagecache.cli.options import Command, Flags, Option, with_flags


@click.command(cls=Command)
@click.option(
    "-a", "--all", "everything", cls=Option, section="Output", is_flag=True, help="Show what stays as it is, too."
)
@with_flags
def diff(pools: tuple[str, ...], flags: Flags, everything: bool) -> int:
    """Show what a pool uses against what its cache disk holds.

    \b
    Examples:
      # One pool
      {program} diff gpu-a100
      # Layer by layer: what a new node would still pull
      {program} diff gpu-a100 --layers
      # What stays, too
      {program} diff gpu-a100 --all
      # For a pull request
      {program} diff gpu-a100 -o markdown

    \b
    Signs: + used but not cached, ~ cached under another tag or digest,
    - cached but unused, ? can't be told, = cached and used, ! ignored.
    """
    from kubectl_imagecache.cli.answer import answer
    from kubectl_imagecache.render.diff import diff_view

    shown = everything or flags.output == "wide"
    return answer(flags, pools, lambda report: diff_view(report, everything=shown, layers=flags.layers))
