"""How many nodes a roll in batches makes and empties at one time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from kubectl_imagecache.core.errors import BadUsage


@dataclass(frozen=True, slots=True)
class Surge:
    """How many nodes, or how many percent of a pool's nodes."""

    number: int
    percent: bool = False

    def of(self, nodes: int) -> int:
        """As many of NODES, rounded up."""
        return math.ceil(nodes * self.number / 100) if self.percent else self.number


def parse_surge(text: str) -> Surge:
    """`3` or `25%`; raises BadUsage."""
    number = text.removesuffix("%")
    if not (number.isascii() and number.isdecimal() and 0 < int(number) <= 10_000):
        raise BadUsage(f"not a number of nodes: {text!r}", "write 3, or 25% for a quarter of the pool's nodes")
    return Surge(int(number), text != number)


def a_zone(nodes: int, zones: int) -> int:
    """How many nodes a zone so that there are at least NODES in all: GKE sizes every zone alike."""
    return -(-nodes // max(1, zones))


def first_batch(surge: Surge, nodes: int, zones: int) -> int:
    """How many nodes a zone a batch has, in a pool of NODES: at least one, so more than SURGE where zones are many."""
    return min(max(1, surge.of(nodes) // max(1, zones)), a_zone(nodes, zones))


def whole_size(size: Surge | None, sizes: Sequence[int]) -> int:
    """How many nodes a zone the new pool gets, all at once, for an old one of SIZES, zone by zone."""
    if size is None:
        return max(sizes, default=0)
    return a_zone(size.of(sum(sizes)), len(sizes))
