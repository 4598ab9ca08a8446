"""Make a build plan: what the pool uses and the user asks for, pinned, ranked and sized."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from kubectl_imagecache.clients.http import is_loopback
from kubectl_imagecache.core.contents import Contents, ImageFacts
from kubectl_imagecache.core.errors import BadUsage, UserError
from kubectl_imagecache.core.plan import (
    BuildPlan,
    Output,
    RegistryLogin,
    Room,
    Vm,
    Wanted,
    arrange,
    check_name,
    content_hash,
    disk_image_name,
)
from kubectl_imagecache.core.pools import DiskImageRef
from kubectl_imagecache.core.prices import Prices
from kubectl_imagecache.core.references import ImageRef
from kubectl_imagecache.core.report import PoolStatus
from kubectl_imagecache.core.wishes import Wishes, wanted

Pin = Callable[[Sequence[tuple[ImageRef, str]]], Mapping[tuple[ImageRef, str], tuple[str, ImageFacts] | UserError]]
"""Asks registries what (reference, platform) pairs mean now, side by side."""
SHOWN_FAILURES = 3


@dataclass(frozen=True, slots=True)
class Order:
    """Everything that the user says about a build."""

    wishes: Wishes
    vm: Vm
    arch: str = ""
    """Empty is the pool's, else amd64."""
    room: Room = field(default_factory=Room)
    image_name: str = ""
    """Empty is a name by rule."""
    family: str | None = None
    """None is that of the pool's present disk image."""
    labels: tuple[tuple[str, str], ...] = ()
    storage_location: str = ""
    contents_url: str = ""
    """As Output.contents_url."""
    logins: tuple[RegistryLogin, ...] = ()
    google: bool = True
    """Whether the VM's account may be shown to Google's registries."""
    checksums: bool = True
    rate: float = 2_000_000_000 / 55
    prices: Prices = field(default_factory=Prices)


def make_plan(pool: PoolStatus | None, order: Order, pin: Pin, taken: int = 0) -> BuildPlan:
    """The plan for POOL's new disk (None: no cluster, only what ORDER names); TAKEN numbers a forced second name.

    Raises BadUsage for an order that can't be, and UserError if a reference can't be resolved.
    """
    arch = order.arch or (pool.pool.arch if pool else "") or "amd64"
    if arch not in ("amd64", "arm64"):
        raise BadUsage(f"unknown architecture {arch!r}", "amd64 or arm64")
    present = pool.contents if pool else None
    pinned = _pinned(wanted(pool, order.wishes), f"linux/{arch}", pin)
    images, absent, size = arrange(pinned, present if isinstance(present, Contents) else None, order.room)
    family = order.family if order.family is not None else (pool.disk_image.family if pool and pool.disk_image else "")
    hash_ = content_hash(images, arch, size, order.checksums)
    base = family or (f"cache-{pool.pool.name}" if pool else "imagecache")
    name = check_name(order.image_name) if order.image_name else disk_image_name(base, hash_, taken)
    return BuildPlan(
        images,
        absent,
        arch,
        size,
        Output(DiskImageRef(order.vm.project, name), family, order.labels, order.storage_location, order.contents_url),
        order.vm,
        pool.pool.name if pool else "",
        pool.nodes if pool else 0,
        _logins(sorted({image.ref.registry for image in images}), order),
        order.checksums,
        order.rate,
        order.prices,
    )


def _pinned(refs: Mapping[ImageRef, int], platform: str, pin: Pin) -> list[Wanted]:
    answers = pin([(ref, platform) for ref in refs])
    found: list[Wanted] = []
    failed: list[tuple[ImageRef, UserError]] = []
    for ref, cold_starts in refs.items():
        answer = answers[ref, platform]
        if isinstance(answer, UserError):
            failed.append((ref, answer))
        else:
            found.append(Wanted(ref, answer[0], answer[1], cold_starts))
    if failed:
        more = f", and {len(failed) - 1} more" if len(failed) > 1 else ""
        names = ", ".join(f"--drop '{ref.name}*'" for ref, _ in failed[:SHOWN_FAILURES])
        error = failed[0][1]
        raise UserError(
            f"{failed[0][0].familiar} can't be resolved: {error.message}{more}",
            f"{error.hint}; or leave it out with {names}".removeprefix("; or "),
        )
    return found


def _logins(hosts: Sequence[str], order: Order) -> tuple[RegistryLogin, ...]:
    named = {login.host: login for login in order.logins}
    if unknown := sorted(set(named) - set(hosts)):
        raise BadUsage(f"no image of the plan is in {unknown[0]}", f"the plan's registries are {', '.join(hosts)}")
    found = []
    for host in hosts:
        google = order.google and is_google(host)
        # A sandbox's VM is this machine, and what listens on loopback speaks plain http.
        endpoint = f"http://{host}" if is_loopback(f"//{host}") else ""
        login = named.get(host, RegistryLogin(host, "google" if google else "none", endpoint=endpoint))
        if login.auth == "google" and not is_google(host):
            raise BadUsage(f"{host} is not Google's: the VM's token is never sent there", "name a secret for it")
        found.append(login)
    return tuple(found)


def is_google(host: str) -> bool:
    """Whether HOST is one of Google's registries."""
    return host in ("gcr.io", "pkg.dev") or host.endswith((".gcr.io", ".pkg.dev"))
