"""What a node can start images from besides the registry."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NodeCache:
    """A node's cache disk, and whether it streams images."""

    chain_ids: frozenset[str] = frozenset()
    """Layers on its cache disk."""
    streaming: bool = False
    """Image streaming is on."""
