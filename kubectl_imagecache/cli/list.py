"""`list`: the container images on each pool's cache disk."""

from __future__ import annotations

import click

from kubectl_imagecache.cli.options import Command, Flags, with_flags


@click.command("list", cls=Command)
@with_flags
def list_images(pools: tuple[str, ...], flags: Flags) -> int:
    """List the container images on each pool's cache disk, with the pods and nodes that use them.

    \b
    Examples:
      # Every pool
      {program} list
      # One pool, with digests in full, for a spreadsheet
      {program} list gpu-a100 -o csv
      # What is cached on a sandbox
      {program} list --sandbox
      # References only
      {program} list -o jsonpath='{range .items[*]}{.image}{"\\n"}{end}'
    """
    from kubectl_imagecache.cli.answer import answer
    from kubectl_imagecache.render.images import list_view

    return answer(flags, pools, list_view)


list = list_images
