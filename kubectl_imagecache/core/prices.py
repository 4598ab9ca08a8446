"""What a build and its disk image cost, at stated prices."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

from kubectl_imagecache.core.errors import BadUsage

HOURS_A_MONTH = 730.0
VM_OVERHEAD_S = 180.0
"""Boot, formatting, check, stop and the disk image's own making."""


@dataclass(frozen=True, slots=True)
class Prices:
    """US dollars. The defaults are of the order of Google's list prices in us-central1; --price states your own."""

    vm_hour: float = 0.134
    """The builder VM: e2-standard-4, https://cloud.google.com/compute/vm-instance-pricing"""
    disk_gib_month: float = 0.17
    """Disks while building: pd-ssd, of which https://cloud.google.com/compute/disks-image-pricing counts 200 GB as
    $34.00 a month."""
    image_gib_month: float = 0.05
    """Disk image storage."""
    node_disk_gib_month: float = 0.10
    """The disk that each node gets: pd-balanced, the usual boot disk type."""


@dataclass(frozen=True, slots=True)
class Cost:
    """An estimate in US dollars."""

    build: float
    """Once."""
    image_month: float
    nodes_month: float
    """Of the disks of the pool's present nodes."""


def cost(prices: Prices, *, compressed: int, rate: float, disk_gb: int, nodes: int) -> Cost:
    """What a build of COMPRESSED bytes pulled at RATE bytes/s onto DISK_GB costs, and then each month for NODES."""
    hours = (compressed / rate + VM_OVERHEAD_S) / 3600
    disks = (disk_gb + 10) * prices.disk_gib_month * hours / HOURS_A_MONTH
    return Cost(
        hours * prices.vm_hour + disks,
        # Compute bills the compressed archive, which is about as large as the layers' blobs.
        compressed / 2**30 * prices.image_gib_month,
        disk_gb * nodes * prices.node_disk_gib_month,
    )


def with_prices(prices: Prices, given: Iterable[str]) -> Prices:
    """PRICES with those that GIVEN names as `vm-hour=0.2`; raise BadUsage."""
    names = {field.name.replace("_", "-"): field.name for field in fields(Prices)}
    for text in given:
        key, _, value = text.partition("=")
        try:
            amount = float(value)
        except ValueError:
            amount = -1.0
        if key not in names or not 0 <= amount < 1e6:
            raise BadUsage(f"not a price: {text[:80]!r}", f"write NAME=DOLLARS, with a name of {', '.join(names)}")
        prices = replace(prices, **{names[key]: amount})
    return prices
