"""What a bench will do, said before it does it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kubectl_imagecache.core.bench import BenchNode, BenchPlan
from kubectl_imagecache.core.bench_cost import BenchCost
from kubectl_imagecache.core.bench_pools import Difference, PoolFacts
from kubectl_imagecache.render.bench import difference_line, facts_line
from kubectl_imagecache.render.text import count, neutral, wrapped


def plan_lines(
    plan: BenchPlan,
    namespace: str,
    facts: Sequence[PoolFacts],
    nodes: Sequence[BenchNode],
    cost: BenchCost | None,
    cells: int | None,
) -> list[str]:
    """PLAN in sentences, lines of at most CELLS; COST of the pools that it makes, None if it makes none."""
    rounds = f" in each of {plan.repeat} rounds" if plan.repeat > 1 else ""
    where = "pool that it makes" if plan.make_pools else "pool"
    lines = [f"pulls {plan.image} on {count(plan.nodes, 'fresh node')} of each {where}{rounds}"]
    if plan.make_pools:
        lines += _pools_to_make(plan, facts, cost)
    else:
        lines += [line for pool in facts for line in _pool(plan, pool, nodes)]
    lines.append(f"makes one small pod at a time in the namespace {namespace}, and removes each")
    return [part for line in lines for part in _wrapped(neutral(line), cells)]


def _wrapped(line: str, cells: int | None) -> list[str]:
    text = line.lstrip()
    indent = line[: len(line) - len(text)]
    return wrapped(text, indent, f"{indent}    ", cells)


def _pool(plan: BenchPlan, pool: PoolFacts, nodes: Sequence[BenchNode]) -> Iterator[str]:
    yield f"  {facts_line(pool)}"
    mine = [node for node in nodes if node.pool == pool.name]
    having = sum(node.has_image for node in mine)
    fresh = sum(node.usable and not node.has_image for node in mine)
    more = f", {having} with the image, skipped" if having else ""
    bring = ", the autoscaler is to bring the rest" if plan.scale_up and fresh < plan.wanted else ""
    yield f"    {count(len(mine), 'node')}, {fresh} that may be fresh{more}{bring}"


def _pools_to_make(plan: BenchPlan, facts: Sequence[PoolFacts], cost: BenchCost | None) -> Iterator[str]:
    yield f"  copies of {facts_line(facts[0])}" if facts else "  copies"
    disk = plan.disk_image.name if plan.disk_image else "none"
    yield f"creates three node pools: registry only, image streaming, cache disk {disk}; and deletes them afterwards"
    if cost is not None:
        price = "" if cost.dollars is None else f", some ${cost.dollars:.2f} at list prices of CPUs, memory and disks"
        yield f"  {count(cost.nodes, 'node')} for about {cost.hours:.1f} hours{price} (GPUs come on top)"


def difference_lines(found: Sequence[Difference]) -> str:
    """FOUND on one line."""
    return "; ".join(difference_line(one) for one in found)


def sweep_lines(cleaned: Sequence[str], busy: Sequence[str], namespace: str) -> list[str]:
    """What a sweep removes and what it leaves alone."""
    lines = [f"removes the pods, pools and owner of the bench {run}" for run in cleaned]
    lines += [f"leaves alone the bench {neutral(run)}, which is worked on" for run in busy]
    return lines or [f"nothing is left of any bench in the namespace {neutral(namespace)}"]
