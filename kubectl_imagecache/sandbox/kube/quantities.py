"""Kubernetes resource quantities and what a pod asks of a node."""

from __future__ import annotations

import re
from decimal import Decimal

from kubectl_imagecache.sandbox.kube.kinds import Obj

_QUANTITY = re.compile(r"^([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$")
_SCALE: dict[str, Decimal] = {"": Decimal(1), "m": Decimal("0.001")}
_SCALE |= {unit: Decimal(1000) ** (i + 1) for i, unit in enumerate("kMGTPE")}
_SCALE |= {f"{unit}i": Decimal(1024) ** (i + 1) for i, unit in enumerate("KMGTPE")}

Requests = tuple[tuple[str, int], ...]
"""Resource names and thousandths of their units (`cpu` 1500 is 1.5 cores), sorted."""


def milli(quantity: object) -> int:
    """A quantity (`500m`, `2`, `4Gi`) in thousandths; raise ValueError if it isn't one."""
    found = _QUANTITY.match(str(quantity))
    if found is None:
        raise ValueError(f"not a quantity: {quantity!r}")
    return int(Decimal(found[1]) * _SCALE[found[2] or ""] * 1000)


def pod_requests(spec: Obj) -> Requests:
    """What a pod asks for: its containers and sidecars together, or its greediest init container if that is more."""
    total: dict[str, int] = {}
    peak: dict[str, int] = {}
    for container in spec.get("containers") or ():
        _add(total, container)
    for container in spec.get("initContainers") or ():
        if container.get("restartPolicy") == "Always":
            _add(total, container)
        else:
            for name, amount in _requests(container).items():
                peak[name] = max(peak.get(name, 0), amount)
    for name, amount in peak.items():
        total[name] = max(total.get(name, 0), amount)
    return tuple(sorted(total.items()))


def _add(total: dict[str, int], container: Obj) -> None:
    for name, amount in _requests(container).items():
        total[name] = total.get(name, 0) + amount


def _requests(container: Obj) -> dict[str, int]:
    resources = container.get("resources") or {}
    asked = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    return {name: milli(amount) for name, amount in asked.items()}
