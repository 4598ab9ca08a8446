"""`status`: which pools' caches are stale, why, and what to do."""

from __future__ import annotations

import click

from kubectl_imagecache.cli.options import Command, Flags, with_flags


@click.command(cls=Command)
@with_flags
def status(pools: tuple[str, ...], flags: Flags) -> int:
    """Show which node pools' image caches are stale, why, and what to do.

    \b
    Examples:
      # All pools of the current context's cluster
      {program} status
      # The same on a sandbox, with no cluster at hand
      {program} status --sandbox
      # Two pools, layer by layer, with every column
      {program} status gpu-a100 web --layers -o wide
      # In CI: fail if a cache is stale
      {program} status --exit-code --min-coverage 90%
      # The names of the stale pools
      {program} status -o jsonpath='{.pools[?(@.state=="STALE")].name}'

    \b
    States: NONE (no cache disk), FRESH, STALE, UNKNOWN (what the disk holds
    can't be told), BROKEN (the disk can't be used).
    """
    from kubectl_imagecache.cli.answer import answer
    from kubectl_imagecache.render.status import status_view

    return answer(flags, pools, status_view)
