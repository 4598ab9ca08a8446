"""What can be done about a roll that has stopped: commands to paste, which mean the same cluster in any terminal."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import click

from kubectl_imagecache.cli.options import Flags


def ways(
    argv: Sequence[str], flags: Flags, context: str, what: Sequence[str], back: bool
) -> tuple[tuple[str, str], ...]:
    """How to go on with the roll of WHAT (a pool, or --compute-class and its name), to go back unless it does, to look.

    ARGV is the command line after the program's name, CONTEXT the kubeconfig context that it came to. None for a
    sandbox that ends with the command.
    """
    if flags.sandbox:
        return ()
    pairs = (
        ("--context", flags.context or context),
        ("--kubeconfig", flags.kubeconfig),
        ("--cluster", flags.cluster),
        ("--user", flags.user),
        ("--server", flags.server),
        ("--as", flags.as_user),
        *(("--as-group", group) for group in flags.as_groups),
        ("--as-uid", flags.as_uid),
        ("--project", flags.project),
        ("--location", flags.location),
        ("--cluster-name", flags.cluster_name),
    )
    where = [word for pair in pairs if pair[1] for word in pair]
    fixed = [] if flags.context or not context else ["--context", context]
    found = [("go on", [*argv, *fixed])]
    if not back:
        found.append(("go back", ["roll", *what, "--rollback", *where]))
    found.append(("look", ["roll", *what, "--status", *where]))
    program = click.get_current_context().find_root().info_name or ""
    return tuple((name, f"{program} {shlex.join(words)}") for name, words in found)
