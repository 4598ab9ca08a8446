"""The question to whoever sits before a roll that has stopped: look again and go on, go back, or leave it so."""

from __future__ import annotations

import sys
from collections.abc import Callable

import click

from kubectl_imagecache.core.errors import UserError
from kubectl_imagecache.core.roll import Done
from kubectl_imagecache.usecases.roll_tools import Stopped

GO_ON, BACK, STOP = "go-on", "roll-back", "stop"


def answered(run: Callable[[], Done], back: Callable[[], Done] | None, asks: bool) -> Done:
    """RUN to its end; where it stops, ask (ASKS, and if somebody is there), and RUN again or go BACK as is answered.

    Raises what RUN and BACK raise, Stopped if that is the answer.
    """
    going = run
    while True:
        try:
            return going()
        except Stopped as stopped:
            if not asks or not _terminal():
                raise
            answer = _ask(stopped, back is not None and going is run)
            if answer == STOP:
                raise
            going = back if answer == BACK and back is not None else going


def _ask(stopped: UserError, may_go_back: bool) -> str:
    click.echo(f"stopped: {stopped.message}", err=True)
    choices = [GO_ON, BACK, STOP] if may_go_back else [GO_ON, STOP]
    try:
        return str(click.prompt("What now?", type=click.Choice(choices), default=STOP, err=True))
    except click.Abort:
        return STOP


def _terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()
