"""When a roll's steps may be begun: not after a time, and only within maintenance windows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from kubectl_imagecache.core.roll import Done, RollPlan, Stop, Wait
from kubectl_imagecache.core.windows import opened, opens

LOOK_S = 300.0
"""Longest wait for a window between two looks."""
S = TypeVar("S")


def in_time(plan: RollPlan, now: datetime, choose: Callable[[RollPlan], S]) -> S | Wait | Stop:
    """The step that CHOOSE comes to, or why it is not begun NOW; steps that change nothing always are."""
    since = opened(plan.windows, now)
    timed = plan
    if plan.windows and plan.began is not None:
        # What nobody is allowed to work at is not late.
        timed = replace(plan, began=max(plan.began, since) if since is not None else None)
    step = choose(timed)
    if isinstance(step, Wait | Done | Stop):
        return step
    if plan.not_after is not None and now >= plan.not_after:
        return Stop(
            f"no step is begun after {plan.not_after.isoformat()}", "run the same command again in the next window"
        )
    then = opens(plan.windows, now) if since is None else None
    if then is not None:
        text = f"no step is begun before {then.isoformat()}, when the maintenance window opens"
        return Wait(text, min(LOOK_S, (then - now).total_seconds()))
    return step
