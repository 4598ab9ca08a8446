"""Which images to put on a disk of a given size, so that cold starts gain most."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kubectl_imagecache.core.contents import Layer

EXACT_UP_TO = 14
"""Images among which every set is tried (16,384 of them); beyond, the best is approached greedily."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An image that may go on the disk."""

    name: str
    """Unique among candidates; ties are broken by it, so that a plan repeats."""
    layers: Mapping[str, int]
    """Unpacked bytes by chain ID."""
    cold_starts: int
    """How many nodes would pull it: the weight of each of its bytes."""

    @property
    def size(self) -> int:
        """Unpacked bytes of the image alone."""
        return sum(self.layers.values())


def sizes_of(layers: Sequence[Layer], ratio: float) -> dict[str, int]:
    """Unpacked bytes by chain ID; RATIO times the compressed ones where only those are known."""
    return {
        layer.chain_id: layer.unpacked if layer.unpacked is not None else int((layer.compressed or 0) * ratio)
        for layer in layers
    }


def benefit(chosen: Sequence[Candidate]) -> int:
    """Bytes times cold starts saved: a layer counts once, with the most cold starts of the images that share it."""
    best: dict[str, int] = {}
    for candidate in chosen:
        for chain_id, size in candidate.layers.items():
            best[chain_id] = max(best.get(chain_id, 0), size * candidate.cold_starts)
    return sum(best.values())


def footprint(chosen: Sequence[Candidate]) -> int:
    """Unpacked bytes on the disk: a layer counts once."""
    return sum({chain_id: size for candidate in chosen for chain_id, size in candidate.layers.items()}.values())


def rank(candidates: Sequence[Candidate]) -> list[Candidate]:
    """In the order of what each adds to the benefit once those before it are there, most first."""
    order: list[Candidate] = []
    # Benefit is submodular, so an old gain is an upper bound: re-count only what comes to the top of the heap.
    heap = [(-benefit([candidate]), candidate.name, 0, candidate) for candidate in candidates]
    heapq.heapify(heap)
    while heap:
        _, name, counted_at, candidate = heapq.heappop(heap)
        if counted_at == len(order):
            order.append(candidate)
        else:
            gain = benefit([*order, candidate]) - benefit(order)
            heapq.heappush(heap, (-gain, name, len(order), candidate))
    return order


def choose(candidates: Sequence[Candidate], capacity: int | None) -> list[Candidate]:
    """The set of most benefit whose footprint is at most CAPACITY bytes (None: all), in ranked order.

    Exact among up to EXACT_UP_TO candidates. Beyond, the better of two greedy orders, by gain and by gain for each byte
    added; as images share layers in cost too, no textbook bound holds, only that nothing more of use would fit.
    """
    if capacity is None or footprint(candidates) <= capacity:
        return rank(candidates)
    fitting = [candidate for candidate in candidates if candidate.size <= capacity]
    if len(fitting) <= EXACT_UP_TO:
        return rank(_exact(sorted(fitting, key=lambda candidate: candidate.name), capacity))
    return rank(max((_greedy(fitting, capacity, per_byte) for per_byte in (True, False)), key=benefit))


def _exact(candidates: Sequence[Candidate], capacity: int) -> list[Candidate]:
    best: list[Candidate] = []
    best_value = (0, 0)
    for bits in range(1 << len(candidates)):
        chosen = [candidate for index, candidate in enumerate(candidates) if bits >> index & 1]
        size = footprint(chosen)
        if size <= capacity:
            value = (benefit(chosen), -size)
            if value > best_value:
                best, best_value = chosen, value
    return best


def _greedy(candidates: Sequence[Candidate], capacity: int, per_byte: bool) -> list[Candidate]:
    chosen: list[Candidate] = []
    left = sorted(candidates, key=lambda candidate: candidate.name)
    while left:
        size, value = footprint(chosen), benefit(chosen)

        def worth(candidate: Candidate, size: int = size, value: int = value) -> float:
            gain = benefit([*chosen, candidate]) - value
            added = footprint([*chosen, candidate]) - size
            return gain / max(added, 1) if per_byte else float(gain)

        left = [c for c in left if footprint([*chosen, c]) <= capacity]
        if not left:
            break
        best = max(left, key=worth)
        chosen.append(best)
        left.remove(best)
    return chosen
