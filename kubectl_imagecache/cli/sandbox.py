"""`sandbox`: a make-believe cluster and cloud that stays, for kubectl and gcloud to look at too."""

from __future__ import annotations

import os
import sys

import click

from kubectl_imagecache.cli.options import Command, Option, Scenario
from kubectl_imagecache.sandbox.scenarios import DEFAULT

_UNSET = {"sh": "unset {name}", "fish": "set -e {name};"}
_EXPORT = {"sh": "export {name}={value}", "fish": "set -gx {name} {value};"}


class Group(click.Group):
    """A group whose help shows the name that the user typed."""

    command_class = Command

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The help text with its examples."""
        from kubectl_imagecache.cli.main import fill

        for paragraph in fill(self.help or "", _program(ctx)):
            formatter.write(paragraph)


@click.group("sandbox", cls=Group, no_args_is_help=True)
def sandbox() -> None:
    """A cluster and a cloud on this machine's loopback ports, to try everything on.

    \b
    Examples:
      # Leave a cluster with stale image caches running, and look at it
      {program} sandbox start
      eval "$({program} sandbox env)"
      {program} status
      kubectl get nodes,pods -A
      gcloud container node-pools list --cluster stale --region europe-west4
      # Back to your own cluster
      eval "$({program} sandbox env --unset)"
      {program} sandbox stop
    """


@sandbox.command()
@click.argument("scenario", default=DEFAULT, type=Scenario(), metavar="[SCENARIO]")
@click.option("--seed", default=0, show_default=True, cls=Option, help="Decides every random thing.")
@click.option(
    "--nodes",
    default=1000,
    show_default=True,
    type=click.IntRange(1, 15_000),
    cls=Option,
    help="Nodes, of `huge` only.",
)
@click.option(
    "--pods", default=20_000, show_default=True, type=click.IntRange(0, 500_000), cls=Option, help="Pods, likewise."
)
@click.option(
    "--speed",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0, 10_000),
    cls=Option,
    help="Seconds that pass in the sandbox for each real one; at 0 time stands still.",
)
@click.pass_context
def start(ctx: click.Context, scenario: str, seed: int, nodes: int, pods: int, speed: float) -> None:
    """Leave a sandbox running in the background; there can be one.

    \b
    Examples:
      # The default one, with stale pools
      {program} sandbox start
      # Another one, its time running 60 times as fast
      {program} sandbox start mixed --speed 60
      # A large one
      {program} sandbox start huge --nodes 200 --pods 5000
    """
    import os
    from datetime import datetime, timezone

    from kubectl_imagecache.sandbox import daemon
    from kubectl_imagecache.sandbox.embedded import Settings

    settings = Settings(scenario, seed, nodes, pods, speed, datetime.now(timezone.utc))
    running = daemon.start(daemon.state_folder(os.environ), settings)
    program = _program(ctx)
    click.echo(f"sandbox {running.scenario} is running (pid {running.pid}); look at it with")
    click.echo(f'  eval "$({program} sandbox env)"')
    click.echo(f"  {program} status")
    click.echo("  kubectl get nodes,pods -A")
    click.echo(f"  gcloud container node-pools list --cluster {running.scenario} --region europe-west4")
    click.echo("and end it with")
    click.echo(f"  {program} sandbox stop")


@sandbox.command()
@click.option(
    "--shell", cls=Option, type=click.Choice(list(_EXPORT)), help="Whose words to print; default: as $SHELL says."
)
@click.option("--unset", cls=Option, is_flag=True, help="Print what gives your own values back.")
@click.option("-o", "--output", cls=Option, type=click.Choice(["json"]), help="Print the variables as JSON.")
def env(shell: str | None, unset: bool, output: str | None) -> None:
    """Print the shell commands that point kubectl, gcloud and this program at the sandbox.

    \b
    Examples:
      eval "$({program} sandbox env)"
      eval "$({program} sandbox env --unset)"
      {program} sandbox env --shell fish | source
    """
    import json
    import os
    import shlex

    from kubectl_imagecache.sandbox import daemon

    shell = shell or ("fish" if os.environ.get("SHELL", "").endswith("fish") else "sh")
    if unset:
        changes = daemon.without(os.environ)
    else:
        variables = daemon.variables(daemon.require(daemon.state_folder(os.environ)))
        if output == "json":
            click.echo(json.dumps(variables, indent=2))
            return
        changes = daemon.within(variables, os.environ)
    for name, value in changes.items():
        form = _UNSET if value is None else _EXPORT
        click.echo(form[shell].format(name=name, value=shlex.quote(value or "")))


@sandbox.command()
def stop() -> None:
    """End the sandbox and remove what it left.

    \b
    Examples:
      {program} sandbox stop
    """
    import os

    from kubectl_imagecache.sandbox import daemon

    found = daemon.stop(daemon.state_folder(os.environ))
    if isinstance(found, daemon.Running):
        click.echo(f"sandbox {found.scenario} (pid {found.pid}) has ended")
    elif isinstance(found, daemon.Dead):
        click.echo(f"sandbox {found.scenario} (pid {found.pid}) had already died; removed what it left")
    else:
        click.echo("no sandbox is running")


@sandbox.command("list")
def list_() -> None:
    """List the scenarios.

    \b
    Examples:
      {program} sandbox list
    """
    from kubectl_imagecache.cli.answer import terminal
    from kubectl_imagecache.render.text import wrapped
    from kubectl_imagecache.sandbox.scenarios import SCENARIOS

    width = max(map(len, SCENARIOS)) + 2
    cells = terminal("table", os.environ, sys.stdout).cells
    for name, shows in SCENARIOS.items():
        click.echo("\n".join(wrapped(shows, f"{name:{width}}", " " * width, cells)))


def _program(ctx: click.Context) -> str:
    return ctx.find_root().info_name or ""
