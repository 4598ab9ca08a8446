"""One line of a roll's checklist, and the budgets that several of them look at."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Result(Enum):
    """How a check came out."""

    OK = "ok"
    WARN = "warn"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the checklist."""

    name: str
    """What --allow takes, where it can be overruled."""
    result: Result
    text: str
    details: tuple[str, ...] = ()
    """The things that are meant, each with what mends it."""


@dataclass(frozen=True, slots=True)
class Budget:
    """A PodDisruptionBudget that covers pods of the pool."""

    name: str
    """NAMESPACE/NAME."""
    allowed: int
    """Disruptions it allows now."""
    pods: tuple[str, ...]
    """NAMESPACE/NAME of those on the pool."""
