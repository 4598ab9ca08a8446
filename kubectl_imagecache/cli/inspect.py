"""`inspect`: what a disk image holds."""

from __future__ import annotations

import click

from kubectl_imagecache.cli.options import Command, Flags, Option
from kubectl_imagecache.cli.reading_options import ReadFlags, with_reading_flags


@click.command(cls=Command)
@with_reading_flags
@click.option("--boot", is_flag=True, cls=Option, help="Read the disk itself, even if the disk image has a record.")
@click.option("--adopt", is_flag=True, cls=Option, help="Write what was found to the disk image, as its record.")
def inspect(disk_image: str, flags: Flags, read: ReadFlags, boot: bool, adopt: bool) -> int:
    """Show what a disk image holds: from its record or, if it has none, by reading its disk once.

    \b
    Examples:
      # What does the disk image hold that Google's builder made?
      {program} inspect my-disk --project p --zone us-central1-a
      # Read it once, and let it say so from now on
      {program} inspect my-disk --adopt
      # What would be done
      {program} inspect my-disk --adopt --dry-run
      # Try it on a sandbox
      {program} inspect google-built --adopt --sandbox=unknown

    \b
    To read a disk takes a temporary VM with a copy of it, which it can't write
    to. Nothing of both is left. --adopt changes the disk image's description
    and labels alone, and keeps what its owner has written there.
    """
    from kubectl_imagecache.cli.read_run import inspect as run

    return run(disk_image, flags, read, boot=boot, adopt=adopt)
