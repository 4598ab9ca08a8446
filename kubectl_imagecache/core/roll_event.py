"""What is told of a roll while it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from kubectl_imagecache.core.roll import ClassStep, Step


@dataclass(frozen=True, slots=True)
class RollEvent:
    """What happens in a roll, when it happens."""

    at: datetime
    step: Step | ClassStep | None
    """What is done now; None: only NOTE is told."""
    pods_left: int = 0
    """Pods on the pool that is being emptied that must not go with their nodes."""
    nodes: Mapping[str, int] = field(default_factory=dict)
    """Pool -> nodes."""
    note: str = ""
    """What went wrong and is tried again."""
    aside: bool = False
    """NOTE is of something that is left alone."""
