"""What a canary, one pod of a cached image on a new node, says about the node's disk."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from kubectl_imagecache.core.pools import Taint
from kubectl_imagecache.core.probe import Found, Outcome, ProbeSpec

NAMESPACE = "default"
"""Where canaries run, as the Lease of their roll lies there."""
PATIENCE_S = 600.0
"""How long a canary may take in all; the node ends its pod then, whoever made it."""
_UNSEEN = "a pull that nothing tells of proves no disk"


def run_of(pool: str) -> str:
    """The label by which the canaries of POOL's rolls are found, whoever left them."""
    return f"roll-{pool}"


def spec(pool: str, new_pool: str, node: str, image: str, taints: Iterable[Taint]) -> ProbeSpec:
    """The canary of IMAGE on NODE of NEW_POOL, whose TAINTS it tolerates."""
    # By rule, so that two processes can't make two.
    name = f"imagecache-canary-{hashlib.sha256(f'{pool} {node} {image}'.encode()).hexdigest()[:12]}"
    return ProbeSpec(name, NAMESPACE, image, run_of(pool), new_pool, node, taints=tuple(taints), limit_s=PATIENCE_S)


def trouble(found: Outcome, limit_s: float) -> str:
    """Why what a canary FOUND does not prove the disk; empty if it does. LIMIT_S is the longest pull allowed."""
    if found.found is Found.PULLED and found.seconds is not None:
        slow = found.seconds > limit_s
        return f"its pull took {found.seconds:.1f} s, more than --canary-limit {limit_s:g} s" if slow else ""
    if found.found is Found.PRESENT:
        return "the node had the image before, so nothing was pulled: take one that no DaemonSet brings there"
    if found.found is Found.UNSEEN:
        return f"the image is there, but no event of its pull: {_UNSEEN}"
    if found.found is Found.UNPLACED:
        return f"it found no room: {found.why or 'the scheduler has not looked at it'}"
    if found.found is Found.WAITING:
        return f"its pull has not ended after {PATIENCE_S:g} s{f': {found.why}' if found.why else ''}"
    return found.why or "it failed"
