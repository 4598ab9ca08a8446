"""The flags that `inspect` and `verify` share: which disk image, and the temporary VM that reads it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import click

from kubectl_imagecache.cli.options import Option, OutputFormat, complete_disk_images, with_cluster_flags
from kubectl_imagecache.cli.rebuild_options import of_every_vm

_VM, _OUTPUT = "The temporary VM", "Output"


@dataclass(frozen=True, slots=True)
class ReadFlags:
    """The flags as given; empty where one wasn't."""

    zone: str
    machine_type: str
    boot_image: str
    network: str
    subnet: str
    tags: tuple[str, ...]
    kms_key: str
    timeout_s: int
    preflight: bool
    dry_run: bool
    yes: bool
    quiet: bool


def _options() -> Iterator[Callable[[Any], Any]]:
    def option(section: str, *names: str, **settings: Any) -> Callable[[Any], Any]:
        return click.option(*names, cls=Option, section=section, **settings)

    yield option(_VM, "--zone", default="", help="Zone to read in; default gcloud's, or one of the cluster's.")
    yield option(_VM, "--machine-type", default="", help="Default e2-standard-2, t2a-standard-2 for arm64.")
    yield option(_VM, "--boot-image", default="", help="An image or family; default the newest Debian 12.")
    yield option(_VM, "--kms-key", default="", help="Cloud KMS key for the VM's disks.")
    yield from of_every_vm(option, _VM)
    yield option(_OUTPUT, "--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
    yield option(_OUTPUT, "-y", "--yes", is_flag=True, help="Don't ask first.")
    yield option(_OUTPUT, "-q", "--quiet", is_flag=True, help="Don't say what is being done.")
    yield option(_OUTPUT, "-o", "--output", type=OutputFormat(), default="table", help="As in status.")
    yield option(_OUTPUT, "--no-headers", is_flag=True, help="Only the rows: no headers, no text beneath.")
    yield option(_OUTPUT, "--debug", is_flag=True, expose_value=False, help="Show a traceback if something goes wrong.")


def with_reading_flags(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command a DISK_IMAGE argument and the flags; it is called as FUNCTION(disk_image, flags, read, **its own).

    FLAGS are the shared ones: those that name a cluster, a project or a sandbox, and of the output.
    """

    @functools.wraps(function)
    def call(disk_image: str, flags: Any, **given: Any) -> Any:
        read = ReadFlags(**{field.name: given.pop(field.name) for field in fields(ReadFlags)})
        return function(disk_image, flags, read, **given)

    decorated: Callable[..., Any] = call
    for option in reversed(list(_options())):
        decorated = option(decorated)
    decorated = with_cluster_flags(decorated)
    return click.argument("disk_image", metavar="DISK_IMAGE", shell_complete=complete_disk_images)(decorated)
