"""`version`: this program's version."""

from __future__ import annotations

import click

from kubectl_imagecache import __version__


@click.command()
def version() -> None:
    """Print this program's version."""
    click.echo(__version__)
