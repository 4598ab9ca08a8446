"""`roll`: move a node pool to a new disk image without hurting what runs on it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any

import click
from click.core import ParameterSource

from kubectl_imagecache.cli.options import (
    Command,
    Flags,
    Option,
    Quantity,
    complete_compute_classes,
    complete_disk_images,
    complete_pools,
    with_cluster_flags,
)
from kubectl_imagecache.cli.roll_progress import Reporter
from kubectl_imagecache.cli.roll_strategy import strategy_options, with_strategy
from kubectl_imagecache.cli.roll_ways import ways
from kubectl_imagecache.cli.sandbox_clock import work_clock
from kubectl_imagecache.cli.whoami import has_ended, identity
from kubectl_imagecache.core.errors import BadUsage, UserError
from kubectl_imagecache.core.iac import FORMATS
from kubectl_imagecache.core.pools import DiskImage
from kubectl_imagecache.core.roll import Done, RollPlan
from kubectl_imagecache.core.roll_checks import Check, Result
from kubectl_imagecache.core.roll_preflight import OVERRULED
from kubectl_imagecache.core.roll_room import forced

OF_POOLS = ("soak", "keep_old", "strategy", "surge", "max_surge", "canary", "canary_limit")
"""Flags, by their parameters' names, that mean nothing where the autoscaler makes and removes the nodes."""
AUTOSCALED = "the autoscaler makes a ComputeClass's new nodes, as pods need them, and takes the empty ones away"


def _seconds(text: str) -> float:
    from kubectl_imagecache.clients.kube.options import parse_timeout

    return parse_timeout(text)


def _moment(text: str) -> float:
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return (moment if moment.tzinfo else moment.astimezone()).timestamp()


def _roll_options(function: Callable[..., Any]) -> Callable[..., Any]:
    def option(section: str, *names: str, **settings: Any) -> Callable[[Any], Any]:
        return click.option(*names, cls=Option, section=section, **settings)

    what, how, out = "What to do", "How", "Output"
    duration = {"type": Quantity("duration", _seconds), "show_default": True}
    options = [
        option(
            what,
            "--disk-image",
            default="",
            shell_complete=complete_disk_images,
            help="The disk image: NAME or projects/P/global/images/NAME.",
        ),
        option(what, "--compute-class", default="", shell_complete=complete_compute_classes,
               help="Roll the auto-created nodes of this ComputeClass instead of a pool."),
        option(what, "--dry-run", is_flag=True, help="Only print the checklist; exit 5 if it refuses."),
        option(what, "--status", "show", is_flag=True, help="Only print where the roll stands."),
        option(what, "--rollback", is_flag=True, help="Go back to the old pool; possible until it is deleted."),
        option(what, "-y", "--yes", is_flag=True, help="Don't ask before beginning."),
        option(how, "--max-unavailable", default=1, show_default=True, type=click.IntRange(1, 1000),
               help="Old nodes emptied at one time."),
        option(how, "--drain-timeout", default="1h", help="Give up on a node that is not empty by then.", **duration),
        option(how, "--ready-timeout", default="30m", help="Give up on new nodes not Ready by then.", **duration),
        option(how, "--health-gate/--no-health-gate", "gate", default=True, show_default=True,
               help="Go on only once moved pods are Ready."),
        option(how, "--gate-timeout", default="15m", help="Stop if a moved pod is not Ready by then.", **duration),
        option(how, "--soak", default="0", help="Keep the old pool, empty, for so long.", **duration),
        option(how, "--keep-old", is_flag=True, help="Don't delete the old pool."),
        option(how, "--repin", is_flag=True, help="Change workloads that select the old pool or disk."),
        option(how, "--allow", multiple=True, type=click.Choice(OVERRULED), help="Overrule a check (repeatable)."),
        option(how, "--force-conflicts", is_flag=True,
               help="Take a ComputeClass's rules over from the field manager that keeps them."),
        option(how, "--not-after", type=Quantity("time", _moment), help="Begin no step from this time on (ISO 8601)."),
        option(out, "--emit", type=click.Choice(FORMATS), default=None,
               help="Only print what to commit, so that no next apply reverts the roll."),
        option(out, "-o", "--output", "format_", type=click.Choice(["text", "json"]), default="text",
               help="json: an event a line."),
        option(out, "--debug", is_flag=True, expose_value=False, help="Show a traceback if something goes wrong."),
    ]  # fmt: skip
    for one in reversed(options):
        function = one(function)
    return function


@dataclass(frozen=True, slots=True)
class Choice:
    """The flags of this command that aren't part of the plan."""

    dry_run: bool
    show: bool
    yes: bool
    json: bool
    emit: str = ""
    """Empty, or one of FORMATS."""
    promised: DiskImage | None = None
    """With `dry_run`: a disk image that is yet to be made, as it will be."""
    compute_class: str = ""
    """Empty: a pool is rolled."""
    force_conflicts: bool = False
    ways: tuple[tuple[str, str], ...] = ()
    """What can be done once the roll stops, and the command for it."""


@click.command(cls=Command)
@click.argument("pool", shell_complete=complete_pools, required=False, default="")
@_roll_options
@strategy_options
@with_cluster_flags
def roll(pool: str, flags: Flags, **given: Any) -> int:
    """Move a node pool to a new disk image, without hurting what runs on it.

    \b
    Examples:
      # What would be in the way
      {program} roll web --disk-image web-2026-01 --dry-run
      # Do it; the same command goes on after an interruption
      {program} roll web --disk-image web-2026-01
      # Keep the old pool, empty, for half an hour before it is deleted
      {program} roll web --disk-image web-2026-01 --soak 30m
      # In batches, with quota for three nodes more, and at night only
      {program} roll web --disk-image web-2026-01 --strategy rolling \\
        --max-surge 3 --maintenance-window '22:00-05:00 Europe/Berlin'
      # First prove the disk, by how fast a pod of a cached image gets it
      {program} roll web --disk-image web-2026-01 --canary REPOSITORY/app:1.2
      # Watch one on a sandbox
      {program} roll web --disk-image web-2026-01 --sandbox --repin
      # What to commit, so that Terraform's next apply doesn't revert it
      {program} roll web --disk-image web-2026-01 --emit terraform
      # The nodes that GKE makes for a ComputeClass
      {program} roll --compute-class models --disk-image models-2026-02
      # Where does it stand; and back again
      {program} roll web --status
      {program} roll web --rollback

    \b
    A new pool is made as a copy of the old one, its nodes are proven, and the
    pods are evicted, budget by budget. Exit 5: stopped, run it again.
    Exit 6: somebody else rolls this pool.
    """
    # Nobody has to be asked about a sandbox that ends with the command.
    yes = given["yes"] or bool(flags.sandbox)
    choice = Choice(
        given["dry_run"],
        given["show"],
        yes,
        given["format_"] == "json",
        given["emit"] or "",
        compute_class=given["compute_class"],
        force_conflicts=given["force_conflicts"],
    )
    _check_what(pool, choice, given)
    if given["rollback"] and (given["disk_image"] or given["dry_run"]):
        raise BadUsage("--rollback needs no --disk-image and has no --dry-run")
    from kubectl_imagecache.cli.connect import surrounding

    with surrounding(flags, os.environ) as around:
        plan = plan_of(pool or f"class.{choice.compute_class}", given)
        return run_with(flags, plan, given["disk_image"], choice, around.env)


def _check_what(pool: str, choice: Choice, given: Mapping[str, Any]) -> None:
    if bool(pool) == bool(choice.compute_class):
        raise BadUsage("name either a node pool or, with --compute-class, a ComputeClass", "see: roll --help")
    context = click.get_current_context()
    named = [name for name in OF_POOLS if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    if not pool and named:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in named)
        raise BadUsage(f"only the roll of a pool has {flags}", f"leave it out: {AUTOSCALED}")
    if pool and choice.force_conflicts:
        raise BadUsage("--force-conflicts is for ComputeClasses: a pool has no field managers")


def plan_of(pool: str, given: Mapping[str, Any]) -> RollPlan:
    """What the flags say, but for the disk image; raises BadUsage."""
    until = given["not_after"]
    plan = RollPlan(
        pool,
        back=given["rollback"],
        repin=given["repin"],
        max_unavailable=given["max_unavailable"],
        drain_timeout_s=given["drain_timeout"],
        ready_timeout_s=given["ready_timeout"],
        gate=given["gate"],
        gate_timeout_s=given["gate_timeout"],
        soak_s=given["soak"],
        keep_old=given["keep_old"],
        allow=frozenset(given["allow"]),
        not_after=datetime.fromtimestamp(until, timezone.utc) if until is not None else None,
    )
    return with_strategy(plan, given)


def run_with(flags: Flags, plan: RollPlan, disk_image: str, choice: Choice, env: Mapping[str, str]) -> int:
    """Roll, or do what CHOICE asks for, in the cluster that FLAGS and ENV lead to; the exit code. Raises UserError."""
    from kubectl_imagecache.cli.connect import http_of, kube_options
    from kubectl_imagecache.clients.compute import Compute
    from kubectl_imagecache.clients.gke import Gke, disk_image_ref
    from kubectl_imagecache.clients.gke_roll import RollGke
    from kubectl_imagecache.clients.google_http import GoogleHttp
    from kubectl_imagecache.clients.kube import Kube
    from kubectl_imagecache.clients.kube.probe import ProbeKube
    from kubectl_imagecache.clients.kube.roll import RollKube
    from kubectl_imagecache.clients.retry import Pace
    from kubectl_imagecache.clients.target import gcloud_config, guess
    from kubectl_imagecache.core.views import Gap
    from kubectl_imagecache.usecases.roll import observe
    from kubectl_imagecache.usecases.roll_lock import Lock
    from kubectl_imagecache.usecases.roll_observe import no_pool
    from kubectl_imagecache.usecases.roll_tools import Tools

    clock = work_clock(env)
    kube = Kube.connect(kube_options(flags), env, clock=clock)
    google = GoogleHttp.from_env(env, http_of(flags, env, Pace(lambda: clock.now().timestamp(), clock.sleep)))
    named = (flags.project, flags.location, flags.cluster_name)
    target = guess(named, kube.context, kube.server, Gke(google).clusters, lambda: gcloud_config(env))
    if isinstance(target, Gap):
        raise UserError(f"which GKE cluster to change is not known: {target.why}", target.hint)
    if disk_image:
        plan = replace(plan, disk=disk_image_ref(disk_image, target.project))
    roll_kube = RollKube(kube.transport, clock.reached)
    lock = Lock(roll_kube, clock, plan.pool, identity(), has_ended, lambda text: click.echo(text, err=True))
    reporter = Reporter(sys.stdout, choice.json)
    tools = Tools(roll_kube, RollGke(google, target), clock, lock, reporter.say, probes=ProbeKube(kube.transport))
    what = ("--compute-class", choice.compute_class) if choice.compute_class else (plan.pool,)
    choice = replace(choice, ways=ways(sys.argv[1:], flags, kube.context, what, plan.back))
    if choice.compute_class:
        from kubectl_imagecache.cli.roll_class import run_class

        return run_class(tools, kube.transport, Compute(google), plan, choice, reporter)
    if choice.emit:
        return _emit(tools, plan, choice.emit)
    if choice.show:
        view = observe(tools, plan)
        if view.old is None and view.new is None:
            raise no_pool(plan.pool, tools.gke.cluster())
        return _show(plan, view, choice)
    with_preflight = choice.dry_run or (not plan.back and observe(tools, plan).new is None)
    if with_preflight and not _fit(tools, Compute(google), plan, choice):
        return 5
    return 0 if choice.dry_run else _work(tools, plan, choice, reporter)


def _show(plan: RollPlan, view: Any, choice: Choice) -> int:
    from kubectl_imagecache.core.roll_decide import decide, goes_back
    from kubectl_imagecache.render.roll import status_json, status_lines, status_text

    back = goes_back(plan, view)
    lines = status_lines(view, decide(replace(plan, back=back), view), back)
    sys.stdout.write(status_json(lines) if choice.json else status_text(lines))
    return 0


def _emit(tools: Any, plan: RollPlan, form: str) -> int:
    from kubectl_imagecache.render.emit import emitted
    from kubectl_imagecache.usecases.emit import replacement

    sys.stdout.write(emitted(form, replacement(tools.gke, tools.clock, plan.pool, plan.disk)))
    return 0


def _fit(tools: Any, compute: Any, plan: RollPlan, choice: Choice) -> bool:
    from kubectl_imagecache.usecases.roll_preflight import Promised, preflight

    checks = preflight(tools, Promised(compute, choice.promised) if choice.promised else compute, plan)
    return fits(checks, choice)


def fits(checks: Sequence[Check], choice: Choice) -> bool:
    """Print the checklist; whether nothing in it refuses."""
    from kubectl_imagecache.cli.answer import terminal
    from kubectl_imagecache.render.roll import checks_json, checks_text

    cells = terminal("", os.environ, sys.stdout).cells
    sys.stdout.write(checks_json(checks) if choice.json else checks_text(checks, cells))
    sys.stdout.flush()
    refused = [check.name for check in checks if check.result is Result.REFUSE]
    if refused and not choice.json:
        may = " ".join(f"--allow {name}" for name in refused if name in OVERRULED)
        click.echo(f"refused: {', '.join(refused)}{f' (overrule with {may})' if may else ''}", err=True)
    return not refused


def _work(tools: Any, plan: RollPlan, choice: Choice, reporter: Reporter) -> int:
    from kubectl_imagecache.usecases.roll import roll as run

    where = "back to" if plan.back else "away from"
    warn_of_force(plan)
    # What is urgent is not for the next window.
    back = replace(plan, back=True, disk=None, windows=(), not_after=None)
    again = None if plan.back else lambda able: run(able, back)
    return work(tools, choice, reporter, f"Move all pods {where} {plan.pool} now?", lambda able: run(able, plan), again)


def warn_of_force(plan: RollPlan) -> None:
    """Say loudly that pods may be deleted, if they may."""
    if plan.force_after_s is not None:
        click.echo(f"warning: {forced(plan.force_after_s)}", err=True)


def work(
    tools: Any,
    choice: Choice,
    reporter: Reporter,
    question: str,
    run: Callable[[Any], Done],
    back: Callable[[Any], Done] | None = None,
) -> int:
    """Ask QUESTION, take the lock, RUN, and print the end; raises what RUN raises.

    Where RUN stops, whoever is there is asked whether to go on or BACK (None: the command run again goes back).
    """
    from kubectl_imagecache.cli.roll_question import answered
    from kubectl_imagecache.render.roll import done_json
    from kubectl_imagecache.usecases.roll_lock import check_clock

    _confirm(question, choice)
    tools.lock.take()

    def held(way: Callable[[Any], Done]) -> Done:
        interrupted = Interrupts()
        try:
            with interrupted:
                tools.lock.renew()
                return way(replace(tools, interrupted=interrupted.asked))
        finally:
            reporter.clear()

    try:
        check_clock(tools.kube, tools.clock)
        done = answered(lambda: held(run), (lambda: held(back)) if back else None, not (choice.yes or choice.json))
    except UserError as error:
        error.more = (*reporter.standing(), *choice.ways)
        raise
    finally:
        tools.lock.give()
    if choice.json:
        sys.stdout.write(done_json(done))
    return 0


def _confirm(question: str, choice: Choice) -> None:
    if choice.yes:
        return
    if not sys.stdin.isatty():
        raise BadUsage("nobody is there to be asked", "add --yes")
    click.confirm(question, abort=True, err=True)


class Interrupts:
    """Ctrl-C as a wish: the running call ends first. A second one ends the process as ever."""

    def __init__(self) -> None:
        self._asked = False
        self._before: Any = None

    def asked(self) -> bool:
        """Whether it was pressed."""
        return self._asked

    def __enter__(self) -> Interrupts:
        self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *rest: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _note(self, number: int, frame: object) -> None:
        self._asked = True
        signal.signal(signal.SIGINT, self._before)
        click.echo("\nstopping after this call; Ctrl-C again to stop at once", err=True)
