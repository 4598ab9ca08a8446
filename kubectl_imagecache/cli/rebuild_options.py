"""The flags of `rebuild` beside the shared ones, with gke-disk-image-builder's names for those who know it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import click

from kubectl_imagecache.cli.options import Option, Quantity

_FILE = click.Path(dir_okay=False, path_type=Path)
_WHAT, _DISK, _VM, _REGISTRIES, _BUILD, _OLD = (
    "What goes on the disk",
    "The disk image",
    "The temporary VM",
    "Registries",
    "The build",
    "For users of gke-disk-image-builder",
)


@dataclass(frozen=True, slots=True)
class BuildFlags:
    """The flags as given; None or empty where one wasn't."""

    images: tuple[str, ...]
    files: tuple[Path, ...]
    manifests: tuple[Path, ...]
    k8s_namespace: str
    keep: tuple[str, ...]
    unused_for: float | None
    """Seconds."""
    seen_in: tuple[Path, ...]
    drop: tuple[str, ...]
    arch: str
    max_disk_size: int | None
    """Bytes."""
    disk_size_gb: int | None
    headroom: float
    image_name: str
    family: str | None
    labels: tuple[str, ...]
    storage_location: str
    contents_url: str
    checksums: bool
    project_name: str
    zone: str
    machine_type: str
    disk_type: str
    boot_image: str
    network: str
    subnet: str
    tags: tuple[str, ...]
    service_account: str
    external_ip: bool
    spot: bool
    kms_key: str
    timeout_s: int
    pull_auth: str
    registry_auth: tuple[str, ...]
    registry_mirror: tuple[str, ...]
    prices: tuple[str, ...]
    dry_run: bool
    save_plan: Path | None
    plan: Path | None
    resume: str
    abort: str
    yes: bool
    force: bool
    roll: bool
    preflight: bool
    quiet: bool
    gcs_path: str
    gcp_oauth: str
    job_name: str
    verify: str
    verify_only: bool


def seconds(text: str) -> int:
    """Whole seconds of a Go duration (`20m`, `1h30m`) or a plain number; raise ValueError outside of 30 s to 24 h."""
    from kubectl_imagecache.core.pulls import parse_duration

    found = int(text) if text.isascii() and text.isdecimal() else parse_duration(text) // 1_000_000_000
    if not 30 <= found <= 86_400:
        raise ValueError(f"{text!r} is not between 30s and 24h")
    return found


def _bytes(text: str) -> int:
    from kubectl_imagecache.cli import quantities

    return quantities.size(text)


def _span(text: str) -> float:
    from kubectl_imagecache.cli import quantities

    return quantities.span(text)


def _headroom(text: str) -> float:
    from kubectl_imagecache.cli import quantities

    return 1.0 + quantities.share(text)


def _options() -> Iterator[Callable[[Any], Any]]:
    def option(section: str, *names: str, **settings: Any) -> Callable[[Any], Any]:
        return click.option(*names, cls=Option, section=section, **settings)

    yield option(
        _WHAT, "--image", "--container-image", "images", multiple=True, metavar="REF", help="Add it (repeatable)."
    )
    yield option(
        _WHAT, "--from-file", "files", multiple=True, type=_FILE, help="A YAML with `images:`, a list of references."
    )
    yield option(
        _WHAT,
        "--from-manifests",
        "--k8s-manifests-filepath",
        "manifests",
        multiple=True,
        type=click.Path(path_type=Path),
        help="Kubernetes YAML (a file or folder), all of whose images are added.",
    )
    yield option(
        _WHAT, "--manifests-namespace", "--k8s-namespace", "k8s_namespace", default="", help="Only of this namespace."
    )
    yield option(_WHAT, "--keep", multiple=True, metavar="PATTERN", help="Keep cached images that nothing uses now.")
    yield option(
        _WHAT,
        "--unused-for",
        type=Quantity("duration", _span),
        help="Drop only what nobody has used for so long (30d), as --seen-in tells; default: what nothing uses now.",
    )
    yield option(
        _WHAT, "--seen-in", multiple=True, type=_FILE, help="A recording of `pulls --watch FILE` (repeatable)."
    )
    yield option(_WHAT, "--drop", multiple=True, metavar="PATTERN", help="Leave used images out.")
    yield option(_WHAT, "--arch", default="", help="amd64 or arm64; default the pool's.")
    yield from _disk(option)
    yield from _vm(option)
    yield from _registries(option)
    yield from _build(option)
    yield from _old(option)


def _disk(option: Callable[..., Callable[[Any], Any]]) -> Iterator[Callable[[Any], Any]]:
    yield option(
        _DISK, "--max-disk-size", type=Quantity("size", _bytes), help="Leave out what brings least beyond it: 100Gi."
    )
    yield option(
        _DISK, "--disk-size-gb", type=click.IntRange(10, 65536), help="Size in GiB; default what the images need."
    )
    yield option(
        _DISK,
        "--headroom",
        type=Quantity("share", _headroom),
        default="10%",
        show_default=True,
        help="Room above what the files need.",
    )
    yield option(_DISK, "--image-name", default="", help="At most 39 characters; default by rule, from pool and plan.")
    yield option(
        _DISK, "--family", "--image-family-name", "family", default=None, help="Default that of the pool's disk image."
    )
    yield option(
        _DISK, "--label", "--image-labels", "labels", multiple=True, metavar="KEY=VALUE", help="A label (repeatable)."
    )
    yield option(_DISK, "--storage-location", default="", help="Region or multi-region that keeps the disk image.")
    yield option(
        _DISK,
        "--contents-url",
        default="",
        metavar="gs://BUCKET/…",
        help="Folder for the record of what is on the disk, where the description has no room for it.",
    )
    yield option(
        _DISK,
        "--store-snapshot-checksum/--no-store-snapshot-checksum",
        "checksums",
        default=True,
        help="Checksums of the layers on the disk (default on).",
    )


def _vm(option: Callable[..., Callable[[Any], Any]]) -> Iterator[Callable[[Any], Any]]:
    yield option(_VM, "--project-name", default="", help="Project to build in; default --project.")
    yield option(_VM, "--zone", default="", help="Zone to build in; default one of the cluster's.")
    yield option(_VM, "--machine-type", default="", help="Default e2-standard-4, t2a-standard-4 for arm64.")
    yield option(_VM, "--disk-type", default="pd-ssd", show_default=True, help="Of the disk while it is built.")
    yield option(_VM, "--boot-image", default="", help="An image or family; default the newest Debian 12. Not COS.")
    yield from of_every_vm(option, _VM)
    yield option(_VM, "--service-account", default="", help="The VM's account; default none, or the project's own.")
    yield option(_VM, "--external-ip", is_flag=True, help="Give the VM an external IP.")
    yield option(_VM, "--spot", is_flag=True, help="A spot VM: cheaper, may be taken away.")
    yield option(_VM, "--kms-key", default="", help="Cloud KMS key for the disks and the disk image.")


def of_every_vm(option: Callable[..., Callable[[Any], Any]], section: str) -> Iterator[Callable[[Any], Any]]:
    """The flags of a temporary VM that are the same whatever it does."""
    yield option(section, "--network", default="default", show_default=True, help="Network, or projects/HOST/….")
    yield option(section, "--subnet", default="", help="Subnet, or projects/HOST/regions/R/subnetworks/S.")
    yield option(section, "--network-tag", "tags", multiple=True, help="A network tag (repeatable).")
    yield option(
        section,
        "--timeout",
        "timeout_s",
        type=Quantity("duration", seconds),
        default="1h",
        show_default=True,
        help="Compute deletes the VM after it: 20m, 3600.",
    )
    yield option(section, "--preflight/--no-preflight", default=True, help="Look for obstacles first (default on).")


def _registries(option: Callable[..., Callable[[Any], Any]]) -> Iterator[Callable[[Any], Any]]:
    yield option(
        _REGISTRIES,
        "--image-pull-auth",
        "pull_auth",
        type=click.Choice(["ServiceAccountToken", "None"], case_sensitive=False),
        default="ServiceAccountToken",
        show_default=True,
        help="How the VM logs in to Google's registries, and to no other.",
    )
    yield option(
        _REGISTRIES,
        "--registry-auth",
        multiple=True,
        metavar="HOST=HOW",
        help="none, google, or secret:projects/P/secrets/S/versions/V (repeatable).",
    )
    yield option(_REGISTRIES, "--registry-mirror", multiple=True, metavar="HOST=URL", help="Where the VM pulls HOST's.")


def _build(option: Callable[..., Callable[[Any], Any]]) -> Iterator[Callable[[Any], Any]]:
    yield option(_BUILD, "--dry-run", is_flag=True, help="Show the plan and make nothing.")
    yield option(_BUILD, "-y", "--yes", is_flag=True, help="Don't ask before building or aborting.")
    yield option(_BUILD, "--save-plan", type=_FILE, help="Also write the plan to a file.")
    yield option(_BUILD, "--plan", type=_FILE, help="Build the plan in this file, and nothing else.")
    yield option(_BUILD, "--resume", default="", metavar="BUILD", help="Go on with a build, from any machine.")
    yield option(_BUILD, "--abort", default="", metavar="BUILD", help="Remove every trace of a build.")
    yield option(_BUILD, "--force", is_flag=True, help="Build although there is a disk image of the same plan.")
    yield option(_BUILD, "--roll", is_flag=True, help="Then move the pool to the disk image, as `roll` does.")
    yield option(
        _BUILD,
        "--verify",
        type=click.Choice(["disk", "boot"]),
        default="disk",
        show_default=True,
        metavar="[=boot]",
        help="Read the finished disk back where it is made; --verify=boot: the disk image too, on a second VM.",
    )
    yield option(_BUILD, "--price", "prices", multiple=True, metavar="NAME=DOLLARS", help="For the estimate of costs.")
    yield option(_BUILD, "-q", "--quiet", is_flag=True, help="Say only what came out of it.")


def _old(option: Callable[..., Callable[[Any], Any]]) -> Iterator[Callable[[Any], Any]]:
    yield option(_OLD, "--gcs-path", default="", help="Not needed; given, the VM's log is stored there as well.")
    yield option(_OLD, "--gcp-oauth", default="", help="A service account's key file; default your own login.")
    yield option(_OLD, "--job-name", default="", help="Not needed: builds are named by rule.")
    yield option(_OLD, "--verify-only", is_flag=True, help="Check the disk image --image-name, as `verify` does.")


def with_build_flags(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the flags of a build; it is called as FUNCTION(pools, flags, build, **its own)."""

    @functools.wraps(function)
    def call(pools: tuple[str, ...], flags: Any, **given: Any) -> Any:
        build = BuildFlags(**{field.name: given.pop(field.name) for field in fields(BuildFlags)})
        return function(pools, flags, build, **given)

    decorated: Callable[..., Any] = call
    for option in reversed(list(_options())):
        decorated = option(decorated)
    return decorated
