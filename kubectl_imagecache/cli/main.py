"""The program: finds the command, runs it, and prints what goes wrong in one line."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Mapping, Sequence

import click
from click.shell_completion import CompletionItem

from kubectl_imagecache import __version__
from kubectl_imagecache.core.errors import UserError

COMMANDS = {
    "status": "Which node pools' image caches are stale, why, and what to do.",
    "list": "The container images on each pool's cache disk.",
    "diff": "What a pool uses against what its cache disk holds.",
    "pulls": "What image pulls cost, and by which way the images came.",
    "bench": "Pull one image in several ways on fresh nodes, and compare.",
    "rebuild": "Plan a new disk image for a pool, and build it.",
    "roll": "Move a node pool to a new disk image, safely and resumably.",
    "inspect": "What a disk image holds, read from its disk if nothing says so.",
    "verify": "Whether a disk image is what it should be.",
    "disks": "Disk images: what is on one, what builds have left, what nobody needs.",
    "sandbox": "A cluster to try everything on, on this machine alone.",
    "version": "This program's version.",
}
"""Command -> what --help says of it. `kubectl_imagecache.cli.NAME:NAME` is the command; imported when it runs."""
_HELP = {"help_option_names": ["-h", "--help"]}
_ABOUT = """See the container image cache disks of GKE node pools.

\b
Examples:
  # Try it without a cluster
  {program} status --sandbox
  # Which pools' caches are stale, and why
  {program} status
  # What would change on one pool's disk
  {program} diff gpu-pool
"""


class LazyGroup(click.Group):
    """A group that imports a command's module only when that command is wanted."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which people meet them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command; None if there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        found: object = getattr(importlib.import_module(f"kubectl_imagecache.cli.{cmd_name}"), cmd_name)
        if not isinstance(found, click.Command):
            raise TypeError(f"kubectl_imagecache.cli.{cmd_name}.{cmd_name} is no command")
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does it, with a hint at the nearest name."""
        name = args[0]
        if name not in COMMANDS and not ctx.resilient_parsing and not name.startswith("-"):
            raise UnknownCommand(name, ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The text about the program, with the name that the user typed."""
        for paragraph in fill(_ABOUT, ctx.find_root().info_name or ""):
            formatter.write(paragraph)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Commands or, after a dash, flags."""
        if incomplete.startswith("-"):
            return click.Command.shell_complete(self, ctx, incomplete)
        return [CompletionItem(name, help=text) for name, text in COMMANDS.items() if name.startswith(incomplete)]


class UnknownCommand(click.UsageError):
    """A command that doesn't exist, with a hint."""

    def __init__(self, name: str, ctx: click.Context) -> None:
        import difflib

        super().__init__(f"No such command {name!r}", ctx)
        near = difflib.get_close_matches(name, COMMANDS, 1)
        if near:
            self.hint = f"did you mean {near[0]}?"
        else:
            self.hint = f"there are {', '.join(COMMANDS)}"


def fill(text: str, program: str) -> list[str]:
    """A help text as indented paragraphs, its `{program}` filled."""
    lines = inspect.cleandoc(text).replace("\b\n", "").replace("{program}", program).splitlines()
    return ["\n", *(f"  {line}\n" if line else "\n" for line in lines)]


@click.group(cls=LazyGroup, context_settings=_HELP, no_args_is_help=True)
@click.version_option(__version__, "-V", "--version", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, expose_value=False, help="Show a traceback when something goes wrong.")
def cli() -> None:
    """See the container image cache disks of GKE node pools."""


def program_name(env: Mapping[str, str]) -> str:
    """What the user typed: shells set `_` to the program they start, and kubectl passes its own on."""
    return "kubectl-imagecache" if env.get("_", "").endswith("kubectl-imagecache") else "kubectl imagecache"


def run(args: Sequence[str], env: Mapping[str, str]) -> int:
    """Run the command line ARGS and return the exit code; what is wrong is said on stderr."""
    debug = "--debug" in args
    try:
        result: object = cli.main(list(args), prog_name=program_name(env), standalone_mode=False)
    except UserError as error:
        if debug:
            raise
        return _say(error.message, error.hint, error.exit_code, error.more)
    except click.ClickException as error:
        return _say(_sentence(error), _hint_of(error, program_name(env)), error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        return 130
    except Exception as error:
        if debug:
            raise
        return _say(f"unexpected {type(error).__name__}: {error}", "run it again with --debug to see where", 1)
    return result if isinstance(result, int) else 0


def main() -> None:
    """The console script."""
    args = sys.argv[1:]
    if args[:1] == ["__complete"]:
        from kubectl_imagecache.cli.complete import complete

        sys.exit(complete(args[1:]))
    sys.exit(run(args, os.environ))


def _say(message: str, hint: str, code: int, more: Sequence[tuple[str, str]] = ()) -> int:
    from kubectl_imagecache.render.text import neutral

    click.echo(f"error: {neutral(message)}", err=True)
    if hint:
        click.echo(f"hint: {neutral(hint)}", err=True)
    for name, text in more:
        click.echo(f"{name}: {neutral(text)}", err=True)
    return code


def _sentence(error: click.ClickException) -> str:
    if isinstance(error, click.NoSuchOption):
        return f"No such option {error.option_name}"
    return " ".join(error.format_message().split()).removesuffix(".")


def _hint_of(error: click.ClickException, program: str) -> str:
    if isinstance(error, UnknownCommand):
        return error.hint
    path = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else program
    if isinstance(error, click.NoSuchOption) and error.possibilities:
        return f"did you mean {min(error.possibilities, key=len)}?"
    return f"see {path} --help"
