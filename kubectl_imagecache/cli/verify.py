"""`verify`: whether a disk image is what it should be."""

from __future__ import annotations

import click

from kubectl_imagecache.cli.options import Command, Flags
from kubectl_imagecache.cli.reading_options import ReadFlags, with_reading_flags


@click.command(cls=Command)
@with_reading_flags
def verify(disk_image: str, flags: Flags, read: ReadFlags) -> int:
    """Read a disk image's disk, ours or Google's, and check all that can be checked of it.

    \b
    Examples:
      # Is it sound? A finding a line, exit code 3 if there are any
      {program} verify my-disk --project p --zone us-central1-a
      # For a script
      {program} verify my-disk --yes -o json
      # Try it on a sandbox
      {program} verify inference-2026-01 --sandbox

    \b
    Checked are: the file system; that both metadata files are there and well
    formed; that each layer has its folder and each folder its layer; every
    checksum that the disk has; that each image has all its layers, where its
    registry can be asked; and the records on the disk and on the disk image.
    """
    from kubectl_imagecache.cli.read_run import verify as run

    return run(disk_image, flags, read)
