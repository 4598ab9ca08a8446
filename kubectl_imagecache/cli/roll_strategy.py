"""The flags of `roll` that say how it goes about it: in which batches, behind which canary, and when."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import click

from kubectl_imagecache.cli.options import Option, Quantity
from kubectl_imagecache.core.errors import BadUsage
from kubectl_imagecache.core.references import parse
from kubectl_imagecache.core.roll import RollPlan
from kubectl_imagecache.core.surge import parse_surge
from kubectl_imagecache.core.windows import Window, parse_window

BLUE_GREEN, ROLLING = "blue-green", "rolling"


def _seconds(text: str) -> float:
    from kubectl_imagecache.clients.kube.options import parse_timeout

    return parse_timeout(text)


def strategy_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the flags to a command; `with_strategy` reads them."""
    duration = Quantity("duration", _seconds)

    def option(*names: str, **settings: Any) -> Callable[[Any], Any]:
        return click.option(*names, cls=Option, section="How", **settings)

    options = [
        option("--strategy", type=click.Choice([BLUE_GREEN, ROLLING]), default=BLUE_GREEN, show_default=True,
               help="All new nodes at once, or in batches as old ones empty."),
        option("--surge", metavar="N[%]", help="Of blue-green: make so many new nodes, not as many as there are."),
        option("--max-surge", metavar="N[%]",
               help="Of rolling: nodes in a batch, at least one in every zone.  [default: 1]"),
        option("--canary", metavar="IMAGE", default="",
               help="First run a pod of this cached image on a new node, and stop if its pull is slow."),
        option("--canary-limit", type=duration, default=None,
               help="Of --canary: how long its pull may take.  [default: 5s]"),
        option("--maintenance-window", "windows", multiple=True, metavar="TIMES",
               help="Begin steps within 'Sat,Sun 22:00-04:00 Europe/Berlin' only, and wait for it (repeatable)."),
        option("--force-after", type=duration, default=None,
               help="DELETE pods that a budget keeps for longer, past the budget; never unless given."),
    ]  # fmt: skip
    for one in reversed(options):
        function = one(function)
    return function


def with_strategy(plan: RollPlan, given: Mapping[str, Any]) -> RollPlan:
    """PLAN with what the flags say; raises BadUsage for those that don't go together."""
    rolling = given["strategy"] == ROLLING
    if given["max_surge"] and not rolling:
        raise BadUsage("--max-surge is of --strategy rolling", "add that, or take --surge")
    if given["surge"] and rolling:
        raise BadUsage("--surge is of --strategy blue-green", "take --max-surge")
    if given["soak"] and rolling:
        raise BadUsage("--soak keeps the old pool, and --strategy rolling leaves none to keep", "leave one out")
    limit = given["canary_limit"]
    if limit is not None and not given["canary"]:
        raise BadUsage("--canary-limit says how long the pull of a canary may take", "name its image with --canary")
    forced = given["force_after"]
    if forced is not None and forced >= plan.drain_timeout_s:
        raise BadUsage("--force-after comes no sooner than --drain-timeout gives up", "make the latter longer")
    windows = tuple(map(parse_window, given["windows"]))
    for window in windows:
        if _lasts(window).total_seconds() < plan.drain_timeout_s:
            raise BadUsage(f"{window} is shorter than --drain-timeout", "no node would ever be given up: shorten that")
    return replace(
        plan,
        surge=parse_surge(given["max_surge"] or "1") if rolling else None,
        size=parse_surge(given["surge"]) if given["surge"] else None,
        canary=str(parse(given["canary"])) if given["canary"] else "",
        canary_limit_s=plan.canary_limit_s if limit is None else limit,
        windows=windows,
        force_after_s=forced,
    )


def _lasts(window: Window) -> timedelta:
    begin, end = (datetime.combine(datetime(2026, 1, 5), wall, timezone.utc) for wall in (window.start, window.end))
    return end - begin if end > begin else end - begin + timedelta(days=1)
