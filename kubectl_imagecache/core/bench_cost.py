"""What the pools that a bench makes cost, told before they are made."""

from __future__ import annotations

from dataclasses import dataclass

from kubectl_imagecache.core.bench import BenchPlan
from kubectl_imagecache.core.prices import HOURS_A_MONTH, Prices

CREATE_S, DELETE_S, PULL_S = 240.0, 180.0, 120.0
"""How long a pool's creation and deletion and one probe of a big image usually take, one after the other."""
CPU_HOUR, GIB_HOUR = 0.0316, 0.0042
"""US dollars for a CPU and a GiB of memory of N2 in us-central1: https://cloud.google.com/compute/vm-instance-pricing.
Other families differ by up to a half; GPUs come on top."""


@dataclass(frozen=True, slots=True)
class BenchCost:
    """An estimate."""

    pools: int
    nodes: int
    """Of all pools."""
    hours: float
    """From the first pool's creation to the last one's deletion."""
    dollars: float | None
    """US dollars by list prices, without GPUs and licences; None: the machine type is not known."""


def bench_cost(plan: BenchPlan, pools: int, cpus: int, memory_gib: float, disk_gb: int) -> BenchCost:
    """What POOLS pools of PLAN cost, their machines with CPUS (0: not known) and MEMORY_GIB, and disks of DISK_GB."""
    nodes = pools * plan.wanted
    hours = (pools * (CREATE_S + DELETE_S) + nodes * PULL_S) / 3600
    if not cpus:
        return BenchCost(pools, nodes, hours, None)
    disk = disk_gb * Prices().node_disk_gib_month / HOURS_A_MONTH
    return BenchCost(pools, nodes, hours, nodes * hours * (cpus * CPU_HOUR + memory_gib * GIB_HOUR + disk))
