"""`pulls`: what image pulls cost, and by which way the images came."""

from __future__ import annotations

from pathlib import Path

import click

from kubectl_imagecache.cli.options import Command, Flags, Option, Quantity, with_flags_except
from kubectl_imagecache.core.errors import BadUsage

_FILE = click.Path(dir_okay=False, path_type=Path)
TERMINAL = "-"
"""What a bare --plot means: draw in the terminal."""


def _duration(text: str) -> float:
    """Seconds of a Go duration above zero (`90m`, `1h30m`); raise ValueError for anything else."""
    from kubectl_imagecache.core.pulls import parse_duration

    seconds = parse_duration(text) / 1e9
    if seconds <= 0:
        raise ValueError(f"{text!r} is no time ago; write 30m or 2h")
    return seconds


class PullsCommand(Command):
    """A command whose --plot may stand without a file."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """A bare --plot means the terminal: it never takes the next word, which may be a pool."""
        end = args.index("--") if "--" in args else len(args)
        bare = [f"--plot={TERMINAL}" if word == "--plot" else word for word in args[:end]]
        return super().parse_args(ctx, bare + args[end:])


@click.command(cls=PullsCommand)
@with_flags_except("--include-templates/--no-include-templates", "--layers", "--from", "--save", "--exit-code", "-l")
@click.option(
    "--by",
    cls=Option,
    section="Pulls",
    type=click.Choice(["pool", "image", "method", "node"]),
    default="pool",
    show_default=True,
    help="What a row is.",
)
@click.option(
    "--since",
    cls=Option,
    section="Pulls",
    type=Quantity("duration", _duration),
    help="Only pulls this recent: 30m, 1h.",
)
@click.option(
    "--logs", cls=Option, section="Pulls", is_flag=True, help="Also read the snapshotters' log in Cloud Logging."
)
@click.option(
    "--watch",
    cls=Option,
    section="Pulls",
    type=_FILE,
    metavar="FILE",
    help="Follow live until Ctrl-C and keep it in FILE, which events (kept for an hour) don't.",
)
@click.option(
    "--for",
    "watch_for",
    cls=Option,
    section="Pulls",
    type=Quantity("duration", _duration),
    help="End --watch by itself.",
)
@click.option(
    "--plot",
    cls=Option,
    section="Pulls",
    default="",
    metavar="[=FILE]",
    help="Draw every pull, by method; FILE.svg, FILE.png or FILE.html instead of the terminal.",
)
@click.option(
    "--html", cls=Option, section="Pulls", type=_FILE, metavar="FILE", help="Write a page with tables, plots, coverage."
)
@click.option(
    "--from", "recording", cls=Option, section="Instead of a cluster", type=_FILE, help="Read a file of --watch."
)
def pulls(pools: tuple[str, ...], flags: Flags, **given: object) -> int:
    """Show what image pulls cost, and by which way the images came.

    \b
    Examples:
      # The last hour's pulls, pool by pool
      {program} pulls
      # The three ways to pull, compared on a sandbox
      {program} pulls --sandbox=pulls --by method --plot
      # One pool's images, with the nodes' own word on their layers
      {program} pulls gpu-pool --by image --logs -o wide
      # Keep what the cluster forgets after an hour, and look at it later
      {program} pulls --watch monday.jsonl --for 8h
      {program} pulls --from monday.jsonl --by image
      # A picture, and a page for those who decide
      {program} pulls --plot=pulls.svg
      {program} pulls --html pulls.html

    \b
    Methods: cache disk, image streaming, registry, node's own store. A method
    is observed if an event or a log line says so, else inferred from the node's
    labels, the time and the size.
    """
    from kubectl_imagecache.cli.pulls_answer import Asked, answer_pulls

    asked = Asked(**given)  # type: ignore[arg-type] # click has converted each
    if asked.watch and asked.recording:
        raise BadUsage("--watch and --from exclude each other", "--watch carries on a FILE that exists")
    if asked.watch_for and not asked.watch:
        raise BadUsage("--for needs --watch", "say where to keep what is seen: --watch FILE")
    if asked.watch and len(flags.namespaces) > 1:
        raise BadUsage("--watch follows one namespace, or all", "leave out --namespace, or give one")
    return answer_pulls(flags, pools, asked)
