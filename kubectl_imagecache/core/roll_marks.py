"""Annotations by which nodes say how far a roll is with them."""

from __future__ import annotations

CORDONED = "kubectl-imagecache/cordoned"
"""Node annotation: when the roll cordoned it, ISO 8601; set in the same patch as spec.unschedulable."""
UNREADY = "kubectl-imagecache/unready"
"""Node annotation: families, by comma, of pods here that were not Ready before the roll touched them."""
DRAINING = "kubectl-imagecache/draining"
"""Node annotation: when the roll began to empty it, ISO 8601."""
MOVED = "kubectl-imagecache/moved"
"""Node annotation: families, by comma, of pods that the roll moves from here, or moved from a node that is gone."""
SCALING = "kubectl-imagecache/scaling"
"""Node annotation: the pool's autoscaling limits before the roll, in case the new pool, which knows them, is lost."""
SOAKING = "kubectl-imagecache/soaking"
"""Node annotation: since when the old pool stands by empty, ISO 8601."""
REMOVING = "kubectl-imagecache/removing"
"""Node annotation: when the deletion of this emptied node was asked for, ISO 8601."""
CANARY = "kubectl-imagecache/canary"
"""Node annotation on the new pool: `trying`, `proven` (by a pod that may still be there) or `swept`, and an image."""
TRYING, PROVEN, SWEPT = "trying", "proven", "swept"
BACK = "kubectl-imagecache/rolling-back"
"""Node annotation on the new pool: the roll goes back, since when."""
MARKS = (CORDONED, UNREADY, DRAINING, MOVED, SCALING, REMOVING, SOAKING, CANARY, BACK)
