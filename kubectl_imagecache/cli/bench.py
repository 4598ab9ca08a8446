"""`bench`: the controlled experiment, the same image pulled on pools that pull in different ways."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from kubectl_imagecache.cli.options import (
    Flags,
    Option,
    OutputFormat,
    Quantity,
    complete_disk_images,
    complete_pools,
    with_cluster_flags,
)
from kubectl_imagecache.cli.pulls import PullsCommand
from kubectl_imagecache.core.bench import BenchPlan
from kubectl_imagecache.core.errors import BadUsage
from kubectl_imagecache.core.probe import NO_COMMAND

_FILE = click.Path(dir_okay=False, path_type=Path)


def _seconds(text: str) -> float:
    from kubectl_imagecache.core.pulls import parse_duration

    seconds = parse_duration(text) / 1e9
    if seconds < 1:
        raise ValueError(f"{text!r} is too short; write 10m or 1h")
    return seconds


def _images(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from kubectl_imagecache.cli.candidates import images

    return [CompletionItem(name) for name in images(ctx.params) if name.startswith(incomplete)]


def _bench_options(function: Callable[..., Any]) -> Callable[..., Any]:
    def option(section: str, *names: str, **settings: Any) -> Callable[[Any], Any]:
        return click.option(*names, cls=Option, section=section, **settings)

    what, how, own, out = "What to measure", "How", "Pools made for it", "Output"
    options = [
        option(what, "--image", default="", shell_complete=_images, help="The container image to pull."),
        option(what, "--pool", "pools", multiple=True, shell_complete=complete_pools,
               help="A node pool to pull it on (repeatable)."),
        option(what, "--nodes", default=2, show_default=True, type=click.IntRange(1, 100),
               help="Fresh nodes of each pool in a round."),
        option(what, "--repeat", default=1, show_default=True, type=click.IntRange(1, 100),
               help="Rounds, each on further fresh nodes."),
        option(what, "--anyway", is_flag=True, help="Compare pools that differ in more than the way to pull."),
        option(how, "--scale-up", is_flag=True, help="Let the autoscaler bring fresh nodes."),
        option(how, "--run", "start", is_flag=True, help="Start the image's own command; else nothing of it is run."),
        option(how, "--command", default="", help="Start this command of the image instead."),
        option(how, "--timeout", type=Quantity("duration", _seconds), default="30m", show_default=True,
               help="Give up on one pull after so long."),
        option(how, "-n", "--namespace", default="", help="Where the pods are made; default the context's."),
        option(how, "--service-account", default="", help="The pods' account, for its pull secrets."),
        option(how, "--dry-run", is_flag=True, help="Only say what would be done."),
        option(how, "-y", "--yes", is_flag=True, help="Don't ask before beginning."),
        option(how, "--sweep", is_flag=True, help="Only remove what earlier benches left."),
        option(own, "--create-pools", is_flag=True,
               help="Make three pools (registry, image streaming, cache disk), and delete them afterwards."),
        option(own, "--like", default="", shell_complete=complete_pools, help="The pool that they are copies of."),
        option(own, "--disk-image", default="", shell_complete=complete_disk_images,
               help="The third one's cache disk; default that of --like."),
        option(out, "-o", "--output", type=OutputFormat(), default="table",
               help="table, wide, json, yaml, name, csv, markdown, jsonpath=… or custom-columns=…"),
        option(out, "--no-headers", is_flag=True, help="Only the rows: no headers, no text beneath."),
        option(out, "--color", type=click.Choice(["auto", "always", "never"]), default="auto",
               help="Default auto: on a terminal, unless NO_COLOR is set."),
        option(out, "--plot", default="", metavar="[=FILE]",
               help="Draw every pull, by method; FILE.svg, FILE.png or FILE.html instead of the terminal."),
        option(out, "--html", type=_FILE, metavar="FILE", help="Write a page with tables and plots."),
        option(out, "--debug", is_flag=True, expose_value=False, help="Show a traceback if something goes wrong."),
    ]  # fmt: skip
    for one in reversed(options):
        function = one(function)
    return function


@click.command(cls=PullsCommand)
@_bench_options
@with_cluster_flags
def bench(flags: Flags, **given: Any) -> int:
    """Pull one image on fresh nodes of several pools, and compare.

    \b
    Examples:
      # Three pools, one for each way to pull; two fresh nodes of each
      {program} bench --image europe-docker.pkg.dev/p/r/model:1.0 --pool plain --pool streaming --pool cached
      # Try it on a sandbox, with a plot
      {program} bench --image europe-west4-docker.pkg.dev/acme-ai/serving/model-server:1.0 --pool plain --pool streaming --pool cached --sandbox=bench --plot
      # Three rounds, on nodes that the autoscaler brings
      {program} bench --image REF --pool plain --pool cached --repeat 3 --scale-up
      # The whole experiment in a cluster that has no such pools: made, measured, deleted
      {program} bench --image REF --create-pools --like web --disk-image models-2026-01
      # Remove what a bench that was killed has left
      {program} bench --sweep

    \b
    One pod at a time, each on a node that does not have the image. Pods run
    nothing of the image and are removed afterwards, also after Ctrl-C. The
    same command goes on after a crash. Exit 5: something was not measured.
    """  # noqa: E501 - commands to copy can't be broken
    plan = None if given["sweep"] else _plan(given)
    from kubectl_imagecache.cli.bench_answer import Asked, answer_bench

    asked = Asked(given["namespace"], given["anyway"], given["dry_run"], given["yes"], given["plot"], given["html"])
    return answer_bench(flags, plan, given["disk_image"], asked)


def _plan(given: dict[str, Any]) -> BenchPlan:
    from kubectl_imagecache.core.references import parse

    pools = tuple(dict.fromkeys(given["pools"]))
    if not given["image"]:
        raise BadUsage("--image is missing", "name the container image to pull")
    if given["create_pools"] and pools:
        raise BadUsage("--create-pools and --pool exclude each other", "--like names the pool to copy")
    if not given["create_pools"]:
        if not pools:
            raise BadUsage("--pool is missing", "name the pools to compare, or --create-pools")
        for name in ("like", "disk_image"):
            if given[name]:
                raise BadUsage(f"--{name.replace('_', '-')} needs --create-pools")
    if given["start"] and given["command"]:
        raise BadUsage("--run and --command exclude each other")
    try:
        command = () if given["start"] else tuple(shlex.split(given["command"])) or NO_COMMAND
    except ValueError as error:
        raise BadUsage(f"--command can't be read: {error}") from error
    return BenchPlan(
        str(parse(given["image"])),
        pools,
        given["nodes"],
        given["repeat"],
        given["scale_up"] and not given["create_pools"],
        given["timeout"],
        command,
        given["service_account"],
        given["create_pools"],
        given["like"],
    )
