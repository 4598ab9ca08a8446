"""What `bench` does with its flags: connect, look, ask, measure, print, draw."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from kubectl_imagecache.cli.answer import Progress, screen, warning
from kubectl_imagecache.cli.connect import Surrounding, cluster_name, http_of, kube_options, surrounding
from kubectl_imagecache.cli.options import Flags
from kubectl_imagecache.cli.pulls_answer import TERMINAL, check_plot, write_pictures
from kubectl_imagecache.cli.roll import Interrupts
from kubectl_imagecache.cli.sandbox_clock import work_clock
from kubectl_imagecache.cli.whoami import has_ended, identity
from kubectl_imagecache.clients.gke import disk_image_ref
from kubectl_imagecache.clients.gke_roll import RollGke
from kubectl_imagecache.clients.google_http import GoogleHttp
from kubectl_imagecache.clients.kube import Kube
from kubectl_imagecache.clients.kube.bench import BenchKube
from kubectl_imagecache.clients.retry import Pace
from kubectl_imagecache.clients.target import gcloud_config, guess
from kubectl_imagecache.core.bench import BenchNode, BenchPlan
from kubectl_imagecache.core.bench_cost import bench_cost
from kubectl_imagecache.core.bench_pools import WAYS, PoolFacts, differences, facts_of
from kubectl_imagecache.core.bench_report import BenchReport, pull_report, report
from kubectl_imagecache.core.errors import BadUsage, NotFound, UserError
from kubectl_imagecache.core.pull_report import Origin
from kubectl_imagecache.core.views import Gap
from kubectl_imagecache.render.bench import bench_view
from kubectl_imagecache.render.bench_plan import difference_lines, plan_lines, sweep_lines
from kubectl_imagecache.render.output import write
from kubectl_imagecache.usecases.bench import Measured, bench, pool_facts, survey
from kubectl_imagecache.usecases.bench_sweep import Tools, sweep


@dataclass(frozen=True, slots=True)
class Asked:
    """The flags of this command that aren't part of the plan."""

    namespace: str
    anyway: bool
    dry_run: bool
    yes: bool
    plot: str
    """A file, `-` for the terminal, or empty."""
    html: Path | None


@dataclass(frozen=True, slots=True)
class Connected:
    """A cluster, with what could not be had of it."""

    tools: Tools
    namespace: str
    origin: Origin
    gaps: tuple[Gap, ...]


class Stops(Interrupts):
    """Ctrl-C, and SIGTERM too: what a CI job or `timeout` ends leaves nothing either."""

    def __enter__(self) -> Stops:
        super().__enter__()
        self._terminated = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(self, *rest: object) -> None:
        signal.signal(signal.SIGTERM, self._terminated)
        super().__exit__(*rest)


def answer_bench(flags: Flags, plan: BenchPlan | None, disk_image: str, asked: Asked) -> int:
    """Carry PLAN out (None: only remove what is left of others) and print what it found; the exit code.

    Raises UserError for what can't be measured, BadUsage for flags that don't go together.
    """
    check_plot(asked.plot, flags.output)
    progress = Progress(sys.stderr)
    with surrounding(flags, os.environ) as around:
        connected = _connect(flags, around, asked, progress, plan)
        if plan is None:
            return _sweep(connected, asked, bool(flags.sandbox))
        plan, facts, nodes = _look(connected, plan, disk_image, asked)
        for gap in connected.gaps:
            sys.stderr.write(warning(gap))
        cells = screen(flags, os.environ, sys.stdout).cells
        lines = plan_lines(plan, connected.namespace, facts, nodes, _cost(connected, plan, facts), cells)
        if asked.dry_run:
            click.echo("\n".join(lines))
            return 0
        _confirm(lines, asked.yes or bool(flags.sandbox), "Begin?")
        return _measure(flags, connected, plan, facts, nodes, asked, progress)


def _connect(flags: Flags, around: Surrounding, asked: Asked, progress: Progress, plan: BenchPlan | None) -> Connected:
    env, clock = around.env, work_clock(around.env)
    kube = Kube.connect(kube_options(flags), env, clock=clock)
    pace = Pace(lambda: clock.now().timestamp(), clock.sleep)
    gke, where, gaps = _gke(flags, kube, GoogleHttp.from_env(env, http_of(flags, env, pace)), env)
    if gke is None and plan is not None and plan.make_pools:
        raise UserError(f"GKE can't be asked to make pools: {gaps[0].why}", gaps[0].hint)
    tools = Tools(BenchKube(kube.transport), gke, clock, identity(), progress.say, progress.tell, has_ended)
    origin = Origin(where or kube.server, kube.context, around.source, clock.now())
    return Connected(tools, asked.namespace or kube.namespace or "default", origin, gaps)


def _gke(
    flags: Flags, kube: Kube, google: GoogleHttp, env: Mapping[str, str]
) -> tuple[RollGke | None, str, tuple[Gap, ...]]:
    """GKE, if it can be asked about this cluster; its whole name; why not."""
    from kubectl_imagecache.clients.gke import Gke

    named = (flags.project, flags.location, flags.cluster_name)
    try:
        target = guess(named, kube.context, kube.server, Gke(google).clusters, lambda: gcloud_config(env))
        if isinstance(target, Gap):
            return None, "", (target,)
        gke = RollGke(google, target)
        gke.cluster()
    except UserError as error:
        if any(named):
            raise
        return None, "", (Gap("the pools' facts in GKE", error.message, error.hint),)
    return gke, cluster_name(target), ()


def _look(
    connected: Connected, plan: BenchPlan, disk_image: str, asked: Asked
) -> tuple[BenchPlan, tuple[PoolFacts, ...], tuple[BenchNode, ...]]:
    """PLAN made whole, what its pools are and have; raises UserError where they can't be compared."""
    if plan.make_pools:
        plan, like = _like(connected, plan, disk_image)
        return plan, (like,), ()
    facts, nodes = survey(connected.tools, plan)
    found = differences(facts)
    if found and not asked.anyway:
        raise UserError(
            f"the pools differ in more than the way to pull: {difference_lines(found)}",
            "choose like pools, or compare them --anyway",
        )
    if plan.scale_up:
        _check_room(plan, facts, nodes)
    return plan, facts, nodes


def _check_room(plan: BenchPlan, facts: Sequence[PoolFacts], nodes: Sequence[BenchNode]) -> None:
    """Raise UserError where --scale-up would wait for what can't come."""
    for pool in facts:
        if pool.autoscaled is False:
            raise UserError(f"pool {pool.name} has no autoscaling, so --scale-up would bring nothing", "turn it on")
        mine = [node for node in nodes if node.pool == pool.name]
        more = max(0, plan.wanted - sum(node.usable and not node.has_image for node in mine))
        if pool.most_nodes and len(mine) + more > pool.most_nodes:
            raise UserError(
                f"pool {pool.name} has {len(mine)} nodes and would need {more} more, but its autoscaler stops at "
                f"{pool.most_nodes}",
                "raise its limit, or ask for fewer with --nodes and --repeat",
            )


def _like(connected: Connected, plan: BenchPlan, disk_image: str) -> tuple[BenchPlan, PoolFacts]:
    gke = connected.tools.gke
    assert gke is not None
    pools = {str(pool.get("name")): pool for pool in gke.cluster().get("nodePools") or ()}
    pools = {name: pool for name, pool in pools.items() if not name.startswith("imagecache-bench-")}
    like = plan.like or (next(iter(pools)) if len(pools) == 1 else "")
    if not like:
        raise BadUsage(
            "--like is missing: which pool are the new ones to be like?", f"one of {', '.join(sorted(pools))}"
        )
    if like not in pools:
        raise NotFound(f"no node pool {like!r} in this cluster", f"there are {', '.join(sorted(pools))}")
    facts = facts_of(pools[like], gke.target.project)
    disk = disk_image or facts.cache_disk
    if not disk:
        raise BadUsage(
            f"--disk-image is missing, and {like} has no cache disk", "build one with kubectl imagecache rebuild"
        )
    return replace(plan, like=like, disk_image=disk_image_ref(disk, gke.target.project)), facts


def _cost(connected: Connected, plan: BenchPlan, facts: Sequence[PoolFacts]) -> Any:
    if not plan.make_pools or connected.tools.gke is None:
        return None
    (like,) = facts
    try:
        machine = connected.tools.gke.machine(like.zones, like.machine_type)
    except UserError:
        machine = {}
    memory = int(machine.get("memoryMb") or 0) / 1024
    return bench_cost(plan, len(WAYS), int(machine.get("guestCpus") or 0), memory, like.disk_gb)


def _measure(
    flags: Flags,
    connected: Connected,
    plan: BenchPlan,
    facts: Sequence[PoolFacts],
    nodes: Sequence[BenchNode],
    asked: Asked,
    progress: Progress,
) -> int:
    interrupted = Stops()
    tools = replace(connected.tools, interrupted=interrupted.asked)
    try:
        with interrupted:
            found = bench(tools, plan, connected.namespace)
    finally:
        progress.clear()
    if plan.make_pools:
        facts = _made_facts(connected, found)
    had = [node for node in nodes if node.has_image]
    origin = replace(connected.origin, observed_at=tools.clock.now())
    answer = report(
        origin, found.plan, connected.namespace, found.run, facts, found.samples, connected.gaps, found.ended, had
    )
    _print(flags, answer, asked)
    if found.ended == "interrupted":
        return 130
    return 5 if found.ended or any(pool.pulls < pool.wanted for pool in answer.pools) else 0


def _made_facts(connected: Connected, found: Measured) -> list[PoolFacts]:
    project = connected.tools.gke.target.project if connected.tools.gke else ""
    cluster = {"nodePools": found.pools}
    nodes = {name: [node for node in found.nodes if node.pool == name] for name in found.plan.pools}
    return [pool_facts(cluster, name, project, nodes[name]) or PoolFacts(name) for name in found.plan.pools]


def _print(flags: Flags, answer: BenchReport, asked: Asked) -> None:
    shown = screen(flags, os.environ, sys.stdout)
    text = write(bench_view(answer), flags.output, shown)
    if asked.plot == TERMINAL:
        from kubectl_imagecache.render.plot_terminal import draw

        text += "".join(f"{line}\n" for line in ["", *draw(pull_report(answer), shown)])
    sys.stdout.write(text)
    sys.stdout.flush()
    write_pictures(pull_report(answer), asked.plot, asked.html)


def _sweep(connected: Connected, asked: Asked, sandbox: bool) -> int:
    found = sweep(connected.tools, connected.namespace, dry_run=True)
    lines = sweep_lines(found.cleaned, found.busy, connected.namespace)
    if not found.cleaned or asked.dry_run:
        click.echo("\n".join(lines))
        return 0
    _confirm(lines, asked.yes or sandbox, "Remove them?")
    sweep(connected.tools, connected.namespace)
    click.echo(f"removed: {', '.join(found.cleaned)}")
    return 0


def _confirm(lines: Sequence[str], yes: bool, question: str) -> None:
    """Say what will be done, and ask unless YES."""
    click.echo("\n".join(lines), err=True)
    if yes:
        return
    if not sys.stdin.isatty():
        raise BadUsage("nobody is there to be asked", "add --yes")
    click.confirm(question, abort=True, err=True)
